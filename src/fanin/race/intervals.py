"""Intervals for a mean: Student's t, and the bootstrap's beside it."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit
from scipy.stats import bootstrap

FEWEST_FOR_BOOTSTRAP = 16
"""Below this the bootstrap's intervals are known to be too short."""

_TAIL_RESAMPLES = 50
_RESAMPLES = (9_999, 200_000)


@final
@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, and the share of such intervals that hold what they are for."""

    low: float
    high: float
    level: float

    def within(self, margin: float) -> bool:
        """Whether all of it lies closer to zero than the margin."""
        return -margin < self.low and self.high < margin


def sample_spread(values: Float64[np.ndarray, "runs"], scale: float) -> float:
    """The sample's standard deviation, and 0 where the values differ by rounding alone.

    `scale` is the size of the numbers that the values are differences of.
    """
    rounding = 8 * float(np.finfo(np.float64).eps) * scale
    return 0.0 if float(np.ptp(values)) <= rounding else float(np.std(values, ddof=1))


def t_interval(mean: float, spread: float, count: int, level: float) -> Interval | None:
    """Student's interval for a mean, from the sample's; None for fewer than two values."""
    if count < 2:
        return None
    half = float(stdtrit(count - 1, (1 + level) / 2)) * spread / count**0.5
    return Interval(mean - half, mean + half, level)


def bootstrap_interval(values: Float64[np.ndarray, "runs"], level: float) -> Interval | None:
    """The BCa interval for the mean (Efron 1987); None below 16 values or where all are equal.

    The same values give the same interval: the resampling has a seed of its own.
    """
    if values.size < FEWEST_FOR_BOOTSTRAP or float(np.ptp(values)) == 0:
        return None
    # An interval at a high level rests on its tails, which need resamples of their own.
    wanted = round(_TAIL_RESAMPLES / ((1 - level) / 2))
    resamples = min(max(wanted, _RESAMPLES[0]), _RESAMPLES[1])
    found = bootstrap(
        (values,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        batch=1_000,
        method="BCa",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    return Interval(low, high, level) if np.isfinite([low, high]).all() else None
