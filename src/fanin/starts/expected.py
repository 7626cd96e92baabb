"""What theory expects of a start before it is drawn, from its scheme and what is declared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin import theory
from fanin.theory import NoTheory, Part, PartMoments, Signal

if TYPE_CHECKING:
    from fanin.networks import Network, Parameter
    from fanin.starts.schemes import Scheme


def expected_moments(scheme: "Scheme", network: "Network") -> dict[str, PartMoments]:
    """What each layer hands on, and what it does to gradients, by its name in a pass's outputs.

    For wide layers, over units and examples, in order of execution; a residual sum is one layer. A
    scheme that scales by what it measures is taken at its word. Weights that are all the same have
    no theory. Raises OptionError where the scheme cannot start the network.
    """
    embedding = next((p for p in network.parameters if p.role == "embedding"), None)
    start = Signal() if embedding is None else Signal(second_moment(scheme, embedding))
    parts = expected_parts(scheme, network)
    through = theory.propagate(list(parts.values()), start)
    return dict(zip(parts, through, strict=True))


def expected_parts(scheme: "Scheme", network: "Network") -> dict[str, Part]:
    """The layers after the embedding as theory sees them, by name in order of execution."""
    return _parts(scheme, network.layers.layers)


def second_moment(scheme: "Scheme", parameter: "Parameter") -> float:
    """E[w²] over the entries that the scheme draws for a parameter."""
    from fanin.networks.activations import nonlinearity_of

    before = parameter.nonlinearity
    scale = scheme.scale(parameter, None if before is None else nonlinearity_of(before))
    if scheme.rule(parameter).distribution == "orthogonal":
        return scale**2 / max(parameter.fan_in, parameter.fan_out)
    return scale**2


def _parts(scheme: "Scheme", layers: Iterable[Any]) -> dict[str, Part]:
    from fanin.networks import Activation, Embedding, Flatten, Linear, Normalise, Residual
    from fanin.networks.activations import nonlinearity_of

    parts: dict[str, Part] = {}
    for layer in layers:
        match layer:
            case Embedding() | Flatten():
                continue
            case Linear():
                part = _linear(scheme, layer.parameters)
            case Activation():
                part = theory.Activation(nonlinearity_of(layer.activation))
            case Normalise():
                part = theory.Normalise(layer.kind)
            case Residual():
                part = theory.Residual(tuple(_parts(scheme, layer.inner.layers).values()))
            case _:
                part = _Unknown(f"{layer.name} is no weighted sum, activation or normalisation")
        parts[layer.name] = part
    return parts


def _linear(scheme: "Scheme", parameters: "tuple[Parameter, ...]") -> Part:
    weight, *biases = parameters
    bias_variance = sum(second_moment(scheme, bias) for bias in biases)
    fans = weight.fan_in, weight.fan_out
    if scheme.unit_preactivations and weight.role != "output":
        return _ScaledToUnit(scheme.branch_factor(weight) ** 2, bias_variance, *fans)
    variance = second_moment(scheme, weight)
    if variance and scheme.rule(weight).distribution == "constant":
        return _Unknown("the weights are all the same, and theory's are independent")
    return theory.Linear(weight.fan_in * variance, bias_variance, *fans)


@dataclass(frozen=True)
class _ScaledToUnit:
    """W x + b whose weights are scaled until it has the second moment `target`."""

    target: float
    bias_variance: float
    fan_in: int
    fan_out: int

    def moments(self, signal: Signal) -> PartMoments:
        variance = max(self.target - self.bias_variance, 0.0) / signal.second_moment
        linear = theory.Linear(variance, self.bias_variance, self.fan_in, self.fan_out)
        return linear.moments(signal)


@dataclass(frozen=True)
class _Unknown:
    """A part that theory says nothing of."""

    reason: str

    def moments(self, signal: Signal) -> PartMoments:
        return PartMoments(NoTheory(self.reason), NoTheory(self.reason))
