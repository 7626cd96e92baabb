"""What a network declares of its parameters, so that a start never has to look at the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from jax import Array

from fanin.autograd import Value
from fanin.networks.activations import ActivationLike

Role = Literal[
    "embedding",
    "hidden",
    "residual",
    "output",
    "bias",
    "output bias",
    "normalisation gain",
    "normalisation bias",
]
"""What a parameter is for; a scheme has one rule for each role."""


@dataclass(frozen=True)
class Parameter:
    """One declared array of numbers to learn.

    `fan_in` counts the inputs of one unit (1 for a table of rows, which are looked up), `fan_out`
    the units that one input feeds. `nonlinearity` is the activation *before* the layer: None
    where the layer reads the embedding. `branches` counts the residual branches of the network
    that this parameter's layer is one of; 0 outside such branches.
    """

    name: str
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    role: Role
    nonlinearity: ActivationLike | None = None
    branches: int = 0


@dataclass
class Pass:
    """One way through a network as it is being built: what goes in, and what each layer gave.

    `statistics` holds the running moments that batch normalisation uses instead of the batch's
    own; None while training. `outputs` has each layer's result in order of execution, `normalised`
    what each batch normalisation read.
    """

    values: Mapping[str, Value]
    statistics: Mapping[str, Array] | None = None
    outputs: dict[str, Value] = field(default_factory=dict[str, Value])
    normalised: dict[str, Value] = field(default_factory=dict[str, Value])


@runtime_checkable  # so that the tests can check annotations with it
class Layer(Protocol):
    """What a network is composed of."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    def __call__(self, x: Value, run: Pass) -> Value: ...
