"""From measured numbers, brought to the host, to the layers of a recording."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log10, sqrt
from typing import Any

import numpy as np

from fanin.diagnosis import summaries
from fanin.diagnosis.measurements import (
    LayerMeasures,
    Output,
    ParameterMeasures,
    Signal,
    UnitSums,
)
from fanin.diagnosis.recording import (
    Between,
    Layer,
    Loss,
    Moments,
    NotFinite,
    Number,
    Parameter,
)


@dataclass(frozen=True)
class ParameterFacts:
    """What a framework tells of a parameter, with the numbers measured of it."""

    name: str
    shape: tuple[int, ...]
    role: str
    measures: ParameterMeasures
    columns: Callable[[], Any] | None = None
    """gives the weights as (fan_in, units): asked for where fingerprints agree"""
    update: Number = None
    """root mean square of one update; None for that of gradient descent"""
    trainable: bool = True
    tied_to: str | None = None


def parameter(facts: ParameterFacts, learning_rate: Number) -> Parameter:
    """A parameter with its ratios."""
    data = summaries.moments(facts.measures.data)
    gradient = None
    if facts.measures.gradient is not None:
        gradient = summaries.moments(facts.measures.gradient)
    size, slope = root_mean_square(data), root_mean_square(gradient)
    update = facts.update
    if update is None and slope is not None and learning_rate is not None:
        update = learning_rate * slope
    share = summaries.ratio(update, size)
    return Parameter(
        name=facts.name,
        shape=facts.shape,
        role=facts.role,
        data=data,
        gradient=gradient,
        gradient_to_data=summaries.ratio(slope, size),
        update_to_data=log10(share) if share else None,
        trainable=facts.trainable,
        tied_to=facts.tied_to,
    )


def layer(
    described: Layer,
    measures: LayerMeasures,
    facts: tuple[ParameterFacts, ...],
    *,
    flat_ends: tuple[Number, Number] = (None, None),
    gradient_scale: float = 1.0,
    learning_rate: Number = None,
) -> Layer:
    """`described`, which has a layer's names and kinds, with all that was measured of it.

    `gradient_scale` takes gradients to those of one example's loss: the number of examples where
    the loss is their mean.
    """
    parameters = tuple(parameter(each, learning_rate) for each in facts)
    weight = next((each for each in facts if each.name == described.weight), None)
    bias = next((each for each in facts if each.name == described.bias), None)
    weights = None if weight is None else parameters[facts.index(weight)].data
    preactivation, pre_between = _signal(measures.preactivation)
    last = measures.activation or measures.normalised
    activation, between = (preactivation, pre_between) if last is None else _signal(last)
    normalised = None
    if measures.normalised is not None:
        normalised = (
            activation if last is measures.normalised else (_signal(measures.normalised)[0])
        )
    at_ends, last_sums = measures.ends, (last or measures.preactivation).sums
    copies, twins = _equal_units(weight, bias, described.fan_in)
    gradient, gradient_between = _gradient(measures.gradient, gradient_scale)
    if weight is not None:
        described = uneven(described, weight.measures.data)
    return replace(
        described,
        weight_std=weights and weights.std,
        weight_second_moment=weights and weights.second_moment,
        gain=gain_of(weights, described.fan_in),
        parameters=parameters,
        preactivation=preactivation,
        normalised=normalised,
        activation=activation,
        preactivation_between=pre_between,
        between=between,
        gradient=gradient,
        gradient_between=gradient_between,
        saturation=at_ends and summaries.saturation(at_ends, *flat_ends, last_sums),
        dead_units=summaries.dead_units(at_ends, last_sums) if at_ends else (),
        constant_units=summaries.constant_units(measures.preactivation.sums),
        outlying_biases=_outlying(measures, bias),
        copies=copies,
        twins=twins,
        map=summaries.map_rows(at_ends.map) if at_ends else (),
    )


def root_mean_square(moments: Moments | None) -> Number:
    """The square root of the second moment, where there is one."""
    if moments is None or moments.second_moment is None:
        return None
    return sqrt(moments.second_moment)


def loss(kind: str, value: float, outputs: Moments, output: Output, targets: Any) -> Loss:
    """The record of a classifier's loss."""
    means = np.asarray(output.class_means, np.float64)
    shares = np.bincount(np.asarray(targets).ravel()) / np.size(targets)
    shares = shares[shares > 0]
    return Loss(
        kind=kind,
        value=summaries.finite_number(value),
        classes=means.size,
        target_entropy=float(-(shares * np.log(shares)).sum()),
        output=outputs,
        output_variance=summaries.finite_number(output.variance),
        class_offset=_offset(means),
        largest_probability=summaries.finite_number(output.largest_probability),
    )


def _offset(means: Any) -> Number:
    """The largest distance of one of these means from them all."""
    if not np.isfinite(means).all():
        return None
    return float(np.abs(means - means.mean()).max())


def first_not_finite(
    layers: tuple[Layer, ...],
    loss: Loss | None,
    statistics: dict[str, Any],
    inputs: Moments | None = None,
) -> NotFinite | None:
    """Where values that are not finite begin: in what was put in, going forward, going back."""
    for each in layers:
        for own in each.parameters:
            if not own.data.finite:
                return NotFinite(own.name, "parameter", _not_finite(own.name, own.data))
    wrong = [name for name, each in statistics.items() if not np.isfinite(np.asarray(each)).all()]
    if wrong:
        text = f"the statistic {wrong[0]} is not finite"
        return NotFinite(wrong[0], "statistic", text, tuple(wrong[1:]))
    if inputs is not None and not inputs.finite:
        return NotFinite("input", "input", _not_finite("the network's input", inputs))
    for each in layers:
        for what, moments in (
            ("pre-activation", each.preactivation),
            ("normalised pre-activation", each.normalised),
            ("output", each.activation),
        ):
            if moments is not None and not moments.finite:
                text = _not_finite(f"the {what} of {each.name}", moments)
                return NotFinite(each.name, "output", f"{text}, from finite inputs")
    if loss is not None and not loss.output.finite:
        text = _not_finite("the network's output", loss.output)
        return NotFinite("output", "output", f"{text}, from layers that give finite values")
    if loss is not None and loss.value is None:
        return NotFinite("loss", "loss", "the loss is not finite though all outputs are")
    for each in reversed(layers):
        for moments in (each.gradient, *(own.gradient for own in each.parameters)):
            if moments is not None and not moments.finite:
                text = f"the gradient at {each.name} is the first that is not finite"
                return NotFinite(each.name, "gradient", text)
    return None


def _not_finite(what: str, moments: Moments) -> str:
    count = round(moments.size * (1 - moments.finite_share))
    return f"{what} has {count:,} of {moments.size:,} values that are not finite"


def gain_of(weights: Moments | None, fan_in: int | None) -> Number:
    """The standard deviation times √fan-in, where there are both; of a fan-in of 1 the root mean
    square, since no other weight can make up for a mean."""
    if weights is None or weights.std is None or fan_in is None:
        return None
    return root_mean_square(weights) if fan_in == 1 else weights.std * sqrt(fan_in)


def matrix_gains(layer: Layer, of: str = "") -> dict[str, float]:
    """The gain of each matrix of a recurrent layer whose name has `of` in it, by its name."""
    return {
        own.name: gain_of(own.data, own.shape[1]) or 0.0
        for own in layer.parameters
        if len(own.shape) == 2 and of in own.name
    }


def _signal(signal: Signal, scale: float = 1.0) -> tuple[Moments, Between]:
    sums = signal.sums
    if sums.totals is None:
        sums = sums._replace(totals=summaries.totals(sums))
    return summaries.moments(sums, signal.counts, scale), summaries.between(sums, signal.cosines)


def _gradient(signal: Signal | None, scale: float) -> tuple[Moments | None, Between | None]:
    return (None, None) if signal is None else _signal(signal, scale)


def _outlying(measures: LayerMeasures, bias: ParameterFacts | None) -> tuple[int, ...]:
    if bias is None or not np.any(bias.measures.data.mean):
        return ()
    data = bias.measures.data
    numbers = np.asarray(data.mean, np.float64) * np.asarray(data.largest, np.float64)
    if numbers.shape != np.shape(measures.preactivation.sums.mean):  # complex ones count twice
        return ()
    return summaries.outlying_biases(measures.preactivation.sums, numbers)


_FEW = 8
"""Of fewer weights chance makes some units' much larger than others'."""


def uneven(layer: Layer, weights: UnitSums) -> Layer:
    """A layer with what is told of units whose weights are larger or smaller than others'.

    Where each was measured by itself: of large weights only some are.
    """
    if np.size(weights.mean) != layer.units or (layer.fan_in or 0) < _FEW:
        return layer
    faint, wide, size = summaries.uneven_units(weights)
    gain = None if size is None or layer.fan_in is None else size * sqrt(layer.fan_in)
    return replace(layer, faint_units=faint, wide_units=wide, wide_gain=gain)


def _equal_units(
    weight: ParameterFacts | None, bias: ParameterFacts | None, fan_in: int | None
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Groups of units with equal weights, and those among them with equal gradients too.

    Other biases do not tell apart units that look at their input in one direction, unless there is
    only one, or none as weights are all zero.
    """
    if weight is None or weight.measures.prints is None or weight.columns is None:
        return (), ()
    prints = [np.asarray(weight.measures.prints, np.float64)]
    if bias is not None and (fan_in == 1 or not np.any(prints[0])):
        data = bias.measures.data
        prints.append(np.asarray(data.mean, np.float64) * np.asarray(data.largest, np.float64))
    candidates = summaries.equal_groups(*prints)
    if not candidates:
        return (), ()
    copies = summaries.exact_groups(candidates, weight.columns())
    if weight.measures.gradient_prints is None:
        return copies, ()
    slopes = np.asarray(weight.measures.gradient_prints, np.float64)
    others = _further_prints(weight.measures, len(slopes))
    twins = [
        tuple(group[place] for place in places)
        for group in copies
        for places in _equal_among(slopes, others, group)
    ]
    if not np.any(prints[0]) and np.any(slopes):
        # Of a weight of zeros, some units wait for those which the gradient reaches first.
        twins = [group for group in twins if np.any(slopes[np.asarray(group)])]
    return copies, tuple(twins)


def _further_prints(measures: ParameterMeasures, units: int) -> list[Any]:
    """Of each unit's gradient the smallest and the largest entry, where they were measured of all:
    prints of many small gradients agree by chance."""
    gradient = measures.gradient
    if gradient is None or np.size(gradient.lowest) != units:
        return []
    return [np.asarray(each, np.float64) for each in (gradient.lowest, gradient.highest)]


def _equal_among(slopes: Any, others: list[Any], group: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Places in a group whose gradients agree but for rounding, on the scale of all gradients; and
    on that of their own where more is known of them."""
    units = np.asarray(group)
    of_all = np.full(units.size, np.sqrt(np.mean(slopes**2)))
    labels = summaries.equal_labels(slopes[units], of_all)
    own = np.max([abs(each[units]) for each in others], axis=0) if others else of_all
    for each in others:
        labels = summaries.labels_of_both(labels, summaries.equal_labels(each[units], own))
    return summaries.groups_of(labels)
