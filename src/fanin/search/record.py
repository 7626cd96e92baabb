"""A search's record: lines as in a race's, first what is searched, then what each race has shown.

The races themselves have records of their own in folders beside it.
"""

from pathlib import Path
from typing import final

import msgspec

from fanin.race.events import Number
from fanin.race.lines import Opening, open_lines
from fanin.race.record import Record


@final
class SearchOpening(Opening, frozen=True, tag="search", tag_field="kind"):
    """The first line; its options hold every candidate."""


@final
class RungDone(msgspec.Struct, frozen=True, tag="rung", tag_field="kind"):
    """A rung that is through: dev losses of its candidates (by their places), by seed.

    A loss is null where the run diverged. `kept` are the candidates that go on, the best first.
    """

    number: int
    steps: int
    seeds: tuple[int, ...]
    candidates: tuple[int, ...]
    dev_loss: tuple[tuple[Number, ...], ...]
    kept: tuple[int, ...]
    seconds: float


@final
class CheckDone(msgspec.Struct, frozen=True, tag="check", tag_field="kind"):
    """The check of the winner: losses of its lanes by seed, null where a run diverged.

    `rates` are those that tuning chose, `edges` whether each is the first or last of its grid.
    Without lanes the winner was `fanin` itself, and there was nothing to check.
    """

    winner: int
    lanes: tuple[str, ...]
    seeds: tuple[int, ...]
    test_loss: tuple[tuple[Number, ...], ...]
    dev_loss: tuple[tuple[Number, ...], ...]
    rates: tuple[float, ...]
    edges: tuple[bool, ...]
    seconds: float


def open_search_record(
    path: Path, opening: SearchOpening
) -> tuple[Record, list[RungDone | CheckDone]]:
    """A record to append to and what is in it; begun where there is none.

    What comes after the first damaged line is dropped, and found again. Raises RecordError for a
    file of another search, or one that another process writes to.
    """
    return open_lines(path, opening, RungDone | CheckDone, "search")
