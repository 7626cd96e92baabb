"""The course of a race: its events one after the other, recorded as they come, and gone on with."""

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import final

import msgspec
import numpy as np
from jaxtyping import Float

from fanin.race.checkpoint import Checkpoint, read_checkpoint
from fanin.race.devices import use_all_cores
from fanin.race.events import Chunk, Event, Finished, Opening, Tuned, Width
from fanin.race.lanes import Lane, Run
from fanin.race.plan import Race
from fanin.race.record import Record, RecordedRace, folder_for, open_record
from fanin.race.run import Heat, RaceProgress, heats, race
from fanin.race.widths import choose_width

RECORD = "race.jsonl"

# A race that is killed loses so many seconds at most, or one stretch between evaluations.
CHECKPOINT_SECONDS = 10.0


def course(
    plan: Race, folder: str | Path | None = None, *, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> Generator[Event, None, None]:
    """Race; yields the opening, then every event, each written to the folder before it is yielded.

    In a folder where the same race was begun, what is recorded comes first and the race goes on
    from its checkpoint, with the same numbers as if it had not been stopped; an event that came
    after the checkpoint comes twice. Closing the iterator stops the race. Raises RecordError for
    a folder that cannot be used or holds another race.
    """
    use_all_cores()
    opening = plan.opening()
    with ExitStack() as stack:
        record, recorded = None, RecordedRace(opening, ())
        if folder is not None:
            folder = folder_for(folder)
            record, recorded = open_record(folder / RECORD, opening)
            stack.enter_context(record)
        yield recorded.opening
        yield from recorded.events
        following = _Course(plan, opening, record, folder, recorded, checkpoint_seconds)
        for event in following.events():
            if record is not None:
                record.append(event)
            yield event


@final
class _Course:
    """What is still to be done of a race."""

    def __init__(
        self,
        plan: Race,
        opening: Opening,
        record: Record | None,
        folder: Path | None,
        recorded: RecordedRace,
        checkpoint_seconds: float,
    ) -> None:
        self._plan, self._record, self._folder = plan, record, folder
        self._recorded, self._checkpoint_seconds = recorded, checkpoint_seconds
        timed = [e.seconds for e in recorded.events if isinstance(e, Chunk | Finished)]
        self._began = time.perf_counter() - max(timed, default=0.0)
        # The machine does not make it another race.
        same = msgspec.json.encode((opening.lanes, opening.seeds, opening.options))
        self._race = hashlib.sha256(same).hexdigest()
        chosen = (event.width for event in recorded.events if isinstance(event, Width))
        self._tile = next(chosen, 0)

    def events(self) -> Iterator[Event]:
        lanes = list(self._plan.lanes)
        # Seed by seed, so that what is through first are pairs.
        runs = [Run(lane, seed) for seed in self._plan.seeds for lane in range(len(lanes))]
        if not self._tile:
            width = choose_width(lanes, runs, self._plan.corpus)
            self._tile = width.width
            yield width
        if self._plan.tuning is not None:
            tuned = {e.lane: e for e in self._recorded.events if isinstance(e, Tuned)}
            for place, lane in enumerate(lanes):
                if place not in tuned:
                    tuned[place] = self._tune(place, lane)
                    yield tuned[place]
                options = replace(lane.options, lr=tuned[place].rate)
                lanes[place] = replace(lane, options=options)
        through = {Run(*name) for name in self._recorded.finished()}
        for members in heats(lanes, runs):
            if not through.issuperset(members):
                yield from self._heat(lanes, members, through)

    def _tune(self, place: int, lane: Lane) -> Tuned:
        tuning = self._plan.tuning
        assert tuning is not None
        variants = tuning.variants(lane)
        runs = [Run(rate, seed) for seed in tuning.seeds for rate in range(len(variants))]
        losses: dict[Run, float] = {}
        # Nothing is looked at on the way.
        steps = max(1, self._plan.steps)
        for progress in race(
            variants, runs, self._plan.corpus, evaluate_every=steps, tile=self._tile
        ):
            losses.update(zip(progress.runs, progress.dev_loss.tolist(), strict=True))
        by_rate = tuple(
            tuple(losses[Run(rate, seed)] for seed in tuning.seeds) for rate in range(len(variants))
        )
        best = best_rate(by_rate, self._plan.uniform_loss)
        rates = tuning.rates_of(lane)
        return Tuned(place, rates[best], rates, tuning.seeds, by_rate)

    def _heat(
        self, lanes: Sequence[Lane], members: tuple[Run, ...], through: set[Run]
    ) -> Iterator[Event]:
        heat, fresh = self._begun(lanes, members)
        written = time.perf_counter()
        if fresh:
            yield from self._told(heat.here(), through)
        while heat.step < heat.steps:
            target = min(heat.steps, heat.step + self._plan.interval)
            yield from self._told(heat.advance(target), through)
            now = time.perf_counter()
            if heat.step < heat.steps and now - written >= self._checkpoint_seconds:
                self._save(heat)
                written = time.perf_counter()

    def _begun(self, lanes: Sequence[Lane], members: tuple[Run, ...]) -> tuple[Heat, bool]:
        corpus = self._plan.corpus
        saved = None if self._folder is None else read_checkpoint(self._folder, self._race)
        if saved is not None and saved.runs == members:
            try:
                heat = Heat(
                    lanes, members, corpus, tile=self._tile, saved=saved.states, step=saved.step
                )
            except (KeyError, ValueError):  # of another version: its states do not fit
                pass
            else:
                return heat, False
        return Heat(lanes, members, corpus, tile=self._tile), True

    def _save(self, heat: Heat) -> None:
        if self._record is None or self._folder is None:
            return
        # A checkpoint may not outlive the lines that lead to it.
        self._record.flush_to_disk()
        Checkpoint(self._race, heat.step, heat.runs, heat.save()).write(self._folder)

    def _told(self, records: Iterator[RaceProgress], through: set[Run]) -> Iterator[Event]:
        for progress in records:
            seconds = time.perf_counter() - self._began
            yield Chunk(
                tuple((run.lane, run.seed) for run in progress.runs),
                progress.step,
                _numbers(progress.batch_loss),
                _numbers(progress.dev_loss),
                seconds,
                progress.spent,
            )
            if progress.test_loss is None:
                continue
            dev, test = _numbers(progress.dev_loss), _numbers(progress.test_loss)
            for place, run in enumerate(progress.runs):
                if run not in through:
                    name = (run.lane, run.seed)
                    yield Finished(name, progress.step, dev[place], test[place], seconds)


def best_rate(dev_loss: tuple[tuple[float | None, ...], ...], uniform_loss: float) -> int:
    """The place of the rate with the lowest mean dev loss, by rate and seed.

    Rates at which fewer runs diverged come before, then those at which more losses are finite; of
    equal ones the lowest is taken.
    """

    def score(losses: tuple[float | None, ...]) -> tuple[int, int, float]:
        finite = [loss for loss in losses if loss is not None and math.isfinite(loss)]
        finished = sum(loss <= uniform_loss for loss in finite)
        return -finished, -len(finite), sum(finite) / len(finite) if finite else math.inf

    return min(range(len(dev_loss)), key=lambda rate: score(dev_loss[rate]))


def _numbers(values: Float[np.ndarray, " runs"]) -> tuple[float, ...]:
    return tuple(values.tolist())
