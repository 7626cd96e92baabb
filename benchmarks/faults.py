"""A disk that fails at one call: the k-th write, flush, rename and so on of a command.

`python -m benchmarks.faults` runs each command that writes with a fault at every call in turn, one
fault and a disk that stays full, with each kind of error, until a run gets through untouched. Its
figures are in docs/reliability.md; a part of it runs as tests/test_faults.py.
"""

import argparse
import contextlib
import errno
import inspect
import io
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = [a + b for a in "abcdefghjk" for b in ("ann", "lo", "rie", "sé")]
KINDS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
TURNS = 2 * len(KINDS)
_NETWORK = "--hidden 4 --embedding 2 --block 2 --batch 4 --steps 6"

COMMANDS = {
    "train": f"train words.txt {_NETWORK} --eval-every 3 --save-every 2 --plot l.svg --out m "
    "--quiet",
    "resume": "train --resume old --out old --plot l.png --quiet",
    "find-lr": f"find-lr words.txt {_NETWORK.replace('--steps 6', '--steps 60')} --plot r.svg",
    "gain": "gain tanh --plot g.svg",
    "diagnose": "diagnose words.txt --start normal --hidden 4 --embedding 2 --block 2 --batch 32 "
    "--fix --out m --html r.html",
    "race": f"race words.txt --start fanin --start normal --seeds 1 {_NETWORK} --eval-every 2 "
    "--out folder --csv r.csv --quiet",
    "race, painted": f"race words.txt --start fanin --start normal --seeds 2 {_NETWORK} "
    "--eval-every 2 --out folder --html r.html --quiet",
    "map": "map words.txt --x gain=1:2:2 --y depth=1:2:2 --width 4 --embedding 2 --block 2 "
    "--batch 4 --steps 2 --out folder --data m.csv --data m.npz --quiet",
    "map, painted": "map words.txt --x gain=1:2:2 --y depth=1:2:2 --width 4 --embedding 2 "
    "--block 2 --batch 4 --steps 2 --out folder --plot l.svg --plot l.png --quiet",
    "search": f"search words.txt {_NETWORK} --candidates 2 --budget 8 --seeds 2 --fixed-lr "
    "--activation tanh --norm none --out folder --scheme f.json --quiet",
    "calibrate": "race words.txt --calibrate --families 2 --members 1 --steps 2 --block 2 "
    "--out folder --quiet",
}


@dataclass
class Faults:
    """Fails the `at`-th call, counted from 1, that changes what is in the folder; counts `calls`.

    `lasting` fails all that come after it as well, as a full disk does. Removing a file never
    fails: a full disk does not hinder that.
    """

    folder: Path
    at: int
    kind: int
    lasting: bool = False
    calls: int = 0
    failed: list[str] = field(default_factory=list)
    ours: set[int] = field(default_factory=set)

    @contextlib.contextmanager
    def __call__(self) -> Iterator["Faults"]:
        names = ("open", "write", "fsync", "replace", "rename", "ftruncate", "fchmod", "mkdir")
        real = {name: getattr(os, name) for name in names}
        for name, call in real.items():
            setattr(os, name, self._failing(name, call))
        try:
            yield self
        finally:
            for name, call in real.items():
                setattr(os, name, call)

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(target: Any, *arguments: Any, **named: Any) -> Any:
            if isinstance(target, int):
                concerned = target in self.ours
            else:
                concerned = (self.folder / target).is_relative_to(self.folder)
            if not concerned:
                return call(target, *arguments, **named)
            if name != "open" or arguments[0] & (os.O_WRONLY | os.O_RDWR):
                self.calls += 1
                if self.calls == self.at or (self.lasting and self.calls > self.at > 0):
                    self.failed.append(name)
                    if name == "write" and not self.lasting:
                        call(target, arguments[0][:7])  # the worst case: a part is there
                    raise OSError(self.kind, os.strerror(self.kind))
            result = call(target, *arguments, **named)
            if name == "open":
                self.ours.add(result)
            return result

        return failing


@dataclass(frozen=True)
class Outcome:
    """What a command did with a fault: its exit code, message and files."""

    code: int
    message: str
    files: dict[str, bytes]
    calls: int
    failed: tuple[str, ...]


def prepare(folder: Path) -> None:
    """The list of words, and a stopped run to resume."""
    from fanin.corpus import Words
    from fanin.model_file import save_model
    from fanin.trainer import prepare as prepared
    from fanin.training import TrainingOptions

    (folder / "words.txt").write_text("\n".join(NAMES))
    run = prepared(
        Words.of(NAMES),
        options=TrainingOptions(steps=6, batch=4),
        hidden=(4,),
        embedding=2,
        block=2,
    )
    kept = []
    run.train(save=kept.append, save_every=3)
    save_model(kept[0], folder / "old")
    for name in ("l.svg", "l.png", "r.svg", "g.svg", "r.html", "r.csv", "m.csv", "m.npz", "f.json"):
        (folder / name).write_text(f"the old {name}")
    (folder / "m").write_bytes((folder / "old").read_bytes())


def attempt(command: str, template: Path, folder: Path, fault: tuple[int, int, bool]) -> Outcome:
    """Runs the command in a fresh copy of the template, with an old file in each one's place."""
    from fanin.cli import main
    from fanin.race.course import course

    for path in template.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    here = Path.cwd()
    faults = Faults(folder, *fault)
    out, err = io.StringIO(), io.StringIO()
    os.chdir(folder)
    inner = inspect.unwrap(course)  # the tests' checks of types stand around it
    every = inner.__kwdefaults__
    inner.__kwdefaults__ = every | {"checkpoint_seconds": 0.0}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), faults():
            code = main(COMMANDS[command].split())
    finally:
        inner.__kwdefaults__ = every
        os.chdir(here)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Outcome(code, err.getvalue(), files, faults.calls, tuple(faults.failed))


def complaints(outcome: Outcome, whole: Outcome, old: dict[str, bytes]) -> list[str]:
    """What is wrong with a command's end; `whole` is that of the run without a fault."""
    from fanin.model_file import load_model

    wrong: list[str] = []
    if outcome.code != 2:
        wrong.append(f"exit code {outcome.code}")
    if outcome.message.count("fanin: ") != 1 or "Traceback" in outcome.message:
        wrong.append("not one message")
    names = {Path(name).name for name in whole.files} | {"folder"}
    if not any(name in outcome.message for name in names):
        wrong.append("the message names no file")
    for name, content in outcome.files.items():
        if ".fanin-" in name or name not in whole.files:
            wrong.append(f"a file is left over, {name}")
        elif name.endswith(".jsonl"):
            wrong += _record_complaints(name, content)
        elif content in (old.get(name), whole.files[name]):
            continue
        elif name in ("m", "old") or name.endswith(".safetensors"):
            with tempfile.NamedTemporaryFile() as copy:
                Path(copy.name).write_bytes(content)
                if name.endswith("states.safetensors"):
                    from fanin.tensor_file import read_tensors

                    read_tensors(copy.name)
                else:
                    load_model(copy.name)
        elif name.endswith((".svg", ".png", ".html", ".csv", ".npz", "f.json")):
            end = _ENDS.get(name.rpartition(".")[2])
            if end is not None and not content.endswith(end):
                wrong.append(f"{name} is cut short")
        else:
            wrong.append(f"{name} is neither the old nor the new one")
    for name in old:
        if name not in outcome.files:
            wrong.append(f"{name} is gone")
    return wrong


_ENDS = {"svg": b"</svg>\n", "png": b"IEND\xaeB`\x82", "html": b"</html>\n", "json": b"}\n"}


def _record_complaints(name: str, content: bytes) -> list[str]:
    from fanin.race.record import whole_event

    lines = content.split(b"\n")
    if lines.pop():
        return [f"{name} ends in half a line"]
    return [
        f"{name}, line {number} is damaged"
        for number, line in enumerate(lines, 1)
        if whole_event(line, number) is None
    ]


def every_call(command: str, template: Path, scratch: Path, turns: int) -> tuple[int, list[str]]:
    """A fault at every call in turn, until a run gets through; how many, and what went wrong.

    A turn has one fault at each call; kind, and whether it lasts, change from call to call and from
    turn to turn, so that all have been at each call after `TURNS` turns.
    """
    numbers = itertools.count()

    def folder() -> Path:
        path = scratch / f"{command}-{next(numbers)}"
        path.mkdir()
        return path

    untouched = attempt(command, template, folder(), (0, 0, False))
    assert untouched.code == 0, untouched.message
    old = {path.name: path.read_bytes() for path in template.iterdir()}
    wrong: list[str] = []
    for turn, at in itertools.product(range(turns), range(1, untouched.calls + 1)):
        kind, lasting = KINDS[(at + turn) % len(KINDS)], (at + turn) % 2 == 0
        found = attempt(command, template, folder(), (at, kind, lasting))
        assert found.failed, f"{command}: call {at} of {untouched.calls} was not reached"
        where = f"{command}, call {at} ({found.failed[0]}), {errno.errorcode[kind]}"
        wrong += [
            f"{where}{', lasting' * lasting}: {each}: {found.message.strip()}"
            for each in complaints(found, untouched, old)
        ]
    return untouched.calls, wrong


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("commands", nargs="*", default=list(COMMANDS))
    asked = options.parse_args()
    if strange := set(asked.commands) - set(COMMANDS):
        options.error(f"{', '.join(strange)}: there are {', '.join(COMMANDS)}")
    with tempfile.TemporaryDirectory() as name:
        template = Path(name, "template")
        template.mkdir()
        prepare(template)
        for command in asked.commands:
            began = time.perf_counter()
            calls, wrong = every_call(command, template, Path(name), TURNS)
            print(*wrong, sep="\n", end="\n" * bool(wrong))
            seconds = time.perf_counter() - began
            print(
                f"{command}: {calls} calls, {TURNS * calls} runs with a fault, {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
