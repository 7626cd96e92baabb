"""A race that one watches: starts side by side, and the verdict as it stands."""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from fanin.errors import FaninError
from fanin.lab.pictures.chart import Series, line
from fanin.lab.pictures.source import program, style
from fanin.lab.presence import Watch
from fanin.lab.tab import background, session
from fanin.race import Race, Results, course, table

FRAME_SECONDS = 1 / 10


class LiveRace(anywidget.AnyWidget):
    """A race with its dev losses drawn as it runs, a band over the seeds around each median.

    `load` gives it what is raced; the button runs it from the beginning.
    """

    _esm = program("frame.js", "chart.js", "race_widget.js")
    _css = style()
    series = traitlets.List([]).tag(sync=True)
    marks = traitlets.List([]).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    wrong = traitlets.Unicode("").tag(sync=True)
    standings = traitlets.List([]).tag(sync=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._plan: Race | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._watch = Watch(session())
        self.on_msg(self._asked)

    def load(self, plan: Race) -> None:
        """Put another race in the place of this one, which ends."""
        self.stop()
        self._plan = plan
        self.series, self.standings, self.wrong = [], [], ""
        self.marks = [{"axis": "y", "value": plan.uniform_loss, "label": "log V, a blind guess"}]
        self.status = (
            f"{len(plan.lanes)} starts × seeds {plan.seeds[0]} to {plan.seeds[-1]}, "
            f"{plan.steps:,} steps each"
        )

    def start(self) -> None:
        """Race from the beginning, while this returns at once."""
        if self._plan is None or self.running:
            return
        self._prepare()
        self.running = True
        self._thread = background(self._run)

    def stop(self) -> None:
        """End the race where it stands, and wait until it has ended."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def finish(self) -> None:
        """Race, and wait for it: for programs, where nobody watches."""
        if self._plan is not None:
            self._prepare()
            self._run()

    def _prepare(self) -> None:
        self._stopping = threading.Event()
        self.wrong, self.standings = "", []

    def _run(self) -> None:
        assert self._plan is not None
        try:
            self._race(self._plan)
        except FaninError as error:
            self.wrong = str(error)
        finally:
            self.running = False

    def _asked(self, _: Any, message: Any, buffers: Any) -> None:
        if message.get("wish") == "go":
            self.start()
        elif message.get("wish") == "stop":
            self.stop()

    def _race(self, plan: Race) -> None:
        results, drawn = Results(plan), 0.0
        self.status = "compiling …"
        with contextlib.closing(course(plan)) as events:
            next(events)  # the opening
            for event in events:
                results.add(event)
                if self._stopping.is_set() or self._watch.gone:
                    break
                if time.monotonic() - drawn >= FRAME_SECONDS:
                    drawn = time.monotonic()
                    self._draw(results)
        self._draw(results)

    def _draw(self, results: Results) -> None:
        plan = results.plan
        self.series = race_series(results)
        whole = plan.steps * len(plan.lanes) * len(plan.seeds)
        self.status = (
            f"step {results.step:,} of {plan.steps:,} · "
            f"{results.steps_done / whole:.0%} · {results.seconds:.1f} s"
        )
        if results.measured and len(plan.seeds) > 1:
            verdict = results.judge(bootstrap=False)
            heads, rows = table(results.document(verdict))
            judged = f"{verdict.judged_on} loss"
            self.standings = [
                [judged if head == "test loss" else head for head in heads],
                *map(list, rows),
            ]


def race_series(results: Results) -> list[Series]:
    """The median dev loss of each lane over its seeds, between the best and the worst."""
    drawn: list[Series] = []
    for place, lane in enumerate(results.plan.lanes):
        curves = results.curves(place)
        steps, (low, middle, high) = _spread(curves.steps, curves.dev_loss)
        drawn.append(
            line(lane.name, steps, middle, tone=place, dashed=place, wide=2.2, between=(low, high))
        )
    return drawn


def _spread(steps: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, Sequence[np.ndarray]]:
    """Where a run has a loss: the lowest, median and highest over the runs that have one."""
    there = np.isfinite(losses).any(axis=0) if losses.size else np.zeros(0, bool)
    known = losses[:, there]
    return steps[there], (
        [np.nanmin(known, axis=0), np.nanmedian(known, axis=0), np.nanmax(known, axis=0)]
        if known.size
        else [known.reshape(-1)] * 3
    )
