"""The rungs of a search: which candidates train how long, and what that costs."""

import math
from dataclasses import dataclass
from typing import final

from fanin.race.plan import FIRST_TUNING_SEED

KEPT = 3
"""Of so many candidates one goes on, to trainings that are so many times as long."""
MOST_RUNGS = 4
LEAST_STEPS = 200
"""Shorter trainings tell who diverges, and little else."""

# Between the seeds that people race and those that rates are tuned with.
FIRST_SEARCH_SEED = 2**30
_SEEDS_OF_A_SEARCH = 2**12
MOST_SEED = (FIRST_TUNING_SEED - FIRST_SEARCH_SEED) // _SEEDS_OF_A_SEARCH - 1
MOST_RUNG_SEEDS = _SEEDS_OF_A_SEARCH // MOST_RUNGS


@final
@dataclass(frozen=True)
class Rung:
    """One race of a search: so many candidates, trained so many steps with each of the seeds."""

    number: int
    candidates: int
    kept: int
    steps: int
    seeds: tuple[int, ...]

    @property
    def trained(self) -> int:
        """The steps of all its runs together."""
        return self.candidates * len(self.seeds) * self.steps


def rungs_for(candidates: int, steps: int, seeds: int, seed: int = 0) -> tuple[Rung, ...]:
    """The rungs for so many candidates, the last of `steps` steps, with so many seeds in each.

    There are as many as leave two candidates or more on the last, and `LEAST_STEPS` steps or more
    on the first. No seed is in two rungs, or in two searches of another `seed`.
    """
    count = 1
    while (
        count < MOST_RUNGS
        and candidates > KEPT**count
        and math.ceil(steps / KEPT**count) >= LEAST_STEPS
    ):
        count += 1
    first = FIRST_SEARCH_SEED + seed * _SEEDS_OF_A_SEARCH
    made: list[Rung] = []
    for number in range(1, count + 1):
        kept = -(-candidates // KEPT) if number < count else 1
        length = math.ceil(steps / KEPT ** (count - number))
        made.append(Rung(number, candidates, kept, length, tuple(range(first, first + seeds))))
        candidates, first = kept, first + seeds
    return tuple(made)


def cost(rungs: tuple[Rung, ...]) -> float:
    """What rungs cost, in runs as long as the last one's."""
    return sum(rung.trained for rung in rungs) / rungs[-1].steps
