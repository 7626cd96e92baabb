"""The course of a map: its cells, coarse first, recorded as they come, and gone on with."""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence, Set
from concurrent.futures import Future, wait
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import jax
import msgspec
import numpy as np

from fanin.errors import OptionError
from fanin.map.crew import Crew
from fanin.map.order import levels
from fanin.map.plan import Map
from fanin.map.record import MapCell, MapOpening, open_map_record
from fanin.race.agreement import agree
from fanin.race.devices import memory_for_states, tile_width, use_all_cores
from fanin.race.machine import this_machine
from fanin.race.processes import ALONE, Processes, ProcessLost
from fanin.race.record import folder_for

RECORD = "map.jsonl"
DEV_EXAMPLES = 1_024
LOOKED_AT = 32
"""Examples of a step-0 map, each with another context."""

CHECK_SECONDS = 0.5
"""How often it is looked whether all processes are there, while cells are computed."""

AHEAD = 2
"""Waves that the devices are given at once: who is through with one has the next there."""


def explore(
    plan: Map, folder: str | Path | None = None, *, processes: Processes = ALONE
) -> Generator[MapCell, None, None]:
    """Compute the map; yields every cell, each written to the folder before it is yielded.

    In a folder where the same map was begun, what is recorded comes first and only the rest is
    computed, with the same numbers as if it had not been stopped. Raises RecordError for a folder
    that cannot be used or holds another map, and OptionError for networks that do not fit the
    memory.

    Several processes (`fanin.race.join`) share the cells, and each iterates to the end: process 0
    has the folder and yields all cells, the others yield their own. Raises OptionError on all of
    them where their plans differ, and ProcessLost where one has ended.
    """
    use_all_cores()
    _check_memory(plan)
    opening = MapOpening(plan.options(), this_machine())
    agree(processes, opening.options, opening.machine)
    with ExitStack() as stack:
        record, recorded = None, list[MapCell]()
        if folder is not None and processes.index == 0:
            record, recorded = open_map_record(folder_for(folder) / RECORD, opening)
            stack.enter_context(record)
        yield from recorded
        known = [(cell.row, cell.column) for cell in recorded]
        places = jax.local_device_count() * tile_width()
        told = processes.tell(msgspec.json.encode((known, places)))
        known, places = msgspec.json.decode(told, type=tuple[set[tuple[int, int]], int])
        for cell in _cells(plan, list(_waves(plan, known, places)), processes):
            if record is not None:
                record.append(cell)
            yield cell


def _check_memory(plan: Map) -> None:
    """Raises OptionError where networks as large as the map's largest have no room."""
    corners = [(row, column) for row in (0, -1) for column in (0, -1)]
    width = max(plan.at(*place).width for place in corners)
    places = jax.local_device_count() * tile_width()
    block, most = plan.corpus.block, 2 * memory_for_states()
    hidden = plan.deepest * width * (width + plan.batch)
    ends = (len(plan.corpus.vocabulary) + block * width) * plan.embedding
    if (needed := 4 * places * (hidden + ends)) > most:
        raise OptionError(
            f"{places:,} networks of depth {plan.deepest:,}, width {width:,} and embedding "
            f"{plan.embedding:,}, trained at once in batches of {plan.batch:,}, take "
            f"{needed / 2**30:,.1f} GiB, and half of the memory here is {most / 2**30:,.1f} GiB; "
            "less of these would do"
        )
    trained = plan.measure == "trained"
    if trained and (needed := 4 * plan.steps * plan.batch * (block + 1)) > most:
        raise OptionError(
            f"the batches of {plan.steps:,} steps take {needed / 2**30:,.1f} GiB, and half of the "
            f"memory here is {most / 2**30:,.1f} GiB; fewer steps or smaller batches would do"
        )


def dev_places(plan: Map) -> np.ndarray:
    """Which dev examples a cell is judged on: evenly spread, at most 1,024."""
    count = len(plan.corpus.dev)
    return np.unique(np.linspace(0, count - 1, min(count, DEV_EXAMPLES)).astype(int))


def _waves(
    plan: Map, through: Set[tuple[int, int]], places: int
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The cells that are missing, coarse ones first, so many at once of one width."""

    def shape(place: tuple[int, int]) -> tuple[int, int]:
        cell = plan.at(*place)
        return cell.width, cell.depth

    for level in levels(*plan.shape, least=places):
        # Cells of one width are of one program, and those of a depth take equally long.
        missing = sorted((place for place in level if place not in through), key=shape)
        for width, group in groupby(missing, key=lambda place: shape(place)[0]):
            members = list(group)
            for first in range(0, len(members), places):
                yield width, members[first : first + places]


def _cells(
    plan: Map, waves: Sequence[tuple[int, list[tuple[int, int]]]], processes: Processes
) -> Iterator[MapCell]:
    """The cells of all waves, one wave a process and then a word."""
    tile = tile_width()
    turns = [waves[i : i + processes.count] for i in range(0, len(waves), processes.count)]
    begun = deque[tuple[list[tuple[int, int]], list[Future[np.ndarray]]]]()
    with Crew(plan, _inputs(plan)) as crew:
        for turn in range(len(turns)):
            for shares in turns[turn + len(begun) : turn + AHEAD]:
                _, places = shares[processes.index] if processes.index < len(shares) else (0, [])
                cells = [plan.at(*place) for place in places]
                tiles = (cells[i : i + tile] for i in range(0, len(cells), tile))
                begun.append((places, [crew.submit(one) for one in tiles]))
            mine = list[MapCell]()
            try:
                mine += _found(*begun.popleft(), processes)
                yield from mine
                parts = processes.gather(msgspec.json.encode(mine))
            except ProcessLost as lost:
                if processes.index > 0:
                    raise
                left = (wave for shares in turns[turn:] for _, wave in shares)
                count = sum(map(len, left)) - len(mine)
                raise ProcessLost(
                    f"{lost}; {count:,} cells are missing, its share among them. The same command "
                    "computes them, with any number of processes",
                    lost.processes,
                ) from None
            for part in parts[1:]:
                yield from msgspec.json.decode(part, type=list[MapCell])


def _found(
    places: Sequence[tuple[int, int]],
    tiles: Sequence[Future[np.ndarray]],
    processes: Processes,
) -> Iterator[MapCell]:
    """The cells of a wave, once its tiles are through; meanwhile no process may end."""
    while wait(tiles, CHECK_SECONDS).not_done:
        processes.check()
    numbers = (three for tile in tiles for three in tile.result().tolist())
    for (row, column), three in zip(places, numbers, strict=True):
        a, b, c = (value if math.isfinite(value) else None for value in three)
        yield MapCell(row, column, (a, b, c))


def _inputs(plan: Map) -> tuple[np.ndarray, ...]:
    """The examples that every cell sees."""
    train, dev = plan.corpus.train, plan.corpus.dev
    if plan.measure != "trained":
        _, first = np.unique(train.contexts, axis=0, return_index=True)
        few = np.random.default_rng(plan.seed).permutation(np.sort(first))[:LOOKED_AT]
        parts = [train.contexts[few], train.targets[few]]
    else:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(plan.seed), 1), plan.steps)
        drawn = jax.vmap(lambda key: jax.random.randint(key, (plan.batch,), 0, len(train)))(keys)
        batches, places = np.asarray(drawn), dev_places(plan)
        parts = [train.contexts[batches], train.targets[batches]]
        parts += [dev.contexts[places], dev.targets[places]]
    return tuple(part.astype(np.int32) for part in parts)
