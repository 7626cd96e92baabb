"""The progress of a search, on a terminal or line by line: the rung, what was spent, who leads."""

import time
from typing import TextIO

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.text import Text

from fanin.pictures.live import LiveDisplay, duration
from fanin.search import SearchResults

_BAR = 24


class SearchDisplay(LiveDisplay):
    """Shows how a search stands, whenever it is told that there is more of it.

    A context manager, on standard error unless told otherwise. With a terminal, a bar and a line
    for each rung that is through; without, a plain line now and then.
    """

    def __init__(self, results: SearchResults, *, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._results = results
        self._began: tuple[float, float] | None = None
        self._told = 0

    def update(self) -> None:
        """Shows the results, if a rung is through or enough time has gone by since the last."""
        spent, done = self._results.spent, len(self._results.rungs)
        if self._began is None and spent:
            # What came before was compiled, or was on record.
            self._began = spent, time.monotonic()
        self.show(line=done > self._told)
        self._told = done

    @property
    def text(self) -> str:
        """One line: the rung, runs spent, who leads, the time left."""
        return " · ".join([*self._where(), *self._leader(), *self._pace()])

    def _where(self) -> list[str]:
        results, rungs = self._results, self._results.plan.rungs
        spent = f"{results.spent:,.1f} of {results.plan.budget:,} runs"
        if results.checked is not None:
            return ["checked", spent]
        if results.current is not None and results.current.rung is None:
            race = results.current.race
            if race.plan.tuning is not None and len(race.tuned) < len(race.plan.lanes):
                tuning = f"{len(race.tuned) + 1} of {len(race.plan.lanes)}"
                return [f"check: tuning {tuning}", spent]
            return ["check", spent]
        rung = rungs[min(len(results.rungs), len(rungs) - 1)]
        return [
            f"rung {rung.number} of {len(rungs)}",
            f"{rung.candidates:,} candidates × {len(rung.seeds)} seeds × {rung.steps:,} steps",
            spent,
        ]

    def _leader(self) -> list[str]:
        leader = self._results.leader if self._results.rungs else None
        if leader is None:
            return []
        best = self._results.placed(self._results.plan.pool.index(leader))[-1]
        return [f"first on rung {best.rung}: {leader.name} {best.mean or 0:.4f}"]

    def _pace(self) -> list[str]:
        results = self._results
        if self._began is None or results.checked is not None:
            return []
        done, left = results.spent - self._began[0], results.plan.budget - results.spent
        if done <= 0 or left <= 0:
            return []
        pace = (time.monotonic() - self._began[1]) / done
        return [f"at most {duration(pace * left)} left"]

    def picture(self) -> Group:
        """A bar, the rung, and who leads."""
        results = self._results
        bar = ProgressBar(
            total=results.plan.budget,
            completed=min(results.spent, results.plan.budget),
            width=_BAR,
        )
        lines = [" · ".join([*self._where(), *self._pace()]), *self._leader()]
        return Group(bar, *map(Text, lines))
