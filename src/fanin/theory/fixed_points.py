"""Where the second moment settles in a deep network, and the weights at the edge of chaos.

Layer by layer the pre-activations' second moment follows q ↦ σ_w² E[f(√q z)²] + σ_b² (Poole et al.
2016, section 2), with σ_w² = fan-in × Var(weight) and σ_b² = Var(bias).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from fanin.theory.expectations import moments
from fanin.theory.gains import Stability, chi, slope, stability, variance
from fanin.theory.nonlinearity import Nonlinearity, NoTheory, TheoryError

# Second moments searched: below the first a recursion counts as decayed, above the last as grown.
_DECAYED, _GROWN = 1e-10, 1e10
# The search for critical pairs, eight to the decade.
_GRID = np.geomspace(1e-8, 1e6, 113)


@dataclass(frozen=True)
class FixedPoint:
    """A second moment that a layer hands on unchanged."""

    q: float
    """0 where the signal dies away"""
    slope: float
    """of the second-moment map there"""
    chi: float
    """σ_w² E[f'²] there, at equal widths"""

    @property
    def stability(self) -> Stability:
        return stability(self.slope)


@dataclass(frozen=True)
class CriticalPair:
    """Variances for which χ = 1 at the fixed point: the edge between order and chaos."""

    weight_variance: float
    bias_variance: float
    q: float
    """the fixed point, 0 where the signal dies away (slowly)"""
    slope: float
    """of the second-moment map there"""
    stability: Stability
    """of q: where it is unstable, a deep network leaves this q, and χ = 1 with it"""


def second_moment_map(
    nonlinearity: Nonlinearity, q: float, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """σ_w² E[f(√q z)²] + σ_b²: the next layer's second moment (Poole et al. 2016, section 2)."""
    kept = variance(weight_variance) * moments(nonlinearity, q).second_moment
    return kept + variance(bias_variance, "bias variance")


def fixed_point(
    nonlinearity: Nonlinearity,
    weight_variance: float,
    bias_variance: float = 0.0,
    start: float = 1.0,
) -> FixedPoint | NoTheory:
    """q*: the first fixed point on the way that the recursion takes from `start`.

    `start` itself if it is one, stable or not; 0 where the second moment decays.
    NoTheory where it grows without bound, or beyond what can be computed.
    """
    if not (math.isfinite(start) and start > 0.0):
        raise TheoryError(f"A recursion starts from a second moment above 0, not from {start}.")

    def excess(q: float) -> float:
        return second_moment_map(nonlinearity, q, weight_variance, bias_variance) - q

    def found(q: float) -> FixedPoint:
        return FixedPoint(
            q, slope(nonlinearity, weight_variance, q), chi(nonlinearity, weight_variance, q)
        )

    first = excess(start)
    if abs(first) <= 1e-10 * start:
        return found(start)
    here = start
    # With a bias variance the way down has its own end; without one it counts as ended.
    while here < _GROWN if first > 0.0 else here > _DECAYED or bias_variance > 0.0:
        before, here = here, here * 1.5 if first > 0.0 else here / 1.5
        # The map never falls below the bias variance.
        here = max(here, 0.999 * bias_variance)
        try:
            change = excess(here)
        except TheoryError as error:
            return NoTheory(f"the second moment grows beyond {before:.3g}, and there: {error}")
        if change * first <= 0.0:
            return found(_root(excess, before, here))
    if first < 0.0:
        return found(0.0)
    return NoTheory("the second moment grows without bound from layer to layer")


def critical(nonlinearity: Nonlinearity, bias_variance: float = 0.0) -> CriticalPair | NoTheory:
    """The weight variance that makes χ = 1 at the fixed point, for a given bias variance.

    Along the line χ = 1 each q has σ_w² = 1/E[f'²] and, to be a fixed point, σ_b² = q − σ_w² E[f²];
    sought is the q whose σ_b² is the one given. Where there are several, the smallest stable one.
    For tanh: 1.7610 at σ_b² = 0.05, 1 at 0; for relu 2, at 0 alone (Schoenholz et al. 2017;
    Hayou et al. 2019, "On the Impact of the Activation Function on Deep Neural Networks Training").
    NoTheory where no q in 1e-8..1e6, nor 0, has it.
    """
    variance(bias_variance, "bias variance")

    def pair(q: float) -> CriticalPair:
        at = moments(nonlinearity, q)
        weight_variance = 1.0 / at.derivative_second_moment
        at_q = weight_variance * at.growth
        # At q = 0 every critical slope is 1; which way the recursion goes shows just above.
        judged = at_q if q > 0.0 else slope(nonlinearity, weight_variance, 1e-6)
        return CriticalPair(weight_variance, bias_variance, q, at_q, stability(judged))

    def excess(q: float) -> float:
        at = moments(nonlinearity, q)
        if at.derivative_second_moment == 0.0:
            return math.nan
        return q - at.second_moment / at.derivative_second_moment - bias_variance

    candidates: list[CriticalPair] = []
    at_zero = moments(nonlinearity, 0.0)
    passes_zero = nonlinearity.values(np.zeros(1))[0] == 0.0
    if bias_variance == 0.0 and passes_zero and at_zero.derivative_second_moment > 0.0:
        candidates.append(pair(0.0))
        if candidates[0].stability != "unstable":
            return candidates[0]
    low, at_low = math.nan, math.nan
    for q in _GRID.tolist():
        try:
            at_q = excess(q)
        except TheoryError:
            break
        if at_low * at_q < 0.0:
            candidates.append(pair(_root(excess, low, q)))
            if candidates[-1].stability != "unstable":
                return candidates[-1]
        low, at_low = q, at_q
    if candidates:
        return candidates[0]
    return NoTheory(
        f"{nonlinearity.name} has no weight variance with χ = 1 at a fixed point "
        f"for the bias variance {bias_variance:.6g}"
    )


def _root(function: Callable[[float], float], one: float, other: float) -> float:
    """The root between two points of opposite sign, to the last digits."""
    return float(optimize.brentq(function, one, other, xtol=1e-300, rtol=1e-14))
