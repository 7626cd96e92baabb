"""The MLP language model of Bengio et al. 2003, of any depth, and its smallest relative."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, final

from fanin.autograd import Value
from fanin.errors import OptionError
from fanin.networks.activations import ActivationLike, activation_name, check_activation
from fanin.networks.declarations import Layer, Parameter, Pass
from fanin.networks.layers import (
    Activation,
    Embedding,
    Flatten,
    Linear,
    NormalisationKind,
    Normalise,
    Residual,
    Sequential,
)
from fanin.networks.network import Network


@final
@dataclass(frozen=True)
class CharacterMLP(Network):
    """Embedding, hidden layers and logits over the vocabulary.

    Each hidden layer is linear, then normalisation where asked for, then the activation. With
    `residual` the first one is linear, and each further one adds linear(activation(normalised x))
    to its input x, which takes hidden layers of one width. Raises OptionError for sizes below 1
    and settings that do not go together.
    """

    vocabulary: int
    block: int = 3
    embedding: int = 10
    hidden: tuple[int, ...] = (200,)
    activation: ActivationLike = "tanh"
    normalisation: NormalisationKind | None = None
    residual: bool = False

    def __post_init__(self) -> None:
        hidden: Any = self.hidden
        if not isinstance(hidden, tuple | list):
            raise OptionError(f"hidden is a tuple of sizes, (200,) for one layer; found {hidden!r}")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        _check_size("vocabulary", self.vocabulary, 2)
        _check_size("block", self.block)
        _check_size("embedding", self.embedding)
        for units in self.hidden:
            _check_size("hidden", units)
        if self.normalisation not in (None, "batch", "layer"):
            raise OptionError(f"normalisation is batch or layer; found {self.normalisation!r}")
        if self.residual and len(set(self.hidden)) != 1:
            raise OptionError(
                f"residual layers add to what they read, so all hidden sizes must be equal; "
                f"found {', '.join(map(str, self.hidden)) or 'none'}"
            )
        check_activation(self.activation)

    @cached_property
    def layers(self) -> Sequential:  # pyright: ignore[reportIncompatibleMethodOverride]
        layers: list[Layer] = [Embedding(self.vocabulary, self.embedding), Flatten()]
        width = self.block * self.embedding
        before: ActivationLike | None = None
        for index, units in enumerate(self.hidden):
            name = f"hidden.{index}"
            if not self.residual:
                bias = self.normalisation != "batch"  # which takes off any bias before it
                layers.append(Linear(name, width, units, "hidden", before, bias))
                layers.extend(self._activated(name, units))
            elif index == 0:
                layers.append(Linear(name, width, units))
            else:
                linear = Linear(
                    name, units, units, "residual", self.activation, branches=len(self.hidden) - 1
                )
                inner = Sequential((*self._activated(name, units), linear), f"{name}.branch")
                layers.append(Residual(f"{name}.sum", inner))
            width, before = units, self.activation
        if self.residual:
            layers.extend(self._activated("output", width))
        layers.append(Linear("output", width, self.vocabulary, "output", before))
        return Sequential(tuple(layers), "network")

    def _activated(self, name: str, units: int) -> list[Layer]:
        nonlinearity = Activation(f"{name}.activation", self.activation)
        if self.normalisation is None:
            return [nonlinearity]
        return [Normalise(f"{name}.normalisation", self.normalisation, units), nonlinearity]

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "character-mlp",
            **asdict(self),
            "hidden": list(self.hidden),
            "activation": activation_name(self.activation),
        }


@final
@dataclass(frozen=True)
class Bigram(Network):
    """The smallest relative: a row of logits for the last symbol alone."""

    vocabulary: int
    block: int = 1

    def __post_init__(self) -> None:
        _check_size("vocabulary", self.vocabulary, 2)
        _check_size("block", self.block)

    @cached_property
    def layers(self) -> Sequential:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Sequential((LastSymbolLogits(self.vocabulary),), "network")

    def describe(self) -> dict[str, Any]:
        return {"kind": "bigram", "vocabulary": self.vocabulary, "block": self.block}


@final
@dataclass(frozen=True)
class LastSymbolLogits:
    """A table of logits, (vocab, vocab), read at the last symbol of each context."""

    vocabulary: int
    name: str = "output"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        shape = (self.vocabulary, self.vocabulary)
        return (Parameter(f"{self.name}.weight", shape, 1, self.vocabulary, "output"),)

    def __call__(self, x: Any, run: Pass) -> Value:
        return run.values[f"{self.name}.weight"].gather(x[:, -1])


def _check_size(name: str, size: Any, least: int = 1) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise OptionError(f"{name} must be a whole number of {least} or more; found {size!r}")


def network_from(description: dict[str, Any]) -> Network:
    """The network of a description that `describe` made.

    Raises OptionError for a kind that is not known and for settings that do not fit.
    """
    settings = {name: setting for name, setting in description.items() if name != "kind"}
    if isinstance(settings.get("hidden"), list):
        settings["hidden"] = tuple(settings["hidden"])
    kinds: dict[str, type[Network]] = {"character-mlp": CharacterMLP, "bigram": Bigram}
    kind = kinds.get(description.get("kind", ""))
    if kind is None:
        raise OptionError(
            f"a network of kind {description.get('kind')!r} is not known; there are "
            f"{' and '.join(kinds)}"
        )
    try:
        return kind(**settings)
    except TypeError as error:
        raise OptionError(f"the description of a {kind.__name__} does not fit: {error}") from None
