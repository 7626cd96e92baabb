"""The layers that a network of fanin's will be recorded as: which nodes belong to which."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fanin.diagnosis.recording import LayerKind, LayerRole
from fanin.networks import (
    Activation,
    Embedding,
    Flatten,
    Linear,
    Network,
    Normalise,
    Parameter,
    Residual,
)
from fanin.networks.activations import ActivationLike, activation_name
from fanin.networks.character_mlp import LastSymbolLogits


@dataclass(frozen=True)
class Outline:
    """One layer to be recorded, with the names of the nodes that it is measured at."""

    name: str
    kind: LayerKind
    role: LayerRole
    reads: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    before: str
    """the node of the pre-activation"""
    normalised: str | None = None
    after: str | None = None
    normalisation: str | None = None
    nonlinearity: ActivationLike | None = None
    nonlinearity_before: ActivationLike | None = None

    @property
    def output(self) -> str:
        return self.after or self.normalised or self.before

    @property
    def nodes(self) -> tuple[str, ...]:
        """All that it is measured at."""
        return tuple(name for name in (self.before, self.normalised, self.after) if name)


def outline(network: Network) -> tuple[Outline, ...]:
    """The layers of a network in order of execution, each joined with what directly follows it."""
    outlines: list[Outline] = []
    _walk(network.layers.layers, ("",), outlines, joinable=False)
    return tuple(outlines)


def _walk(
    layers: Iterable[Any], reads: tuple[str, ...], outlines: list[Outline], joinable: bool
) -> tuple[str, ...]:
    """Append the outlines of some layers; returns the name of the last, which the next one reads.

    `joinable`: whether the first of them is the only one that reads what came before it.
    """
    for layer in layers:
        last = outlines[-1] if joinable and outlines else None
        match layer:
            case Flatten():
                continue
            case Residual(name, inner):
                (branch,) = _walk(inner.layers, reads, outlines, joinable=False)
                outlines.append(Outline(name, "sum", "none", (*reads, branch), (), name))
            case Normalise(name, kind) if last is not None and last.output == last.before:
                joined = (*last.parameters, *layer.parameters)
                outlines[-1] = replace(last, normalised=name, normalisation=kind, parameters=joined)
            case Activation(name, activation) if last is not None and last.after is None:
                outlines[-1] = replace(last, after=name, nonlinearity=activation)
            case _:
                before = next((o.output for o in outlines if o.name == reads[0]), "")
                outlines.append(_alone(layer, reads, before))
        reads = (outlines[-1].name,)
        joinable = True
    return reads


def _alone(layer: Any, reads: tuple[str, ...], before: str) -> Outline:
    """The outline of a layer that joins none before it; `before` is the node that it reads."""
    name, parameters = layer.name, layer.parameters
    match layer:
        case Embedding():
            return Outline(name, "embedding", "embedding", reads, parameters, name)
        case LastSymbolLogits():
            return Outline(name, "embedding", "output", reads, parameters, name)
        case Linear():
            roles: dict[str, LayerRole] = {"output": "output", "residual": "residual"}
            role = roles.get(layer.role, "hidden")
            made = Outline(name, "linear", role, reads, parameters, name)
            return replace(made, nonlinearity_before=layer.nonlinearity)
        case Normalise():
            made = Outline(name, "normalisation", "none", reads, parameters, before)
            return replace(made, normalised=name, normalisation=layer.kind)
        case Activation():
            made = Outline(name, "activation", "none", reads, (), before)
            return replace(made, after=name, nonlinearity=layer.activation)
        case _:
            return Outline(name, "other", "none", reads, parameters, name)


def name_of(activation: ActivationLike | None) -> str | None:
    """The name under which a recording has an activation."""
    return None if activation is None else activation_name(activation)
