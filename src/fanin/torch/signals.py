"""Measuring tensors where they lie: an even sample of each, and all of it for its largest."""

import math
from dataclasses import replace
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
LARGEST = 4_194_304
"""But where units are very many, as logits of a vocabulary, no more entries, or `FEWEST` rows."""
FEWEST = 64
WAITING = 65_536
"""So many entries are measured together."""

_GOLDEN = 0.6180339887498949


class Measured:
    """One tensor: the signal of its sample, and the ends of all of it."""

    __slots__ = ("_largest", "_not_finite", "_signal", "_tables", "rows", "size")

    def __init__(self, tables: "Tables | None", size: int, rows: int) -> None:
        self._tables = tables
        self._signal: Signal | None = None
        self._largest: Any = None
        self._not_finite: Any = None
        self.size = size
        self.rows = rows
        """how many rows of units it has, measured or not"""

    def given(self, signal: Signal) -> None:
        """What was measured of the sample."""
        self._signal = signal

    def whole(self, largest: Any, not_finite: Any) -> None:
        """What is known of all of it, where the sample is a part."""
        self._largest, self._not_finite = largest, not_finite

    @property
    def signal(self) -> Signal:
        if self._signal is None and self._tables is not None:
            self._tables.measure()
        found = self._signal
        assert found is not None
        if not isinstance(found.sums.lowest, np.ndarray):
            found = self._signal = Signal(*on_host(found))
        return found

    @property
    def partly(self) -> bool:
        """Whether the sample is a part of it."""
        return self._largest is not None

    @property
    def largest(self) -> float:
        """The largest absolute value of all, where the sample is a part; not finite where any is
        not."""
        return float(self._largest)

    @property
    def not_finite(self) -> int:
        """How many entries are not, where the sample is a part."""
        return int(self._not_finite)


class Tables:
    """Tables that wait to be measured together: see `fanin.torch.sums`.

    Small ones only, as copies, and not many: what else is made in the meantime may take their
    place. Where the data lies on another device, it is measured there and at once.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[np.ndarray, Measured]] = []
        self._entries = 0

    def measured(self, x: Tensor, axis: int, sample: Tensor | None = None) -> Measured:
        """Measure a tensor whose units lie along `axis`; `sample` is its table, if that is there.

        What it is at the time of the call counts, whatever is written to it later.
        """
        x = x.detach()
        sample = table(x, axis) if sample is None else sample
        found = Measured(self, x.numel(), x.numel() // max(1, x.shape[axis] if x.ndim else 1))
        if sample.numel() != x.numel() or x.is_complex():
            if x.is_floating_point() and x.numel():
                low, high = torch.aminmax(x)
                largest = torch.maximum(low.abs(), high.abs())
            else:
                largest = torch.zeros(())
            found.whole(largest, _not_finite(x, largest))
        if sample.device.type != "cpu":
            found.given(measurements.signal(sample, careful=True))
            return found
        array = sums.on_host(sample)
        self._entries += array.size
        at_once = self._entries >= WAITING
        self._waiting.append((array if at_once else array.copy(), found))
        if at_once:
            self.measure()
        return found

    def measure(self) -> None:
        """Measure what waits."""
        waiting, self._waiting, self._entries = self._waiting, [], 0
        found = sums.signals([array for array, _ in waiting])
        for (_, measured), signal in zip(waiting, found, strict=True):
            measured.given(signal)


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
    most = max(FEWEST, LARGEST // max(1, units))
    if rows <= min(most, measurements.PAIRED):
        return x.reshape(rows, units)
    wanted = min(most, max(ROWS, ENTRIES // max(1, units)))
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


def whole(moments: Moments | None, of: Measured | None, scale: float = 1.0) -> Moments | None:
    """Moments of a sample with what is known of all of it."""
    if moments is None or of is None or not of.partly:
        return moments
    largest = summaries.finite_number(of.largest * abs(scale))
    return replace(
        moments,
        size=of.size,
        largest=moments.largest if largest is None else largest,
        finite_share=1.0 - of.not_finite / max(1, of.size),
    )
