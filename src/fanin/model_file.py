"""A trained model and the one file that holds it: safetensors, strictly read, never a pickle.

The tensors are `parameters/…`, `statistics/…`, `optimiser/…` (what it takes to train on),
`history/batch_losses` and `words` (UTF-8, one a line); the rest is JSON in the file's metadata.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import msgspec
import numpy as np

from fanin.corpus import Vocabulary, Words
from fanin.errors import FaninError, ModelFileError
from fanin.model_checks import (
    GROUPS,
    check_history,
    check_numbers,
    check_vocabulary,
    read_groups,
    read_network,
    read_words_tensor,
    take,
)
from fanin.networks import Network
from fanin.networks.activations import ActivationLike
from fanin.tensor_file import read_tensors, write_tensors
from fanin.training import History, TrainingOptions

FORMAT = 1
HISTORY, WORDS = "history/batch_losses", "words"
Loss = Literal["initial", "train", "dev", "test"]


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A network with its parameters, and everything that made them.

    `words` is the whole list, so that what the model makes up can be told from what it has seen;
    `split_seed` says which of them it was trained on. `start` is a scheme's name, or that of the
    model file that training began with. `losses` are in nats per symbol, over the whole of a
    split (`initial`: dev, before the first step); None where one was not measured.
    """

    network: Network
    vocabulary: Vocabulary
    parameters: Mapping[str, Any]
    statistics: Mapping[str, Any]
    words: Words
    split_seed: int
    start: str
    options: TrainingOptions
    history: History
    losses: Mapping[Loss, float | None]
    optimiser: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def steps(self) -> int:
        """Steps that were done: fewer than `options.steps` where training was stopped."""
        return int(self.history.batch_losses.size)

    @property
    def uniform_loss(self) -> float:
        """log V: the loss of a guess that gives every symbol the same chance."""
        return math.log(len(self.vocabulary))


class _Version(msgspec.Struct):
    format: int


class _Description(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of a model file."""

    format: int
    network: dict[str, int | bool | str | list[int] | None]
    symbols: list[str]
    words_source: str
    duplicates: int
    split_seed: int
    start: str
    options: TrainingOptions
    dev_steps: list[int]
    dev_losses: list[float | None]
    losses: dict[Loss, float | None]
    words_sha256: str | None = None


def save_model(model: Model, path: str | Path) -> None:
    """Writes the model's file, whole or not at all. Raises ModelFileError, naming the path."""
    description = _Description(
        format=FORMAT,
        network=model.network.describe(),
        symbols=list(model.vocabulary.symbols),
        words_source=_in_unicode(model.words.source),
        duplicates=model.words.duplicates,
        split_seed=model.split_seed,
        start=_in_unicode(model.start),
        options=model.options,
        dev_steps=list(model.history.dev_steps),
        dev_losses=list(model.history.dev_losses),
        losses=dict(model.losses),
        words_sha256=model.words.sha256,
    )
    groups = {
        name: {key: np.asarray(array) for key, array in group.items()}
        for name, group in zip(
            GROUPS, (model.parameters, model.statistics, model.optimiser), strict=True
        )
    }
    try:
        check_numbers(model.network, groups)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: not written: {error}") from None
    tensors = {f"{name}/{key}": groups[name][key] for name in GROUPS for key in groups[name]}
    tensors[HISTORY] = np.asarray(model.history.batch_losses, np.float32)
    tensors[WORDS] = np.frombuffer("\n".join(model.words.words).encode(), np.uint8)
    write_tensors(path, tensors, msgspec.json.encode(description))


def load_model(path: str | Path, *, activation: ActivationLike | None = None) -> Model:
    """Reads a model's file; anything in it that does not fit together is a ModelFileError.

    A model with an activation of the user's own names the module that holds it. A file gets no
    code run by that: such a model is read only where the same activation is given here.
    """
    tensors, content = read_tensors(path)
    try:
        return _model(tensors, content, activation)
    except (FaninError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path}: {error}") from None


def _in_unicode(name: str) -> str:
    """The name of a file may hold bytes that are no UTF-8; JSON may not."""
    return name.encode("utf-8", "backslashreplace").decode()


def _model(
    tensors: dict[str, np.ndarray], content: bytes, activation: ActivationLike | None
) -> Model:
    version = msgspec.json.decode(content, type=_Version).format
    if version != FORMAT:
        raise ModelFileError(
            f"is of format {version}, and this fanin reads format {FORMAT}; "
            f"{'a newer fanin' if version > FORMAT else 'the fanin that wrote it'} would do"
        )
    description = msgspec.json.decode(content, type=_Description)
    batch_losses = take(tensors, HISTORY, np.float32)
    words = read_words_tensor(take(tensors, WORDS, np.uint8))
    network = read_network(description.network, len(tensors), activation)
    groups = read_groups(tensors)
    check_numbers(network, groups)
    vocabulary = Vocabulary(tuple(description.symbols))
    check_vocabulary(vocabulary, network, words)
    check_history(description.dev_steps, description.dev_losses, batch_losses, description.options)
    if min(description.split_seed, description.duplicates) < 0:
        raise ModelFileError("its split seed or count of duplicates is negative")
    known = (math.nan if loss is None else loss for loss in description.dev_losses)
    return Model(
        network=network,
        vocabulary=vocabulary,
        parameters=groups["parameters"],
        statistics=groups["statistics"],
        words=Words(
            words,
            description.words_source,
            description.duplicates,
            description.words_sha256,
        ),
        split_seed=description.split_seed,
        start=description.start,
        options=description.options,
        history=History(batch_losses, tuple(description.dev_steps), tuple(known)),
        losses=description.losses,
        optimiser=groups["optimiser"],
    )
