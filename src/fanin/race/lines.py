"""A record of lines as a race's, for other long work: an opening, then what was found, as found.

The opening says what decides the numbers, so that work goes on only where it is the same work.
"""

import os
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias

import msgspec

from fanin.atomic_file import append_lasting, reason
from fanin.race.agreement import difference
from fanin.race.events import Resumed
from fanin.race.machine import Machine
from fanin.race.record import Record, RecordError, lock, whole_event

Lines: TypeAlias = type[msgspec.Struct] | UnionType
"""What a line may be, but for the first: a type, or several as `A | B`, each with its own tag."""


class Opening(msgspec.Struct, frozen=True):
    """A record's first line: all that decides the numbers, and where it was begun.

    Each record has a subclass with a tag of its own.
    """

    options: dict[str, Any]
    machine: Machine
    schema: int = 1
    """Rises when a line changes its meaning."""


def open_lines(path: Path, opening: Opening, line: Lines, what: str) -> tuple[Record, list[Any]]:
    """A record to append to, and those of its lines that are of the type `line`.

    `what` the record is of stands in messages. Begun where there is none, or where it was cut off
    within its first line. What comes after the first damaged line goes to a file beside it, named
    `….dropped`. Raises RecordError for a file of something else, or with a damaged first line, and
    leaves it as it is; and for one that another process writes to.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
    try:
        lock(descriptor, path)
        content = path.read_bytes()
        if _cut_in_first_line(content, opening):
            os.ftruncate(descriptor, 0)
            record = Record(path, descriptor, 0, 0)
            record.append(opening)
            return record, []
        lines, whole = _whole_lines(content, path, opening, line, what)
        if whole < len(content):
            append_lasting(path.with_name(f"{path.name}.dropped"), content[whole:])
            os.ftruncate(descriptor, whole)
        record = Record(path, descriptor, len(lines), whole)
        record.append(Resumed(opening.machine))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
        raise
    return record, [each for each in lines if isinstance(each, line)]


def _cut_in_first_line(content: bytes, opening: Opening) -> bool:
    # Anything else without a line's end may be someone's file, and is left as it is.
    tag = opening.__struct_config__.tag
    head = b'{"line":1,"event":{"kind":"%b",' % str(tag).encode()
    return b"\n" not in content and (content.startswith(head) or head.startswith(content))


class _Schema(msgspec.Struct):
    schema: int


def _whole_lines(
    content: bytes, path: Path, opening: Opening, line: Lines, what: str
) -> tuple[list[Any], int]:
    """The lines up to the first that is cut off or damaged, and their bytes."""
    lines: list[Any] = []
    whole = 0
    while (end := content.find(b"\n", whole)) >= 0:
        event = whole_event(content[whole:end], len(lines) + 1)
        if event is None:
            break
        try:
            if not lines and (schema := msgspec.json.decode(event, type=_Schema).schema) != (
                opening.schema
            ):
                raise RecordError(
                    f"{path}: is of another version of fanin (schema {schema}; this one reads "
                    f"{opening.schema}); go on with that version, or give another folder"
                )
            wanted = line | Resumed if lines else type(opening)
            lines.append(msgspec.json.decode(event, type=wanted))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RecordError(
                f"{path}, line {len(lines) + 1}: is not what a record of a {what} has there "
                f"({error}); give another folder"
            ) from None
        whole = end + 1
    if not lines:
        raise RecordError(
            f"{path}: is no record of a {what}: its first line is damaged, so nothing in it can be "
            "used; move it away and begin again, or give another folder"
        )
    _check_same(lines[0], opening, path, what)
    return lines, whole


def _check_same(recorded: Opening, wanted: Opening, path: Path, what: str) -> None:
    now: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(wanted.options))
    if (found := difference(recorded.options, now)) is not None:
        name, there, here = found
        raise RecordError(
            f"{path}: holds another {what}: {name} was {there}, and is now {here}; give the same "
            "options, or another folder"
        )
