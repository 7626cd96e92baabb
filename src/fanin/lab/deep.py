"""Signals through a deep random network, forward and back, measured beside what theory says."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float

from fanin.errors import OptionError
from fanin.theory import (
    Activation,
    Linear,
    Nonlinearity,
    NoTheory,
    Signal,
    gradient_moments,
    propagate,
)

DEEPEST = 24
WIDTH = 200
ALIKE = 0.5
"""Correlation of every two examples at the input."""


@final
@dataclass(frozen=True)
class DeepSignals:
    """Root mean squares by layer, of activations and of gradients, and correlations of examples.

    Layer 0 is the input. The gradient is 1 (root mean square) at the last layer's activations.
    """

    activations: Float[np.ndarray, " layers"]
    gradients: Float[np.ndarray, " layers"]
    correlations: Float[np.ndarray, " layers"]
    """E[x₁ x₂]/E[x²], the mean over pairs of examples"""


def measured_signals(
    activation: Nonlinearity, gain: float, depth: int, *, examples: int = 64, seed: int = 0
) -> DeepSignals:
    """Send Gaussian inputs through `depth` layers of weights N(0, gain²/width), without biases.

    The draws of a layer are the same whatever the depth and the gain. Raises OptionError for a
    depth outside 1..24.
    """
    if not 1 <= depth <= DEEPEST:
        raise OptionError(f"the depth is from 1 to {DEEPEST}; found {depth}")
    x, from_above, draws = _draws(examples, seed)
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    activations, correlations = [_rms(x)], [_correlation(x)]
    for draw in draws[:depth]:
        weight = draw * np.float32(gain / np.sqrt(WIDTH))
        z = x @ weight
        x = activation.values(z.astype(np.float64)).astype(np.float32)
        layers.append((weight, z))
        activations.append(_rms(x))
        correlations.append(_correlation(x))
    gradients = [_rms(from_above)]
    for weight, z in reversed(layers):
        slopes = activation.slopes(z.astype(np.float64)).astype(np.float32)
        from_above = (from_above * slopes) @ weight.T
        gradients.append(_rms(from_above))
    return DeepSignals(np.array(activations), np.array(gradients[::-1]), np.array(correlations))


@lru_cache(maxsize=256)
def expected_signals(activation: Nonlinearity, gain: float, depth: int) -> DeepSignals:
    """What mean-field theory says of the same; NaN where it has no number, and for correlations,
    which take their time: those are `expected_correlations`."""
    through = propagate((Linear(gain**2), Activation(activation)) * depth, Signal())
    outputs = [Signal(), *(part.output for part in through[1::2])]
    backward = [*gradient_moments(through)[::2], 1.0]
    return DeepSignals(
        np.array([np.nan if isinstance(s, NoTheory) else s.second_moment**0.5 for s in outputs]),
        np.array([np.nan if isinstance(g, NoTheory) else g**0.5 for g in backward]),
        np.full(depth + 1, np.nan),
    )


@lru_cache(maxsize=256)
def expected_correlations(activation: Nonlinearity, gain: float) -> Float[np.ndarray, " layers"]:
    """The correlations of `DEEPEST` layers by theory; a shallower network has the first of them."""
    first = Signal.correlated(ALIKE)
    through = propagate((Linear(gain**2), Activation(activation)) * DEEPEST, first)
    found = [ALIKE]
    for part in through[1::2]:
        known = None if isinstance(part.output, NoTheory) else part.output.correlation
        found.append(np.nan if known is None else known)
    return np.array(found)


@lru_cache(maxsize=8)
def _draws(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, a gradient from above, and weights of unit variance for the deepest network."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((1, WIDTH)), rng.standard_normal((examples, WIDTH))
    x = np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * own
    from_above = rng.standard_normal((examples, WIDTH))
    draws = rng.standard_normal((DEEPEST, WIDTH, WIDTH), np.float32)
    return x.astype(np.float32), from_above.astype(np.float32), draws


def _rms(x: Float[np.ndarray, "..."]) -> float:
    return float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))


def _correlation(x: Float[np.ndarray, "examples units"]) -> float:
    x = x.astype(np.float64)
    total = float((x * x).sum())
    if total == 0.0:
        return float("nan")
    return (float((x.sum(axis=0) ** 2).sum()) - total) / (len(x) - 1) / total
