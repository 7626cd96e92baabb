"""What to change where the output says too much before anything has been learnt."""

import math

from fanin.diagnosis.assembly import root_mean_square
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.output import (
    WIDEST,
    bias_size,
    factors,
    output_bias_dominates,
    output_size,
    too_large_multiplier,
)
from fanin.diagnosis.prescriptions.changes import prescription, scale_prescription
from fanin.diagnosis.prescriptions.scales import OUTPUT_GAIN, scale_of, scales
from fanin.diagnosis.recording import Loss
from fanin.diagnosis.report import Check, Prescription


def output(case: Case, check: Check) -> list[Prescription]:
    """Scales, and an output bias set to zero where it is a part of the fault."""
    head, recorded = case.output, case.recording.loss
    if recorded is not None and too_large_multiplier(case, recorded):
        return _cooler(case, recorded, check.name)
    if head is None and recorded is not None:
        return _product_narrower(case, recorded, check)
    made = scales(case, check)
    if head is None or recorded is None or head.bias is None:
        return made
    if head.name not in check.layers:
        return made
    bias = case.parameters[head.bias].data
    if output_bias_dominates(head, recorded):
        made = [each for each in made if each.layer != head.name]
    size = bias_size(recorded, bias)
    if size > 3 * OUTPUT_GAIN:
        what = "favour some classes" if recorded.kind == "cross_entropy" else "say much"
        reason = f"biases of the size {size:.3g} {what} before any example asks"
        made.append(prescription(head.bias, head, "zero", check.name, "set to 0", reason))
    return made


def _cooler(case: Case, recorded: Loss, check: str) -> list[Prescription]:
    """A parameter that multiplies the output, as it is or as the logarithm of what does."""
    own, by = case.parameters[recorded.multiplier or ""], recorded.multiplied_by
    value = own.data.mean
    if not by or not value:
        return []
    down = WIDEST / output_size(recorded)
    ways = {value: down, 1 / value: 1 / down}
    if abs(value) < 80.0:
        ways |= {math.exp(value): 1 + math.log(down) / value}
        ways |= {math.exp(-value): 1 - math.log(down) / value}
    factor = next((f for made, f in ways.items() if math.isclose(made, by, rel_tol=1e-3)), None)
    if factor is None:
        return []
    target = f"for an output that is multiplied by {abs(by) * down:.3g}"
    reason = f"the output is multiplied by {by:.3g}, which makes it too wide"
    return [scale_prescription(own.name, case.owners[own.name], factor, target, reason, (check,))]


def _product_narrower(case: Case, recorded: Loss, check: Check) -> list[Prescription]:
    """Of an output that is a product of layers each of these as much narrower; other layers that
    are too wide by their own rule."""
    ends, size = {each.name for each in factors(case)}, output_size(recorded)
    if size <= WIDEST or not ends & {*check.layers}:
        return scales(case, check)
    largest = max(root_mean_square(case.layers[name].activation) or 0.0 for name in ends)
    if size <= 1.5 * largest:
        return scales(case, check)
    factor, reason = (WIDEST / size) ** 0.5, f"the output is a product of the size {size:.3g}"
    made = [
        each
        for name in check.layers
        if name not in ends
        for each in scale_of(case, case.whole(case.layers[name]), check.name)
    ]
    for layer in (case.whole(case.layers[name]) for name in check.layers if name in ends):
        gain = layer.own("normalisation gain")
        name = gain.name if gain is not None else layer.weight or layer.magnitude
        if name is not None and not (layer.normalisation and gain is None):
            target = "for a product of the size 1"
            made.append(scale_prescription(name, layer, factor, target, reason, (check.name,)))
    return made
