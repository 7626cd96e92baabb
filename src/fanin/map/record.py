"""A map's record: lines as in a race's, first which map it is, then its cells as they come."""

import os
from pathlib import Path
from typing import Any, TypeAlias, final

import msgspec

from fanin.atomic_file import reason
from fanin.race.events import Resumed
from fanin.race.machine import Machine
from fanin.race.record import Record, RecordError, lock, whole_event

SCHEMA = 1


@final
class MapOpening(msgspec.Struct, frozen=True, tag="map", tag_field="kind"):
    """The first line: all that decides the numbers, and where the map was begun."""

    options: dict[str, Any]
    machine: Machine
    schema: int = SCHEMA


@final
class MapCell(msgspec.Struct, frozen=True, tag="cell", tag_field="kind"):
    """One cell by row and column, with its three numbers; None where they are not finite."""

    row: int
    column: int
    numbers: tuple[float | None, float | None, float | None]


_Line: TypeAlias = MapOpening | MapCell | Resumed


def open_map_record(path: Path, opening: MapOpening) -> tuple[Record, list[MapCell]]:
    """A record to append to and the cells that are in it; begun where there is none.

    What comes after the first damaged line is dropped, and those cells are computed again. Raises
    RecordError for a file of another map, or one that another process writes to.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
    try:
        lock(descriptor, path)
        content = path.read_bytes()
        lines, whole = _whole_lines(content, path)
        if not lines:
            head = b'{"line":1,"event":{"kind":"map",'
            if not (head.startswith(content) or content.startswith(head)):
                raise RecordError(f"{path}: is no record of a map; give another folder")
            os.ftruncate(descriptor, 0)
            record = Record(path, descriptor, 0, 0)
            record.append(opening)
            return record, []
        first, *rest = lines
        if not isinstance(first, MapOpening):
            raise RecordError(f"{path}: is no record of a map; give another folder")
        _check_same(first, opening, path)
        os.ftruncate(descriptor, whole)
        record = Record(path, descriptor, len(lines), whole)
        record.append(Resumed(opening.machine))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
        raise
    return record, [line for line in rest if isinstance(line, MapCell)]


def _whole_lines(content: bytes, path: Path) -> tuple[list[_Line], int]:
    """The lines up to the first that is cut off or damaged, and their bytes."""
    lines: list[_Line] = []
    whole = 0
    while (end := content.find(b"\n", whole)) >= 0:
        event = whole_event(content[whole:end], len(lines) + 1)
        if event is None:
            break
        try:
            lines.append(msgspec.json.decode(event, type=_Line))
        except msgspec.DecodeError as error:
            raise RecordError(
                f"{path}: is no record of a map that this version reads: {error}; give another "
                "folder"
            ) from None
        whole = end + 1
    return lines, whole


def _check_same(recorded: MapOpening, wanted: MapOpening, path: Path) -> None:
    now: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(wanted.options))
    for name in recorded.options | now:
        there, here = recorded.options.get(name), now.get(name)
        if there != here:
            raise RecordError(
                f"{path}: holds another map: {name} was {there}, and is now {here}; give the same "
                "options, or another folder"
            )
