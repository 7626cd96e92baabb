"""What a race has shown so far: gathered from its events, judged, and written as a document."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias, final

import numpy as np
from jaxtyping import Float, Integer

from fanin.errors import OptionError
from fanin.race.events import (
    Chunk,
    Event,
    Finished,
    Joined,
    Number,
    Opening,
    Resumed,
    RunName,
    Tuned,
    Width,
)
from fanin.race.machine import Machine
from fanin.race.plan import Race
from fanin.race.standings import LEVEL, MARGIN, Standings, judge
from fanin.race.table import StandingsDocument, document_of
from fanin.race.time_to_target import TimeToTarget, reached_at, time_to_target

JudgedOn: TypeAlias = Literal["test", "dev"]


@final
@dataclass(frozen=True, eq=False)
class Curves:
    """One lane's losses on the way, by seed and by step; NaN where a run diverged or is not yet."""

    steps: Integer[np.ndarray, " steps"]
    batch_loss: Float[np.ndarray, "runs steps"]
    dev_loss: Float[np.ndarray, "runs steps"]


@final
@dataclass(frozen=True)
class Verdict:
    """The standings, and on which losses they rest.

    A race that is through is judged on test losses. Before that the test set is left alone: the
    interim verdict is on the dev losses after `step` steps, the last that all runs have done.
    """

    standings: Standings
    judged_on: JudgedOn
    step: int


@final
class Results:
    """Takes events in, in any number and twice if need be; knows how the race stands."""

    def __init__(self, plan: Race) -> None:
        self.plan = plan
        self.tuned: dict[int, Tuned] = {}
        self.finished: dict[RunName, Finished] = {}
        self.seconds = 0.0
        self.tile: int | None = None
        self.machines: list[Machine] = []
        """Those that ran some of it, in turn."""
        self.joined: dict[int, Machine] = {}
        """Those of processes whose machine was not of process 0's kind."""
        self._machine: Machine | None = None
        self._chunks: dict[RunName, dict[int, tuple[float, float]]] = {}
        self._spent: dict[RunName, dict[int, float]] = {}

    def add(self, event: Event) -> None:
        """Takes in what an event says."""
        if isinstance(event, Opening | Resumed):
            self._machine = event.machine
        elif self._machine is not None and self._machine not in self.machines:
            self.machines.append(self._machine)
        if isinstance(event, Joined):
            self.joined[event.process] = event.machine
        elif isinstance(event, Width):
            self.tile = event.width
        elif isinstance(event, Tuned):
            self.tuned[event.lane] = event
        elif isinstance(event, Finished):
            self.finished[event.run] = event
            self.seconds = max(self.seconds, event.seconds)
        elif isinstance(event, Chunk):
            self.seconds = max(self.seconds, event.seconds)
            dev = event.dev_loss or (None,) * len(event.runs)
            for run, *losses in zip(event.runs, event.batch_loss, dev, strict=True):
                batch, on_dev = map(_float, losses)
                self._chunks.setdefault(run, {})[event.step] = batch, on_dev
                self._spent.setdefault(run, {})[event.step] = event.spent

    def add_all(self, events: Iterable[Event]) -> "Results":
        for event in events:
            self.add(event)
        return self

    @property
    def complete(self) -> bool:
        return len(self.finished) == len(self.plan.lanes) * len(self.plan.seeds)

    @property
    def measured(self) -> bool:
        """Whether there is something to judge: a step that all runs have done, or one through."""
        return bool(self.finished or self._common_steps())

    @property
    def step(self) -> int:
        """The last step that all runs have done and were measured at; 0 before any."""
        return max(self._common_steps(), default=0)

    @property
    def steps_done(self) -> int:
        """The steps of all runs together."""
        return sum(max(chunks) for chunks in self._chunks.values())

    def curves(self, lane: int) -> Curves:
        """How a lane's losses went, at every step at which one of its runs was measured."""
        runs = [(lane, seed) for seed in self.plan.seeds]
        steps = sorted({step for run in runs for step in self._chunks.get(run, ())})
        missing = (math.nan, math.nan)
        losses = np.array(
            [[self._chunks.get(run, {}).get(step, missing) for step in steps] for run in runs]
        ).reshape(len(runs), len(steps), 2)
        return Curves(np.array(steps, dtype=np.int64), losses[..., 0], losses[..., 1])

    def dev_losses(self, lane: int, step: int) -> tuple[Number, ...]:
        """A lane's dev losses by seed after so many steps; None for a run not measured then."""
        found = (self._chunks.get((lane, seed), {}).get(step) for seed in self.plan.seeds)
        return tuple(None if losses is None else losses[1] for losses in found)

    def latest_dev_losses(self, lane: int) -> list[float]:
        """A lane's dev losses, of each run that was measured the last one."""
        found = (self._chunks.get((lane, seed)) for seed in self.plan.seeds)
        return [chunks[max(chunks)][1] for chunks in found if chunks]

    def judge(
        self,
        *,
        reference: str | None = None,
        margin: float = MARGIN,
        level: float = LEVEL,
        bootstrap: bool = True,
    ) -> Verdict:
        """The verdict as it stands; OptionError where there is nothing yet to judge, or as `judge`.

        Where some runs are through and others not begun, it is on the test losses there are.
        """
        plan, names = self.plan, [lane.name for lane in self.plan.lanes]
        lanes = range(len(names))
        on_test = bool(self.finished) and (self.complete or not self._common_steps())
        step = plan.steps if on_test else self.step
        if not self.measured:
            raise OptionError("nothing was measured yet, so there is nothing to judge")
        by_test = {names[lane]: self._test_losses(lane) for lane in lanes}
        by_dev = {names[lane]: self.dev_losses(lane, step) for lane in lanes}
        standings = judge(
            by_test if on_test else by_dev,
            uniform_loss=plan.uniform_loss,
            reference=reference,
            seeds=plan.seeds,
            dev_loss=by_dev,
            tuned_lr={names[lane]: tuned.rate for lane, tuned in self.tuned.items()},
            margin=margin,
            level=level,
            interim=not self.complete,
            bootstrap=bootstrap,
        )
        return Verdict(standings, "test" if on_test else "dev", step)

    def document(self, verdict: Verdict, *, target: float | None = None) -> StandingsDocument:
        """The verdict as what is written; with a target, how long runs took to that dev loss."""
        by_steps, by_seconds = {}, {}
        if target is not None:
            for place, lane in enumerate(self.plan.lanes):
                by_steps[lane.name], by_seconds[lane.name] = self._times(place, target)
        whole = document_of(
            verdict.standings,
            steps=self.plan.steps,
            seconds=self.seconds,
            steps_to_target=by_steps,
            seconds_to_target=by_seconds,
        )
        notes = (*whole.notes, *self._notes(verdict, target))
        starts = whole.starts
        if verdict.judged_on == "dev":
            # What was judged are no test losses, and there are none yet.
            none = (None,) * len(self.plan.seeds)
            starts = tuple(replace(start, test_loss=none) for start in starts)
        return replace(
            whole,
            notes=notes,
            starts=starts,
            judged_on=verdict.judged_on,
            judged_at_step=verdict.step,
        )

    def at_edge(self) -> dict[str, Tuned]:
        """The lanes whose best rate is the lowest or the highest that was tried."""
        return {
            self.plan.lanes[lane].name: tuned
            for lane, tuned in sorted(self.tuned.items())
            if tuned.rate in (min(tuned.rates), max(tuned.rates))
        }

    def never_finished(self) -> list[str]:
        """The lanes of which some run diverged at every rate that was tried."""

        def diverged(loss: Number) -> bool:
            return loss is None or not loss <= self.plan.uniform_loss

        return [
            self.plan.lanes[lane].name
            for lane, tuned in sorted(self.tuned.items())
            if all(any(map(diverged, losses)) for losses in tuned.dev_loss)
        ]

    def _notes(self, verdict: Verdict, target: float | None) -> list[str]:
        found: list[str] = []
        if verdict.judged_on == "dev":
            found.append(
                f"Judged on dev losses after step {verdict.step:,} of {self.plan.steps:,}; test "
                "losses are looked at when the race is through."
            )
        if self.plan.tuning is not None:
            count = len(self.plan.tuning.seeds)
            found.append(
                f"Learning rates were tuned with {count} other seed{'s' * (count > 1)}, the same "
                "grid and steps for each start, on dev losses."
            )
        found += [
            f"At no rate that was tried did every tuning run of {name} finish."
            for name in self.never_finished()
        ]
        for name, tuned in self.at_edge().items():
            side = "lowest" if tuned.rate == min(tuned.rates) else "highest"
            found.append(
                f"The best rate of {name}, {tuned.rate:g}, is the {side} that was tried; "
                "one beyond it may be better."
            )
        if target is not None:
            found.append(
                f"Steps to target: until the dev loss was at or below {target:g}, as measured "
                f"every {self.plan.interval:,} steps; seconds are those of a run's own training."
            )
        for before, after in pairwise(self.machines):
            found.append(
                "The race went on on another machine, where the same run may have other numbers: "
                f"{'; '.join(before.differences(after))}."
            )
        if self.joined and self.machines:
            process, machine = next(iter(self.joined.items()))
            found.append(
                f"Processes ran on unlike machines (process 0's and process {process}'s: "
                f"{'; '.join(self.machines[0].differences(machine))}), where the same run may have "
                "other numbers."
            )
        return found

    def _test_losses(self, lane: int) -> tuple[Number, ...]:
        found = (self.finished.get((lane, seed)) for seed in self.plan.seeds)
        return tuple(None if run is None else _float(run.test_loss) for run in found)

    def _common_steps(self) -> set[int]:
        wanted = len(self.plan.lanes) * len(self.plan.seeds)
        if len(self._chunks) < wanted:
            return set()
        return set[int].intersection(*(set(chunks) for chunks in self._chunks.values()))

    def _times(self, lane: int, target: float) -> tuple[TimeToTarget, TimeToTarget]:
        curves = self.curves(lane)
        steps = reached_at(curves.steps, curves.dev_loss, target)
        # A run that diverged counts as watched to the end of what the race has done.
        watched = np.full(len(steps), curves.steps.max(initial=0))
        pace = np.array([self._pace((lane, seed)) for seed in self.plan.seeds])
        return (
            time_to_target(steps, watched, target),
            time_to_target(steps * pace, watched * pace, target),
        )

    def _pace(self, run: RunName) -> float:
        """Seconds of a run's training for each step; the first stretch compiles and counts not."""
        spent = [seconds for _, seconds in sorted(self._spent.get(run, {}).items())]
        steps = sorted(self._spent.get(run, ()))
        if len(steps) < 2:
            return math.nan
        first = 1 if len(steps) > 2 else 0
        return sum(spent[first + 1 :]) / (steps[-1] - steps[first])


def _float(number: Number) -> float:
    return math.nan if number is None else number
