"""One change of a parameter: scaled, drawn again, set to 0."""

import math
from dataclasses import replace

from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Action, Prescription

WORTH = 0.05
"""A factor nearer to 1 than this would not be worth a change."""

ANEW = "measured anew on the examples"


def prescription(
    parameter: str,
    layer: Layer,
    action: Action,
    check: str,
    change: str,
    reason: str,
    number: float | None = None,
    units: tuple[int, ...] = (),
) -> Prescription:
    return Prescription(
        parameter=parameter,
        layer=layer.name,
        action=action,
        number=number,
        units=units,
        change=change,
        code="",
        reason=reason,
        checks=(check,),
    )


def scale_prescription(
    parameter: str,
    layer: Layer,
    factor: float,
    target: str,
    reason: str,
    checks: tuple[str, ...],
    units: tuple[int, ...] = (),
) -> Prescription:
    """A parameter of a layer, or some of its units, multiplied by a number."""
    # The number that is shown is the one that is used.
    factor = float(f"{factor:.4g}")
    of_some = f"of {len(units)} units " if units else ""
    change = f"{of_some}× {factor:g}, {target}"
    made = prescription(parameter, layer, "scale", "", change, reason, factor, units)
    return replace(made, checks=checks)


def scaled(layer: Layer, factor: float, target: str, reason: str, check: str) -> list[Prescription]:
    if abs(math.log(factor)) < WORTH:
        return []
    parameter, units = layer.weight or layer.magnitude, ()
    if parameter is None:
        units, parameter = own_units(layer, tuple(range(layer.units)))
    return [scale_prescription(parameter, layer, factor, target, reason, (check,), units)]


def drawn(layer: Layer, units: tuple[int, ...], check: str, reason: str) -> Prescription:
    """Some units' weights drawn again; all of them where hardly one is left as it is."""
    rows = layer.weight_shape[0] if layer.kind == "embedding" else layer.units
    some = units if len(units) < rows - 1 else ()
    if layer.weight is None:
        some = some or tuple(range(rows))
    some, parameter = own_units(layer, some)
    if any(own.name == parameter and own.data.largest == 0.0 for own in layer.parameters):
        some = ()
    what = f"of {len(some)} units drawn again" if some else "drawn again"
    # A constant that multiplies what it gives is made up for, where that is all its own.
    number = None if some or layer.factor == 1.0 else float(f"{1 / abs(layer.factor):.4g}")
    return prescription(parameter, layer, "draw", check, what, reason, number, some)


def own_units(layer: Layer, units: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """Units of a layer as those of the parameter that has them, and its name."""
    if layer.weight is None and layer.part is not None:
        name, first = layer.part
        return tuple(first + unit for unit in units), name
    assert layer.weight is not None
    return units, layer.weight
