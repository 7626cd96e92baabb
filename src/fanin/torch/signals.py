"""Measuring tensors where they lie: an even sample of each, and all of it for its largest."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fanin.diagnosis import measurements, summaries
from fanin.diagnosis.measurements import Signal
from fanin.diagnosis.recording import Moments
from fanin.torch import sums

ENTRIES = 65_536
"""Of each tensor at least so many entries are measured, where it has them."""
ROWS = 1_024
"""And at least so many rows: on fewer, healthy units look dead."""

_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Measured:
    """One tensor: a signal of its sample, and the ends of all of it."""

    signal: Signal
    largest: Any
    """the largest absolute value of all, not finite where any is not"""
    not_finite: Any
    """how many entries are not"""
    size: int
    rows: int
    """how many rows of units it has, measured or not"""


def measured(x: Tensor, axis: int, sample: Tensor | None = None) -> Measured:
    """Measure a tensor whose units lie along `axis`; `sample` is its table, where that is there."""
    x = x.detach()
    sample = table(x, axis) if sample is None else sample
    signal, ordinary = sums.signal(sample)
    rows = x.numel() // max(1, x.shape[axis])
    if ordinary and sample.numel() == x.numel():
        low, high = signal.sums.lowest.min(), signal.sums.highest.max()
        return Measured(signal, torch.maximum(low.abs(), high.abs()), 0, x.numel(), rows)
    if x.is_floating_point() and x.numel():
        low, high = torch.aminmax(x)
        largest = torch.maximum(low.abs(), high.abs())
    else:
        largest = torch.zeros(())
    return Measured(signal, largest, _not_finite(x, largest), x.numel(), rows)


def table(x: Tensor, axis: int) -> Tensor:
    """Rows of a tensor, evenly from all of it, as (rows, units); always the same of one shape.

    Complex numbers stand as their real and imaginary parts.
    """
    x = x.detach()
    if x.is_complex():
        x = torch.view_as_real(x).flatten(-2)
    if x.ndim == 0:
        return x.reshape(1, 1)
    if x.ndim == 1:
        return x.reshape(-1, 1)
    x = x.movedim(axis, -1)
    rows, units = x.shape[:-1].numel(), x.shape[-1]
    if rows <= measurements.PAIRED:
        return x.reshape(rows, units)
    wanted = max(ROWS, ENTRIES // max(1, units))
    if x.is_contiguous():
        chosen = _chosen(rows, min(rows, wanted))
        return x.reshape(rows, units).index_select(0, _tensor(chosen, x.device))
    return x[_places(tuple(x.shape[:-1]), min(rows, wanted), x.device)]


def _chosen(size: int, wanted: int) -> np.ndarray:
    """So many different places of a number of them, evenly from all, in no order.

    The first few, which histograms and cosines are taken of, are even as well.
    """
    step = max(1, round(size * _GOLDEN))
    while math.gcd(step, size) != 1:
        step += 1
    return (np.arange(wanted, dtype=np.int64) * step) % size


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)


@lru_cache(maxsize=256)
def _places(shape: tuple[int, ...], wanted: int, device: torch.device) -> tuple[Tensor, ...]:
    """The same by axis, for what lies in memory in another order."""
    flat = _chosen(math.prod(shape), wanted)
    return tuple(_tensor(axis, device) for axis in np.unravel_index(flat, shape))


def _not_finite(x: Tensor, largest: Tensor) -> Any:
    """How many entries are not finite: counted only where there are any, if that is known here."""
    if x.device.type == "cpu" and bool(torch.isfinite(largest)):
        return 0
    return (~torch.isfinite(x)).sum()


def on_host(tree: Any) -> Any:
    """The same numbers as NumPy arrays."""
    if isinstance(tree, Tensor):
        on_cpu = tree.detach().to("cpu")
        # NumPy has no bfloat16.
        return (on_cpu.float() if on_cpu.dtype == torch.bfloat16 else on_cpu).numpy()
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(on_host, tree))
    return tree


def fetched(tensor: Measured) -> Measured:
    """A measurement on the host."""
    return Measured(
        on_host(tensor.signal),
        float(tensor.largest),
        int(tensor.not_finite),
        tensor.size,
        tensor.rows,
    )


def whole(moments: Moments | None, of: Measured | None, scale: float = 1.0) -> Moments | None:
    """Moments of a sample with what is known of all of it."""
    if moments is None or of is None:
        return moments
    largest = summaries.finite_number(of.largest * abs(scale))
    return replace(
        moments,
        size=of.size,
        largest=moments.largest if largest is None else largest,
        finite_share=1.0 - of.not_finite / max(1, of.size),
    )
