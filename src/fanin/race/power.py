"""How much a paired t-test could have shown, and how many pairs it would take.

With n pairs, true difference d and standard deviation s, the mean is Normal(d, s²/n) and the
sample's deviation s·√(χ²/(n−1)), independent of it. What a test does given the sample's deviation
is then an area under the normal curve, and its power the mean of that over χ²: the noncentral t
distribution and Owen's Q, by one quadrature.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq
from scipy.special import bdtr, chdtri, ndtr, stdtrit
from scipy.stats import binom

POWER = 0.8
MOST_PAIRS = 1_000_000


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Float64[np.ndarray, "nodes"], Float64[np.ndarray, "nodes"]]:
    """Nodes and weights of Gauss and Legendre from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    return (1 + nodes) / 2, weights / 2


@lru_cache(maxsize=4096)
def _deviations(
    pairs: int,
) -> tuple[Float64[np.ndarray, "nodes"], Float64[np.ndarray, "nodes"]]:
    """Nodes and weights over the sample's deviation, in units of the true one."""
    nodes, weights = _quadrature()
    return np.sqrt(np.asarray(chdtri(pairs - 1, nodes)) / (pairs - 1)), weights


def chance_of_verdict(
    pairs: int, difference: float, spread: float, alpha: float, margin: float = 0
) -> float:
    """The chance that these pairs show a difference, or equivalence within a margin above 0.

    A difference is shown by the two-sided t-test at `alpha`, equivalence by two one-sided ones
    at `alpha` each (Schuirmann 1987).
    """
    deviation, weights = _deviations(pairs)
    unit = pairs**0.5 / spread
    centre = difference * unit
    different = float(stdtrit(pairs - 1, 1 - alpha / 2)) * deviation
    equivalent = margin * unit - float(stdtrit(pairs - 1, 1 - alpha)) * deviation
    equivalent = np.clip(equivalent, 0, different)
    neither = ndtr(different - centre) - ndtr(equivalent - centre)
    neither += ndtr(-equivalent - centre) - ndtr(-different - centre)
    return float(1 - weights @ neither)


@lru_cache(maxsize=1024)
def _smallest_effect(pairs: int, alpha: float) -> float:
    def missing(effect: float) -> float:
        return chance_of_verdict(pairs, effect, 1.0, alpha) - POWER

    high = 1.0
    while missing(high) < 0:
        high *= 2
    return float(brentq(missing, 0, high, xtol=1e-9))


def smallest_difference(pairs: int, spread: float, alpha: float) -> float:
    """The true difference that at least two pairs of this spread show four times out of five."""
    return spread * _smallest_effect(pairs, alpha)


def pairs_for_verdict(
    pairs: int, difference: float, spread: float, alpha: float, margin: float
) -> int | None:
    """The pairs, more than there are, that would decide four times out of five.

    That is if the true difference and spread are what these pairs show. None where it would take
    more than a million.
    """
    return _first(
        lambda count: chance_of_verdict(count, difference, spread, alpha, margin) >= POWER, pairs
    )


def pairs_for_divergence(
    pairs: int, start_only: int, reference_only: int, alpha: float
) -> int | None:
    """The pairs, more than there are, at which McNemar's test would show who diverges more.

    That is if the pairs in which one run of the two diverged stay as frequent and as one-sided.
    None where both counts are equal or it would take more than a million.
    """
    differing = start_only + reference_only
    if start_only == reference_only:
        return None
    share = max(start_only, reference_only) / differing

    def would_do(count: int) -> bool:
        rarer = _most_of_the_rarer(count, alpha)
        return rarer >= 0 and float(bdtr(rarer, count, 1 - share)) >= POWER

    wanted = _first(would_do, differing)
    return None if wanted is None else -(-wanted * pairs // differing)


@lru_cache(maxsize=1024)
def _most_of_the_rarer(count: int, alpha: float) -> int:
    """The most of `count` fair tosses that may be heads for a two-sided p of alpha; −1 for none."""
    most = int(binom.ppf(alpha / 2, count, 0.5))
    return most if float(bdtr(most, count, 0.5)) <= alpha / 2 else most - 1


def _first(would_do: Callable[[int], bool], above: int) -> int | None:
    """The first count above the given one at which a test, of growing power, would do."""
    high = above + 1
    while not would_do(high):
        above, high = high, 2 * high
        if high > MOST_PAIRS:
            return None
    while high - above > 1:
        middle = (above + high) // 2
        above, high = (above, middle) if would_do(middle) else (middle, high)
    return high
