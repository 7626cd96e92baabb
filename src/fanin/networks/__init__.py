"""Networks as descriptions that declare their parameters."""

from fanin.networks.activations import ACTIVATIONS, ActivationLike, find_activation
from fanin.networks.character_mlp import Bigram, CharacterMLP, network_from
from fanin.networks.declarations import Layer, Parameter, Pass, Role
from fanin.networks.layers import (
    Activation,
    Embedding,
    Flatten,
    Linear,
    Normalise,
    Residual,
    Sequential,
)
from fanin.networks.network import (
    Network,
    Parameters,
    Statistics,
    as_values,
    batch_statistics,
    initial_statistics,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ActivationLike",
    "Bigram",
    "CharacterMLP",
    "Embedding",
    "Flatten",
    "Layer",
    "Linear",
    "Network",
    "Normalise",
    "Parameter",
    "Parameters",
    "Pass",
    "Residual",
    "Role",
    "Sequential",
    "Statistics",
    "as_values",
    "batch_statistics",
    "find_activation",
    "initial_statistics",
    "network_from",
]
