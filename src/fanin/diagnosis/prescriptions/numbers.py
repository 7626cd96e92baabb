"""Numbers drawn again, or shuffled: those used twice, and those that are not finite."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.finite import owner, too_wide
from fanin.diagnosis.prescriptions.changes import ANEW, drawn, prescription
from fanin.diagnosis.prescriptions.scales import scale_of
from fanin.diagnosis.report import Check, Prescription


def streams(case: Case, check: Check) -> list[Prescription]:
    made: dict[str, Prescription] = {}
    for pair in case.recording.shared_streams:
        if pair.first in made:
            continue  # with the first of three shuffled, the pair of the other two is left
        reason = f"it has the same random numbers as {pair.first}"
        made[pair.second] = prescription(
            pair.second,
            case.owners[pair.second],
            "shuffle",
            check.name,
            "its entries shuffled",
            reason,
        )
    return list(made.values())


def finite(case: Case, check: Check) -> list[Prescription]:
    """What is not finite cannot be scaled: drawn again."""
    reason = "it has values that are not finite"
    made = [
        drawn(layer, (), check.name, reason)
        if own.name == layer.weight
        else prescription(own.name, layer, "draw", check.name, "drawn again", reason)
        for layer in case.layers.values()
        for own in layer.parameters
        if not own.data.finite
    ]
    first = case.recording.not_finite
    statistic = first is not None and first.what in ("parameter", "statistic")
    for name in (first.place, *first.also) if first is not None and statistic else ():
        layer = owner(case, name)
        if layer is not None and name not in case.parameters and name != layer.name:
            made.append(prescription(name, layer, "draw", check.name, ANEW, reason))
    if made:
        return made
    named = case.layers[check.layers[0]] if check.layers else case.output
    scales = [each for layer in too_wide(case, named) for each in scale_of(case, layer, check.name)]
    return [each for each in scales if each.number is None or each.number < 1.0]
