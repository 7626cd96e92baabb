"""Parameters and their gradients, measured: large ones by an even sample of both their axes."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fanin.diagnosis import measurements
from fanin.diagnosis.measurements import ParameterMeasures, UnitSums
from fanin.torch import sums
from fanin.torch.signals import WAITING, on_host

ENTRIES = 262_144


class Own(NamedTuple):
    """A parameter with its gradient, and both as (fan_in, units) where it is a weight."""

    data: Tensor
    gradient: Tensor | None
    columns: Tensor | None = None
    slopes: Tensor | None = None


def parameters(owned: Iterable[Own]) -> list[ParameterMeasures]:
    """Measure parameters, those that are small together."""
    tables: list[Tensor] = []
    places: list[tuple[int, int | None]] = []
    all_owned = list(owned)
    for own in all_owned:
        is_weight = own.columns is not None
        table, slopes = (own.columns, own.slopes) if is_weight else map(_alone, own[:2])
        assert table is not None
        places.append((len(tables), None if slopes is None else len(tables) + 1))
        tables += [table] if slopes is None else [table, slopes]
    measured = column_sums(tables)
    found: list[ParameterMeasures] = []
    for own, (first, second) in zip(all_owned, places, strict=True):
        prints = None if own.columns is None else _prints(own.columns)
        of_slopes = None if own.columns is None or own.slopes is None else _prints(own.slopes)
        gradient = None if second is None else measured[second]
        prefix = own.data.detach().reshape(-1)[: measurements.PREFIX]
        found.append(
            ParameterMeasures(measured[first], gradient, prints, of_slopes, on_host(prefix.float()))
        )
    return found


def _alone(array: Tensor | None) -> Tensor | None:
    """What is no layer's weight: each number of a vector is a unit's."""
    if array is None:
        return None
    return array.reshape(array.shape[0], -1) if array.ndim > 1 else array.reshape(1, -1)


def column_sums(tables: Iterable[Tensor]) -> list[UnitSums]:
    """The sums of an even sample of each; what is not finite anywhere is counted in the first
    unit."""
    found: list[UnitSums] = []
    waiting: list[np.ndarray] = []
    entries = 0

    def measure() -> None:
        nonlocal waiting, entries
        found.extend(sums.unit_sums(waiting))
        waiting, entries = [], 0

    all_tables = [each.detach() for each in tables]
    for table in all_tables:
        sample = _sample(table)
        if sample.device.type != "cpu":
            measure()
            found.append(on_host(measurements.unit_sums(sample, careful=True)))
            continue
        waiting.append(sums.on_host(sample))
        entries += sample.numel()
        if entries >= WAITING:
            measure()
    measure()
    return [_whole(own, table) for own, table in zip(found, all_tables, strict=True)]


def _sample(table: Tensor) -> Tensor:
    if table.shape[0] == 1 or table.numel() <= ENTRIES:
        return table
    rows = max(1, min(table.shape[0], max(64, ENTRIES // table.shape[1])))
    units = max(1, min(table.shape[1], ENTRIES // rows))
    return table[_evenly(table.shape[0], rows)][:, _evenly(table.shape[1], units)]


def _whole(found: UnitSums, table: Tensor) -> UnitSums:
    """The sums of a sample, with the ends of all of its table."""
    size = int(found.rows) * len(found.finite)
    if size == table.numel() or not table.is_floating_point():
        return found
    low, high = torch.aminmax(table)
    if bool(torch.isfinite(low) & torch.isfinite(high)):
        highest, lowest = found.highest.copy(), found.lowest.copy()
        highest[0], lowest[0] = float(high), float(low)
        total = found.totals
        if total is not None:
            total = total._replace(lowest=float(low), highest=float(high))
        return found._replace(highest=highest, lowest=lowest, totals=total)
    missing = math.ceil(float((~torch.isfinite(table)).sum()) * size / table.numel())
    finite = found.finite.copy()
    finite[0] = max(0, int(finite[0]) - missing)
    return found._replace(finite=finite, totals=None)


def _evenly(size: int, wanted: int) -> Tensor:
    return torch.linspace(0, size - 1, wanted).long()


def _prints(columns: Tensor) -> np.ndarray:
    """A number for each unit, equal where the units are: see `measurements.fingerprints`."""
    return on_host(columns.detach().T.to(torch.float32) @ _probe(columns.shape[0], columns.device))


@lru_cache(maxsize=64)
def _probe(size: int, device: torch.device) -> Tensor:
    probe = np.random.default_rng(size).standard_normal(size, np.float32)
    return torch.from_numpy(probe).to(device)
