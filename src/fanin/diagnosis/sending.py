"""A recorded layer as theory's parts, and what theory makes of signals sent through them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fanin.diagnosis import spreads
from fanin.diagnosis.activated import Activated
from fanin.diagnosis.recording import Between, Layer, Moments
from fanin.theory import (
    Linear,
    Nonlinearity,
    Normalise,
    NoTheory,
    Part,
    Signal,
    TheoryError,
)


@dataclass(frozen=True)
class Reached:
    """A theoretical signal, and the variance of the logarithm of its second moment."""

    signal: Signal | NoTheory
    variance: float = 0.0


@dataclass(frozen=True)
class Sent:
    """What theory makes of one layer: its pre-activation, its output, the gradient's factor.

    `chi` is the gradient's second moment at the layer's input, for 1 at its output.
    """

    preactivation: Reached
    judged: Reached
    """what the activation reads: the pre-activation, normalised where it is"""
    activation: Reached
    chi: float | NoTheory
    chi_variance: float = 0.0


def measured_signal(
    moments: Moments | None, between: Between | None, gaussian: bool = False
) -> Signal | NoTheory:
    """A measured signal as theory takes it."""
    if moments is None or moments.second_moment is None or moments.mean is None:
        return NoTheory("what was measured is not finite")
    apart = None if between is None else between.varying_share
    mean = math.copysign(min(abs(moments.mean), math.sqrt(moments.second_moment)), moments.mean)
    return Signal(moments.second_moment, mean, apart, gaussian)


def parts_of(
    layer: Layer, nonlinearities: Mapping[str, Nonlinearity]
) -> tuple[list[Part], NoTheory | None]:
    """The parts of a layer in theory's terms; the reason where one is none of them."""
    parts: list[Part] = []
    if layer.kind == "linear":
        if layer.weight_second_moment is None or layer.fan_in is None:
            return [], NoTheory("its weights are not finite")
        own = {parameter.name: parameter for parameter in layer.parameters}
        bias = own[layer.bias].data.second_moment if layer.bias else 0.0
        if bias is None:
            return [], NoTheory("its biases are not finite")
        fan_out = layer.fan_out or layer.units
        variance = layer.fan_in * layer.weight_second_moment
        parts.append(Linear(variance, bias, layer.fan_in, fan_out))
    elif layer.kind not in ("sum", "activation", "normalisation"):
        return [], NoTheory(f"theory has none for a layer of kind {layer.kind}")
    if layer.normalisation in ("batch", "layer"):
        parts.append(Normalise(layer.normalisation))
        roles = {parameter.role: parameter.data for parameter in layer.parameters}
        gain, shift = roles.get("normalisation gain"), roles.get("normalisation bias")
        # A diagonal of gains and a shift do to the moments what a linear layer does.
        parts.append(
            Linear(
                1.0 if gain is None else gain.second_moment or 0.0,
                0.0 if shift is None else shift.second_moment or 0.0,
            )
        )
    elif layer.normalisation is not None:
        return [], NoTheory(f"theory has none for {layer.normalisation} normalisation")
    if layer.nonlinearity is not None:
        if layer.nonlinearity not in nonlinearities:
            return [], NoTheory(f"the activation {layer.nonlinearity} is not known by its values")
        parts.append(Activated(nonlinearities[layer.nonlinearity]))
    return parts, None


def send(
    layer: Layer,
    parts: tuple[list[Part], NoTheory | None],
    reads: list[Reached],
    preactivation: Reached | None,
    before: Between | None,
) -> Sent:
    """Send what a layer reads through it; with `preactivation`, from there on anew."""
    following, none = parts
    if none is None and (not reads or len(reads) < len(layer.reads)):
        none = NoTheory("what it reads has no moments here")
    if none is not None:
        return Sent(Reached(none), Reached(none), Reached(none), none)
    now, chi, chi_variance = _sum(reads) if layer.kind == "sum" else reads[0], 1.0, 0.0
    if layer.kind == "linear":
        now, chi, chi_variance = _pass(now, following[0], layer, before)
        following = following[1:]
    at_preactivation = now
    if preactivation is not None:
        now = preactivation
    between = layer.preactivation_between if layer.normalisation is None else layer.between
    judged = now
    for part in following:
        if isinstance(part, Activated):
            judged = now
        now, factor, variance = _pass(now, part, layer, between)
        chi_variance += variance
        if not isinstance(chi, NoTheory):
            chi = factor if isinstance(factor, NoTheory) else chi * factor
    return Sent(at_preactivation, judged, now, chi, chi_variance)


def _pass(
    reached: Reached, part: Part, layer: Layer, between: Between | None
) -> tuple[Reached, float | NoTheory, float]:
    """One part: the signal after it, the gradient's factor, and the variance of its logarithm."""
    signal = reached.signal
    if isinstance(signal, NoTheory):
        return reached, signal, 0.0
    alike, slopes = _alike(between), _alike(layer.gradient_between)
    try:
        after = part.moments(signal)
        output, chi = after.output, after.chi
        variance, chi_variance = reached.variance, 0.0
        if isinstance(part, Linear) and part.fan_in > 1:
            variance += spreads.linear_variance(layer.units, alike)
            chi_variance = spreads.gradient_variance(part.fan_in, slopes)
        elif isinstance(part, Activated):
            q = signal.second_moment
            variance *= spreads.activation_slope(part.nonlinearity, q) ** 2
            variance += spreads.activation_variance(part.nonlinearity, q, layer.units, alike)
            chi_variance = spreads.slope_variance(part.nonlinearity, q, layer.units, slopes)
        elif isinstance(part, Normalise):
            variance, chi_variance = spreads.FLOOR**2, spreads.NORMALISED**2
    except TheoryError as error:
        return Reached(NoTheory(str(error))), NoTheory(str(error)), 0.0
    return Reached(output, variance), chi, chi_variance


def _alike(between: Between | None) -> float:
    """The mean squared cosine; that of examples which are all one, where it was not measured."""
    measured = None if between is None else between.squared_correlation
    return 1.0 if measured is None else measured


def _sum(reads: list[Reached]) -> Reached:
    """A sum of signals of which all but the first come from new, zero-mean weights."""
    total = reads[0]
    for each in reads[1:]:
        one, other = total.signal, each.signal
        if isinstance(one, NoTheory) or isinstance(other, NoTheory):
            return total if isinstance(one, NoTheory) else each
        second = one.second_moment + other.second_moment + 2.0 * one.mean * other.mean
        apart = None
        if one.decorrelation is not None and other.decorrelation is not None and second > 0.0:
            apart = one.second_moment * one.decorrelation
            apart = min((apart + other.second_moment * other.decorrelation) / second, 2.0)
        share = one.second_moment / second if second > 0.0 else 0.0
        total = Reached(
            Signal(second, one.mean + other.mean, apart, one.gaussian and other.gaussian),
            share**2 * total.variance + (1 - share) ** 2 * each.variance,
        )
    return total
