"""The gains that make up for an activation, and what they do when layer follows layer.

A layer's weights have variance gain² / fan-in and act on what the activation *before* it gives.
With pre-activations N(0, 1), its second moment is kept forward by 1/√E[f(z)²] and that of its
gradient backward by 1/√E[f'(z)²] (He et al. 2015, "Delving Deep into Rectifiers", eq. 10 and 14,
for relu; Klambauer et al. 2017, "Self-Normalizing Neural Networks", chose selu so that the forward
gain is 1). A first layer, which reads unit-variance inputs through no activation, needs gain 1.
"""

import math
from dataclasses import dataclass
from typing import Literal

from fanin.theory.expectations import moments
from fanin.theory.nonlinearity import Nonlinearity, NoTheory, TheoryError

Stability = Literal["stable", "neutral", "unstable"]

# Slopes and χ this near to 1 are 1: quadrature is good to about 1e-10.
NEUTRAL = 1e-9


@dataclass(frozen=True)
class Gains:
    """All that one activation says about the weights after it."""

    forward_gain: float
    """1/√E[f(z)²]"""
    backward_gain: float | NoTheory
    """1/√E[f'(z)²]; none for an activation without slope"""
    slope: float
    """of q ↦ g² E[f(√q z)²] at q = 1, for g the forward gain"""
    chi: float
    """g² E[f'(z)²]: a layer's factor on the gradient's second moment, at equal widths"""
    stability: Stability
    """of the unit second moment under that map: "unstable" says that in a deep network the moments
    run away from 1 whatever the gain"""

    @property
    def stable(self) -> bool:
        """Whether deviations from the unit second moment do not grow from layer to layer."""
        return self.stability != "unstable"


def exact_gains(nonlinearity: Nonlinearity) -> Gains:
    """The gains of an activation with their slope and χ; errors as for `forward_gain`."""
    gain = forward_gain(nonlinearity)
    try:
        backward = backward_gain(nonlinearity)
    except TheoryError as error:
        backward = NoTheory(str(error))
    at_gain = slope(nonlinearity, gain**2)
    return Gains(
        forward_gain=gain,
        backward_gain=backward,
        slope=at_gain,
        chi=chi(nonlinearity, gain**2),
        stability=stability(at_gain),
    )


def forward_gain(nonlinearity: Nonlinearity) -> float:
    """1/√E[f(z)²]: the gain after f that keeps a unit second moment.

    Errors: TheoryError for an activation that is zero, not finite, or has no finite second moment.
    """
    second = moments(nonlinearity, 1.0).second_moment
    if second == 0.0:
        raise TheoryError(
            f"{nonlinearity.name}: the activation is zero wherever a pre-activation falls; "
            "no gain can make up for that."
        )
    return 1.0 / math.sqrt(second)


def backward_gain(nonlinearity: Nonlinearity) -> float:
    """1/√E[f'(z)²]: the gain that keeps the gradient's second moment, at equal widths.

    Errors: as for `forward_gain`, and for an activation whose derivative is zero.
    """
    second = moments(nonlinearity, 1.0).derivative_second_moment
    if second == 0.0:
        raise TheoryError(
            f"{nonlinearity.name}: its derivative is zero wherever a pre-activation falls; "
            "no gain carries a gradient back through it."
        )
    return 1.0 / math.sqrt(second)


def slope(nonlinearity: Nonlinearity, weight_variance: float, q: float = 1.0) -> float:
    """The slope of the second-moment map q ↦ σ_w² E[f(√q z)²] + σ_b² at q.

    `weight_variance` is σ_w² = gain² = fan-in × Var(weight).
    """
    return variance(weight_variance) * moments(nonlinearity, q).growth


def chi(
    nonlinearity: Nonlinearity,
    weight_variance: float,
    q: float = 1.0,
    *,
    fan_in: int = 1,
    fan_out: int = 1,
) -> float:
    """χ = σ_w² E[f'(√q z)²] fan_out/fan_in: what a layer does to the gradient's second moment.

    Above 1 gradients grow backwards and two nearby inputs drift apart; below 1 gradients vanish
    and inputs become one (Poole et al. 2016, "Exponential expressivity in deep neural networks
    through transient chaos", section 3; Schoenholz et al. 2017, "Deep Information Propagation").
    """
    second = moments(nonlinearity, q).derivative_second_moment
    return variance(weight_variance) * second * fan_out / fan_in


def stability(at_fixed_point: float) -> Stability:
    """What a slope at a fixed point says of it."""
    size = abs(at_fixed_point)
    if size > 1.0 + NEUTRAL:
        return "unstable"
    return "stable" if size < 1.0 - NEUTRAL else "neutral"


def variance(value: float, what: str = "weight variance") -> float:
    """The value, if it can be a variance; TheoryError else."""
    if not (math.isfinite(value) and value >= 0.0):
        raise TheoryError(f"A {what} is a finite number from 0 up, not {value}.")
    return value
