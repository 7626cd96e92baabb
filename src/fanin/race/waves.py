"""Waves: the runs that one call of a compiled program trains, a tile for each device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fanin.corpus import Corpus
from fanin.networks import initial_statistics
from fanin.race.devices import by_runs
from fanin.race.lanes import Lane, Program, Run
from fanin.race.tiles import Pytree, evaluation, training
from fanin.training.loop import batch_key, first_contexts
from fanin.training.step import steps_at_once


def go_on() -> None:
    """What is called between two calls of a program where there is nothing to look after."""


@final
@dataclass(frozen=True, eq=False)
class Wave:
    """Runs of one program; places that are left over are filled up by repeats."""

    program: Program
    runs: tuple[Run, ...]
    settings: Pytree
    """Of each run: its batches' key, its learning rate and its warm-up."""
    state: Pytree
    """Of each run: parameters, running statistics, optimiser's memory."""

    def train(
        self, data: Pytree, step: int, target: int, steps: int, between: Callable[[], None] = go_on
    ) -> "tuple[Wave, Float[np.ndarray, ' runs']]":
        """The wave at step `target`, and each run's mean batch loss on the way.

        `between` is called between two calls of the program, while the next one is computed.
        """
        at_once = steps_at_once(self.program.batch)
        state, losses = self.state, list[tuple[Any, int]]()
        for first in range(step, target, at_once):
            count = min(at_once, target - first)
            state, chunk = training(self.program)(
                state, self.settings, *data, jnp.int32(first), jnp.int32(steps), jnp.int32(count)
            )
            losses.append((chunk, count))
            if len(losses) > 1:
                losses[-2][0].block_until_ready()
            between()
        totals = np.zeros(len(self.runs))
        for chunk, count in losses:
            totals += np.asarray(chunk, np.float64)[: len(self.runs), :count].sum(axis=1)
        return replace(self, state=state), totals / max(1, target - step)

    def mean_losses(self, blocks: tuple[Any, Any, np.int32]) -> Float[np.ndarray, " runs"]:
        """Each run's mean loss over examples in blocks, their number last."""
        totals = evaluation(self.program)(self.state, *blocks)
        return np.asarray(totals, np.float64)[: len(self.runs)].sum(axis=1) / blocks[2]

    def saved(self) -> dict[str, np.ndarray]:
        """The runs' states by their place in the tree, each with the runs in front."""
        leaves = jax.tree_util.tree_flatten_with_path(self.state)[0]
        count = len(self.runs)
        return {jax.tree_util.keystr(path): np.asarray(leaf)[:count] for path, leaf in leaves}


def first_wave(
    lanes: Sequence[Lane], program: Program, runs: Sequence[Run], corpus: Corpus, places: int
) -> Wave:
    """A wave at step 0. Each run is started by itself, so that its start has no company either."""
    states = [_start(lanes[run.lane], run.seed, corpus) for run in runs]
    states += states[:1] * (places - len(runs))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    return _wave(lanes, program, runs, stacked, places)


def restored_wave(
    lanes: Sequence[Lane],
    program: Program,
    runs: Sequence[Run],
    corpus: Corpus,
    places: int,
    saved: Mapping[str, np.ndarray],
) -> Wave:
    """The wave whose states were `saved`; KeyError and ValueError where they are not its own."""
    template = _start(lanes[runs[0].lane], runs[0].seed, corpus)

    def leaf(path: Any, like: Any) -> np.ndarray:
        array = saved[jax.tree_util.keystr(path)]
        if array.shape != (len(runs), *like.shape) or array.dtype != like.dtype:
            raise ValueError(f"{jax.tree_util.keystr(path)} is {array.dtype}{array.shape}")
        return np.concatenate([array, np.repeat(array[:1], places - len(runs), axis=0)])

    stacked = jax.tree_util.tree_map_with_path(leaf, template)
    return _wave(lanes, program, runs, stacked, places)


def _wave(
    lanes: Sequence[Lane], program: Program, runs: Sequence[Run], state: Pytree, places: int
) -> Wave:
    filled = [*runs, *[runs[0]] * (places - len(runs))]
    options = [lanes[run.lane].options for run in filled]
    settings = {
        "key": jnp.stack([batch_key(run.seed) for run in filled]),
        "lr": jnp.array([option.rate for option in options], jnp.float32),
        "warm_up": jnp.array([option.warm_up for option in options], jnp.int32),
    }
    return Wave(program, tuple(runs), *jax.device_put((settings, state), by_runs()))


def _start(lane: Lane, seed: int, corpus: Corpus) -> Pytree:
    contexts = first_contexts(corpus)
    parameters = dict(lane.start(lane.network, jax.random.key(seed), contexts))
    return {
        "parameters": parameters,
        "statistics": initial_statistics(lane.network, parameters, contexts),
        "optimiser": lane.options.update_rule.transformation().init(parameters),
    }
