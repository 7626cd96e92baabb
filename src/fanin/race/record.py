"""What a race found, as it found it: an append-only file of JSON lines that survives any fault.

Each line is one JSON object `{"line":N,"event":{…},"crc":"…"}`: the lines counted from 1, and the
CRC-32, in hexadecimal, of all bytes of the line before `,"crc"`. The first event says which race
it is; NaN and infinity are null.
"""

import fcntl
import os
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, final

import msgspec

from fanin.atomic_file import NO_LOCKS, append_lasting, reason, write_all
from fanin.errors import FaninError
from fanin.race.agreement import difference
from fanin.race.events import SCHEMA, Event, Finished, Later, Opening, Resumed, RunName

_LINE = re.compile(rb'(\{"line":(\d{1,18}),"event":(.*)),"crc":"([0-9a-f]{8})"\}')


class RecordError(FaninError):
    """A record that cannot be read, written or gone on with."""


@final
@dataclass(frozen=True)
class RecordedRace:
    """The whole lines of a record. `dropped` says what else was in the file, if anything."""

    opening: Opening
    events: tuple[Later, ...]
    dropped: str | None = None
    whole_bytes: int = 0

    def finished(self) -> dict[RunName, Finished]:
        """The runs that are through."""
        return {event.run: event for event in self.events if isinstance(event, Finished)}


def read_record(path: str | Path) -> RecordedRace:
    """All whole lines of a record, up to the first that is cut off or damaged.

    Raises RecordError for a file that cannot be read, has no whole first line, or is of another
    version.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read: {reason(error)}") from None
    return _parse(content, path)


@final
class Record:
    """A record that is open for writing, by one process at a time."""

    def __init__(self, path: Path, descriptor: int, lines: int, end: int) -> None:
        self.path = path
        self._descriptor = descriptor
        # Lines and bytes in one place, so that an interruption finds both or neither raised.
        self._written = (lines, end)

    def append(self, event: msgspec.Struct) -> None:
        """Adds a line and hands it to the system: a process that is killed loses none.

        Raises RecordError where the disk takes no more; the lines before are whole then.
        """
        self._check_is_there()
        lines, end = self._written
        line = _line(lines + 1, event)
        try:
            write_all(self._descriptor, line)
            self._written = (lines + 1, end + len(line))
        except BaseException as error:
            # What is left of a line would damage the next one.
            os.ftruncate(self._descriptor, self._written[1])
            if isinstance(error, OSError):
                raise RecordError(f"{self.path}: cannot be written: {reason(error)}") from None
            raise

    def _check_is_there(self) -> None:
        """Raises RecordError where what would be written is in no file of this name any more."""
        try:
            there = os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            there = False
        if not there:
            raise RecordError(
                f"{self.path}: was removed or replaced by another file while this went on"
            )

    def flush_to_disk(self) -> None:
        """Waits until all lines would survive a loss of power: due before a checkpoint is made."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be written: {reason(error)}") from None

    def close(self) -> None:
        if self._descriptor < 0:
            return
        try:
            self.flush_to_disk()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._check_is_there()
        finally:
            self.close()


def folder_for(path: str | Path) -> Path:
    """The folder, made where there is none; RecordError where that cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise RecordError(f"{folder}: no folder for the record: {reason(error)}") from None
    return folder


def open_record(path: str | Path, opening: Opening) -> tuple[Record, RecordedRace]:
    """A record to append to, and what is in it: begun, or gone on with where there is one.

    A record that was cut off within its first line is begun anew. Where lines were dropped, their
    bytes go to a file beside it, named `….dropped`. Where the race goes on, a last line says so,
    and on which machine. RecordError where the file holds another race, or another process writes
    to it.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
    try:
        lock(descriptor, path)
        content = path.read_bytes()
        if _cut_in_first_line(content):
            os.ftruncate(descriptor, 0)
            record, recorded = Record(path, descriptor, 0, 0), RecordedRace(opening, ())
            record.append(opening)
            return record, recorded
        recorded = _parse(content, path)
        _check_same_race(recorded.opening, opening, path)
        if recorded.dropped is not None:
            append_lasting(path.with_name(f"{path.name}.dropped"), content[recorded.whole_bytes :])
            os.ftruncate(descriptor, recorded.whole_bytes)
        record = Record(path, descriptor, 1 + len(recorded.events), recorded.whole_bytes)
        resumed = Resumed(opening.machine, recorded.dropped)
        record.append(resumed)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
        raise
    return record, replace(recorded, events=(*recorded.events, resumed))


def _cut_in_first_line(content: bytes) -> bool:
    # Anything else without a line's end may be someone's file, and is left as it is.
    head = b'{"line":1,"event":{"kind":"opening",'
    return b"\n" not in content and (content.startswith(head) or head.startswith(content))


def lock(descriptor: int, path: Path) -> None:
    """Raises RecordError where another process has the record open for writing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RecordError(
            f"{path}: another process is at work here; wait for it, or give another folder"
        ) from None
    except OSError as error:
        # Some network file systems have no locks, and are no worse off than before.
        if error.errno not in NO_LOCKS:
            raise


def options_of(opening: Opening) -> dict[str, Any]:
    """All that makes it one race, as JSON values."""
    # Through JSON, so that a tuple is what it is when read again.
    whole = {"lanes": opening.lanes, "seeds": opening.seeds, **opening.options}
    return msgspec.json.decode(msgspec.json.encode(whole))


def _check_same_race(recorded: Opening, wanted: Opening, path: Path) -> None:
    if (found := difference(options_of(recorded), options_of(wanted))) is not None:
        name, there, here = found
        raise RecordError(
            f"{path}: holds another race: {name} was {there}, and is now {here}; give the same "
            "options, or another folder"
        )


def _line(number: int, event: msgspec.Struct) -> bytes:
    body = b'{"line":%d,"event":%b' % (number, msgspec.json.encode(event))
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def _parse(content: bytes, path: str | Path) -> RecordedRace:
    events: list[Event] = []
    whole, wrong = 0, ""
    while whole < len(content):
        end = content.find(b"\n", whole)
        if end < 0:
            wrong = "is cut off"
            break
        event = _event(content[whole:end], len(events) + 1, path)
        if event is None:
            wrong = "is damaged"
            break
        events.append(event)
        whole = end + 1
    if not events:
        raise RecordError(
            f"{path}: is no record of a race: its first line {wrong or 'is missing'}, so nothing "
            "in it can be used; move it away and begin again"
        )
    opening, *rest = events
    later = tuple(event for event in rest if not isinstance(event, Opening))
    if not isinstance(opening, Opening) or len(later) < len(rest):
        raise RecordError(f"{path}: is no record of a race: it has not one opening, at its head")
    return RecordedRace(opening, later, _dropped(content, whole, len(events), wrong, path), whole)


def _dropped(content: bytes, whole: int, lines: int, wrong: str, path: str | Path) -> str | None:
    if whole == len(content):
        return None
    after = content.count(b"\n", whole) + (not content.endswith(b"\n")) - 1
    and_after = f", and so is what comes after it (lines: {after:,})" if after else ""
    return (
        f"{path}: line {lines + 1:,} {wrong} and is dropped{and_after}; "
        f"{len(content) - whole:,} bytes in all; whole lines before it: {lines:,}"
    )


def whole_event(line: bytes, number: int) -> bytes | None:
    """The JSON of the event in a line that should be of this number, or None for a damaged one."""
    found = _LINE.fullmatch(line)
    if found is None or int(found[2]) != number or int(found[4], 16) != zlib.crc32(found[1]):
        return None
    return found[3]


class _Schema(msgspec.Struct):
    schema: int = SCHEMA


def _event(line: bytes, number: int, path: str | Path) -> Event | None:
    """The event of a line, or None for a damaged one; by its number, one lost or doubled too."""
    content = whole_event(line, number)
    if content is None:
        return None
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema != SCHEMA:
            raise RecordError(
                f"{path}: is of another version of fanin (schema {schema}; this one reads "
                f"{SCHEMA}); go on with that version, or begin again elsewhere"
            )
        return msgspec.json.decode(content, type=Event)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{path}, line {number}: is whole, but not what fanin writes: {error}"
        ) from None
