"""Prescriptions whose scales are measured, not computed: layer by layer, in order of execution.

Each layer that the verdict names is scaled by what it gives once all before it are put right. That
takes a pass for each, needs no theory of the activation before the layer, and counts what theory
leaves out: correlated inputs, finite width, biases.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.diagnosis.prescriptions.changes import WORTH, scale_prescription
from fanin.diagnosis.prescriptions.scales import OUTPUT_GAIN
from fanin.diagnosis.recording import Layer, Number, Recording
from fanin.diagnosis.report import SCALE_CHECKS

if TYPE_CHECKING:
    from fanin.diagnosis.report import Prescription, Report

Measure = Callable[[tuple["Prescription", ...]], Recording]
"""The recording of the network as it is with some changes."""


def by_measurement(report: "Report", measure: Measure) -> tuple["Prescription", ...]:
    """The prescriptions of a report with scales measured anew, each after those before it.

    What is no matter of scale stays as it was, and comes first, as does what makes an output that
    is a product of layers narrower. Biases are left alone: a weight is scaled for what it adds to
    them. A parameter that several layers share is scaled once, for the first of them.
    """
    layers = {layer.name: layer for layer in report.recording.layers}
    product = all(layer.role != "output" for layer in layers.values())
    made = [
        each
        for each in report.prescriptions
        if each.action != "scale"
        or each.units
        or layers[each.layer].normalisation is not None
        or (product and {*each.checks} & {"loss", "logits"})
    ]
    scaled = {
        each.parameter
        for each in made
        if each.action == "scale" or (each.action == "draw" and not each.units)
    }
    for layer in _named(report):
        weight = own_name(layer, layer.weight)
        if weight is None or weight in scaled:
            continue
        scaled.add(weight)
        factor = _factor(measure(tuple(made)).layer(layer.name))
        if factor is None or abs(math.log(factor)) < WORTH:
            continue
        asked = [c for c in report.checks if c.verdict != "good" and layer.name in c.layers]
        made.append(
            scale_prescription(
                weight,
                layer,
                factor,
                f"to what a measured second moment of {_target(layer):.4g} takes",
                f"{layer.name} is measured after all before it has been put right",
                tuple(each.name for each in asked if each.name in SCALE_CHECKS),
            )
        )
    if report.write is None:
        return tuple(made)
    return tuple(replace(each, code=report.write(each)) for each in made)


def own_name(layer: Layer, name: str | None) -> str | None:
    """The name under which a layer's parameter is changed: of a tied one, that of the first."""
    for own in layer.parameters:
        if own.name == name:
            return own.tied_to or own.name
    return name


def _named(report: "Report") -> list[Layer]:
    """The layers whose scale the verdict names: of those with theory, the ones it would change."""
    named = {
        name
        for check in report.checks
        if check.verdict != "good" and check.name in SCALE_CHECKS
        for name in check.layers
    }
    changed = {each.layer for each in report.prescriptions if each.action == "scale"}
    return [
        layer
        for layer in report.recording.layers
        if layer.name in named
        and layer.normalisation is None
        and (layer.name in changed or report.prediction(layer.name).preactivation.no_theory)
    ]


def _target(layer: Layer) -> float:
    """The second moment wanted of a layer's pre-activation; of logits, for inputs of 1."""
    if layer.role == "output":
        return OUTPUT_GAIN**2
    return 1.0 / (2 * layer.branches) if layer.branches else 1.0


def _factor(layer: Layer) -> Number:
    """What takes a layer's weighted sums, its biases apart, to the second moment wanted."""
    now = layer.preactivation and layer.preactivation.second_moment
    if now is None:
        return None
    bias = next((own.data.second_moment for own in layer.parameters if own.name == layer.bias), 0.0)
    wanted, sums = _target(layer), now - (bias or 0.0)
    if layer.role == "output" and layer.input is not None:
        wanted *= layer.input.second_moment or 1.0
    if layer.role != "output":
        wanted = max(wanted - (bias or 0.0), 0.1 * wanted)
    return math.sqrt(wanted / sums) if sums > 0.0 else None
