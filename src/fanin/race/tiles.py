"""The compiled programs of a race: a tile of runs on each device, trained or measured."""

from functools import lru_cache
from typing import Any, TypeAlias

import jax
from jax.sharding import PartitionSpec

from fanin.race.devices import mesh
from fanin.race.lanes import Program
from fanin.training.evaluation import losses_by_block
from fanin.training.step import advance

Pytree: TypeAlias = Any

MOST_PROGRAMS = 64
"""Compiled programs that are kept: runs that move together need no more."""


@lru_cache(maxsize=MOST_PROGRAMS)
def training(program: Program) -> Any:
    """(states, settings, contexts, targets, first step, steps in all, steps now) to states, losses.

    States, settings and losses are by run.
    """

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

    return by_tiles(side_by_side(one, mapped=2, shared=5), mapped=2, shared=5)


@lru_cache(maxsize=MOST_PROGRAMS)
def evaluation(program: Program) -> Any:
    """(states, contexts, targets, count) to summed losses, by run and block."""

    def one(state: Any, contexts: Any, targets: Any, count: Any) -> Any:
        return losses_by_block(
            program.network, state["parameters"], state["statistics"], contexts, targets, count
        )

    def tile(states: Any, *examples: Any) -> Any:
        # One run after the other: side by side their activations would leave the cache.
        return jax.lax.map(lambda state: one(state, *examples), states)

    return by_tiles(tile, mapped=1, shared=3)


def side_by_side(function: Any, mapped: int, shared: int) -> Any:
    """The function by `vmap`; of one run alone as it is, which has fewer operations."""
    mapped_function = jax.vmap(function, in_axes=(*[0] * mapped, *[None] * shared))

    def tile(*arguments: Any) -> Any:
        if jax.tree.leaves(arguments[0])[0].shape[0] > 1:
            return mapped_function(*arguments)
        alone = jax.tree.map(lambda array: array[0], arguments[:mapped])
        return jax.tree.map(lambda array: array[None], function(*alone, *arguments[mapped:]))

    return tile


def by_tiles(function: Any, mapped: int, shared: int) -> Any:
    """Compile a function of a tile, for a tile on each device."""
    runs, everywhere = PartitionSpec("runs"), PartitionSpec()
    in_specs = (*[runs] * mapped, *[everywhere] * shared)
    sharded = jax.shard_map(
        function, mesh=mesh(), in_specs=in_specs, out_specs=runs, check_vma=False
    )
    return jax.jit(sharded)
