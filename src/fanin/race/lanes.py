"""The lanes of a race: what is compared, and the runs that one program can train together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanin.errors import OptionError
from fanin.networks import Network
from fanin.starts import Scheme
from fanin.training import TrainingOptions
from fanin.training.optimiser import Optimiser
from fanin.training.options import Schedule


@dataclass(frozen=True, eq=False)
class Lane:
    """One side of a comparison: a network, how it is started and how it is trained.

    The seed of `options` does not count: each run of the lane has its own.
    """

    name: str
    network: Network
    start: Scheme
    options: TrainingOptions


@dataclass(frozen=True)
class Run:
    """One training of a race: a lane (by its place) with a seed."""

    lane: int
    seed: int


@dataclass(frozen=True)
class Program:
    """What a compiled program depends on; runs that agree in it train side by side."""

    network: Network
    batch: int
    schedule: Schedule
    optimiser: Optimiser


_FLOAT = 4  # bytes
_SLOTS = {"sgd": 2, "adam": 3, "adamw": 3}  # parameters, and what the optimiser remembers of each


def state_bytes(lane: Lane) -> int:
    """What one run of the lane keeps from step to step, or thereabouts."""
    return lane.network.parameter_count * _FLOAT * _SLOTS[lane.options.optimiser]


def program_of(lane: Lane) -> Program:
    options = lane.options
    return Program(lane.network, options.batch, options.schedule, options.update_rule)


def grouped(lanes: Sequence[Lane], runs: Iterable[Run]) -> dict[Program, list[Run]]:
    """The runs by the program that trains them, each group in the order given."""
    groups: dict[Program, list[Run]] = {}
    for run in runs:
        groups.setdefault(program_of(lanes[run.lane]), []).append(run)
    return groups


def check_lanes(lanes: Sequence[Lane]) -> None:
    """Raises OptionError for lanes that cannot be told apart or compared."""
    if not lanes:
        raise OptionError("a race takes one lane or more; found none")
    names = [lane.name for lane in lanes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(
            f"two lanes are called {twice[0]!r}; give a start once, or vary an axis of it"
        )
    for name in ("steps",):
        found = sorted({getattr(lane.options, name) for lane in lanes})
        if len(found) > 1:
            raise OptionError(f"all lanes train as many steps; found {found}")


def crossed(lanes: Sequence[Lane], axis: str, values: Sequence[Any], vary: Any) -> list[Lane]:
    """Every lane with every value of one more axis; `vary(lane, value)` makes the variant."""
    return [
        replace(vary(lane, value), name=f"{lane.name} {axis}={_shown(value)}")
        for lane in lanes
        for value in values
    ]


def _shown(value: Any) -> str:
    """As one would type it."""
    if value is None:
        return "none"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
