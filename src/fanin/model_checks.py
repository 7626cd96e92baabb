"""What must hold between the parts of a model file, whoever wrote it.

Each function raises ModelFileError (or the error of the part it builds) without the file's name,
which whoever reads the file puts in front.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from fanin.corpus import Vocabulary, Words
from fanin.corpus.words import LONGEST_WORD
from fanin.errors import ModelFileError
from fanin.networks import (
    ACTIVATIONS,
    ActivationLike,
    Network,
    initial_statistics,
    network_from,
)
from fanin.networks.activations import activation_name
from fanin.training import TrainingOptions

GROUPS = ("parameters", "statistics", "optimiser")
Arrays = dict[str, np.ndarray]


def take(tensors: Arrays, name: str, dtype: type[np.generic]) -> np.ndarray:
    """Takes the tensor out; it must be there, of that type and one-dimensional."""
    if name not in tensors:
        raise ModelFileError(f"lacks the tensor {name!r}")
    tensor = tensors.pop(name)
    if tensor.dtype != dtype or tensor.ndim != 1:
        raise ModelFileError(
            f"the tensor {name!r} is of {tensor.dtype} and shape {tensor.shape}; "
            f"it should be a row of {np.dtype(dtype)}"
        )
    return tensor


def read_groups(tensors: Arrays) -> dict[str, Arrays]:
    """The tensors by the part of their name before the first slash."""
    groups: dict[str, Arrays] = {group: {} for group in GROUPS}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        if group not in groups:
            raise ModelFileError(f"holds the tensor {name!r}, which is no part of a model")
        groups[group][rest] = tensor
    return groups


def read_network(
    description: Mapping[str, Any], tensors: int, activation: ActivationLike | None
) -> Network:
    """The described network; an activation that is code must be the one that the caller gives."""
    settings = dict(description)
    if len(settings.get("hidden") or ()) > tensors:
        raise ModelFileError("describes more hidden layers than it holds tensors")
    plain = network_from({"kind": settings.get("kind"), "vocabulary": 2}).describe()
    for name, setting in settings.items():
        expected = list if isinstance(plain.get(name), tuple) else type(plain.get(name))
        # Not isinstance: to Python true is 1, and to a network it is no size.
        if plain.get(name) is not None and type(setting) is not expected:
            raise ModelFileError(f"describes a network with the {name} {setting!r}")
    described = settings.get("activation")
    if activation is not None or (described is not None and described not in ACTIVATIONS):
        given = None if activation is None else activation_name(activation)
        if given != described:
            raise ModelFileError(
                f"was trained with the activation {described!r}, and "
                f"{'none' if given is None else repr(given)} was given; to use it (which runs its "
                f"code), give this one"
            )
        settings["activation"] = activation
    if "hidden" in settings:
        settings["hidden"] = tuple(settings["hidden"])
    network = network_from(settings)
    if not 1 <= network.block <= LONGEST_WORD:
        raise ModelFileError(
            f"describes a block of {network.block}; 1 to {LONGEST_WORD:,} would do"
        )
    return network


def check_numbers(network: Network, groups: Mapping[str, Arrays]) -> None:
    """Parameters and statistics are those of the network, of float32, and finite."""
    declared = {parameter.name: parameter.shape for parameter in network.parameters}
    _check_group("parameters", groups["parameters"], declared)
    _check_group("statistics", groups["statistics"], _statistics_shapes(network))
    for name, array in groups["statistics"].items():
        if name.endswith(".variance") and array.size and array.min() < 0:
            raise ModelFileError(f"the running variance {name!r} is negative")


def read_words_tensor(tensor: UInt8[np.ndarray, "nodes"]) -> tuple[str, ...]:
    """The list of words; it must be as `Words` makes it, each word once."""
    lines = tensor.tobytes().decode().split("\n")
    words = Words.of(lines, "its list of words").words
    if list(words) != lines:
        raise ModelFileError("its list of words is not as fanin writes it (blank, twice, not NFC)")
    return words


def check_vocabulary(vocabulary: Vocabulary, network: Network, words: Sequence[str]) -> None:
    """The vocabulary has the network's size, every symbol of the words, and nothing unprintable."""
    if len(vocabulary) != network.vocabulary:
        raise ModelFileError(
            f"its vocabulary has {len(vocabulary)} ids, and its network {network.vocabulary}"
        )
    for symbol in vocabulary.symbols:
        if unicodedata.category(symbol) in ("Cc", "Zl", "Zp"):
            raise ModelFileError(f"its vocabulary holds the control character U+{ord(symbol):04X}")
    if missing := set("".join(words)).difference(vocabulary.symbols):
        raise ModelFileError(f"its vocabulary lacks {min(missing)!r}, which its words hold")


def check_history(
    dev_steps: Sequence[int],
    dev_losses: Sequence[float | None],
    batch_losses: Float32[np.ndarray, "steps"],
    options: TrainingOptions,
) -> None:
    """Losses belong to steps that were done."""
    if batch_losses.size > options.steps:
        raise ModelFileError(
            f"holds the losses of {batch_losses.size:,} steps of at most {options.steps:,}"
        )
    inside = all(0 <= step <= batch_losses.size for step in dev_steps)
    if not inside or len(dev_steps) != len(dev_losses) or list(dev_steps) != sorted(set(dev_steps)):
        raise ModelFileError("the steps of its dev losses do not fit the steps that were done")


def _check_group(group: str, arrays: Arrays, declared: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in declared.items():
        if name not in arrays:
            raise ModelFileError(f"lacks {name!r} among the {group}, which its network has")
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ModelFileError(
                f"{name!r} among the {group} is of {array.dtype} and shape {array.shape}; "
                f"its network has float32 and {shape}"
            )
        if not np.isfinite(array).all():
            raise ModelFileError(f"{name!r} among the {group} holds numbers that are not finite")
    if strange := set(arrays).difference(declared):
        raise ModelFileError(f"holds {min(strange)!r} among the {group}, which its network has not")


def _statistics_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the running moments, without computing any."""
    if all(parameter.role != "normalisation gain" for parameter in network.parameters):
        return {}
    shapes = {p.name: jax.ShapeDtypeStruct(p.shape, np.float32) for p in network.parameters}
    contexts = jax.ShapeDtypeStruct((2, network.block), np.int32)
    moments = jax.eval_shape(lambda p, c: initial_statistics(network, p, c), shapes, contexts)
    return {name: moment.shape for name, moment in moments.items()}
