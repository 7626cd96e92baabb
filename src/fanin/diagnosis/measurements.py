"""From arrays to the numbers of a recording, where the arrays lie: one text for every framework.

Only the array API standard is used here (through array-api-compat), so NumPy, JAX and PyTorch
arrays are measured alike, on their own devices and under compilation. What comes back is a few
numbers for each unit; `fanin.diagnosis.summaries` makes the rest of them on the host, in float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import array_namespace
from jaxtyping import Bool, Float, Int8, Integer

Array = Any
"""An array of any framework that array-api-compat knows."""

BINS = 48
# Shapes of histograms settle to a percent or two with so many entries.
SAMPLED = 8_192
MAP_EXAMPLES = 64
PREFIX = 512
# Cosines of all pairs are taken among so many examples.
PAIRED = 256
# Histograms reach so many standard deviations to each side of the mean.
REACH = 4.0
# Squares of entries between these neither over- nor underflow in float32, nor do sums of them.
SMALLEST, LARGEST = 1e-15, 1e15

HIGH, LOW, ZERO, NEITHER = 1, -1, 2, 0
"""Codes of the saturation map."""


class Totals(NamedTuple):
    """Of all units of a table together."""

    size: int
    finite: int
    """how many entries are"""
    mean: float
    second_moment: float
    spread: float
    """the variance of all entries"""
    within: float
    """the mean over units of each one's variance"""
    power: float
    """the mean over units of each one's second moment"""
    lowest: float
    highest: float
    zeros: int


class UnitSums(NamedTuple):
    """Of each unit (column), over all examples (rows); entries that are not finite left out.

    Means and squares are of the entries divided by `largest`, so that nothing over- or underflows.
    """

    rows: Any
    """how many examples"""
    finite: Integer[Array, " units"]
    zeros: Integer[Array, " units"]
    lowest: Float[Array, " units"]
    highest: Float[Array, " units"]
    largest: Float[Array, " units"]
    """the largest absolute value; 1 where all are zero"""
    mean: Float[Array, " units"]
    variance: Float[Array, " units"]
    totals: Totals | None = None
    """what `summaries.totals` would make of these, where it is known already"""


class Counts(NamedTuple):
    """A histogram of the first examples' entries, the outermost bins taking what lies beyond."""

    low: Float[Array, ""]
    high: Float[Array, ""]
    counts: Integer[Array, " bins"]


class Cosines(NamedTuple):
    """Of all pairs among the first examples, each with itself among them."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    """the mean of their squares"""
    examples: Integer[Array, ""]
    """how many of the first examples have a direction (are finite, and not zero)"""


class Output(NamedTuple):
    """Of logits: each class's mean, and means over examples of variance and largest probability."""

    class_means: Float[Array, " vocab"]
    variance: Float[Array, ""]
    largest_probability: Float[Array, ""]


class Signal(NamedTuple):
    """One array of (examples, units), measured."""

    sums: UnitSums
    counts: Counts
    cosines: Cosines


class Ends(NamedTuple):
    """Pre-activations beyond the ends of an activation, by unit, and the map of the first ones."""

    low: Integer[Array, " units"]
    high: Integer[Array, " units"]
    map: Int8[Array, "examples units"]


class LayerMeasures(NamedTuple):
    """One layer's arrays, measured; None for what it has not."""

    preactivation: Signal
    normalised: Signal | None
    activation: Signal | None
    gradient: Signal | None
    ends: Ends | None


class ParameterMeasures(NamedTuple):
    """One parameter and its gradient, measured as (fan_in, units)."""

    data: UnitSums
    gradient: UnitSums | None
    prints: Float[Array, " units"] | None
    """fingerprints of the units' weights, and of their gradients"""
    gradient_prints: Float[Array, " units"] | None
    prefix: Float[Array, " nodes"]
    """its first entries, in order, to tell streams of random numbers by"""


def parameter(
    data: Float[Array, "..."],
    gradient: Float[Array, "..."] | None,
    probe: Any = None,
    careful: bool = False,
) -> ParameterMeasures:
    """Measure a parameter of (fan_in, units); with a `probe` of fan-in numbers, fingerprint it."""
    xp = array_namespace(data)
    columns = data if data.ndim == 2 else flat(data, rows=1)
    slopes = None if gradient is None else (gradient if data.ndim == 2 else flat(gradient, rows=1))
    return ParameterMeasures(
        unit_sums(columns, careful),
        None if slopes is None else unit_sums(slopes, careful),
        None if probe is None else fingerprints(columns, probe),
        None if probe is None or slopes is None else fingerprints(slopes, probe),
        xp.reshape(data, (-1,))[:PREFIX],
    )


def signal(x: Float[Array, "examples ..."], careful: bool = False) -> Signal:
    """Measure one array; `careful` where it may have values that are not finite."""
    x = flat(x)
    return Signal(unit_sums(x, careful), counts(x), cosines(x))


def flat(x: Float[Array, "..."], rows: int | None = None) -> Float[Array, "examples units"]:
    """x as a table of examples and units."""
    xp = array_namespace(x)
    return x if x.ndim == 2 and rows is None else xp.reshape(x, (rows or x.shape[0], -1))


def unit_sums(x: Float[Array, "examples units"], careful: bool = False) -> UnitSums:
    """Counts, ends, mean and variance of each column.

    Without `careful`, which costs twice as much, all entries count as finite and as far from
    where squares over- and underflow; where `summaries.suit_quick_sums` finds one that is not,
    the table is to be measured once more.
    """
    xp = array_namespace(x)
    x = widened(x)
    zeros = how_many(x == 0)
    finite = xp.full_like(zeros, x.shape[0])
    count = xp.astype(finite, x.dtype)
    is_finite = None
    if careful:
        is_finite = xp.isfinite(x)
        finite = how_many(is_finite)
        count = xp.astype(xp.where(finite > 0, finite, xp.ones_like(finite)), x.dtype)
        x = xp.where(is_finite, x, xp.zeros_like(x))
    lowest, highest = xp.min(x, axis=0), xp.max(x, axis=0)
    largest = xp.maximum(xp.abs(lowest), xp.abs(highest))
    largest = xp.where(largest == 0, xp.ones_like(largest), largest)
    if is_finite is not None:
        mean = xp.sum(x / largest, axis=0) / count
        apart = xp.where(is_finite, x / largest - mean, xp.zeros_like(x))
        variance = xp.sum(apart * apart, axis=0) / count
        return UnitSums(x.shape[0], finite, zeros, lowest, highest, largest, mean, variance)
    # The mean of equal numbers can be rounded to beyond them, and would leave them a variance.
    mean = xp.minimum(xp.maximum(xp.sum(x, axis=0) / count, lowest), highest)
    apart = x - mean
    variance = xp.sum(apart * apart, axis=0) / count / largest / largest
    return UnitSums(x.shape[0], finite, zeros, lowest, highest, largest, mean / largest, variance)


def how_many(which: Bool[Array, "examples units"]) -> Integer[Array, " units"]:
    """How often each column is true: over a few rows in bytes first, which takes half the time."""
    xp = array_namespace(which)
    whole = which.shape[0] // 64 * 64
    first = xp.reshape(which[:whole], (-1, 64, which.shape[1]))
    of_64 = xp.sum(xp.astype(first, xp.int8), axis=1, dtype=xp.int8)
    rest = xp.sum(xp.astype(which[whole:], xp.int32), axis=0, dtype=xp.int32)
    return xp.sum(xp.astype(of_64, xp.int32), axis=0, dtype=xp.int32) + rest


def counts(x: Float[Array, "examples units"]) -> Counts:
    """A histogram of the first examples, around their mean."""
    xp = array_namespace(x)
    rows = max(1, min(x.shape[0], SAMPLED // x.shape[1]))
    sample = xp.reshape(widened(x[:rows, :SAMPLED]), (-1,))
    is_finite = xp.isfinite(sample)
    # A value that is not finite, or that squares to one, would leave no bins for the others.
    usable = is_finite & (xp.abs(sample) < 1e18)
    number = xp.sum(xp.astype(usable, sample.dtype))
    number = xp.where(number > 0, number, xp.ones_like(number))
    kept = xp.where(usable, sample, xp.zeros_like(sample))
    mean = xp.sum(kept) / number
    apart = xp.where(usable, sample - mean, xp.zeros_like(sample))
    reach = REACH * xp.sqrt(xp.sum(apart * apart) / number)
    lowest, highest = (end(xp.where(usable, sample, mean)) for end in (xp.min, xp.max))
    # The mean of equal numbers can be rounded to beyond them, and their squares to no reach at all.
    mean = xp.minimum(xp.maximum(mean, lowest), highest)
    low, high = xp.maximum(mean - reach, lowest), xp.minimum(mean + reach, highest)
    width = (high - low) / BINS
    width = xp.where(width > 0, width, xp.ones_like(width))
    place = xp.clip(xp.floor((kept - low) / width), 0, BINS - 1)
    place = xp.where(is_finite, place, -xp.ones_like(place))
    return Counts(low, high, xp.astype(_counted(place), xp.int32))


def _counted(place: Float[Array, " nodes"]) -> Float[Array, " bins"]:
    """How often each bin occurs, by a product: of the place's eights with what is left of it.

    A fourth of the time of a comparison with every bin; float32 counts exactly up to 2²⁴.
    """
    xp = array_namespace(place)
    eights = xp.floor(place / 8)
    of_eights, of_rest = (
        xp.astype(
            digit[None, :] == xp.arange(count, dtype=place.dtype, device=_device(place))[:, None],
            place.dtype,
        )
        for digit, count in ((eights, BINS // 8), (place - 8 * eights, 8))
    )
    return xp.reshape(of_eights @ xp.matrix_transpose(of_rest), (BINS,))


def cosines(x: Float[Array, "examples units"]) -> Cosines:
    """How alike the first examples are."""
    xp = array_namespace(x)
    x = widened(x[:PAIRED])
    largest = xp.max(xp.abs(x), axis=1, keepdims=True)
    has_one = (largest > 0) & xp.isfinite(largest)
    scaled = xp.where(has_one, x / xp.where(has_one, largest, xp.ones_like(largest)), 0.0)
    length = xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True))
    unit = scaled / xp.where(length > 0, length, xp.ones_like(length))
    examples = xp.sum(xp.astype(has_one, xp.int32), dtype=xp.int32)
    pairs = xp.astype(xp.where(examples > 0, examples, xp.ones_like(examples)), x.dtype) ** 2
    # The cosines' sum is that of the directions, squared; and the sum of their squares is the same
    # for products of the examples as for products of the units, of which there may be fewer.
    total, other = xp.sum(unit, axis=0), xp.matrix_transpose(unit)
    every = other @ unit if unit.shape[1] < unit.shape[0] else unit @ other
    return Cosines(xp.sum(total * total) / pairs, xp.sum(every * every) / pairs, examples)


def ends(
    preactivation: Float[Array, "examples ..."],
    activation: Float[Array, "examples ..."],
    low: float | None,
    high: float | None,
) -> Ends:
    """Which pre-activations lie beyond `low` and `high`, where the activation has such ends."""
    xp = array_namespace(preactivation)
    preactivation, activation = flat(preactivation), flat(activation)
    none = xp.zeros_like(preactivation, dtype=xp.bool)
    below = none if low is None else preactivation <= low
    above = none if high is None else preactivation >= high
    first = slice(0, MAP_EXAMPLES)
    codes = xp.where(activation[first] == 0, ZERO, NEITHER)
    codes = xp.where(below[first] & (codes != ZERO), LOW, codes)
    codes = xp.where(above[first], HIGH, codes)
    return Ends(
        how_many(below),
        how_many(above),
        xp.astype(codes, xp.int8),
    )


def layer(
    preactivation: Float[Array, "examples ..."],
    normalised: Float[Array, "examples ..."] | None,
    activation: Float[Array, "examples ..."] | None,
    gradient: Float[Array, "examples ..."] | None,
    flat_ends: tuple[float | None, float | None],
    signal: Callable[[Any], Any] = signal,
    ends: Callable[[Any, Any, float | None, float | None], Any] = ends,
) -> LayerMeasures:
    """Measure what one layer computed; `activation` None where it has no non-linearity.

    A framework that compiles gives its compiled `signal` and `ends`, one array at a time (XLA on
    CPU makes of several in one program something thirty times slower), and they may give what
    will be the measures once it is on the host.
    """
    before = preactivation if normalised is None else normalised
    return LayerMeasures(
        signal(preactivation),
        None if normalised is None else signal(normalised),
        None if activation is None else signal(activation),
        None if gradient is None else signal(gradient),
        None if activation is None else ends(before, activation, *flat_ends),
    )


def output(logits: Float[Array, "examples vocab"]) -> Output:
    """How wide logits are, and how sure of themselves."""
    xp = array_namespace(logits)
    logits = widened(logits)
    highest = xp.max(logits, axis=1, keepdims=True)
    probabilities = 1 / xp.sum(xp.exp(logits - highest), axis=1)
    apart = logits - xp.mean(logits, axis=1, keepdims=True)
    return Output(
        xp.mean(logits, axis=0),
        xp.mean(xp.mean(apart * apart, axis=1)),
        xp.mean(probabilities),
    )


def fingerprints(
    weight: Float[Array, "fan_in units"], probe: Float[Array, " fan_in"]
) -> Float[Array, " units"]:
    """One number for each unit, equal (but for rounding) where the units' weights are equal."""
    xp = array_namespace(weight)
    return xp.sum(widened(weight) * probe[:, None], axis=0)


def widened(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x in float32 where it is narrower."""
    xp = array_namespace(x)
    return x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float32)


def _device(x: Array) -> Any:
    from array_api_compat import device

    return device(x)
