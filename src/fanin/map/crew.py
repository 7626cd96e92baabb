"""The devices of this process, each at work on the cells of a map by itself."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import Any, final

import jax
import numpy as np

from fanin.map.plan import Cell, Map
from fanin.map.programs import draws, looking, settings_of, training
from fanin.race.devices import tile_width
from fanin.race.processes import ProcessLost


@final
class Crew:
    """A thread for each device: whichever is through with its cells takes the next ones.

    `inputs` are the arrays that every cell sees, on the host. A context manager: where it ends,
    what has not begun is dropped.
    """

    def __init__(self, plan: Map, inputs: tuple[np.ndarray, ...]) -> None:
        self._plan, self._inputs = plan, inputs
        self._program = training if plan.measure == "trained" else looking
        self._most = plan.deepest if tile_width() > 1 else None
        devices = jax.local_devices()
        self._free = deque(devices)
        self._pool = ThreadPoolExecutor(len(devices), initializer=self._join)
        self._own = local()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        # Who has a loss to tell of does not wait for cells that may take long.
        self._pool.shutdown(wait=kind is not ProcessLost, cancel_futures=True)

    def submit(self, cells: Sequence[Cell]) -> Future[np.ndarray]:
        """Three numbers of each cell, in time: cells of one width, at most a device's tile."""
        return self._pool.submit(self._compute, cells)

    def _join(self) -> None:
        """What belongs to one thread: its device, and what lies there."""
        own = self._own
        own.device = self._free.popleft()
        own.width, own.draws = 0, None
        own.inputs = jax.device_put(self._inputs, own.device)

    def _compute(self, cells: Sequence[Cell]) -> np.ndarray:
        own, width = self._own, cells[0].width
        network = self._plan.network(width)
        if own.width != width:
            key = jax.device_put(jax.random.key(self._plan.seed), own.device)
            own.width, own.draws = width, draws(network, self._plan.deepest)(key)
        # A tile is always full, so that a cell's numbers hang on nothing of its company.
        tile = [*cells, *[cells[0]] * (tile_width() - len(cells))]
        settings: Any = jax.device_put(settings_of(tile), own.device)
        return np.asarray(self._program(network, self._most)(settings, own.draws, *own.inputs))[
            : len(cells)
        ]
