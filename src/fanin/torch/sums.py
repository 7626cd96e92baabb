"""The measurements of `fanin.diagnosis.measurements`, many tables at once, on this processor.

The same numbers in few passes over the data, for tables that are finite and of ordinary size;
others go the careful way. What one call of NumPy costs is shared by all tables that are measured
together, which is most of what small modules cost.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from fanin.diagnosis import measurements
from fanin.diagnosis.measurements import (
    BINS,
    LARGEST,
    PAIRED,
    REACH,
    SAMPLED,
    SMALLEST,
    Cosines,
    Counts,
    Signal,
    Totals,
    UnitSums,
)

# NumPy reduces the first axis quickly where a row has as many entries as this.
_ROW = 2_048


def on_host(x: Tensor) -> np.ndarray:
    """A tensor of this processor as an array, without a copy where it is float32 or float64."""
    x = x.detach()
    wide = x.dtype.is_floating_point and x.dtype.itemsize >= 4
    return (x if wide else x.float()).numpy()


def signals(tables: Sequence[np.ndarray]) -> list[Signal]:
    """Measure tables of (rows, units)."""
    found: list[Signal] = []
    for x, sums in zip(tables, unit_sums(tables), strict=True):
        if sums.totals is None:
            found.append(_careful(x))
        else:
            found.append(Signal(sums, _counts(x, sums.totals), _cosines(x[:PAIRED])))
    return found


def unit_sums(tables: Sequence[np.ndarray]) -> list[UnitSums]:
    """Counts, ends, mean and variance of each column; with `totals` where all is ordinary."""
    found: list[UnitSums] = [_NONE] * len(tables)
    groups: dict[tuple[int, np.dtype], list[int]] = {}
    for place, x in enumerate(tables):
        if x.size:
            groups.setdefault((x.shape[0], x.dtype), []).append(place)
        else:
            found[place] = _careful_sums(x)
    for places in groups.values():
        own = [tables[place] for place in places]
        together = own[0] if len(own) == 1 else np.concatenate(own, axis=1)
        measured = _columns(together, [x.shape[1] for x in own])
        for place, sums in zip(places, measured, strict=True):
            found[place] = _careful_sums(tables[place]) if sums is None else sums
    return found


_NONE = UnitSums(*[None] * 8)


def _careful(x: np.ndarray) -> Signal:
    with np.errstate(all="ignore"):
        return measurements.signal(x, careful=True)


def _careful_sums(x: np.ndarray) -> UnitSums:
    with np.errstate(all="ignore"):
        return measurements.unit_sums(x, careful=True)


def _columns(x: np.ndarray, widths: list[int]) -> list[UnitSums | None]:
    """The sums of tables that stand side by side; None for one that is to be measured with care."""
    rows, units = x.shape
    lowest, highest = _reduced(np.minimum, x), _reduced(np.maximum, x)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    largest[largest == 0.0] = 1.0
    usual = (largest > SMALLEST) & (largest < LARGEST)
    all_usual = bool(usual.all())
    with np.errstate(all="ignore"):
        mean, variance = _mean_and_variance(x)
        # What is constant is so to the last bit, also where a mean is not exact.
        constant = lowest == highest
        if constant.any():
            mean[constant], variance[constant] = lowest[constant], 0.0
        zeros = _zeros(x)
        finite = np.full(units, rows, np.int32)
        scaled, spread = mean / largest, variance / (largest * largest)
        totals = _totals(rows, widths, mean, variance, lowest, highest, zeros)
    found: list[UnitSums | None] = []
    for first, width, total in zip(accumulate(widths, initial=0), widths, totals, strict=False):
        own = slice(first, first + width)
        if not (all_usual or usual[own].all()):
            found.append(None)
            continue
        ends = (lowest[own], highest[own], largest[own])
        moments = (scaled[own], spread[own])
        found.append(UnitSums(rows, finite[own], zeros[own], *ends, *moments, total))
    return found


def _reduced(by: np.ufunc, x: np.ndarray) -> np.ndarray:
    """A reduction over the rows, with rows of a table of few units taken several at a time."""
    folded, times = _folded(x)
    found = by.reduce(folded, axis=0)
    return found if times == 1 else by.reduce(found.reshape(times, -1), axis=0)


def _folded(x: np.ndarray) -> tuple[np.ndarray, int]:
    """The same table with so many rows side by side."""
    rows, units = x.shape
    times = 1
    if x.flags.c_contiguous:
        while units * times < _ROW and rows % (2 * times) == 0:
            times *= 2
    return (x if times == 1 else x.reshape(rows // times, units * times)), times


def _summed(x: np.ndarray) -> np.ndarray:
    """The sums of the columns; not as products, for which NumPy starts threads of its own."""
    rows, units = x.shape
    if units < 16 and rows > PAIRED:
        return x.sum(axis=0, dtype=np.float64).astype(x.dtype)
    return _reduced(np.add, x)


def _mean_and_variance(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = x.shape[0]
    if rows == 1:
        return x[0].copy(), np.zeros_like(x[0])
    mean = _summed(x) / rows
    folded, times = _folded(x)
    apart = folded - (mean if times == 1 else np.tile(mean, times))
    np.multiply(apart, apart, out=apart)
    return mean, _summed(apart.reshape(x.shape)) / rows


def _zeros(x: np.ndarray) -> np.ndarray:
    zero = x == 0
    if not zero.any():
        return np.zeros(x.shape[1], np.int32)
    return _summed(zero.astype(np.float32)).astype(np.int32)


def _totals(
    rows: int,
    widths: list[int],
    mean: np.ndarray,
    variance: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    zeros: np.ndarray,
) -> list[Totals]:
    """What `summaries.totals` makes of each table, for all of them."""
    units = np.asarray(widths)
    firsts = np.cumsum(units) - units
    mean, variance = mean.astype(np.float64), variance.astype(np.float64)
    of_all = np.add.reduceat(mean, firsts) / units
    apart = mean - np.repeat(of_all, units)
    within = np.add.reduceat(variance, firsts) / units
    second = within + np.add.reduceat(mean * mean, firsts) / units
    spread = within + np.add.reduceat(apart * apart, firsts) / units
    low, high = np.minimum.reduceat(lowest, firsts), np.maximum.reduceat(highest, firsts)
    none = np.add.reduceat(zeros, firsts)
    columns = (of_all, second, spread, within, second, low, high, none)
    rest = zip(*(each.tolist() for each in columns), strict=True)
    return [
        Totals(rows * width, rows * width, *each) for width, each in zip(widths, rest, strict=True)
    ]


def _counts(x: np.ndarray, totals: Totals) -> Counts:
    """The histogram around the mean of all rows."""
    rows = max(1, min(x.shape[0], SAMPLED // x.shape[1]))
    sample = x[:rows, :SAMPLED].reshape(-1)
    reach = REACH * totals.spread**0.5
    low, high = max(totals.mean - reach, totals.lowest), min(totals.mean + reach, totals.highest)
    place = sample - sample.dtype.type(low)
    place *= BINS / (high - low or BINS)
    np.minimum(np.maximum(place, 0, out=place), BINS - 1, out=place)
    return Counts(low, high, np.bincount(place.astype(np.intp), minlength=BINS))


def _cosines(x: np.ndarray) -> Cosines:
    length = np.sqrt(np.einsum("ij,ij->i", x, x))
    examples = int(np.count_nonzero(length))
    if examples < len(length):
        length[length == 0.0] = 1.0
    unit = x / length[:, None]
    pairs = max(1, examples) ** 2
    # Σ cos² = ‖U Uᵀ‖² = ‖Uᵀ U‖²: by the smaller of the two.
    one = torch.from_numpy(unit)
    products = (one @ one.mT if unit.shape[0] <= unit.shape[1] else one.mT @ one).numpy()
    total = _summed(unit)
    square = np.einsum("ij,ij->", products, products)
    return Cosines(float(total @ total) / pairs, float(square) / pairs, examples)
