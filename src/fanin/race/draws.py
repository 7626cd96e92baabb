"""Networks at random: families of one network, whose members differ in start, scale and rate."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.networks.activations import ACTIVATIONS, nonlinearity_of
from fanin.networks.layers import NormalisationKind
from fanin.starts import SCHEMES, find_start

WIDTHS = (32, 64)
DEEPEST = 20
NORMALISATIONS: tuple[NormalisationKind | None, ...] = (None, None, "batch", "layer")
RATE_FACTOR = 10.0
"""A member's learning rate is within this factor of what the finder suggests for it."""

# Starts whose scales are drawn too: three distributions, two ways to count a fan.
_SCALED = ("fan-in", "kaiming-uniform", "glorot-normal", "orthogonal")


@final
@dataclass(frozen=True)
class Member:
    """One network of a family; `rate_factor` times what the finder suggests is its rate."""

    start: str
    seed: int
    rate_factor: float


@final
@dataclass(frozen=True)
class Family:
    """Networks of one shape: they are trained by one compiled program."""

    number: int
    network: CharacterMLP
    members: tuple[Member, ...]


def draw_families(
    families: int, members: int, *, vocabulary: int, block: int, seed: int = 0
) -> list[Family]:
    """So many families at random, each by its own generator, so that more make no other ones.

    Depths are spread evenly by their logarithm from 1 to 20; half of the networks have no
    normalisation. Half of the members have a start by name as it is, the others one with gains of
    hidden and output layers within a factor of ten, and some of them biases and embeddings.
    """
    return [_family(number, members, vocabulary, block, seed) for number in range(families)]


def _family(number: int, members: int, vocabulary: int, block: int, seed: int) -> Family:
    generator = np.random.default_rng((seed, number))
    depth = int(_between(generator, 1.0, DEEPEST + 1.0))
    network = CharacterMLP(
        vocabulary,
        block=block,
        hidden=(WIDTHS[generator.integers(len(WIDTHS))],) * depth,
        activation=ACTIVATIONS[generator.integers(len(ACTIVATIONS))],
        normalisation=NORMALISATIONS[generator.integers(len(NORMALISATIONS))],
    )
    starts = [_start(generator, network, scaled=place % 2 == 1) for place in range(members)]
    return Family(
        number,
        network,
        tuple(
            Member(start, seed, _between(generator, 1 / RATE_FACTOR, RATE_FACTOR))
            for seed, start in enumerate(starts)
        ),
    )


def _start(generator: np.random.Generator, network: CharacterMLP, *, scaled: bool) -> str:
    while True:
        if scaled:
            base = _SCALED[generator.integers(len(_SCALED))]
            options = {
                "gain": _between(generator, 0.1, 10.0),
                "output": _between(generator, 0.01, 10.0),
            }
            if generator.random() < 1 / 3:
                options["bias"] = _between(generator, 0.01, 3.0)
            if generator.random() < 1 / 3:
                options["embedding"] = _between(generator, 0.1, 10.0)
            return f"{base}:{','.join(f'{name}={value:.3g}' for name, value in options.items())}"
        name = list(SCHEMES)[generator.integers(len(SCHEMES))]
        if _has_it(name, network):
            return name


def _has_it(name: str, network: CharacterMLP) -> bool:
    """Whether the scheme has a scale for every parameter: no weights are critical for some."""
    scheme, nonlinearity = find_start(name), nonlinearity_of(network.activation)
    try:
        for parameter in network.parameters:
            scheme.scale(parameter, nonlinearity if parameter.nonlinearity else None)
    except OptionError:
        return False
    return True


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    """A number from low to high, its logarithm evenly spread."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))
