"""The layers that networks are composed of; each declares its parameters and builds its nodes."""

from dataclasses import dataclass
from typing import Any, Literal, final

import jax.numpy as jnp

from fanin.autograd import Value
from fanin.autograd.normalisation import EPSILON
from fanin.errors import OptionError
from fanin.networks.activations import ActivationLike, apply_activation
from fanin.networks.declarations import Layer, Parameter, Pass, Role

NormalisationKind = Literal["batch", "layer"]


@final
@dataclass(frozen=True)
class Embedding:
    """A row of numbers for each symbol: (batch, block) indices to (batch, block, embedding)."""

    vocabulary: int
    embedding: int
    name: str = "embedding"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        shape = (self.vocabulary, self.embedding)
        return (Parameter(f"{self.name}.weight", shape, 1, self.embedding, "embedding"),)

    def __call__(self, x: Any, run: Pass) -> Value:
        return run.values[f"{self.name}.weight"].gather(x)


@final
@dataclass(frozen=True)
class Flatten:
    """All axes after the first in one: (batch, block, embedding) to (batch, fan_in)."""

    name: str = "flatten"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return ()

    def __call__(self, x: Value, run: Pass) -> Value:
        return x.reshape(lambda shape: (shape[0], -1))  # pyright: ignore[reportUnknownLambdaType]


@final
@dataclass(frozen=True)
class Linear:
    """x @ weight + bias; `nonlinearity` is the activation before it, for those who start it."""

    name: str
    fan_in: int
    units: int
    role: Role = "hidden"
    nonlinearity: ActivationLike | None = None
    bias: bool = True
    branches: int = 0

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        before = self.nonlinearity
        fans = (self.fan_in, self.units)
        weight = Parameter(f"{self.name}.weight", fans, *fans, self.role, before, self.branches)
        if not self.bias:
            return (weight,)
        role: Role = "output bias" if self.role == "output" else "bias"
        return (weight, Parameter(f"{self.name}.bias", (self.units,), *fans, role, before))

    def __call__(self, x: Value, run: Pass) -> Value:
        bias = run.values[f"{self.name}.bias"] if self.bias else None
        return x.matmul_bias(run.values[f"{self.name}.weight"], bias)


@final
@dataclass(frozen=True)
class Activation:
    """An activation, by element."""

    name: str
    activation: ActivationLike

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return ()

    def __call__(self, x: Value, run: Pass) -> Value:
        return apply_activation(self.activation, x)


@final
@dataclass(frozen=True)
class Normalise:
    """Batch or layer normalisation with a learnt gain and bias for each unit."""

    name: str
    kind: NormalisationKind
    units: int

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        shape, fans = (self.units,), (1, 1)
        return (
            Parameter(f"{self.name}.gain", shape, *fans, "normalisation gain"),
            Parameter(f"{self.name}.bias", shape, *fans, "normalisation bias"),
        )

    def __call__(self, x: Value, run: Pass) -> Value:
        gain, bias = run.values[f"{self.name}.gain"], run.values[f"{self.name}.bias"]
        if self.kind == "layer":
            return x.layer_normalise(gain, bias)
        run.normalised[self.name] = x
        if run.statistics is None:
            return x.batch_normalise(gain, bias)
        if f"{self.name}.mean" not in run.statistics:
            raise OptionError(
                f"{self.name} has no running statistics; pass those that training has gathered, "
                "or None to normalise by the batch's own"
            )
        mean = Value(run.statistics[f"{self.name}.mean"], name=f"{self.name}.mean")
        spread = jnp.sqrt(run.statistics[f"{self.name}.variance"] + EPSILON)
        return (x - mean) / Value(spread, name=f"{self.name}.spread") * gain + bias


@final
@dataclass(frozen=True)
class Residual:
    """x + inner(x): what the inner layers give is added to what they read."""

    name: str
    inner: "Sequential"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.inner.parameters

    def __call__(self, x: Value, run: Pass) -> Value:
        return x + self.inner(x, run)


@final
@dataclass(frozen=True)
class Sequential:
    """Layers one after the other; what each gave is noted in the pass by its name."""

    layers: tuple[Layer, ...]
    name: str = "sequential"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for layer in self.layers for parameter in layer.parameters)

    def __call__(self, x: Any, run: Pass) -> Value:
        for layer in self.layers:
            x = layer(x, run)
            run.outputs[layer.name] = x
        return x
