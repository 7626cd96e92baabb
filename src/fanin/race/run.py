"""Many trainings as one program: tiles of runs, mapped side by side, on every device.

A tile holds a fixed number of runs under `vmap`. One call trains one tile on each device
(`jax.shard_map` over the mesh axis "runs"), and further tiles go in further calls of the same
compiled program. So a run's numbers hang on the width of a tile and on nothing else of its
company: neither on how many runs there are, nor on their order, nor on how many devices share
them.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import jax
import numpy as np
from jaxtyping import Float

from fanin.corpus import Corpus, Examples
from fanin.race.devices import everywhere, memory_for_states
from fanin.race.lanes import Lane, Run, check_lanes, grouped, program_of, state_bytes
from fanin.race.shares import of_group
from fanin.race.tiles import MOST_PROGRAMS
from fanin.race.waves import Wave, first_wave, go_on, restored_wave
from fanin.race.widths import choose_width
from fanin.training.evaluation import Blocks


@final
@dataclass(frozen=True)
class RaceProgress:
    """Where some runs of a race stand after `step` steps.

    `batch_loss` is each run's mean over the steps since its last report; `dev_loss` and
    `test_loss` are means over those whole sets, the latter at the end alone. All in nats per
    symbol. `spent` are the seconds that a run's training took since its last report, the time of
    all of them divided by their number.
    """

    runs: tuple[Run, ...]
    step: int
    batch_loss: Float[np.ndarray, " runs"]
    dev_loss: Float[np.ndarray, " runs"]
    test_loss: Float[np.ndarray, " runs"] | None
    spent: float


@final
class Heat:
    """Runs that move together, from one evaluation to the next, with all they need on the devices.

    `saved` are the arrays of an earlier `save` of the same runs, and `step` is where they stood;
    KeyError and ValueError where they are not of these runs. `between` is called every thousand
    steps or so, and may raise what ends the training.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        runs: Sequence[Run],
        corpus: Corpus,
        *,
        tile: int,
        saved: Mapping[str, np.ndarray] | None = None,
        step: int = 0,
        between: Callable[[], None] = go_on,
    ) -> None:
        self.runs = tuple(runs)
        self._between = between
        self.step = step
        self.steps = lanes[0].options.steps
        places = jax.local_device_count() * tile
        self._groups = [
            [
                first_wave(lanes, program, part, corpus, places)
                if saved is None
                else restored_wave(
                    lanes, program, part, corpus, places, _part(saved, group, first, len(part))
                )
                for first in range(0, len(members), places)
                for part in [members[first : first + places]]
            ]
            for group, (program, members) in enumerate(grouped(lanes, runs).items())
        ]
        data = (corpus.train.contexts, corpus.train.targets)
        self._data = jax.device_put(data, everywhere())
        self._dev, self._test = _blocks(corpus.dev), _blocks(corpus.test)

    def here(self) -> Iterator[RaceProgress]:
        """A record of each wave where it stands, with no steps done."""
        for wave in self._waves():
            yield self._record(wave, np.full(len(wave.runs), np.nan), 0.0)

    def advance(self, target: int) -> Iterator[RaceProgress]:
        """Train all runs to step `target`; a record of each wave as it gets there."""
        for wave, losses, spent in self._trained(target):
            yield self._record(wave, losses, spent, target)

    def train(self, target: int) -> None:
        """Train all runs to step `target`, and measure nothing."""
        for _ in self._trained(target):
            pass

    def _trained(self, target: int) -> Iterator[tuple[Wave, Float[np.ndarray, " runs"], float]]:
        for waves in self._groups:
            for place, wave in enumerate(waves):
                began = time.perf_counter()
                wave, losses = wave.train(self._data, self.step, target, self.steps, self._between)
                waves[place] = wave
                yield wave, losses, (time.perf_counter() - began) / len(wave.runs)
        self.step = target

    def save(self) -> dict[str, np.ndarray]:
        """All states as arrays, the runs of one program in front; to be called between steps."""
        arrays: dict[str, np.ndarray] = {}
        for group, waves in enumerate(self._groups):
            parts = [wave.saved() for wave in waves]
            for name in parts[0]:
                arrays[f"{group}/{name}"] = np.concatenate([part[name] for part in parts])
        return arrays

    def _waves(self) -> Iterator[Wave]:
        for waves in self._groups:
            yield from waves

    def _record(
        self,
        wave: Wave,
        losses: Float[np.ndarray, " runs"],
        spent: float,
        step: int | None = None,
    ) -> RaceProgress:
        step = self.step if step is None else step
        test = wave.mean_losses(self._test) if step == self.steps else None
        return RaceProgress(wave.runs, step, losses, wave.mean_losses(self._dev), test, spent)


def race(
    lanes: Sequence[Lane],
    runs: Sequence[Run],
    corpus: Corpus,
    *,
    evaluate_every: int | None = None,
    tile: int | None = None,
    between: Callable[[], None] = go_on,
) -> Iterator[RaceProgress]:
    """Train all runs; yields a record for each wave of them at each evaluation.

    Runs move together, from one evaluation to the next, as far as memory holds them; then come
    the others. The last record of a wave has the test losses. A run whose numbers are no longer
    finite goes on as NaN and disturbs no other. `tile` is the width of a tile, chosen unless it is
    given; `between` is as for a Heat. Raises OptionError for lanes that cannot race each other.
    """
    check_lanes(lanes)
    tile = tile or choose_width(lanes, runs, corpus).width
    steps = lanes[0].options.steps
    every = evaluate_every or evaluation_interval(steps)
    for members in heats(lanes, runs):
        heat = Heat(lanes, members, corpus, tile=tile, between=between)
        yield from heat.here()
        while heat.step < steps:
            yield from heat.advance(min(steps, heat.step + every))


def evaluation_interval(steps: int) -> int:
    """Steps from one evaluation to the next, unless told.

    A fortieth of all makes a curve. As an evaluation costs what 200 steps do, or thereabouts, it
    is not made every few steps of a short race: a tenth of all will do there.
    """
    return max(1, -(-steps // 40), min(-(-steps // 10), 1024))


def heats(
    lanes: Sequence[Lane], runs: Sequence[Run], memory: int | None = None
) -> list[tuple[Run, ...]]:
    """The runs cut into parts that move together: as many as `memory` (bytes) holds, in order."""
    memory = memory_for_states() if memory is None else memory
    cut: list[list[Run]] = [[]]
    taken, programs = 0, set[Any]()
    for run in runs:
        lane = lanes[run.lane]
        size = state_bytes(lane)
        full = taken + size > memory or len(programs | {program_of(lane)}) > MOST_PROGRAMS
        if full and cut[-1]:
            cut.append([])
            taken, programs = 0, set[Any]()
        cut[-1].append(run)
        taken += size
        programs.add(program_of(lane))
    return [tuple(part) for part in cut if part]


def _part(
    saved: Mapping[str, np.ndarray], group: int, first: int, count: int
) -> dict[str, np.ndarray]:
    whole = of_group(saved, group)
    return {name: array[first : first + count] for name, array in whole.items()}


def _blocks(examples: Examples) -> tuple[Any, Any, np.int32]:
    blocks = Blocks.of(examples)
    return *jax.device_put((blocks.contexts, blocks.targets), everywhere()), np.int32(blocks.count)
