"""Two examples on their way through a deep network: whether they become one, stay, or part.

Correlation is that of second moments, c = E[u₁ u₂] / q over the units of a layer (Poole et al.
2016, section 3). The computations are in terms of γ = 1 − c, which keeps its digits near c = 1.
"""

import math
from dataclasses import dataclass
from typing import Literal

from scipy import optimize

from fanin.theory.expectations import decorrelation, derivative_product
from fanin.theory.fixed_points import fixed_point, second_moment_map
from fanin.theory.gains import NEUTRAL
from fanin.theory.nonlinearity import Nonlinearity, NoTheory


@dataclass(frozen=True)
class DepthScales:
    """How many layers second moments and correlations take to settle.

    Far from the fixed point nothing is said; near it, the distance falls as exp(−depth/ξ).
    """

    q_star: float
    """where the second moment settles"""
    c_star: float
    """where the correlation of two examples settles"""
    chi: float
    """σ_w² E[f'²] at q*"""
    xi_q: float
    """layers in which the second moment's distance from q* falls by e; inf where it does not"""
    xi_c: float
    """the same for the correlation's distance from c*; gradients change over this scale too"""

    @property
    def phase(self) -> Literal["ordered", "critical", "chaotic"]:
        """Ordered: χ < 1, examples become one, gradients vanish. Chaotic: they part and explode."""
        if abs(self.chi - 1.0) <= NEUTRAL:
            return "critical"
        return "ordered" if self.chi < 1.0 else "chaotic"


def correlation_map(
    nonlinearity: Nonlinearity,
    correlation: float,
    q: float,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> float:
    """The correlation of a pair in the next layer's pre-activations (Poole et al. 2016, section 3).

    Both examples have second moment `q` in this one.
    """
    gamma = 1.0 - correlation
    return 1.0 - decorrelation_map(nonlinearity, gamma, q, weight_variance, bias_variance)


def decorrelation_map(
    nonlinearity: Nonlinearity,
    gamma: float,
    q: float,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> float:
    """`correlation_map` in terms of γ = 1 − c, to full relative digits for examples nearly one."""
    following = second_moment_map(nonlinearity, q, weight_variance, bias_variance)
    if following == 0.0:
        return 0.0
    return weight_variance * decorrelation(nonlinearity, q, gamma) / following


def depth_scales(
    nonlinearity: Nonlinearity,
    weight_variance: float,
    bias_variance: float = 0.0,
    start: float = 1.0,
) -> DepthScales | NoTheory:
    """ξ_q and ξ_c, with q* and c* (Schoenholz et al. 2017, section 3).

    ξ_q = −1/log |slope of the second-moment map at q*|; ξ_c = −1/log of that of the correlation
    map at c*, σ_w² E[f'(u₁) f'(u₂)], which is χ where c* = 1.
    NoTheory where the second moment from `start` dies away, grows, or leaves its fixed point.
    """
    settled = fixed_point(nonlinearity, weight_variance, bias_variance, start)
    if isinstance(settled, NoTheory):
        return settled
    if settled.q == 0.0:
        return NoTheory("the second moment decays to 0, and with it every correlation's meaning")
    if settled.stability == "unstable":
        return NoTheory(
            f"the fixed point {settled.q:.6g} is unstable (slope {settled.slope:.4g}): "
            "second moments leave it"
        )
    gamma = _settled_decorrelation(nonlinearity, settled.q, settled.chi, weight_variance)
    at_c = weight_variance * derivative_product(nonlinearity, settled.q, gamma)
    return DepthScales(
        q_star=settled.q,
        c_star=1.0 - gamma,
        chi=settled.chi,
        xi_q=_scale(settled.slope),
        xi_c=_scale(at_c),
    )


def _settled_decorrelation(
    nonlinearity: Nonlinearity, q: float, chi: float, weight_variance: float
) -> float:
    """1 − c* at q*: the stable fixed point of the correlation map on 0 ≤ c ≤ 1.

    The map is a power series in c without negative terms, hence convex: with χ ≤ 1 only c = 1 is
    stable, with χ > 1 there is exactly one other fixed point and it is the stable one.
    """
    if chi <= 1.0 + NEUTRAL:
        return 0.0

    def excess(gamma: float) -> float:
        return weight_variance * decorrelation(nonlinearity, q, gamma) / q - gamma

    if excess(1.0) >= -1e-12:
        return 1.0
    low = 0.5
    while excess(low) <= 0.0:
        low *= 0.5
        if low < 1e-13:
            return 0.0
    return float(optimize.brentq(excess, low, 2.0 * low, xtol=1e-300, rtol=1e-13))


def _scale(slope: float) -> float:
    size = abs(slope)
    if size >= 1.0 - NEUTRAL:
        return math.inf
    return -1.0 / math.log(size) if size > 0.0 else 0.0
