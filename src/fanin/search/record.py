"""A search's record: lines as in a race's, first what is searched, then what each race has shown.

The races themselves have records of their own in folders beside it.
"""

import os
from pathlib import Path
from typing import Any, TypeAlias, final

import msgspec

from fanin.atomic_file import reason
from fanin.race.events import Number, Resumed
from fanin.race.machine import Machine
from fanin.race.record import Record, RecordError, lock, whole_event

SCHEMA = 1


class _Event(msgspec.Struct, frozen=True, tag_field="kind"):
    pass


@final
class SearchOpening(_Event, frozen=True, tag="search"):
    """The first line: all that decides the numbers, every candidate, and where it was begun."""

    options: dict[str, Any]
    candidates: tuple[dict[str, Any], ...]
    machine: Machine
    schema: int = SCHEMA


@final
class RungDone(_Event, frozen=True, tag="rung"):
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
class CheckDone(_Event, frozen=True, tag="check"):
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


SearchLine: TypeAlias = SearchOpening | RungDone | CheckDone | Resumed


def open_search_record(
    path: Path, opening: SearchOpening
) -> tuple[Record, list[RungDone | CheckDone]]:
    """A record to append to and what is in it; begun where there is none.

    What comes after the first damaged line is dropped, and found again. Raises RecordError for a
    file of another search, or one that another process writes to.
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
            head = b'{"line":1,"event":{"kind":"search",'
            if not (head.startswith(content) or content.startswith(head)):
                raise RecordError(f"{path}: is no record of a search; give another folder")
            os.ftruncate(descriptor, 0)
            record = Record(path, descriptor, 0, 0)
            record.append(opening)
            return record, []
        first, *rest = lines
        if not isinstance(first, SearchOpening):
            raise RecordError(f"{path}: is no record of a search; give another folder")
        _check_same(first, opening, path)
        os.ftruncate(descriptor, whole)
        record = Record(path, descriptor, len(lines), whole)
        record.append(Resumed(opening.machine))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
        raise
    return record, [line for line in rest if isinstance(line, RungDone | CheckDone)]


def _whole_lines(content: bytes, path: Path) -> tuple[list[SearchLine], int]:
    """The lines up to the first that is cut off or damaged, and their bytes."""
    lines: list[SearchLine] = []
    whole = 0
    while (end := content.find(b"\n", whole)) >= 0:
        event = whole_event(content[whole:end], len(lines) + 1)
        if event is None:
            break
        try:
            lines.append(msgspec.json.decode(event, type=SearchLine))
        except msgspec.DecodeError as error:
            raise RecordError(
                f"{path}: is no record of a search that this version reads: {error}; give another "
                "folder"
            ) from None
        whole = end + 1
    return lines, whole


def _check_same(recorded: SearchOpening, wanted: SearchOpening, path: Path) -> None:
    now = msgspec.json.decode(msgspec.json.encode(wanted), type=SearchOpening)
    for name in recorded.options | now.options:
        there, here = recorded.options.get(name), now.options.get(name)
        if there != here:
            raise _another(path, name, there, here)
    for there, here in zip(recorded.candidates, now.candidates, strict=False):
        if there != here:
            raise _another(path, "a candidate", there, here)


def _another(path: Path, name: str, there: object, here: object) -> RecordError:
    return RecordError(
        f"{path}: holds another search: {name} was {_shown(there)}, and is now {_shown(here)}; "
        "give the same options, or another folder"
    )


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else f"{text[:120]}…"
