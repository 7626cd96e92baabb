"""Values that are not finite: the first place that produced one."""

import math

from fanin.diagnosis.case import Case
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check


def finite(case: Case) -> Check:
    """Bad where any value is not finite; names the place where that begins."""
    first = case.recording.not_finite
    if first is None:
        text = "All parameters, outputs and gradients are finite."
    else:
        text = f"Not all values are finite. It begins here: {first.text}."
    at_fault: list[Layer] = []
    if first is not None and first.what == "loss":
        at_fault = too_wide(case, case.output)
    elif first is not None and (own := owner(case, first.place)) is not None:
        at_fault = [own]
    return Check(
        name="finite",
        verdict="good" if first is None else "bad",
        value=None if first is None else 1.0,
        expected=0.0,
        low=None,
        high=0.0,
        layers=tuple(each.name for each in at_fault),
        text=text,
        source="IEEE 754: what is not finite never becomes finite again in training",
    )


def too_wide(case: Case, last: Layer | None) -> list[Layer]:
    """The layers up to one whose own weights, or gains, are so wide that numbers overflow."""
    limit = case.thresholds.gain_ratio_elsewhere
    layers = case.upstream(last) if last is not None else list(case.layers.values())
    return [each for each in layers if limit.verdict(max(1.0, _width(case, each))) != "good"]


def _width(case: Case, layer: Layer) -> float:
    """How many times too wide what a layer multiplies by is."""
    own = case.parameters.get(layer.weight or "") if layer.kind == "embedding" else None
    if layer.normalisation is not None:
        own = layer.own("normalisation gain")
    if own is not None or layer.normalisation is not None or layer.kind == "embedding":
        return math.sqrt((own and own.data.second_moment) or 1.0)
    return (layer.gain or 1.0) / (case.wanted_gain(layer) or 1.0)


def owner(case: Case, place: str) -> Layer | None:
    """The layer that a parameter, a statistic or a layer's own name belongs to."""
    for layer in case.layers.values():
        if any(own.name == place for own in layer.parameters):
            return layer
    for layer in case.layers.values():
        owned = {parameter.name for parameter in layer.parameters}
        # A normalisation's statistics are named after it, as its parameters are.
        stems = {name.rpartition(".")[0] for name in owned}
        if place == layer.name or place.rpartition(".")[0] in stems:
            return layer
    return None
