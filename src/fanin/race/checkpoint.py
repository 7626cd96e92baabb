"""Where a race stands, as a file: the states of the runs that move together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import msgspec
import numpy as np

from fanin.errors import ModelFileError
from fanin.race.lanes import Run
from fanin.race.record import RecordError
from fanin.tensor_file import read_tensors, write_tensors

NAME = "states.safetensors"


@final
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The states of some runs after `step` steps, as `Heat.save` gives them.

    `race` is the record's opening, hashed: states are of use to that race alone.
    """

    race: str
    step: int
    runs: tuple[Run, ...]
    states: Mapping[str, np.ndarray]

    def write(self, folder: Path) -> None:
        """Replaces the folder's checkpoint, whole or not at all; RecordError where it cannot."""
        content = msgspec.json.encode(_Content(self.race, self.step, self.runs))
        try:
            write_tensors(folder / NAME, self.states, content)
        except ModelFileError as error:
            raise RecordError(str(error)) from error


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    race: str
    step: int
    runs: tuple[Run, ...]


def read_checkpoint(folder: Path, race: str) -> Checkpoint | None:
    """The folder's checkpoint; None where there is none of this race that is whole.

    Without one the runs begin anew, and give the same numbers: it saves time and no more.
    """
    try:
        states, content = read_tensors(folder / NAME)
        found = msgspec.json.decode(content, type=_Content)
    except (ModelFileError, msgspec.DecodeError):
        return None
    return Checkpoint(race, found.step, found.runs, states) if found.race == race else None
