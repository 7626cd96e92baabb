"""The course of a map: its cells, coarse first, recorded as they come, and gone on with."""

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fanin.map.order import levels
from fanin.map.plan import Map
from fanin.map.programs import draws, looking, settings_of, training
from fanin.map.record import MapCell, MapOpening, open_map_record
from fanin.race.devices import everywhere, tile_width, use_all_cores
from fanin.race.machine import this_machine
from fanin.race.record import folder_for

RECORD = "map.jsonl"
DEV_EXAMPLES = 1_024
LOOKED_AT = 32
"""Examples of a step-0 map, each with another context."""


def explore(plan: Map, folder: str | Path | None = None) -> Generator[MapCell, None, None]:
    """Compute the map; yields every cell, each written to the folder before it is yielded.

    In a folder where the same map was begun, what is recorded comes first and only the rest is
    computed, with the same numbers as if it had not been stopped. Raises RecordError for a folder
    that cannot be used or holds another map.
    """
    use_all_cores()
    with ExitStack() as stack:
        record, recorded = None, list[MapCell]()
        if folder is not None:
            opening = MapOpening(plan.options(), this_machine())
            record, recorded = open_map_record(folder_for(folder) / RECORD, opening)
            stack.enter_context(record)
        yield from recorded
        through = {(cell.row, cell.column) for cell in recorded}
        for cell in _cells(plan, through):
            if record is not None:
                record.append(cell)
            yield cell


def dev_places(plan: Map) -> np.ndarray:
    """Which dev examples a cell is judged on: evenly spread, at most 1,024."""
    count = len(plan.corpus.dev)
    return np.unique(np.linspace(0, count - 1, min(count, DEV_EXAMPLES)).astype(int))


def _cells(plan: Map, through: set[tuple[int, int]]) -> Iterator[MapCell]:
    inputs = _inputs(plan)
    layers = plan.deepest
    key = jax.random.key(plan.seed)
    drawn: tuple[int, Any] = (0, None)
    places = jax.device_count() * tile_width()
    program = training if plan.measure == "trained" else looking

    def shape(place: tuple[int, int]) -> tuple[int, int]:
        cell = plan.at(*place)
        return cell.width, cell.depth

    for level in levels(*plan.shape):
        # Cells of one width are of one program, and those of a depth take equally long.
        missing = sorted((place for place in level if place not in through), key=shape)
        for width, group in groupby(missing, key=lambda place: shape(place)[0]):
            network, members = plan.network(width), list(group)
            if drawn[0] != width:
                drawn = width, jax.device_put(draws(network, layers)(key), everywhere())
            for first in range(0, len(members), places):
                wave = members[first : first + places]
                cells = [plan.at(*place) for place in wave]
                cells += cells[:1] * (places - len(cells))
                numbers = np.asarray(program(network)(settings_of(cells), drawn[1], *inputs))
                for (row, column), found in zip(wave, numbers.tolist(), strict=False):
                    a, b, c = (value if math.isfinite(value) else None for value in found)
                    yield MapCell(row, column, (a, b, c))


def _inputs(plan: Map) -> tuple[Any, ...]:
    """The examples that every cell sees."""
    train, dev = plan.corpus.train, plan.corpus.dev
    if plan.measure != "trained":
        _, first = np.unique(train.contexts, axis=0, return_index=True)
        few = np.random.default_rng(plan.seed).permutation(np.sort(first))[:LOOKED_AT]
        return _whole(train.contexts[few]), _whole(train.targets[few])
    keys = jax.random.split(jax.random.fold_in(jax.random.key(plan.seed), 1), plan.steps)
    drawn = jax.vmap(lambda key: jax.random.randint(key, (plan.batch,), 0, len(train)))(keys)
    batches, places = np.asarray(drawn), dev_places(plan)
    return (
        _whole(train.contexts[batches]),
        _whole(train.targets[batches]),
        _whole(dev.contexts[places]),
        _whole(dev.targets[places]),
    )


def _whole(indices: np.ndarray) -> Any:
    return jax.device_put(indices.astype(np.int32), everywhere())
