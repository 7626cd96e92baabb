"""The measurements of `fanin.diagnosis.measurements`, in PyTorch's own reductions.

The same numbers in a few passes over the data, for tensors that are finite and of ordinary size;
others go the careful way.
"""

import torch
from torch import Tensor

from fanin.diagnosis import measurements
from fanin.diagnosis.measurements import (
    BINS,
    PAIRED,
    REACH,
    SAMPLED,
    Cosines,
    Counts,
    Signal,
    UnitSums,
)

# Squares of what lies between these neither over- nor underflow in float32.
_SMALLEST, _LARGEST = 1e-15, 1e15


def signal(x: Tensor) -> tuple[Signal, bool]:
    """Measure a table of (rows, units); and whether it is finite and of ordinary size."""
    sums = _ordinary_sums(x)
    if sums is None:
        return measurements.signal(x, careful=True), False
    return Signal(sums, _counts(x), _cosines(x[:PAIRED])), True


def unit_sums(x: Tensor) -> UnitSums:
    """Counts, ends, mean and variance of each column of a table."""
    return _ordinary_sums(x) or measurements.unit_sums(x, careful=True)


def _ordinary_sums(x: Tensor) -> UnitSums | None:
    """None for a table in which not all is finite, or some unit's numbers are out of the way."""
    # Elsewhere than here, to ask whether it is so would wait for the device.
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or not x.numel():
        return None
    # Of several ways to the same numbers these are the fast ones along the first axis: `aminmax`,
    # `var_mean` and `count_nonzero` take ten to ninety times as long there.
    lowest, highest = x.amin(0), x.amax(0)
    largest = torch.maximum(lowest.abs(), highest.abs())
    largest = torch.where(largest == 0, 1.0, largest)
    least, most = torch.aminmax(largest)
    if not (float(least) > _SMALLEST and float(most) < _LARGEST):
        return None
    rows = x.shape[0]
    mean = x.mean(0)
    variance = (x - mean).square_().mean(0)
    zeros = rows - x.sign().abs_().sum(0).to(torch.int32)
    mean, variance = mean / largest, variance / (largest * largest)
    # What is constant is so to the last bit, also where a mean is not exact.
    variance = torch.where(lowest == highest, 0.0, variance)
    mean = torch.where(lowest == highest, lowest / largest, mean)
    finite = torch.full_like(zeros, rows)
    return UnitSums(rows, finite, zeros, lowest, highest, largest, mean, variance)


def _counts(x: Tensor) -> Counts:
    rows = max(1, min(x.shape[0], SAMPLED // x.shape[1]))
    sample = x[:rows, :SAMPLED].reshape(-1)
    mean = sample.mean()
    variance = (sample - mean).square_().mean()
    least, most = torch.aminmax(sample)
    reach = REACH * variance.sqrt()
    low, high = torch.maximum(mean - reach, least), torch.minimum(mean + reach, most)
    width = float(high - low) / BINS or 1.0
    place = ((sample - low) / width).floor_().clamp_(0, BINS - 1).long()
    return Counts(low, high, torch.bincount(place, minlength=BINS))


def _cosines(x: Tensor) -> Cosines:
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    examples = torch.count_nonzero(length)
    unit = x / torch.where(length > 0, length, 1.0)
    pairs = max(1, int(examples)) ** 2
    # Σ cos² = ‖U Uᵀ‖² = ‖Uᵀ U‖²: by the smaller of the two.
    products = unit @ unit.mT if unit.shape[0] <= unit.shape[1] else unit.mT @ unit
    total = unit.sum(0)
    return Cosines((total @ total) / pairs, products.square().sum() / pairs, examples)
