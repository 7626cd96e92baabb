"""Which layers the way from the input to the output can go round."""

import random
from collections.abc import Iterable

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
