"""Values that are not finite: the first place that produced one."""

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
    at_fault = None if first is None else owner(case, first.place)
    return Check(
        name="finite",
        verdict="good" if first is None else "bad",
        value=None if first is None else 1.0,
        expected=0.0,
        low=None,
        high=0.0,
        layers=(at_fault.name,) if at_fault else (),
        text=text,
        source="IEEE 754: what is not finite never becomes finite again in training",
    )


def owner(case: Case, place: str) -> Layer | None:
    """The layer that a parameter, a statistic or a layer's own name belongs to."""
    for layer in case.layers.values():
        owned = {parameter.name for parameter in layer.parameters}
        # A normalisation's statistics are named after it, as its parameters are.
        stems = {name.rpartition(".")[0] for name in owned}
        if place == layer.name or place in owned or place.rpartition(".")[0] in stems:
            return layer
    return None
