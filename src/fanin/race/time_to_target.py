"""How long runs take to a target loss; those that never got there are right-censored."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Real
from scipy.stats import CensoredData, ecdf

# Half of the runs, in numbers that are products of rounded shares.
_HALF = 0.5 + 1e-9


@final
@dataclass(frozen=True)
class TimeToTarget:
    """The Kaplan–Meier estimate for the runs of one start, in the times' own unit."""

    target: float
    runs: int
    reached: int
    median: float | None
    """the time by which half of the runs are there; None where the estimate does not get so far"""
    beyond: float
    """the last time at which more than half were still on their way: the median is later"""
    times: tuple[float, ...]
    share_on_the_way: tuple[float, ...]
    """the share of runs not there yet, from each of the times on"""


def reached_at(
    times: Real[np.ndarray, "steps"], losses: Float[np.ndarray, "runs steps"], target: float
) -> Float[np.ndarray, "runs"]:
    """When each run's loss was first at or below the target; NaN for never."""
    there = losses <= target  # never, for a loss that is NaN
    return np.where(there.any(axis=1), times[there.argmax(axis=1)], np.nan)


def time_to_target(
    reached: Float[np.ndarray, "runs"], watched: Real[np.ndarray, "runs"], target: float
) -> TimeToTarget:
    """The estimate from when each run reached the target, NaN for not, and was watched until.

    A run that diverged never gets there: it counts as watched to the end of the race. Taken out
    when it diverged, as if it might have been quick, it would flatter its start.
    """
    censored = np.isnan(reached)
    data = CensoredData.right_censored(np.where(censored, watched, reached), censored)
    left = ecdf(data).sf
    times, share = left.quantiles.tolist(), left.probabilities.tolist()
    past_half = [time for time, on_the_way in zip(times, share, strict=True) if on_the_way <= _HALF]
    return TimeToTarget(
        target=target,
        runs=len(reached),
        reached=int(np.sum(~censored)),
        median=past_half[0] if past_half else None,
        beyond=max((time for time in times if time not in past_half), default=0.0),
        times=tuple(times),
        share_on_the_way=tuple(share),
    )
