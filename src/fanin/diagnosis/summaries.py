"""From the numbers of each unit, brought to the host, to what a recording says of an array."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int8

from fanin.diagnosis.measurements import (
    LARGEST,
    SMALLEST,
    Cosines,
    Counts,
    Ends,
    Totals,
    UnitSums,
)
from fanin.diagnosis.recording import Between, Histogram, Moments, Number, Saturation

# So many columns are compared at a time.
_TOGETHER = 2_048

# The characters of the map for the codes 0, 1, 2 and -1 of `measurements`.
_CHARACTERS = np.frombuffer(b".+0-", np.uint8)


def moments(sums: UnitSums, counts: Counts | None = None, scale: float = 1.0) -> Moments:
    """The moments over all units; `scale` multiplies the entries."""
    total = sums.totals or totals(sums)
    at_all, factor = total.finite > 0, abs(scale)
    return Moments(
        size=total.size,
        mean=finite_number(total.mean * scale) if at_all else None,
        std=finite_number(math.sqrt(total.spread) * factor) if at_all else None,
        second_moment=finite_number(total.second_moment * factor**2) if at_all else None,
        largest=finite_number(max(total.highest, -total.lowest) * factor) if at_all else None,
        finite_share=total.finite / total.size if total.size else 1.0,
        zero_share=total.zeros / total.size if total.size else 0.0,
        histogram=None if counts is None else histogram(counts, scale),
    )


def totals(sums: UnitSums) -> Totals:
    """The sums of all units together, in float64; each unit weighs as much as it has finite
    entries."""
    size = int(sums.rows) * int(np.size(sums.finite))
    finite, mean, variance = _unit_moments(sums)
    number = float(finite.sum())
    share = finite / number if number > 0 else np.zeros_like(mean)
    total_mean = float(share @ mean)
    units, power = max(1, mean.size), variance + mean**2
    return Totals(
        size=size,
        finite=int(number),
        mean=total_mean,
        second_moment=float(share @ power),
        spread=float(share @ (variance + (mean - total_mean) ** 2)),
        within=float(variance.sum()) / units,
        power=float(power.sum()) / units,
        lowest=float(np.asarray(sums.lowest).min(initial=0.0)),
        highest=float(np.asarray(sums.highest).max(initial=0.0)),
        zeros=int(np.sum(sums.zeros)),
    )


def histogram(counts: Counts, scale: float = 1.0) -> Histogram | None:
    """The histogram, unless there was nothing to count."""
    numbers = np.asarray(counts.counts)
    if not numbers.sum():
        return None
    return Histogram(float(counts.low) * scale, float(counts.high) * scale, tuple(numbers.tolist()))


def between(sums: UnitSums, cosines: Cosines) -> Between:
    """How alike different examples are."""
    total, count = sums.totals or totals(sums), int(cosines.examples)
    correlation = None
    if count > 1:
        # Each example's cosine with itself is in the mean, and is taken out.
        correlation = finite_number((count * float(cosines.mean) - 1) / (count - 1))
    return Between(
        correlation=correlation,
        squared_correlation=finite_number(cosines.square) if count > 1 else None,
        varying_share=finite_number(total.within / total.power) if total.power > 0 else None,
    )


def suit_quick_sums(sums: UnitSums) -> bool:
    """Whether the entries were what `measurements.unit_sums` without `careful` takes them for."""
    largest = np.asarray(sums.largest)  # comparisons with what is not a number are false
    return bool(((largest > SMALLEST) & (largest < LARGEST)).all())


def saturation(ends: Ends, low: Number, high: Number, sums: UnitSums) -> Saturation | None:
    """The shares of entries at the flat ends; None for an activation without such ends."""
    if low is None and high is None:
        return None
    size = max(1, int(sums.rows) * int(np.size(ends.low)))
    return Saturation(low, high, float(np.sum(ends.low)) / size, float(np.sum(ends.high)) / size)


def dead_units(ends: Ends, activation: UnitSums) -> tuple[int, ...]:
    """Units that are at a flat end, or zero, for every example."""
    low, high = np.asarray(ends.low, np.int64), np.asarray(ends.high, np.int64)
    dead = np.maximum(low + high, np.asarray(activation.zeros)) >= int(activation.rows)
    return indices(dead)


def constant_units(preactivation: UnitSums) -> tuple[int, ...]:
    """Units that have the same, finite pre-activation for every example."""
    same = np.asarray(preactivation.lowest) == np.asarray(preactivation.highest)
    return indices(same & (np.asarray(preactivation.finite) > 0))


def uneven_units(weights: UnitSums) -> tuple[tuple[int, ...], tuple[int, ...], Number]:
    """Units whose weights are a hundred times smaller than those of one in four; those whose are
    three times larger than those of one in five, if they are not nearly all; and the root mean
    square of the latter's."""
    _, mean, variance = _unit_moments(weights)
    power = variance + mean**2
    if not power.size or power.max() <= 9.0 * power.min():
        return (), (), None
    faint = indices(power < 1e-4 * np.quantile(power, 0.75))
    wide = power > 9.0 * np.quantile(power, 0.2)
    if not wide.any() or wide.sum() < 0.1 * power.size:
        return faint, (), None
    return faint, indices(wide), finite_number(math.sqrt(power[wide].mean()))


def outlying_biases(preactivation: UnitSums, bias: Float[Any, " units"]) -> tuple[int, ...]:
    """Units whose bias outweighs all that their weighted sums ever do, and other units' biases.

    That it is four times the median unit's pre-activation leaves out layers whose weighted sums
    have all become small.
    """
    bias = np.asarray(bias, np.float64)
    low = np.asarray(preactivation.lowest, np.float64) - bias
    high = np.asarray(preactivation.highest, np.float64) - bias
    reach = np.maximum(np.abs(low), np.abs(high))
    _, mean, variance = _unit_moments(preactivation)
    usual = 4.0 * np.sqrt(np.median(variance + mean**2))
    with np.errstate(invalid="ignore"):
        outlying = (np.abs(bias) > reach) & (np.abs(bias) > usual) & (reach > 0)
        return indices(outlying & np.isfinite(reach))


def fit(
    sums: UnitSums, mean: Float[Any, " units"], variance: Float[Any, " units"]
) -> tuple[Number, Number]:
    """How far each unit's mean is from a given one, and its deviation over a given one: root mean
    squares over units, the first in given deviations."""
    _, own_mean, own_variance = _unit_moments(sums)
    shift = float(np.mean((own_mean - mean) ** 2 / variance))
    spread = float(np.mean(own_variance / variance))
    return finite_number(math.sqrt(shift)), finite_number(math.sqrt(spread))


def map_rows(codes: Int8[Any, "examples units"]) -> tuple[str, ...]:
    """The saturation map as strings; empty where nothing in it is saturated or zero."""
    codes = np.asarray(codes)
    if not codes.any():
        return ()
    width, text = codes.shape[1], _CHARACTERS[codes].tobytes().decode("ascii")
    return tuple(text[first : first + width] for first in range(0, len(text), width))


def equal_groups(*fingerprints: Float[np.ndarray, " units"]) -> list[tuple[int, ...]]:
    """Groups of two or more units whose fingerprints all agree but for rounding."""
    if any(not np.isfinite(numbers).all() for numbers in fingerprints):
        return []
    labels = np.zeros(len(fingerprints[0]), np.int64)
    for numbers in fingerprints:
        numbers = np.asarray(numbers, np.float64)
        scale = np.sqrt(np.mean(numbers**2)) if numbers.size else 0.0
        label = equal_labels(numbers, np.full(numbers.size, scale))
        if label.max(initial=-1) == label.size - 1:
            return []
        labels = labels_of_both(labels, label)
    return groups_of(labels)


def equal_labels(
    numbers: Float[np.ndarray, " units"], scales: Float[np.ndarray, " units"]
) -> Int[np.ndarray, " units"]:
    """Labels of numbers, the same where they agree but for rounding on their scales."""
    order = np.argsort(numbers, kind="stable")
    apart = np.diff(numbers[order]) > 1e-5 * scales[order][1:]
    labels = np.zeros(order.size, np.int64)
    labels[order[1:]] = np.cumsum(apart)
    return labels


def labels_of_both(
    one: Int[np.ndarray, " units"], other: Int[np.ndarray, " units"]
) -> Int[np.ndarray, " units"]:
    """Labels that are the same where both are."""
    return np.unique(one * one.size + other, return_inverse=True)[1]


def groups_of(labels: Int[np.ndarray, " units"]) -> list[tuple[int, ...]]:
    """The places of two or more that have the same label."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    firsts, several = np.cumsum(counts) - counts, counts > 1
    return [
        tuple(order[first : first + count].tolist())
        for first, count in zip(firsts[several].tolist(), counts[several].tolist(), strict=True)
    ]


def exact_groups(
    groups: Sequence[tuple[int, ...]], columns: Float[Any, "fan_in units"]
) -> tuple[tuple[int, ...], ...]:
    """Of groups of units those, or their parts, whose columns agree bit for bit."""
    alike: dict[tuple[int, bytes], list[int]] = {}
    by_unit = np.asarray(columns).T
    units = [(unit, which) for which, group in enumerate(groups) for unit in group]
    for first in range(0, len(units), _TOGETHER):
        some = units[first : first + _TOGETHER]
        held = np.ascontiguousarray(by_unit[[unit for unit, _ in some]])
        # 0.0 and -0.0 are one number.
        for (unit, which), row in zip(some, held + 0.0, strict=True):
            alike.setdefault((which, row.tobytes()), []).append(unit)
    return tuple(sorted(tuple(group) for group in alike.values() if len(group) > 1))


def indices(mask: Any) -> tuple[int, ...]:
    """The places at which a mask is true."""
    return tuple(np.flatnonzero(mask).tolist())


def finite_number(value: Any) -> Number:
    """The value as a Python float; None where it is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


def ratio(above: Number, below: Number) -> Number:
    """The quotient, where there is one."""
    if above is None or below is None or below == 0.0:
        return None
    return finite_number(above / below)


def _unit_moments(
    sums: UnitSums,
) -> tuple[Int[np.ndarray, " units"], Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """Count, mean and variance by unit, unscaled, in float64."""
    largest = np.asarray(sums.largest, np.float64)
    mean = np.asarray(sums.mean, np.float64) * largest
    variance = np.asarray(sums.variance, np.float64) * largest**2
    return np.asarray(sums.finite, np.int64), mean, variance
