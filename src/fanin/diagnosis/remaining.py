"""What prescriptions left of a verdict, why, and what to do about it: in sentences."""

from fanin.diagnosis.report import Report

OF_DEPTH = ("gradients", "examples")
"""The checks of what adds up over layers that are each as they should be."""


def remaining(after: Report) -> tuple[str, ...]:
    """Sentences about a report that was made after prescriptions; none where all is good."""
    left = [check for check in after.checks if check.verdict != "good"]
    asked = {name for each in after.prescriptions for name in each.checks}
    told: list[str] = []
    if after.prescriptions:
        names = ", ".join(dict.fromkeys(each.parameter for each in after.prescriptions))
        told.append(
            "Only now, with what hid it put right, more can be seen, and prescribed, for "
            f"{names}: fix what was fixed once more (fanin diagnose --start FILE --fix, with the "
            "FILE that --out wrote)."
        )
    rest = [check for check in left if check.name not in asked]
    deep = [check.name for check in rest if check.name in OF_DEPTH and check.layers]
    if deep:
        cause = (
            f"Each layer has the scale that it should have. What {_listed(deep)} found adds up "
            "over the depth, so that no change of single layers is prescribed. "
        )
        told.append(cause + _ways(after))
    others = [check.name for check in rest if check.name not in deep]
    if others and not deep:
        told.append(f"For {_listed(others)} fanin has no change of parameters to prescribe.")
    return tuple(told)


def _ways(after: Report) -> str:
    if not after.choices:
        return "Fewer layers, normalisation or residual layers are the ways out."
    ways = ", or ".join(f"{each.name} ({each.options or each.change})" for each in after.choices)
    return f"Another network or start is your choice to make: {ways}."


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
