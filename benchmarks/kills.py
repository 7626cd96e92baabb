"""SIGKILL at random points of train, race, map, search and diagnose, and what goes on after it.

`python -m benchmarks.kills` kills each command fifty times: it is begun in a fresh folder, killed,
gone on with, killed again, and so on to its end, which must have the bits of a run that nobody
killed; then anew, until there were enough. After each kill every file must be whole, and nothing
that was on record before may be gone. Its figures are in docs/reliability.md.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults import NAMES

_NETWORK = "--hidden 20 --embedding 4 --block 3 --batch 16"
COMMANDS = {
    "train": f"train ../words.txt {_NETWORK} --steps 40000 --eval-every 5000 --save-every 500 "
    "--out m --quiet",
    "race": f"race ../words.txt --start fanin --start normal --seeds 3 {_NETWORK} --steps 6000 "
    "--eval-every 200 --out folder --quiet",
    "map": "map ../words.txt --x gain=0.5:2:9 --y depth=1:20:7 --width 20 --embedding 4 "
    "--steps 100 --batch 16 --out folder --data m.csv --quiet",
    "search": f"search ../words.txt {_NETWORK} --steps 6000 --candidates 8 --budget 40 --seeds 3 "
    "--fixed-lr --activation tanh --norm none,layer --out folder --scheme f.json --quiet",
    "diagnose": f"diagnose ../words.txt --start normal {_NETWORK.replace(' --batch 16', '')} "
    "--fix --out m --html r.html",
}
# As many checkpoints as in a race of hours.
_CHILD = """
import inspect, sys
from fanin.race.course import course
inner = inspect.unwrap(course)
inner.__kwdefaults__ = inner.__kwdefaults__ | {"checkpoint_seconds": 0.1}
from fanin.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Study:
    """How often a command was killed, came to its end, and left a temporary file behind."""

    command: str
    kills: int = 0
    ends: int = 0
    with_something_done: int = 0
    temporary: int = 0
    wrong: list[str] = field(default_factory=list)


def study(command: str, kills: int, scratch: Path, seed: int = 0) -> Study:
    """Kills the command so many times; `scratch` must be empty."""
    chance = random.Random(f"{command} {seed}")
    found = Study(command)
    (scratch / "words.txt").write_text("\n".join(NAMES))
    whole = scratch / "whole"
    whole.mkdir()
    _run(command, whole, None)  # compiles what the others find compiled
    whole = scratch / "again"
    whole.mkdir()
    began = time.perf_counter()
    assert _run(command, whole, None) == 0
    seconds = time.perf_counter() - began
    expected = _RESULTS[command](whole)
    folders = 0
    while found.kills < kills:
        folder = scratch / f"killed-{folders}"
        folder.mkdir()
        folders += 1
        code, before = -signal.SIGKILL, 0
        while code and found.kills < kills:
            # Before that Python and JAX are imported.
            code = _run(command, folder, chance.uniform(0.45, 1.0) * seconds)
            if code == 0:
                seconds *= 0.9  # it was faster than that
            if code == -signal.SIGKILL:
                found.kills += 1
                try:
                    now = _DONE[command](folder)
                except Exception as error:
                    found.wrong.append(f"kill {found.kills}: unreadable: {error}")
                    break
                found.with_something_done += now > 0
                seconds *= 1.0 if now > before else 1.1
                if now < before:
                    found.wrong.append(f"kill {found.kills}: {before} were there, {now} are left")
                before = now
            elif code:
                found.wrong.append(f"after {found.kills} kills: exit code {code}")
                break
        if code == -signal.SIGKILL:
            code = _run(command, folder, None)
        found.ends += 1
        found.temporary += len(list(folder.rglob(".fanin-*")))
        if code or _RESULTS[command](folder) != expected:
            found.wrong.append(f"end {found.ends}: not the bits of the unbroken run ({code})")
    return found


def _run(command: str, folder: Path, kill_after: float | None) -> int:
    arguments = COMMANDS[command].split()
    if command == "train" and (folder / "m").exists():
        from fanin.model_file import load_model

        model = load_model(folder / "m")
        if model.steps == model.options.steps:
            return 0
        arguments = ["train", "--resume", "m", "--save-every", "500", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        return process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _steps(folder: Path) -> int:
    from fanin.model_file import load_model

    return load_model(folder / "m").steps if (folder / "m").exists() else 0


def _lines(name: str) -> Callable[[Path], int]:
    def count(folder: Path) -> int:
        from fanin.race.record import whole_event

        path = folder / "folder" / name
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        whole = [whole_event(line, number) for number, line in enumerate(lines[:-1], 1)]
        assert None not in whole, f"line {whole.index(None) + 1} is damaged"
        return len(whole)

    return count


def _mended(folder: Path) -> int:
    from fanin.model_file import load_model

    for name, end in (("m", b""), ("r.html", b"</html>\n")):
        path = folder / name
        assert not path.exists() or path.read_bytes().endswith(end), f"{name} is cut short"
    return int((folder / "m").exists() and bool(load_model(folder / "m").parameters))


def _race_results(folder: Path) -> Any:
    """All numbers of the record but the times: of events that came twice both must be the same."""
    from fanin.race.events import Chunk, Finished
    from fanin.race.record import read_record

    found: dict[Any, set[Any]] = {}
    for event in read_record(folder / "folder" / "race.jsonl").events:
        if isinstance(event, Chunk):
            name, numbers = (event.runs, event.step), (event.batch_loss, event.dev_loss)
        elif isinstance(event, Finished):
            name, numbers = event.run, (event.step, event.dev_loss, event.test_loss)
        else:
            continue
        found.setdefault(name, set()).add(numbers)
    assert all(len(numbers) == 1 for numbers in found.values())
    return found


_DONE = {
    "train": _steps,
    "race": _lines("race.jsonl"),
    "map": _lines("map.jsonl"),
    "search": _lines("search.jsonl"),
    "diagnose": _mended,
}
_RESULTS: dict[str, Callable[[Path], Any]] = {
    "train": lambda folder: (folder / "m").read_bytes(),
    "race": _race_results,
    "map": lambda folder: (folder / "m.csv").read_bytes(),
    "search": lambda folder: (folder / "f.json").read_bytes(),
    "diagnose": lambda folder: ((folder / "m").read_bytes(), (folder / "r.html").read_bytes()),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("commands", nargs="*", default=list(COMMANDS))
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    if strange := set(asked.commands) - set(COMMANDS):
        options.error(f"{', '.join(strange)}: there are {', '.join(COMMANDS)}")
    for command in asked.commands:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            found = study(command, asked.kills, Path(scratch), asked.seed)
        print(*found.wrong, sep="\n", end="\n" * bool(found.wrong))
        print(
            f"{command}: {found.kills} kills, {found.with_something_done} with something done, "
            f"{found.ends} ends with the same bits but {len(found.wrong)}, {found.temporary} "
            f"temporary files left, {time.perf_counter() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
