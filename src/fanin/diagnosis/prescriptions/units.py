"""Units brought to life, and told apart."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.units import dead_by_bias, mostly_bias, normalised_bias
from fanin.diagnosis.prescriptions.changes import drawn, prescription
from fanin.diagnosis.prescriptions.recurrent import OPEN, filled, opened
from fanin.diagnosis.prescriptions.scales import measured_anew
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, Prescription


def dead(case: Case, check: Check) -> list[Prescription]:
    """Biases that hold units dead are set to zero; what is dead otherwise is drawn again."""
    made: list[Prescription] = []
    for name in check.layers:
        layer = case.layers[name]
        if name in case.misfits:
            made += measured_anew(case, layer, check.name)
            continue
        units, shift = dead_by_bias(layer), normalised_bias(layer)
        closed = [own for own in layer.parameters if own.data.largest == 0.0]
        gain = next((own.name for own in closed if own.role == "normalisation gain"), None)
        # In a branch that can be gone round gains of 0 are a way to start.
        if shift is not None and layer.name in case.aside:
            gain = None
        if gain is not None:
            reason = "gains of 0 let nothing through"
            made.append(prescription(gain, layer, "draw", check.name, "set to 1", reason))
        elif any(own.name == layer.weight for own in closed):
            made.append(drawn(layer, (), check.name, "weights of 0 let nothing through"))
        elif shift is not None:
            some = layer.dead_units if len(layer.dead_units) <= layer.units // 2 else ()
            change = f"of {len(some)} units set to 0" if some else "set to 0"
            reason = f"after {layer.normalisation} normalisation it is these that hold units flat"
            made.append(prescription(shift, layer, "zero", check.name, change, reason, units=some))
        elif layer.bias and (units or mostly_bias(case, layer)):
            some = units if len(units) <= layer.units // 2 else ()
            change = f"of {len(some)} units set to 0" if some else "set to 0"
            reason = "these biases hold their units where the activation is flat"
            bias = layer.bias
            made.append(prescription(bias, layer, "zero", check.name, change, reason, units=some))
        elif layer.kind == "recurrent":
            made += opened(layer, check.name) + filled(layer, check.name)
        elif layer.kind == "activation":
            made += _lifted(case, layer, check.name)
        elif (layer.weight or layer.part) and layer.dead_units:
            made.append(drawn(layer, layer.dead_units, check.name, "their units are dead"))
    return made


def _lifted(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """The units of the layer before an activation that hold it where it is flat: their biases set
    to zero, or their weights drawn again."""
    before = case.read(layer)
    dead = tuple(layer.first_unit + unit for unit in layer.dead_units)
    if before is None or before.weight is None or max(dead, default=0) >= before.units:
        return []
    bias = case.parameters.get(before.bias or "")
    if bias is None or (bias.data.largest or 0.0) <= OPEN:
        return [drawn(before, dead, check, f"they hold units of {layer.name} flat")]
    change = f"of {len(dead)} units set to 0" if len(dead) < before.units else "set to 0"
    reason = f"these biases hold units of {layer.name} where it is flat"
    some = dead if len(dead) < before.units else ()
    return [prescription(bias.name, before, "zero", check, change, reason, units=some)]


def symmetry(case: Case, check: Check) -> list[Prescription]:
    made: list[Prescription] = []
    for name in check.layers:
        layer = case.layers[name]
        copies = tuple(sorted(unit for group in layer.copies for unit in group[1:]))
        made.append(drawn(layer, copies, check.name, "units with equal weights compute the same"))
    return made
