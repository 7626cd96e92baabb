"""Many trainings as one program: tiles of runs, mapped side by side, on every device.

A tile holds TILE runs under `vmap`. One call trains one tile on each device (`jax.shard_map` over
the mesh axis "runs"), and further tiles go in further calls of the same compiled program. So a
run's numbers hang on the width of a tile and on nothing else of its company: neither on how many
runs there are, nor on their order, nor on how many devices share them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from fanin.corpus import Corpus, Examples
from fanin.networks import initial_statistics
from fanin.race.lanes import Lane, Program, Run, check_lanes, grouped
from fanin.training.evaluation import Blocks, losses_by_block
from fanin.training.loop import batch_key, first_contexts
from fanin.training.step import advance, steps_at_once

# Wide enough that an operation is worth its dispatch, narrow enough for the cache.
TILE = 8

Pytree: TypeAlias = Any


@dataclass(frozen=True, eq=False)
class Wave:
    """Runs that one call trains: a tile for each device, the last places filled up by repeats."""

    program: Program
    runs: tuple[Run, ...]
    settings: Pytree
    """Of each run: its batches' key, its learning rate and its warm-up."""
    state: Pytree
    """Of each run: parameters, running statistics, optimiser's memory."""


@dataclass(frozen=True)
class RaceProgress:
    """Where some runs of a race stand after `step` steps.

    `batch_loss` is each run's mean over the steps since its last report; `dev_loss` and
    `test_loss` are means over those whole sets, where they were measured. All in nats per symbol.
    """

    runs: tuple[Run, ...]
    step: int
    batch_loss: Float[np.ndarray, " runs"]
    dev_loss: Float[np.ndarray, " runs"] | None
    test_loss: Float[np.ndarray, " runs"] | None
    seconds: float


def race(
    lanes: Sequence[Lane],
    runs: Sequence[Run],
    corpus: Corpus,
    *,
    evaluate_every: int | None = None,
) -> Iterator[RaceProgress]:
    """Train all runs; yields a record for each wave of them at each evaluation.

    All runs move together, from one evaluation to the next, `evaluate_every` steps apart (a tenth
    of the steps unless told). The last record of a wave has the test losses. A run whose numbers
    are no longer finite goes on as NaN and disturbs no other. Raises OptionError for lanes that
    cannot race each other.
    """
    check_lanes(lanes)
    steps = lanes[0].options.steps
    every = evaluate_every or max(1, -(-steps // 10))
    places = jax.device_count() * TILE
    waves = [
        first_wave(lanes, program, group[first : first + places], corpus)
        for program, group in grouped(lanes, runs).items()
        for first in range(0, len(group), places)
    ]
    everywhere = NamedSharding(_mesh(), PartitionSpec())
    data = jax.device_put((corpus.train.contexts, corpus.train.targets), everywhere)
    dev, test = (jax.device_put(_blocks(split), everywhere) for split in (corpus.dev, corpus.test))
    began = time.perf_counter()
    step = 0
    losses = {index: np.full(len(wave.runs), np.nan) for index, wave in enumerate(waves)}
    while True:
        last = step == steps
        for index, wave in enumerate(waves):
            yield RaceProgress(
                wave.runs,
                step,
                losses[index],
                _mean_losses(wave, dev),
                _mean_losses(wave, test) if last else None,
                time.perf_counter() - began,
            )
        if last:
            return
        target = min(steps, step + every)
        for index, wave in enumerate(waves):
            waves[index], losses[index] = _train(wave, data, step, target, steps)
        step = target


def _train(
    wave: Wave, data: Pytree, step: int, target: int, steps: int
) -> tuple[Wave, Float[np.ndarray, " runs"]]:
    """The wave at step `target`, and each run's mean batch loss on the way."""
    at_once = steps_at_once(wave.program.batch)
    state, totals = wave.state, np.zeros(len(wave.runs))
    for first in range(step, target, at_once):
        count = min(at_once, target - first)
        state, losses = _steps(wave.program)(
            state, wave.settings, *data, jnp.int32(first), jnp.int32(steps), jnp.int32(count)
        )
        totals += np.asarray(losses, np.float64)[: len(wave.runs), :count].sum(axis=1)
    return replace(wave, state=state), totals / max(1, target - step)


@lru_cache(maxsize=64)
def _steps(program: Program) -> Any:
    def one(state: Any, settings: Any, contexts: Any, targets: Any, first: Any, *rest: Any) -> Any:
        steps, count = rest
        after, losses, _ = advance(
            program.network,
            program.batch,
            program.schedule,
            program.optimiser,
            {"step": first, **state},
            contexts,
            targets,
            settings["key"],
            settings["lr"],
            steps,
            settings["warm_up"],
            count,
        )
        return {name: after[name] for name in state}, losses

    return _by_tiles(jax.vmap(one, in_axes=(0, 0, *[None] * 5)), mapped=2, shared=5)


@lru_cache(maxsize=64)
def _evaluation(program: Program) -> Any:
    def one(state: Any, contexts: Any, targets: Any, count: Any) -> Any:
        return losses_by_block(
            program.network, state["parameters"], state["statistics"], contexts, targets, count
        )

    def tile(states: Any, *examples: Any) -> Any:
        # One run after the other: side by side their activations would leave the cache.
        return jax.lax.map(lambda state: one(state, *examples), states)

    return _by_tiles(tile, mapped=1, shared=3)


def _by_tiles(function: Any, mapped: int, shared: int) -> Any:
    """Compile a function of a tile, for a tile on each device."""
    runs, everywhere = PartitionSpec("runs"), PartitionSpec()
    in_specs = (*[runs] * mapped, *[everywhere] * shared)
    sharded = jax.shard_map(
        function, mesh=_mesh(), in_specs=in_specs, out_specs=runs, check_vma=False
    )
    return jax.jit(sharded)


def _mean_losses(wave: Wave, blocks: tuple[Any, Any, int]) -> Float[np.ndarray, " runs"]:
    totals = _evaluation(wave.program)(wave.state, *blocks)
    return np.asarray(totals, np.float64)[: len(wave.runs)].sum(axis=1) / blocks[2]


def _blocks(examples: Examples) -> tuple[Any, Any, int]:
    blocks = Blocks.of(examples)
    return blocks.contexts, blocks.targets, blocks.count


@lru_cache(maxsize=1)
def _mesh() -> Mesh:
    return jax.make_mesh((jax.device_count(),), ("runs",))


def _by_runs() -> NamedSharding:
    return NamedSharding(_mesh(), PartitionSpec("runs"))


def first_wave(
    lanes: Sequence[Lane], program: Program, runs: Sequence[Run], corpus: Corpus
) -> Wave:
    """A wave at step 0. Each run is started by itself, so that its start has no company either."""
    places = jax.device_count() * TILE
    filled = [*runs, *[runs[0]] * (places - len(runs))]
    starts: dict[Run, Pytree] = {run: _start(lanes[run.lane], run.seed, corpus) for run in runs}
    options = [lanes[run.lane].options for run in filled]
    settings = {
        "key": jnp.stack([batch_key(run.seed) for run in filled]),
        "lr": jnp.array([option.rate for option in options], jnp.float32),
        "warm_up": jnp.array([option.warm_up for option in options], jnp.int32),
    }
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(starts[run] for run in filled))
    return Wave(program, tuple(runs), *jax.device_put((settings, state), _by_runs()))


def _start(lane: Lane, seed: int, corpus: Corpus) -> Pytree:
    contexts = first_contexts(corpus)
    parameters = dict(lane.start(lane.network, jax.random.key(seed), contexts))
    return {
        "parameters": parameters,
        "statistics": initial_statistics(lane.network, parameters, contexts),
        "optimiser": lane.options.update_rule.transformation().init(parameters),
    }
