"""The time of the main job, `fanin train`, from the command to the file it writes; one core.

`cold` begins with an empty cache folder, `warm` uses the compiled programs that this left there,
and with the switch nothing is kept. `first losses` is when the first batches and the dev set have
their losses, from the start of the interpreter on.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.command import Ran, run
from benchmarks.setting import Setting, duration, megabytes, table

STEPS, ROUNDS = 200_000, 3
WAYS = {"cold": {}, "warm": {}, "switched off": {"JAX_ENABLE_COMPILATION_CACHE": "false"}}
FIRST_LOSSES = """
import os
from fanin.program_cache import keep_programs
keep_programs()
from fanin.trainer import prepare
def look(progress):
    if progress.step and progress.dev_loss is not None:
        os._exit(0)
prepare().train(look)
"""


def measure(setting: Setting) -> str:
    steps = 40 if setting.quick else STEPS
    kinds: dict[str, list[str]] = {
        "first losses": ["-c", FIRST_LOSSES],
        "whole command, 1 step": ["-m", "fanin", "train", "--steps", "1"],
        f"whole command, {steps:,} steps": ["-m", "fanin", "train", "--steps", str(steps)],
    }
    last = list(kinds)[-1]
    found: dict[str, dict[str, list[Ran]]] = {way: {kind: [] for kind in kinds} for way in WAYS}
    others: dict[str, list[Ran]] = {}
    for _ in range(1 if setting.quick else ROUNDS):
        with tempfile.TemporaryDirectory() as text:
            for number, (kind, program) in enumerate(kinds.items()):
                folder = Path(text) / str(number)
                folder.mkdir()
                for way, switch in WAYS.items():
                    if kind == last and switch:
                        continue  # what the steps themselves take hangs on no cache
                    command = [sys.executable, *program]
                    if "-m" in program:
                        model = str(folder / "model.safetensors")
                        command += ["--json", "--quiet", "--out", model]
                    environment = {"XDG_CACHE_HOME": str(folder), **switch}
                    found[way][kind].append(run(command, setting.one, environment))
            if not (setting.quick or others):
                _run_others(setting, folder, others)
    rows = [
        [
            way,
            *(_median(of_way[kind], lambda ran: ran.seconds) for kind in kinds),
            megabytes(max(ran.peak for runs in of_way.values() for ran in runs)),
        ]
        for way, of_way in found.items()
    ]
    parts = [table(["`fanin train`", *kinds, "peak memory"], rows)]
    if others:
        rows = [
            [
                f"`{name}`",
                _median(ran, lambda one: one.seconds),
                megabytes(max(r.peak for r in ran)),
            ]
            for name, ran in others.items()
        ]
        parts.append(table(["other commands, warm", "whole command", "peak memory"], rows))
    return "\n\n".join(parts)


def _run_others(setting: Setting, folder: Path, found: dict[str, list[Ran]]) -> None:
    """Each twice, of which the second, warm, counts."""
    model = str(folder / "model.safetensors")
    race = "race --start fanin --start normal --seeds 8 --steps 500"
    for name in ("sample names.safetensors -n 10000", "diagnose", race):
        words = name.replace("names.safetensors", model).split()
        command = [sys.executable, "-m", "fanin", *words, "--json"]
        for _ in range(2):
            ran = run(command, setting.one, {"XDG_CACHE_HOME": str(folder)})
        found.setdefault(f"fanin {name}", []).append(ran)


def _median(ran: list[Ran], number: Callable[[Ran], float]) -> str | None:
    return duration(statistics.median(map(number, ran))) if ran else None
