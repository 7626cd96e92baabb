"""Contestants: processes of their own that measure whenever they are told to, each in its turn.

What else a machine does changes from minute to minute, so every contestant measures once in every
round, and ratios are taken within a round. What is given is the median over the rounds.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

# Read when they load: OpenBLAS, MKL, OpenMP (PyTorch), XLA's pool, PyTorch's compiler.
THREAD_SETTINGS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PJRT_NPROC",
    "TORCHINDUCTOR_COMPILE_THREADS",
)
WARM = 0.05  # seconds that a trial must take to say how much fills a turn
Clock = Literal["cpu", "wall"]


class Work(Protocol):
    """What a contestant does. It may have `facts`, which its process tells once (JSON), and a
    `chunk`, of which its counts are multiples."""

    def run(self, count: int) -> None: ...


class Failure(RuntimeError):
    """A contestant that could not be made."""


@dataclass(frozen=True)
class Place:
    """Where a contestant works: its cores, its threads (one a core, unless told) and its platform.

    On one core the clock is the process's own time, which other programs touch little, unless it
    is asked for the wall's; on several cores, or on a GPU, it is that of the wall.
    """

    cores: tuple[int, ...]
    threads: int | None = None
    platform: str = "cpu"
    wall: bool = False
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def clock(self) -> Clock:
        several = self.wall or self.platform != "cpu" or len(self.cores) > 1
        return "wall" if several else "cpu"

    def environment(self) -> dict[str, str]:
        threads = dict.fromkeys(THREAD_SETTINGS, str(self.threads or len(self.cores)))
        if self.platform == "cpu":
            platform = {"JAX_PLATFORMS": "cpu"}
        else:  # JAX takes three quarters of a GPU's memory otherwise, and others are beside it
            platform = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        path = os.pathsep.join(part for part in (*sys.path, str(Path.cwd())) if part)
        return {**os.environ, **threads, **platform, "PYTHONPATH": path, **dict(self.settings)}


class Contestant:
    """A process with the work that `maker` ("module:callable") makes of the arguments.

    Raises Failure where it cannot be made.
    """

    def __init__(self, maker: str, *arguments: Any, at: Place) -> None:
        self.clock = at.clock
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=at.environment(),
        )
        self._send({"maker": maker, "arguments": arguments, "cores": at.cores})
        told = self._answer()
        if "failed" in told:
            self.close()
            raise Failure(f"{maker}: {told['failed']}")
        self.facts: dict[str, Any] = told["facts"]
        self.first: float = told["first"]
        """Seconds of the first run, which compiles."""
        self.peak = 0
        """Bytes of memory, at most so far."""

    def ask(self, seconds: float) -> None:
        self._send({"seconds": seconds})

    def answer(self) -> float:
        """Seconds for one of what is counted."""
        told = self._answer()
        self.peak = told["peak"]
        return told[self.clock]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _send(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Failure("a contestant's process ended before its answer")
        return json.loads(line)


@contextmanager
def closing_all(contestants: Mapping[str, Sequence[Contestant]]) -> Iterator[None]:
    try:
        yield
    finally:
        for group in contestants.values():
            for contestant in group:
                contestant.close()


@dataclass(frozen=True)
class Times:
    """Seconds for one of what is counted, by name and round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """The median of what each round's times of the two have for a ratio."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return statistics.median(a / b for a, b in pairs)


def take_turns(
    contestants: Mapping[str, Sequence[Contestant]], rounds: int, seconds: float
) -> Times:
    """Each in turn for so many seconds, in every round; those of one name at the same time.

    Of several at a time it is what they need together for one: the slowest one's time, shared.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, group in contestants.items():
            for contestant in group:
                contestant.ask(seconds)
            found[name].append(max(each.answer() for each in group) / len(group))
    return Times(found)


def serve() -> None:
    """The other side: makes the work, then measures at every line that comes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    orders = map(json.loads, sys.stdin)

    def tell(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")

    order = next(orders)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order["cores"])
    try:
        work = make(order["maker"], order["arguments"])
        chunk: int = getattr(work, "chunk", 1)
        first, _ = timed(work, chunk)
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        tell(failed=f"{type(error).__name__}: {text[0]}")
        return
    tell(facts=getattr(work, "facts", {}), first=first)
    count = 0
    for order in orders:
        if count:
            wall, cpu = timed(work, count)
        else:
            count, (wall, cpu) = fill(work, chunk, order["seconds"])
        tell(wall=wall / count, cpu=cpu / count, peak=peak_memory())


def make(maker: str, arguments: Sequence[Any]) -> Work:
    """The work of a maker, "module:callable"."""
    module, name = maker.split(":")
    return getattr(importlib.import_module(module), name)(*arguments)


def timed(work: Work, count: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work.run(count)
    return time.perf_counter() - wall, time.process_time() - cpu


def fill(work: Work, chunk: int, seconds: float) -> tuple[int, tuple[float, float]]:
    """How many take about so many seconds, and their time."""
    count = chunk
    while True:
        taken = timed(work, count)
        if taken[0] > min(WARM, seconds):
            break
        count *= 2
    filling = max(1, round(count / chunk * seconds / taken[0])) * chunk
    # What takes longer than its turn is not done again for nothing.
    return filling, taken if filling == count else timed(work, filling)


def peak_memory() -> int:
    """The most bytes that this process had in memory so far, shared libraries and all."""
    try:
        # Linux's own count for this program: ru_maxrss still knows the one that started it.
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    return 1024 * next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")
    )


if __name__ == "__main__":
    serve()
