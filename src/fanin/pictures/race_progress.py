"""The progress of a race, on a terminal or line by line: the losses of all starts."""

import math
import time
from typing import TextIO

import numpy as np
from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fanin.pictures.live import LiveDisplay, duration
from fanin.race import Results

_ON_A_LINE = 8  # starts whose losses fit a line of text
_BAR = 24


class RaceDisplay(LiveDisplay):
    """Shows how the race of these results stands, whenever it is told that there is more of them.

    A context manager, on standard error unless told otherwise. With a terminal, a bar and a table
    of the starts' losses; without, a plain line now and then.
    """

    def __init__(self, results: Results, *, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._results = results
        self._began: tuple[int, float] | None = None

    def update(self) -> None:
        """Shows the results, if enough time has gone by since the last."""
        if self._began is None and self._results.steps_done:
            # What came before was compiled, or was on record.
            self._began = self._results.steps_done, time.monotonic()
        self.show()

    @property
    def text(self) -> str:
        """One line: steps, the starts' mean dev losses, speed and time left."""
        plan = self._results.plan
        shown = [
            f"{lane.name} {_mean(self._latest(place)):.3f}"
            for place, lane in enumerate(plan.lanes[:_ON_A_LINE])
            if self._latest(place)
        ]
        more = len(plan.lanes) - _ON_A_LINE
        return " · ".join([self._pace(), *shown, *[f"and {more} more"] * (more > 0)])

    def _pace(self) -> str:
        results = self._results
        plan, done = results.plan, results.steps_done
        whole = plan.steps * len(plan.lanes) * len(plan.seeds)
        if plan.tuning is not None and len(results.tuned) < len(plan.lanes):
            name = plan.lanes[len(results.tuned)].name
            return f"tuning {name}, {len(results.tuned) + 1} of {len(plan.lanes)}"
        parts = [f"{100 * done / max(whole, 1):.0f} %", f"step {results.step:,} of {plan.steps:,}"]
        if self._began is not None and done > self._began[0]:
            speed = (done - self._began[0]) / max(time.monotonic() - self._began[1], 1e-9)
            parts.append(f"{speed:,.0f} steps/s")
            parts += [f"{duration((whole - done) / speed)} left"] * (done < whole)
        return " · ".join(parts)

    def _latest(self, lane: int) -> list[float]:
        """The lane's dev losses by seed, each the last that was measured."""
        return self._results.latest_dev_losses(lane)

    def picture(self) -> Group:
        """A bar, the pace, and a table of the starts' losses."""
        results = self._results
        plan = results.plan
        whole = max(1, plan.steps * len(plan.lanes) * len(plan.seeds))
        table = Table("start", box=box.SIMPLE, show_edge=False, pad_edge=False)
        for head in ("dev loss", "± sd", "lowest", "highest", "not finite"):
            table.add_column(head, justify="right")
        for place, lane in enumerate(plan.lanes):
            losses = self._latest(place)
            finite = [loss for loss in losses if math.isfinite(loss)]
            numbers = (
                [_mean(finite), float(np.std(finite)), min(finite), max(finite)] if finite else []
            )
            cells = [f"{number:.4f}" for number in numbers] or [""] * 4
            lost = len(losses) - len(finite)
            table.add_row(Text(lane.name), *cells, str(lost) if lost else "")
        bar = ProgressBar(total=whole, completed=results.steps_done, width=_BAR)
        return Group(bar, Text(self._pace()), table)


def _mean(losses: list[float]) -> float:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else math.nan
