"""The course of a race: its events one after the other, recorded as they come, and gone on with."""

import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, final

import jax
import msgspec
import numpy as np
from jaxtyping import Float

from fanin.errors import OptionError
from fanin.race.agreement import agree
from fanin.race.checkpoint import Checkpoint, read_checkpoint
from fanin.race.devices import MEMORY_SHARE, memory_for_states, use_all_cores
from fanin.race.events import Chunk, Event, Finished, Joined, Later, Opening, Tuned, Width
from fanin.race.lanes import Lane, Run, state_bytes
from fanin.race.plan import Race
from fanin.race.processes import ALONE, Processes, ProcessLost
from fanin.race.record import Record, RecordedRace, folder_for, open_record, options_of
from fanin.race.run import Heat, RaceProgress, heats, race
from fanin.race.shares import deal, in_words, states_of
from fanin.race.widths import choose_width
from fanin.tensor_file import pack, unpack

RECORD = "race.jsonl"

# A race that is killed loses so many seconds at most, or one stretch between evaluations.
CHECKPOINT_SECONDS = 10.0

_Decision = TypeVar("_Decision")


def course(
    plan: Race,
    folder: str | Path | None = None,
    *,
    processes: Processes = ALONE,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Generator[Event, None, None]:
    """Race; yields the opening, then every event, each written to the folder before it is yielded.

    In a folder where the same race was begun, what is recorded comes first and the race goes on
    from its checkpoint, with the same numbers as if it had not been stopped; an event that came
    after the checkpoint comes twice. Closing the iterator stops the race. Raises RecordError for
    a folder that cannot be used or holds another race.

    Several processes (`join`) share the runs, and each iterates to the end: process 0 has the
    folder and yields all events, the others yield those of their own runs. Raises OptionError on
    all of them where their plans differ, and ProcessLost where one has ended.
    """
    use_all_cores()
    _check_memory(plan)
    opening = plan.opening()
    unlike = agree(processes, options_of(opening), opening.machine)
    with ExitStack() as stack:
        record, recorded = None, RecordedRace(opening, ())
        if folder is not None and processes.index == 0:
            folder = folder_for(folder)
            record, recorded = open_record(folder / RECORD, opening)
            stack.enter_context(record)
        yield recorded.opening
        yield from recorded.events
        known = _told_of(processes, recorded)
        following = _Course(plan, opening, record, folder, known, processes, checkpoint_seconds)
        joined = [Joined(place, machine) for place, machine in unlike.items()]
        for event in chain(joined, following.events()):
            if record is not None:
                record.append(event)
            yield event


def _check_memory(plan: Race) -> None:
    """Raises OptionError where a single run has no room."""
    lane = max(plan.lanes, key=state_bytes)
    needed, memory = state_bytes(lane), memory_for_states() / MEMORY_SHARE
    if needed > memory:
        raise OptionError(
            f"one run of {lane.name} needs {needed / 2**30:,.1f} GiB of memory for its parameters "
            f"(embedding, hidden), and there are {memory / 2**30:,.1f} GiB here; make it smaller"
        )


def _told_of(processes: Processes, recorded: RecordedRace) -> RecordedRace:
    """What the others need to know of process 0's record: all but the losses on the way."""
    chunks = [event for event in recorded.events if isinstance(event, Chunk)]
    few = [event for event in recorded.events if not isinstance(event, Chunk)] + chunks[-1:]
    told = msgspec.json.decode(processes.tell(msgspec.json.encode(few)), type=tuple[Later, ...])
    return replace(recorded, events=told)


@final
class _Course:
    """What is still to be done of a race."""

    def __init__(
        self,
        plan: Race,
        opening: Opening,
        record: Record | None,
        folder: str | Path | None,
        recorded: RecordedRace,
        processes: Processes,
        checkpoint_seconds: float,
    ) -> None:
        self._plan, self._record, self._processes = plan, record, processes
        self._folder = None if record is None or folder is None else Path(folder)
        self._recorded, self._checkpoint_seconds = recorded, checkpoint_seconds
        timed = [e.seconds for e in recorded.events if isinstance(e, Chunk | Finished)]
        self._began = time.perf_counter() - max(timed, default=0.0)
        # The machine does not make it another race.
        same = msgspec.json.encode((opening.lanes, opening.seeds, opening.options))
        self._race = hashlib.sha256(same).hexdigest()
        chosen = (event.width for event in recorded.events if isinstance(event, Width))
        self._tile = next(chosen, 0)
        self._places = 0

    def events(self) -> Iterator[Event]:
        lanes = list(self._plan.lanes)
        # Seed by seed, so that what is through first are pairs.
        runs = [Run(lane, seed) for seed in self._plan.seeds for lane in range(len(lanes))]
        if not self._tile:
            width = self._decided(lambda: choose_width(lanes, runs, self._plan.corpus), Width)
            self._tile = width.width
            yield width
        self._places = self._decided(lambda: self._tile * jax.local_device_count(), int)
        if self._plan.tuning is not None:
            tuned = {e.lane: e for e in self._recorded.events if isinstance(e, Tuned)}
            for place, lane in enumerate(lanes):
                if place not in tuned:
                    tuned[place] = self._tune(place, lane)
                    yield tuned[place]
                options = replace(lane.options, lr=tuned[place].rate)
                lanes[place] = replace(lane, options=options)
        through = {Run(*name) for name in self._recorded.finished()}
        left = [run for run in runs if run not in through]
        saved = None if self._folder is None else read_checkpoint(self._folder, self._race)
        for members in self._decided(lambda: self._cut(lanes, left, saved), list[tuple[Run, ...]]):
            yield from self._heat(lanes, members, saved)

    def _cut(
        self, lanes: Sequence[Lane], runs: Sequence[Run], saved: Checkpoint | None
    ) -> list[tuple[Run, ...]]:
        """The runs by heats: first those that are on their way."""
        memory = memory_for_states() * self._processes.count
        under_way = set[Run]() if saved is None else set(saved.runs)
        first = [run for run in runs if run in under_way]
        return heats(lanes, first, memory) + heats(
            lanes, [run for run in runs if run not in under_way], memory
        )

    def _decided(self, decide: Callable[[], _Decision], kind: Any) -> _Decision:
        """What process 0 decides, a value of this kind, on all."""
        if self._processes.count == 1:
            return decide()
        said = msgspec.json.encode(decide()) if self._processes.index == 0 else b""
        return msgspec.json.decode(self._processes.tell(said), type=kind)

    def _tune(self, place: int, lane: Lane) -> Tuned:
        tuning = self._plan.tuning
        assert tuning is not None
        variants = tuning.variants(lane)
        runs = [Run(rate, seed) for seed in tuning.seeds for rate in range(len(variants))]
        shares = deal(variants, runs, self._places, self._processes.count)
        mine: list[tuple[Run, float]] = []
        # Nothing is looked at on the way.
        steps = max(1, self._plan.steps)
        share = shares[self._processes.index]
        with self._missing(variants, shares, f"from the tuning of {lane.name}"):
            for progress in race(
                variants,
                share,
                self._plan.corpus,
                evaluate_every=steps,
                tile=self._tile,
                between=self._processes.check,
            ):
                mine += zip(progress.runs, progress.dev_loss.tolist(), strict=True)
            parts = self._processes.gather(msgspec.json.encode(mine))

        def chosen() -> Tuned:
            losses: dict[Run, float] = {}
            for part in parts:
                found = msgspec.json.decode(part, type=list[tuple[Run, float | None]])
                losses |= {run: math.nan if loss is None else loss for run, loss in found}
            by_rate = tuple(
                tuple(losses[Run(rate, seed)] for seed in tuning.seeds)
                for rate in range(len(variants))
            )
            best = best_rate(by_rate, self._plan.uniform_loss)
            rates = tuning.rates_of(lane)
            return Tuned(place, rates[best], rates, tuning.seeds, by_rate)

        return self._decided(chosen, Tuned)

    def _heat(
        self, lanes: Sequence[Lane], members: tuple[Run, ...], saved: Checkpoint | None
    ) -> Iterator[Event]:
        shares = deal(lanes, members, self._places, self._processes.count)
        with self._missing(lanes, shares, "from its checkpoint on"):
            heat, fresh = self._begun(lanes, shares, saved)
        pause, written = self._checkpoint_seconds, time.perf_counter()
        if self._processes.count > 1:
            # A checkpoint is whole in the memory of process 0.
            size = sum(state_bytes(lanes[run.lane]) for run in members)
            pause = pause if size <= memory_for_states() else math.inf
        if fresh:
            yield from self._gathered(lanes, shares, heat.here(), 0)
        while heat.step < heat.steps:
            begun = heat.step
            target = min(heat.steps, begun + self._plan.interval)
            yield from self._gathered(lanes, shares, heat.advance(target), begun)
            due = (
                self._folder is not None
                and heat.step < heat.steps
                and time.perf_counter() - written >= pause
            )
            with self._missing(lanes, shares, f"from step {target:,} on"):
                if self._processes.tell(b"save" if due else b""):
                    began = time.perf_counter()
                    self._save(lanes, members, shares, heat)
                    written = time.perf_counter()
                    # Many processes' states take long to gather: no more of the time than this.
                    pause = max(pause, 10 * (written - began))

    def _gathered(
        self,
        lanes: Sequence[Lane],
        shares: Sequence[tuple[Run, ...]],
        records: Iterator[RaceProgress],
        step: int,
    ) -> Iterator[Event]:
        """The events of this process's runs as they come, and on process 0 then the others'."""
        mine: list[Event] = []
        with self._missing(lanes, shares, f"from step {step:,} on"):
            for event in self._told(records):
                if self._processes.index > 0:
                    mine.append(event)
                yield event
            parts = self._processes.gather(msgspec.json.encode(mine))
        for part in parts[1:]:
            yield from msgspec.json.decode(part, type=list[Later])

    @contextmanager
    def _missing(
        self, lanes: Sequence[Lane], shares: Sequence[tuple[Run, ...]], what: str
    ) -> Generator[None]:
        """Says of a process that is lost which runs were its share."""
        try:
            yield
        except ProcessLost as lost:
            if self._processes.index > 0:
                raise
            runs = [run for place in lost.processes for run in shares[place]]
            raise ProcessLost(
                f"{lost}; what it had to do is missing {what}: {in_words(lanes, runs)}. The same "
                "command trains that, with any number of processes",
                lost.processes,
            ) from None

    def _begun(
        self, lanes: Sequence[Lane], shares: Sequence[tuple[Run, ...]], saved: Checkpoint | None
    ) -> tuple[Heat, bool]:
        """The heat of this process's share, at its checkpoint where there is one; else fresh."""
        members = {run for share in shares for run in share}
        parts = [b""] * self._processes.count
        if saved is not None and members <= set(saved.runs):
            step = msgspec.json.encode(saved.step)
            with suppress(KeyError, IndexError):  # of another version
                parts = [
                    pack(states_of(lanes, share, [(saved.runs, saved.states)]), step)
                    for share in shares
                ]
        share, heat = shares[self._processes.index], None
        if part := self._processes.hand_out(parts):
            states, content = unpack(part)
            step = msgspec.json.decode(content, type=int)
            with suppress(KeyError, ValueError):  # as above: its states do not fit
                heat = self._heat_of(lanes, share, saved=states, step=step)
        fit = self._processes.gather(b"" if heat is None else b"fits")
        if self._processes.tell(b"on" if all(fit) else b"") and heat is not None:
            return heat, False
        return self._heat_of(lanes, share), True

    def _heat_of(self, lanes: Sequence[Lane], share: Sequence[Run], **saved: Any) -> Heat:
        between = self._processes.check
        return Heat(lanes, share, self._plan.corpus, tile=self._tile, between=between, **saved)

    def _save(
        self,
        lanes: Sequence[Lane],
        members: tuple[Run, ...],
        shares: Sequence[tuple[Run, ...]],
        heat: Heat,
    ) -> None:
        own = heat.save()
        parts = self._processes.gather(b"" if self._processes.index == 0 else pack(own, b"0"))
        if self._record is None or self._folder is None:
            return
        states = [own, *(unpack(part)[0] for part in parts[1:])]
        whole = states_of(lanes, members, list(zip(shares, states, strict=True)))
        # A checkpoint may not outlive the lines that lead to it.
        self._record.flush_to_disk()
        Checkpoint(self._race, heat.step, members, whole).write(self._folder)

    def _told(self, records: Iterator[RaceProgress]) -> Iterator[Event]:
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
