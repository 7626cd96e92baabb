"""A map's record: lines as in a race's, first which map it is, then its cells as they come."""

from pathlib import Path
from typing import final

import msgspec

from fanin.race.lines import Opening, open_lines
from fanin.race.record import Record


@final
class MapOpening(Opening, frozen=True, tag="map", tag_field="kind"):
    """The first line."""


@final
class MapCell(msgspec.Struct, frozen=True, tag="cell", tag_field="kind"):
    """One cell by row and column, with its three numbers; None where they are not finite."""

    row: int
    column: int
    numbers: tuple[float | None, float | None, float | None]


def open_map_record(path: Path, opening: MapOpening) -> tuple[Record, list[MapCell]]:
    """A record to append to and the cells that are in it; begun where there is none.

    What comes after the first damaged line is dropped, and those cells are computed again. Raises
    RecordError for a file of another map, or one that another process writes to.
    """
    return open_lines(path, opening, MapCell, "map")
