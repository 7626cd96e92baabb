"""What happens in a race, as its record holds it."""

from typing import Any, TypeAlias, final

import msgspec

from fanin.race.machine import Machine

SCHEMA = 1

Number: TypeAlias = float | None
RunName: TypeAlias = tuple[int, int]
"""A run: its lane, by its place among the lanes, and its seed."""


class _Event(msgspec.Struct, frozen=True, tag_field="kind"):
    pass


@final
class Opening(_Event, frozen=True, tag="opening"):
    """The first line: which race it is, and where it was begun.

    `options` is all that decides the numbers, as JSON values.
    """

    lanes: tuple[str, ...]
    seeds: tuple[int, ...]
    options: dict[str, Any]
    machine: Machine
    schema: int = SCHEMA


@final
class Resumed(_Event, frozen=True, tag="resumed"):
    """The race was taken up again, on this machine; `dropped` says what was damaged by then."""

    machine: Machine
    dropped: str | None = None


@final
class Joined(_Event, frozen=True, tag="joined"):
    """A process took part in the race on this machine, which is not of process 0's kind."""

    process: int
    machine: Machine


@final
class Width(_Event, frozen=True, tag="width"):
    """How many runs a device trains side by side, as it was chosen; who goes on keeps to it.

    `timed` are the widths that were tried, each with the seconds that a step of them all took.
    """

    width: int
    timed: tuple[tuple[int, Number], ...] = ()


@final
class Tuned(_Event, frozen=True, tag="tuned"):
    """The learning rate that a lane's tuning chose: dev losses by rate, then by tuning seed."""

    lane: int
    rate: float
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    dev_loss: tuple[tuple[Number, ...], ...]


@final
class Chunk(_Event, frozen=True, tag="chunk"):
    """Where some runs stand after `step` steps; losses by run, in nats per symbol.

    `batch_loss` is the mean since the runs' last chunk; the whole dev set's loss is there where
    it was measured. `seconds` count from the race's beginning; `spent` are the seconds of training
    since the last chunk, those of all its runs divided by their number.
    """

    runs: tuple[RunName, ...]
    step: int
    batch_loss: tuple[Number, ...]
    dev_loss: tuple[Number, ...] | None
    seconds: float
    spent: float = 0.0


@final
class Finished(_Event, frozen=True, tag="finished"):
    """A run that is through: null losses say that it diverged."""

    run: RunName
    step: int
    dev_loss: Number
    test_loss: Number
    seconds: float


Later: TypeAlias = Resumed | Joined | Width | Tuned | Chunk | Finished
Event: TypeAlias = Opening | Later
