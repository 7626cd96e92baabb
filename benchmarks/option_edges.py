"""Every option of every command at its edges, taken from the command line's own signatures.

`python -m benchmarks.option_edges` gives each option that takes a number or a text each of the
values below, the others staying as they are, and each option's name misspelt. What comes out is a
result, a run that goes on until it is interrupted, or exit code 2 with one message that names the
option; never a traceback. An option that is new is covered by itself. Its figures are in
docs/reliability.md; tests/test_option_edges.py runs a part.
"""

import argparse
import collections
import contextlib
import io
import os
import re
import resource
import signal
import tempfile
import time
import typing
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.faults import NAMES

from fanin.cli import app, main

NUMBERS = ("0", "-1", "1", "1.5", "nan", "inf", "-inf", "1e308", "1e-320", "1" + "0" * 30, "-0.0")
NUMBERS += ("-1" + "0" * 30, "", " ", "x", "1_0", "٣", "0x10", "1" * 5000, "1,2", "--", "NaN,1")
_NETWORK = {"--hidden": "4", "--embedding": "2", "--block": "2", "--batch": "4"}
_RACE = {"--seeds": "1", "--steps": "2", "--start": "fanin", "--quiet": None}

# A small job of each command; options of what takes long or writes are replaced by the value tried.
JOBS: dict[str, list[tuple[list[str], dict[str, str | None]]]] = {
    "train": [(["words.txt"], _NETWORK | {"--steps": "3", "--quiet": None, "--out": "m"})],
    "sample": [(["model"], {"--count": "3"})],
    "find-lr": [(["words.txt"], _NETWORK | {"--steps": "60"})],
    "diagnose": [(["words.txt"], _NETWORK | {"--batch": "32", "--fix": None})],
    "diff": [(["report.json", "report.json"], {})],
    "gain": [(["tanh"], {})],
    "starts": [([], {})],
    "race": [
        (["words.txt"], _NETWORK | _RACE),
        (["words.txt"], _NETWORK | _RACE | {"--tune-lr": None, "--tuning-seeds": "1"}),
        (
            ["words.txt"],
            {"--calibrate": None, "--families": "1", "--members": "1", "--steps": "2"}
            | {"--block": "2", "--quiet": None},
        ),
    ],
    "map": [
        (
            ["words.txt"],
            {"--x": "gain=1:2:2", "--y": "depth=1:2:2", "--width": "4", "--steps": "2"}
            | {"--embedding": "2", "--block": "2", "--batch": "4", "--quiet": None},
        )
    ],
    "search": [
        (
            ["words.txt"],
            _NETWORK
            | {"--budget": "30", "--candidates": "2", "--seeds": "2", "--steps": "2"}
            | {"--activation": "tanh", "--norm": "none", "--tuning-seeds": "1", "--quiet": None},
        )
    ],
    "lab": [([], {"--no-browser": None})],
}
SECONDS = 2.0
ENDED = -1
"""The exit code of a command that took its process with it."""
MEMORY = 12 * 2**30
_FLAGS = (bool, type(None))


def commands() -> list[str]:
    return [name for name in app if not name.startswith("-")]


@cache
def options(command: str) -> dict[str, tuple[str, ...]]:
    """Each option of the command that takes a value, with all its names."""
    found: dict[str, tuple[str, ...]] = {}
    for argument in app[command].assemble_argument_collection():
        if not argument.names or not argument.names[0].startswith("-"):
            continue
        if argument.hint is bool:
            continue
        found[argument.names[0]] = argument.names
    return found


@cache
def kinds(command: str, option: str) -> set[Any]:
    """The types that the option takes."""
    for argument in app[command].assemble_argument_collection():
        if option in argument.names:
            hint = argument.hint
            return {hint, typing.get_origin(hint), *typing.get_args(hint)}
    raise KeyError(option)


def cases(command: str) -> Iterator[tuple[str, list[str]]]:
    """An option, and the command line that tries a value of it."""
    for positional, settings in JOBS[command]:
        for option in options(command):
            values = ("x", "") if typing.Literal in kinds(command, option) else NUMBERS
            for value in values:
                line = [*positional]
                for name, setting in settings.items():
                    if name not in options(command).get(option, ()) and name != option:
                        line += [name] if setting is None else [name, setting]
                yield option, [command, *line, option, value]


def misspelt(command: str) -> Iterator[tuple[str, list[str]]]:
    """An option, and the command line with its name misspelt: two letters exchanged."""
    for option in options(command):
        letters = option.removeprefix("--")
        for place in range(1, len(letters) - 1):
            wrong = letters[:place] + letters[place + 1] + letters[place] + letters[place + 2 :]
            if wrong != letters and len(letters) > 4:
                yield option, [command, f"--{wrong}", "1"]
                break


def outcome(line: list[str], seconds: float = SECONDS) -> tuple[int, str]:
    """Exit code and what stood on standard error; after so many seconds it is interrupted."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)  # as Ctrl-C does

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(line)
    except KeyboardInterrupt:
        code = 130
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return code, err.getvalue()


def complaint(option: str, line: list[str], code: int, message: str) -> str:
    """What is wrong with the outcome, or nothing."""
    # An interrupt within a callback, where Python can only print it, is this study's own.
    interrupted = "in interrupt\n" in message or code == 130
    if ("Traceback" in message or "Warning" in message) and not interrupted:
        return "a traceback or a warning"
    if code in (0, 1, 130):
        return ""
    if code != 2:
        return f"exit code {code}"
    last = message.strip().splitlines()[-1]
    if not last.startswith("fanin: ") or message.count("fanin: ") > 2:
        return "not one message"
    if "better than a blind guess" in last:  # a result, of which it takes no option to complain
        return ""
    name = option.lstrip("-") + "-learning" * (option == "--lr")
    if any(part in last.lower() for part in re.findall(r"[a-z]+", name)):
        return ""
    # The name of a file is shown as it is.
    if not kinds(line[0], option) & {int, float} and line[-1][:40] in last:
        return ""
    return "the message does not name the option"


def prepare(folder: Path) -> None:
    """What the jobs read, but for the report."""
    from fanin.corpus import Words
    from fanin.model_file import save_model
    from fanin.trainer import fit
    from fanin.training import TrainingOptions

    (folder / "words.txt").write_text("\n".join(NAMES))
    model = fit(Words.of(NAMES), options=TrainingOptions(steps=3, batch=4), hidden=(4,))
    save_model(model, folder / "model")


def write_report(folder: Path) -> None:
    """A report for `fanin diff`."""
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), write_through=True)) as out:
        main(["diagnose", str(folder / "words.txt"), "--hidden", "4", "--json"])
        out.flush()
        (folder / "report.json").write_bytes(out.buffer.getvalue())  # type: ignore[attr-defined]


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def _begin() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("always")


def outcomes(lines: Iterable[list[str]]) -> Iterator[tuple[int, str]]:
    """Of each command line, in a process that lasts until one of them is interrupted: JAX does not
    survive that at every point."""
    process: ProcessPoolExecutor | None = None
    for line in lines:
        process = process or ProcessPoolExecutor(1, get_context("spawn"), _begin)
        try:
            found = process.submit(outcome, line).result()
        except BrokenProcessPool:  # the lab ends its process at Ctrl-C, and nothing else may
            found = (130, "") if line[0] == "lab" else (ENDED, "")
        yield found
        if found[0] in (130, ENDED):
            process.shutdown()
            process = None
    if process is not None:
        process.shutdown()


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", default=commands())
    asked = parser.parse_args()
    if strange := set(asked.commands) - set(commands()):
        parser.error(f"{', '.join(strange)}: there are {', '.join(commands())}")
    with tempfile.TemporaryDirectory() as name, in_folder(Path(name)):
        prepare(Path(name))
        write_report(Path(name))
        for command in asked.commands:
            began = time.perf_counter()
            codes: collections.Counter[int] = collections.Counter()
            tried = list(cases(command))
            for (option, line), (code, message) in zip(
                tried, outcomes(line for _, line in tried), strict=True
            ):
                codes[code] += 1
                if wrong := complaint(option, line, code, message):
                    shown = " ".join(part[:40] for part in line)
                    print(f"{wrong}: {shown}: {message.strip()[-300:]}", flush=True)
            for option, line in misspelt(command):
                code, message = outcome(line)
                codes[code] += 1
                if code != 2 or f"{option}" not in message:
                    print(f"no suggestion of {option}: {' '.join(line)}: {message.strip()[-300:]}")
            counts = ", ".join(f"{number:,} × {code}" for code, number in sorted(codes.items()))
            print(f"{command}: {counts}; {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    run()
