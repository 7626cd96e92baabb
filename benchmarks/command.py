"""Whole commands, from their start to their end: time and memory."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

from benchmarks.contest import Place


@dataclass(frozen=True)
class Ran:
    """Seconds (by the place's clock) and bytes (at most) of a command; its standard output."""

    seconds: float
    peak: int
    output: str


def run(command: Sequence[str], at: Place, environment: Mapping[str, str] | None = None) -> Ran:
    """Raises CalledProcessError where the command fails."""
    settings = {**at.environment(), **(environment or {})}
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=errors,
            env=settings,
            preexec_fn=lambda: _keep_to(at.cores),
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = (
            used.ru_utime + used.ru_stime if at.clock == "cpu" else time.perf_counter() - began
        )
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        told = output.read()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, told, errors.read())
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return Ran(seconds, used.ru_maxrss * unit, told)


def _keep_to(cores: tuple[int, ...]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
