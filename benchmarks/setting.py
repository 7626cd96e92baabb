"""What every section of the benchmarks is told: where it runs, how long, and how tables look."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.contest import Place
from benchmarks.machine import gpus

NO_GPU = "not measured: no GPU here"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Setting:
    """The cores to use, the last of which is for what runs on one, and where pictures go.

    `quick` is a check that everything runs: the figures are of sizes that say nothing.
    """

    cores: tuple[int, ...]
    quick: bool
    pictures: Path
    most_rounds: int = 9

    @property
    def one(self) -> Place:
        return Place(self.cores[-1:])

    @property
    def all(self) -> Place:
        return Place(self.cores)

    @property
    def rounds(self) -> int:
        return 1 if self.quick else self.most_rounds

    def seconds(self, each: float) -> float:
        """Of a turn: so many for each contestant, over all rounds."""
        return 0.01 if self.quick else each / self.rounds

    @cached_property
    def gpus(self) -> dict[str, str]:
        """The GPU that each framework sees, by its module's name: "jax", "torch"."""
        return gpus()


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; all columns but the first to the right. None is a dash."""
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)]]
    lines += [["–" if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(number: float, digits: int = 3) -> str:
    """So many digits that count, and no more of a number than its whole."""
    exponent = int(f"{number:.{digits - 1}e}".partition("e")[2])
    return f"{number:,.{max(0, digits - 1 - exponent)}f}"


def duration(seconds: float) -> str:
    """In µs, ms or s."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{figure(seconds / size)}{SPACE}{unit}"
    return f"{figure(seconds)}{SPACE}s"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f}{SPACE}MB"
