"""Everything that theory says of one activation: its gains, and what deep networks make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanin.errors import OptionError
from fanin.theory.correlations import DepthScales, depth_scales
from fanin.theory.fixed_points import CriticalPair, FixedPoint, critical, fixed_point
from fanin.theory.gains import Gains, exact_gains
from fanin.theory.mean_field import Activation, Linear, Part, gradient_moments, propagate
from fanin.theory.nonlinearity import Nonlinearity, NoTheory, TheoryError
from fanin.theory.signals import Signal

DEEPEST = 200
# Second moments beyond this count as grown without bound.
_GROWN = 1e10
FIRST_CORRELATION = 0.5
"""Of two examples at the first layer of a recursion."""
DISTURBED = (0.8, 1.25)
"""Second moments of the first layer from which one sees whether a recursion comes back."""


@dataclass(frozen=True)
class Recursion:
    """A deep network of one activation and one gain, layer by layer.

    The numbers are of pre-activations, from a first layer with q = 1 and c = 1/2 on. There are
    fewer than the depth that was asked for where the second moment grows without bound.
    """

    name: str
    """what its gain is for: "forward", "backward" or "critical\""""
    gain: float
    """σ_w"""
    bias_variance: float
    second_moments: tuple[float, ...]
    """q of each layer"""
    correlations: tuple[float, ...]
    """c of two examples in each layer"""
    gradients: tuple[float, ...]
    """second moment of the gradient at each layer, for 1 at the last"""
    disturbed: tuple[tuple[float, ...], ...]
    """q of each layer from a first one with q = 0.8, and from one with 1.25"""
    settled: FixedPoint | NoTheory
    scales: DepthScales | NoTheory


@dataclass(frozen=True)
class Summary:
    """What there is to know about an activation before choosing weights."""

    activation: str
    gains: Gains
    critical: CriticalPair | NoTheory
    recursions: tuple[Recursion, ...]


def summarise(nonlinearity: Nonlinearity, depth: int = 20, bias_variance: float = 0.0) -> Summary:
    """The gains, the critical pair, and the recursions at the gains that there are.

    `bias_variance` is that of the critical pair and its recursion; the others are without biases.
    Raises OptionError for a depth outside 1..200, TheoryError as `exact_gains` does.
    """
    if not 1 <= depth <= DEEPEST:
        raise OptionError(f"depth must be from 1 to {DEEPEST}; found {depth}")
    gains = exact_gains(nonlinearity)
    pair = critical(nonlinearity, bias_variance)
    recursions = [_recursion(nonlinearity, "forward", gains.forward_gain, 0.0, depth)]
    if not isinstance(gains.backward_gain, NoTheory):
        recursions.append(_recursion(nonlinearity, "backward", gains.backward_gain, 0.0, depth))
    if not isinstance(pair, NoTheory):
        gain = pair.weight_variance**0.5
        recursions.append(_recursion(nonlinearity, "critical", gain, bias_variance, depth))
    return Summary(nonlinearity.name, gains, pair, tuple(recursions))


def _recursion(
    nonlinearity: Nonlinearity, name: str, gain: float, bias_variance: float, depth: int
) -> Recursion:
    layer = (Activation(nonlinearity), Linear(gain**2, bias_variance))
    first = Signal(1.0, 0.0, 1.0 - FIRST_CORRELATION, gaussian=True)
    signals, factors = _deep(layer, first, depth)
    gradients = [1.0]
    for factor in reversed(factors):
        gradients.append(gradients[-1] * factor)
    near = (_deep(layer, Signal(q, gaussian=True), depth)[0] for q in DISTURBED)
    return Recursion(
        name=name,
        gain=gain,
        bias_variance=bias_variance,
        second_moments=tuple(signal.second_moment for signal in signals),
        correlations=tuple(signal.correlation or 0.0 for signal in signals),
        gradients=tuple(reversed(gradients)),
        disturbed=tuple(tuple(signal.second_moment for signal in signals) for signals in near),
        settled=fixed_point(nonlinearity, gain**2, bias_variance),
        scales=depth_scales(nonlinearity, gain**2, bias_variance),
    )


def _deep(layer: Sequence[Part], first: Signal, depth: int) -> tuple[list[Signal], list[float]]:
    """The signals of each layer, and the gradient's factors from each to the one before it."""
    signals, factors = [first], list[float]()
    while len(signals) < depth and signals[-1].second_moment < _GROWN:
        try:
            through = propagate(layer, signals[-1])
        except TheoryError:  # beyond what can be computed
            break
        output, factor = through[-1].output, gradient_moments(through)[0]
        if isinstance(output, NoTheory) or isinstance(factor, NoTheory):
            break
        signals.append(output)
        factors.append(factor)
    return signals, factors
