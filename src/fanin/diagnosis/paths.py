"""Which layers the way from the input to the output can go round, or do without."""

import random
from collections.abc import Iterable, Set
from functools import reduce
from operator import and_, or_

# Counting paths modulo a prime: two counts agree by chance once in so many.
_PRIME = (1 << 61) - 1


def bypassed(count: int, edges: Iterable[tuple[int, int]], sinks: Iterable[int]) -> set[int]:
    """The places, of 0 (the input) to `count` − 1, that some path from 0 to a sink does not meet.

    Each edge goes from a place to a later one. Edges have random weights, so that the sum over all
    paths through a place equals that over all paths only where all paths go through it.
    """
    chance = random.Random(0)
    weighted = [(a, b, chance.randrange(1, _PRIME)) for a, b in set(edges)]
    following: dict[int, list[tuple[int, int]]] = {}
    for a, b, weight in weighted:
        following.setdefault(a, []).append((b, weight))
    to = [0] * count
    to[0] = 1
    for place in range(count):
        for after, weight in following.get(place, ()):
            to[after] = (to[after] + to[place] * weight) % _PRIME
    onward = [0] * count
    for sink in sinks:
        onward[sink] = chance.randrange(1, _PRIME)
    for place in range(count - 1, -1, -1):
        for after, weight in following.get(place, ()):
            onward[place] = (onward[place] + onward[after] * weight) % _PRIME
    total = onward[0]
    return {place for place in range(count) if to[place] * onward[place] % _PRIME != total}


def optional(
    count: int, edges: Iterable[tuple[int, int]], sinks: Iterable[int], sums: Set[int]
) -> set[int]:
    """The places that the output can do without: those in the branches of a sum, but for what all
    its branches have in common.

    What is put side by side or multiplied, as two towers or a gate, needs all its parts. Each edge
    goes from a place to a later one.
    """
    reads: dict[int, list[int]] = {}
    for a, b in edges:
        reads.setdefault(b, []).append(a)
    needed = [0] * count  # a bit for each place
    for place in range(1, count):
        parts = [needed[read] for read in reads.get(place, ())]
        combine = and_ if place in sums else or_
        needed[place] = (reduce(combine, parts) if parts else 0) | 1 << place
    of_all = reduce(or_, (needed[sink] for sink in sinks), 0)
    return {place for place in range(1, count) if not of_all >> place & 1}
