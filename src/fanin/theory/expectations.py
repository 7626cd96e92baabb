"""Expectations over Gaussian pre-activations, of one example and of a pair of examples.

A pre-activation of second moment q is √q z with z ~ N(0, 1). The rules below are Gauss-Legendre
on panels cut where the activation has kinks, out to 12 standard deviations; for a pair a series
stands in their place where it has all digits. Against closed forms they are good to 1e-10 or better
for one example and 1e-9 for a pair (`tests/test_expectations.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special

from fanin.theory.nonlinearity import Nonlinearity, TheoryError
from fanin.theory.panels import (
    ORDER,
    WEIGHTS,
    Values,
    cut_at_kinks,
    panel_nodes,
    smooth_panels,
    unresolved,
)

# Standard deviations integrated over. 8.5 would do for what is bounded; beyond, activations that
# grow exponentially still have mass.
_SPAN = 12.0
_HALF = np.array([0.0, 1.5, 3.0, 4.5, 6.5, 9.0, 11.0, _SPAN])
_WHOLE = np.concatenate([-_HALF[:0:-1], _HALF])

# Below this second moment an activation is its own tangent, and a kink its two tangents.
_SMALLEST = 1e-20

# Below this the growth of an f² that does not start from 0 is lost in its rounding.
_CANCELS = 1e-6

# The largest share of a moment that may come from the ends of the span, or from a pole.
_STRAY = 1e-8

Pairwise = Callable[
    [Float64[np.ndarray, "... nodes"], Float64[np.ndarray, "... nodes"]],
    Float64[np.ndarray, "... nodes"],
]

# More panels than this at once are noise, which halving does not resolve.
_MOST_PANELS = 2_000

# Terms of the series for pairs, more where the fewer are not enough, and panels that resolve the
# last Hermite polynomial.
_TERMS = (64, 256)
_FINE = np.linspace(-_SPAN, _SPAN, 49)

# The share of a result that the series may miss; what it misses more of is integrated.
_MISSED = 1e-11

# Numbers held at once in the rule for pairs.
_BLOCK = 1 << 17


@dataclass(frozen=True)
class Moments:
    """What an activation f makes of pre-activations N(0, q)."""

    second_moment: float
    """E[f²]"""
    mean: float
    """E[f]"""
    derivative_second_moment: float
    """E[f'²]"""
    growth: float
    """d E[f²] / dq"""

    @property
    def std(self) -> float:
        """The standard deviation over all outputs, √(E[f²] − E[f]²)."""
        return math.sqrt(max(self.second_moment - self.mean**2, 0.0))


@lru_cache(maxsize=4096)
def moments(nonlinearity: Nonlinearity, q: float) -> Moments:
    """The moments of f(√q z) and f'(√q z) for z ~ N(0, 1); at q = 0 their limits from above.

    d E[f²]/dq is computed as E[f² (z² − 1)] / 2q, which holds for any f, kinks and steps included.
    Errors: TheoryError where a moment is infinite, or its mass lies out of reach.
    """
    x, weights, stray = _rule(nonlinearity, _checked(q))
    f = nonlinearity.values(x)
    slopes = nonlinearity.slopes(x)
    variance = max(q, _SMALLEST)
    for squares, what in ((f * f, "activation"), (slopes * slopes, "derivative")):
        if not weights[stray] @ squares[stray] <= _STRAY * (weights @ squares):
            raise TheoryError(
                f"{nonlinearity.name}: the {what} has no finite second moment within reach for "
                f"pre-activations N(0, {q:.6g})."
            )
    at_zero = float(nonlinearity.values(np.zeros(1))[0])
    if at_zero != 0.0 and q < _CANCELS:
        growth = moments(nonlinearity, _CANCELS).growth
    else:
        # The constant part of f² has no part in the growth: leaving it out saves digits.
        change = f * f - at_zero**2
        growth = float(weights @ (change * (x * x / variance - 1.0))) / (2.0 * variance)
    return Moments(
        second_moment=float(weights @ (f * f)),
        mean=float(weights @ f),
        derivative_second_moment=float(weights @ (slopes * slopes)),
        growth=growth,
    )


def share_beyond(nonlinearity: Nonlinearity, threshold: float, q: float) -> float:
    """The share of outputs |f(√q z)| > threshold: the saturated ones, of tanh beyond 0.97."""
    return share_outside(nonlinearity, -threshold, threshold, q)


def share_outside(nonlinearity: Nonlinearity, low: float, high: float, q: float) -> float:
    """The share of outputs f(√q z) below `low` or above `high`, for z ~ N(0, 1).

    With both at 0 it is the share of outputs that are not zero.
    """

    def outside(x: Float64[np.ndarray, "... nodes"]) -> Bool[np.ndarray, "... nodes"]:
        f = nonlinearity.values(x)
        return (f < low) | (f > high)

    def indicator(x: Float64[np.ndarray, "... nodes"]) -> Float64[np.ndarray, "... nodes"]:
        return outside(x).astype(np.float64)[None]

    root = math.sqrt(max(_checked(q), _SMALLEST))
    edges = smooth_panels(nonlinearity, _reach(root))
    edges = cut_at_kinks(indicator, edges, nonlinearity.precision, nonlinearity.name)
    inside_panels = outside(0.5 * (edges[:-1] + edges[1:]))
    return float(np.diff(special.ndtr(edges / root))[inside_panels].sum())


def decorrelation(nonlinearity: Nonlinearity, q: float, gamma: float) -> float:
    """½ E[(f(u₁) − f(u₂))²] = E[f²] − E[f(u₁) f(u₂)], for a pair of examples.

    Both pre-activations are N(0, q) and their correlation is 1 − `gamma`, from 0 to 2. In terms of
    gamma the result keeps its relative digits as two examples become one.
    """

    def halved_square(
        a: Float64[np.ndarray, "... nodes"], b: Float64[np.ndarray, "... nodes"]
    ) -> Float64[np.ndarray, "... nodes"]:
        return 0.5 * (nonlinearity.values(a) - nonlinearity.values(b)) ** 2

    series = _by_series(nonlinearity, q, gamma, of_slopes=False)
    if series is not None:
        return series
    # Nearer to 1 than numbers lie to each other there is only rounding to be had; the first order
    # in gamma goes on.
    nearest = nonlinearity.precision
    if 0.0 <= gamma < nearest:
        return _pair(nonlinearity, q, nearest, halved_square) * (gamma / nearest)
    return _pair(nonlinearity, q, gamma, halved_square)


def derivative_product(nonlinearity: Nonlinearity, q: float, gamma: float) -> float:
    """E[f'(u₁) f'(u₂)] for the pair of `decorrelation`; at gamma = 0 it is E[f'²]."""

    def product(
        a: Float64[np.ndarray, "... nodes"], b: Float64[np.ndarray, "... nodes"]
    ) -> Float64[np.ndarray, "... nodes"]:
        return nonlinearity.slopes(a) * nonlinearity.slopes(b)

    series = _by_series(nonlinearity, q, gamma, of_slopes=True)
    if series is not None:
        return series
    if not 0.0 <= gamma < nonlinearity.precision:
        return _pair(nonlinearity, q, gamma, product)
    return moments(nonlinearity, q).derivative_second_moment


def _checked(q: float) -> float:
    if not (math.isfinite(q) and q >= 0.0):
        raise TheoryError(f"A second moment is a finite number from 0 up, not {q}.")
    return q


def _reach(root: float) -> float:
    return 2.0 ** max(4, math.ceil(math.log2(_SPAN * root)))


@lru_cache(maxsize=512)
def _rule(
    nonlinearity: Nonlinearity, q: float
) -> tuple[Float64[np.ndarray, "nodes"], Float64[np.ndarray, "nodes"], Bool[np.ndarray, "nodes"]]:
    """Nodes x with weights for E[g(√q z)], and which of them should hardly count.

    Those are the last before the ends of the span, and those of panels so small that only a pole
    of the activation gives them weight.
    """
    root = math.sqrt(max(q, _SMALLEST))
    inner = smooth_panels(nonlinearity, _reach(root)) / root
    edges = np.union1d(_WHOLE, inner[np.abs(inner) < _SPAN])
    z = panel_nodes(edges[:-1], edges[1:])
    widths = np.repeat(np.diff(edges)[:, None], ORDER, axis=1)
    weights = 0.5 * widths * WEIGHTS * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    stray = (np.abs(z) > _HALF[-2]) | (widths * root < 1e-12 * min(root, 1.0))
    return (root * z).ravel(), weights.ravel(), stray.ravel()


def _by_series(nonlinearity: Nonlinearity, q: float, gamma: float, of_slopes: bool) -> float | None:
    """E[g(u₁) g(u₂)] of the slopes, or E[g²] less that of the values; None where digits would lack.

    Mehler's formula: E[g(√q z₁) g(√q z₂)] = Σ a_k² c^k with the Hermite coefficients a_k of
    g(√q z) and c = 1 − γ. The terms die away fast, of a kinked g too unless c is near 1, and then
    a pair costs next to nothing.
    """
    # In float32 there are too few digits to tell.
    if not 1e-3 <= gamma <= 2.0 or nonlinearity.precision > 1e-12:
        return None
    for terms in _TERMS:
        squares, second_moment = _squares(nonlinearity, _checked(q), of_slopes, terms)
        powers = (1.0 - gamma) ** np.arange(terms)
        # What these leave of E[g²] = Σ a_k² goes with higher powers, which are at most the last.
        beyond = abs(second_moment - float(squares.sum()))
        found = float(squares @ powers if of_slopes else squares @ (1.0 - powers) + beyond)
        missed = beyond * abs(float(powers[-1])) + 1e-13 * second_moment
        if missed <= _MISSED * abs(found):
            return found
    return None


@lru_cache(maxsize=1024)
def _squares(
    nonlinearity: Nonlinearity, q: float, of_slopes: bool, terms: int
) -> tuple[Float64[np.ndarray, "nodes"], float]:
    """The first a_k², and E[g²], which is the sum of all."""
    z, weights = _fine_rule(nonlinearity, q)
    g = (nonlinearity.slopes if of_slopes else nonlinearity.values)(
        math.sqrt(max(q, _SMALLEST)) * z
    )
    weighted = weights * g
    before, polynomial = np.zeros_like(z), np.ones_like(z)
    coefficients = np.empty(terms)
    for k in range(terms):
        coefficients[k] = weighted @ polynomial
        following = (z * polynomial - math.sqrt(k) * before) / math.sqrt(k + 1)
        before, polynomial = polynomial, following
    return coefficients**2, float(weighted @ g)


@lru_cache(maxsize=64)
def _fine_rule(
    nonlinearity: Nonlinearity, q: float
) -> tuple[Float64[np.ndarray, "nodes"], Float64[np.ndarray, "nodes"]]:
    """Nodes z with weights for E[g(√q z) h(z)], with h any of those polynomials."""
    root = math.sqrt(max(q, _SMALLEST))
    inner = smooth_panels(nonlinearity, _reach(root)) / root
    edges = np.union1d(_FINE, inner[np.abs(inner) < _SPAN])
    z = panel_nodes(edges[:-1], edges[1:])
    weights = 0.5 * np.diff(edges)[:, None] * WEIGHTS * np.exp(-0.5 * z * z)
    return z.ravel(), weights.ravel() / math.sqrt(2.0 * math.pi)


def _pair(nonlinearity: Nonlinearity, q: float, gamma: float, integrand: Pairwise) -> float:
    """E[g(u₁, u₂)] for a g that does not change when u₁ and u₂ are exchanged.

    u₁, u₂ = √q (a v ± b w) with v, w ~ N(0, 1) independent, a² = 1 − γ/2 and b² = γ/2. Over w the
    panels are cut where u₁ or u₂ meets an edge of the activation; what is left is a function of v
    that is smooth on the scale b/a, and its panels are halved until they resolve it.
    """
    if not 0.0 <= gamma <= 2.0:
        raise TheoryError(f"A correlation lies between -1 and 1, not at {1.0 - gamma:.6g}.")
    root = math.sqrt(max(_checked(q), _SMALLEST))
    a, b = math.sqrt(1.0 - 0.5 * gamma), math.sqrt(0.5 * gamma)
    # a v + b w reaches √2 times as far as the span at most.
    edges = smooth_panels(nonlinearity, _reach(math.sqrt(2.0) * root)) / root

    def over_w(v: Float64[np.ndarray, "nodes"]) -> Float64[np.ndarray, "nodes"]:
        cuts = np.minimum(np.abs(edges - a * v[:, None]) / b, _SPAN)
        cuts = np.concatenate([cuts, np.broadcast_to(_HALF, (v.size, _HALF.size))], axis=1)
        cuts.sort(axis=1)
        # Cuts beyond the span stand at its end, as panels without width.
        cuts = cuts[:, : 1 + int((cuts < _SPAN).sum(axis=1).max())]
        w = panel_nodes(cuts[:, :-1], cuts[:, 1:])
        weights = np.diff(cuts, axis=1)[..., None] * WEIGHTS * np.exp(-0.5 * w * w)
        # Folded: w and -w exchange u₁ and u₂.
        centre = a * v[:, None, None]
        values = integrand(root * (centre + b * w), root * (centre - b * w))
        return (weights * values).sum(axis=(1, 2)) / math.sqrt(2.0 * math.pi)

    def density(v: Float64[np.ndarray, "... nodes"]) -> Float64[np.ndarray, "... nodes"]:
        flat = v.ravel()
        rows = max(1, _BLOCK // (ORDER * (edges.size + _HALF.size)))
        parts = [over_w(flat[k : k + rows]) for k in range(0, flat.size, rows)]
        return np.concatenate(parts).reshape(v.shape) * np.exp(-0.5 * v * v)

    starts = edges / max(a, 1e-3)
    if b < 1e-3:
        # The layer that b smooths around a kink is then too thin to be met by chance.
        starts = np.union1d(starts, np.concatenate([starts - 12.0 * b, starts + 12.0 * b]))
    edges_of_v = np.union1d(_WHOLE, starts[np.abs(starts) < _SPAN])
    # u₁ − u₂ carries rounding of that relative size.
    total = _integrate(density, edges_of_v, max(1e-12, 30.0 * nonlinearity.precision / b))
    return total / math.sqrt(2.0 * math.pi)


def _integrate(density: Values, edges: Float64[np.ndarray, "..."], tolerance: float) -> float:
    """The integral from the first to the last edge, panels halved until each adds so little."""
    low, high = edges[:-1], edges[1:]
    total, size = 0.0, 0.0
    while low.size:
        at_nodes = density(panel_nodes(low, high))
        half = 0.5 * (high - low)
        integrals = half * (at_nodes @ WEIGHTS)
        size = max(size, float(np.abs(integrals).sum()))
        rough = (half * unresolved(at_nodes) > tolerance * size) & (high - low > 1e-13)
        if rough.sum() > _MOST_PANELS:
            rough[:] = False
        total += float(integrals[~rough].sum())
        low, high = low[rough], high[rough]
        middle = 0.5 * (low + high)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    return total
