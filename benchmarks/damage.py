"""Every file that fanin reads again, cut at every byte and with every bit flipped.

A scheme file is written by hand as well, and has no checksum: it is only cut.

`python -m benchmarks.damage` reads each damaged file: an error that names it, or of a record the
lines before the damage, and never other numbers. Its figures are in docs/reliability.md;
tests/test_damage.py flips one bit of each byte, and takes a part of the long report.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benchmarks.faults import NAMES

from fanin import diagnose
from fanin.corpus import Corpus, Words
from fanin.diagnosis.document import read_document
from fanin.errors import FaninError
from fanin.map.record import MapCell, MapOpening
from fanin.model_file import load_model, save_model
from fanin.networks import CharacterMLP
from fanin.race.calibration import CalibrationOpening, FamilyLine, Trained, TrainedFamily
from fanin.race.checkpoint import NAME, Checkpoint, read_checkpoint
from fanin.race.events import Chunk, Finished
from fanin.race.events import Opening as RaceOpening
from fanin.race.lanes import Run
from fanin.race.lines import Lines, Opening, open_lines
from fanin.race.machine import Machine
from fanin.race.record import open_record, read_record
from fanin.search.record import CheckDone, RungDone, SearchOpening
from fanin.starts import find_start
from fanin.starts.scheme_file import load_scheme, save_scheme
from fanin.trainer import fit
from fanin.training import TrainingOptions

_MACHINE = Machine("a processor", 2, "Linux x86_64", {"python": "3.11.2", "jax": "0.10.2"})
_MAP = MapOpening({"measure": "trained", "seed": 0}, _MACHINE)
_CELLS = tuple(MapCell(0, column, (3.3, None, 2.0 + column)) for column in range(4))
_SEARCH = SearchOpening({"candidates": 2, "seed": 0}, _MACHINE)
_SEARCHED = (
    RungDone(0, 100, (0,), (0, 1), ((2.5,), (None,)), (0,), 1.5),
    CheckDone(0, ("found", "fanin"), (7,), ((2.4,), (2.5,)), ((2.4,), (2.5,)), (0.1,) * 2, (), 2.0),
)
_CALIBRATION = CalibrationOpening({"families": 2, "seed": 0}, _MACHINE)
_FAMILIES = tuple(
    FamilyLine(TrainedFamily(number, {"hidden": 4}, 1.5, (Trained("fanin", 0, 0.1, None, 3.3),)))
    for number in range(2)
)


@dataclass(frozen=True)
class Kind:
    """A file: its whole bytes, and what a reader makes of damaged ones.

    `read` gives None for what it leaves out, raises FaninError with the file's name, and gives else
    a value that is one of `truths`: the whole, or what came before the damage.
    """

    content: bytes
    read: Callable[[bytes], Any]
    truths: tuple[Any, ...]
    checked: bool = True


def kinds(folder: Path) -> dict[str, Callable[[], Kind]]:
    """Each kind of file by name, made when it is asked for."""
    return {
        "model": lambda: _model(folder),
        "checkpoint": lambda: _checkpoint(folder),
        "race record": lambda: _race_record(folder),
        "map record": lambda: _record(folder, _MAP, MapCell, _CELLS),
        "search record": lambda: _record(folder, _SEARCH, RungDone | CheckDone, _SEARCHED),
        "calibration record": lambda: _record(folder, _CALIBRATION, FamilyLine, _FAMILIES),
        "report": lambda: _report(folder),
        "scheme": lambda: _scheme(folder),
    }


def damaged(content: bytes, bits: int, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """The content cut at every place, then with so many bits of every byte flipped, in turn."""
    for place in range(0, len(content), every):
        yield f"cut at byte {place}", content[:place]
    for place in range(0, len(content), every):
        for step in range(bits):
            bit = (place + step) % 8
            changed = bytes([content[place] ^ (1 << bit)])
            yield f"bit {bit} of byte {place}", content[:place] + changed + content[place + 1 :]


def misread(kind: Kind, bits: int, every: int = 1) -> tuple[int, list[str]]:
    """How many damaged files were read, and of which something else than the truth was made."""
    wrong: list[str] = []
    count = 0
    assert kind.read(kind.content) == kind.truths[0]
    for what, content in damaged(kind.content, bits if kind.checked else 0, every):
        count += 1
        try:
            found = kind.read(content)
        except FaninError as error:
            if "damaged-file" not in str(error):
                wrong.append(f"{what}: the error names no file: {error}")
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {error}")
        else:
            if found is not None and found not in kind.truths:
                wrong.append(f"{what}: read as if it were true")
    return count, wrong


def _model(folder: Path) -> Kind:
    options = TrainingOptions(steps=3, batch=2)
    model = fit(Words.of(NAMES), options=options, hidden=(2,), embedding=1, block=1)
    path = folder / "damaged-file"
    save_model(model, path)

    def read(content: bytes) -> bytes:
        path.write_bytes(content)
        back = load_model(path)
        return b"".join(
            np.asarray(back.parameters[name]).tobytes() for name in sorted(back.parameters)
        )

    return Kind(path.read_bytes(), read, (read(path.read_bytes()),))


def _checkpoint(folder: Path) -> Kind:
    state = {"0/output.bias": np.arange(12, dtype=np.float32)}
    Checkpoint("race", 5, (Run(0, 0), Run(0, 1)), state).write(folder)
    path = folder / NAME

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        found = read_checkpoint(folder, "race")
        return found and (found.step, found.runs, found.states["0/output.bias"].tolist())

    return Kind(path.read_bytes(), read, (read(path.read_bytes()),))


def _race_record(folder: Path) -> Kind:
    path = folder / "damaged-file.jsonl"
    path.unlink(missing_ok=True)
    opening = RaceOpening(("fanin", "normal"), (0, 1), {"steps": 100}, _MACHINE)
    record, _ = open_record(path, opening)
    with record:
        record.append(Chunk(((0, 0), (0, 1)), 50, (2.5, 2.6), (2.4, float("nan")), 1.5))
        record.append(Finished((0, 0), 100, 2.31, 2.32, 2.5))
        record.append(Finished((0, 1), 100, 2.41, 2.42, 2.5))
    events = read_record(path).events

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        found = read_record(path)
        assert found.opening == opening
        return found.events

    return Kind(path.read_bytes(), read, tuple(events[:n] for n in range(len(events), -1, -1)))


def _record(folder: Path, opening: Opening, line: Lines, lines: tuple[Any, ...]) -> Kind:
    """That of a map, a search or a calibration."""
    path = folder / "damaged-file.jsonl"
    dropped = path.with_name(f"{path.name}.dropped")
    path.unlink(missing_ok=True)
    record, _ = open_lines(path, opening, line, "record")
    with record:
        for each in lines:
            record.append(each)
    whole = path.read_bytes()

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        dropped.unlink(missing_ok=True)
        try:
            record, found = open_lines(path, opening, line, "record")
        except FaninError:
            assert path.read_bytes() == content, "a file was changed that could not be used"
            raise
        record.close()
        # All bytes of more than an opening are still there, in the one file or the other.
        kept = path.read_bytes()[: len(content)]
        left = dropped.read_bytes() if dropped.exists() else b""
        if b"\n" in content:
            assert content.endswith(left)
            assert kept.startswith(content[: len(content) - len(left)])
        return tuple(found)

    return Kind(whole, read, tuple(lines[:n] for n in range(len(lines), -1, -1)))


def _report(folder: Path) -> Kind:
    corpus = Corpus.of(Words.of(NAMES), block=1)
    network = CharacterMLP(len(corpus.vocabulary), block=1, embedding=1, hidden=(2,))
    parameters = find_start("normal")(network, jax.random.key(0))
    report = diagnose(network, parameters, corpus.train.contexts, corpus.train.targets)
    content = report.to_json()

    def read(content: bytes) -> Any:
        return read_document(content, "damaged-file")

    return Kind(content, read, (read(content),))


def _scheme(folder: Path) -> Kind:
    path = folder / "damaged-file.json"
    save_scheme(find_start("kaiming-normal"), path)

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return load_scheme(path)

    content = path.read_bytes()
    return Kind(content, read, (read(content),), checked=False)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bits", type=int, default=8)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, make in kinds(Path(folder)).items():
            began = time.perf_counter()
            kind = make()
            count, wrong = misread(kind, asked.bits)
            print(*wrong[:20], sep="\n", end="\n" * bool(wrong))
            print(
                f"{name} of {len(kind.content):,} bytes: {count:,} damaged ones, {len(wrong)} "
                f"misread, {time.perf_counter() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
