"""Whole commands, from their start to their end: time and memory."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

from benchmarks.contest import Place

# A process inherits the peak of the one that starts it: so that is a small one of its own.
_LAUNCH = """
import os, sys, time
write, *command = sys.argv[1:]
began = time.perf_counter()
process = os.fork()
if not process:
    os.execvp(command[0], command)
_, status, used = os.wait4(process, 0)
wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
code = os.waitstatus_to_exitcode(status)
os.write(int(write), f"{code} {wall} {cpu} {used.ru_maxrss}".encode())
"""


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
        read, write = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-SEc", _LAUNCH, str(write), *command],
            stdout=output,
            stderr=errors,
            env=settings,
            pass_fds=[write],
            preexec_fn=lambda: _keep_to(at.cores),
        )
        os.close(write)
        with os.fdopen(read) as measured:
            figures = measured.read().split()
        process.wait()
        output.seek(0)
        errors.seek(0)
        told = output.read()
        code = int(figures[0]) if figures else process.returncode
        if code:
            raise subprocess.CalledProcessError(code, command, told, errors.read())
    wall, cpu, peak = map(float, figures[1:])
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return Ran(cpu if at.clock == "cpu" else wall, int(peak) * unit, told)


def _keep_to(cores: tuple[int, ...]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
