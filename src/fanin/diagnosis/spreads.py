"""How far chance takes a layer's moments from theory, at its own width.

Theory holds for wide layers. Over random starts of n units the logarithm of a second moment wanders
around it; to first order in 1/n its variance follows from how much a unit's power differs from
another's and from how alike the examples are, which is what an average over them cannot even out.
`benchmarks/prediction_spreads.py` holds these forms against simulated networks.
"""

import math
from functools import lru_cache

import numpy as np

from fanin.theory import Nonlinearity, moments

# What stays at any width: units are not quite Gaussian, examples differ in their length, and what
# is given in float32 and measured on a batch is not exact.
FLOOR = 0.01
# Theory takes the gradients of a normalised batch for uncorrelated, which is a little off.
NORMALISED = 0.08

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(96)


def linear_variance(units: int, squared_correlation: float) -> float:
    """Of ln E[u²] over draws of the weights, for what they read given.

    One unit's power, averaged over examples, is a sum of squares of Gaussians: its relative
    variance is twice the examples' mean squared cosine.
    """
    return 2.0 * squared_correlation / units + FLOOR**2


@lru_cache(maxsize=4096)
def activation_slope(nonlinearity: Nonlinearity, q: float) -> float:
    """d ln E[f²] / d ln q: how a layer hands on a deviation of its pre-activations."""
    at = moments(nonlinearity, q)
    return q * at.growth / at.second_moment if at.second_moment > 0 else 0.0


def activation_variance(
    nonlinearity: Nonlinearity, q: float, units: int, squared_correlation: float
) -> float:
    """Of ln E[f²] for pre-activations whose second moment is given.

    The part of f²'s relative variance that does not go with u²'s own, for examples as alike as
    they are.
    """
    kurtosis = _relative_variance(nonlinearity, q)
    with_q = 2.0 * activation_slope(nonlinearity, q) ** 2
    return max(kurtosis - with_q, 0.0) * squared_correlation / units + FLOOR**2


def gradient_variance(fan_in: int, squared_correlation: float) -> float:
    """Of ln of the gradient's growth through weights, for gradients as alike as they are."""
    return 2.0 * squared_correlation / fan_in + FLOOR**2


def slope_variance(
    nonlinearity: Nonlinearity, q: float, units: int, squared_correlation: float
) -> float:
    """Of ln of the gradient's growth through an activation of so many units."""
    kurtosis = 2.0 + _relative_slope_variance(nonlinearity, q)
    return kurtosis * squared_correlation / units + FLOOR**2


@lru_cache(maxsize=4096)
def _relative_variance(nonlinearity: Nonlinearity, q: float) -> float:
    return _relative(nonlinearity.values(math.sqrt(q) * _NODES))


@lru_cache(maxsize=4096)
def _relative_slope_variance(nonlinearity: Nonlinearity, q: float) -> float:
    return _relative(nonlinearity.slopes(math.sqrt(q) * _NODES))


def _relative(values: np.ndarray) -> float:
    """Var(v²)/E[v²]² under the standard normal distribution."""
    weights = _WEIGHTS / _WEIGHTS.sum()
    square = float(weights @ values**2)
    return float(weights @ values**4) / square**2 - 1.0 if square > 0 else 0.0
