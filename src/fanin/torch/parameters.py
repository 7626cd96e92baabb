"""Parameters and their gradients, measured: large ones by an even sample of both their axes."""

import math

import numpy as np
import torch
from torch import Tensor

from fanin.diagnosis import measurements
from fanin.diagnosis.measurements import ParameterMeasures, UnitSums
from fanin.torch.signals import on_host
from fanin.torch.sums import unit_sums

ENTRIES = 262_144


def parameter(
    data: Tensor, gradient: Tensor | None, columns: tuple[Tensor, Tensor | None] | None
) -> ParameterMeasures:
    """Measure a parameter; `columns` are it and its gradient as (fan_in, units), of a weight."""
    with torch.no_grad():
        prefix = data.detach().reshape(-1)[: measurements.PREFIX]
        units = columns is not None
        if columns is None:
            table, slopes = _alone(data), None if gradient is None else _alone(gradient)
        else:
            table, slopes = columns
        return ParameterMeasures(
            on_host(sums(table, units or data.ndim > 1)),
            None if slopes is None else on_host(sums(slopes, units or data.ndim > 1)),
            _prints(table) if units else None,
            _prints(slopes) if units and slopes is not None else None,
            on_host(prefix.float()),
        )


def _alone(array: Tensor) -> Tensor:
    """What is no layer's weight: each number of a vector is a unit's."""
    return array.reshape(array.shape[0], -1) if array.ndim > 1 else array.reshape(1, -1)


def sums(table: Tensor, sampled: bool = True) -> UnitSums:
    """The sums of an even sample; what is not finite anywhere is counted in the first unit."""
    table = table.detach()
    sample = table
    if sampled and table.numel() > ENTRIES:
        rows = max(1, min(table.shape[0], max(64, ENTRIES // table.shape[1])))
        units = max(1, min(table.shape[1], ENTRIES // rows))
        sample = table[_evenly(table.shape[0], rows)][:, _evenly(table.shape[1], units)]
    found = unit_sums(sample)
    if sample is table or not table.is_floating_point():
        return found
    low, high = torch.aminmax(table)
    if bool(torch.isfinite(low) & torch.isfinite(high)):
        highest, lowest = found.highest.clone(), found.lowest.clone()
        highest[0], lowest[0] = high, low
        return found._replace(highest=highest, lowest=lowest)
    missing = math.ceil(float((~torch.isfinite(table)).sum()) * sample.numel() / table.numel())
    finite = found.finite.clone()
    finite[0] = max(0, int(finite[0]) - missing)
    return found._replace(finite=finite)


def _evenly(size: int, wanted: int) -> Tensor:
    return torch.linspace(0, size - 1, wanted).long()


def _prints(columns: Tensor) -> np.ndarray:
    """A number for each unit, equal where the units are: see `measurements.fingerprints`."""
    probe = np.random.default_rng(columns.shape[0]).standard_normal(columns.shape[0], np.float32)
    weights = torch.from_numpy(probe).to(columns.device)
    return on_host(measurements.widened(columns).T.to(torch.float32) @ weights)
