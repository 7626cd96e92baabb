"""Running statistics that do not fit what is normalised by them."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.report import Check
from fanin.diagnosis.ways import INPUT


def running_statistics(case: Case) -> Check | None:
    """How far off the running statistics of any normalisation are; None where this batch's are
    used.

    Of one after another that is as far off, the first is named.
    """
    sizes = case.fits
    if not sizes:
        return None
    limit = case.thresholds.running_statistics
    largest = max(case.misfits or sizes, key=sizes.__getitem__)
    at_fault = [name for name in case.misfits if limit.verdict(sizes[name]) != "good"]
    text = "Running statistics are those of what is normalised by them."
    if at_fault:
        text = " ".join(case.misfit_in_words(name) for name in at_fault[:2])
        own = case.recording.input and case.recording.input.second_moment
        first = min(at_fault, key=case.order.__getitem__)
        if own and not 0.01 < own < 64.0 and not case.ancestors(first) & sizes.keys():
            text += case.reasons([INPUT])
        text += f" So with {case.listed(at_fault)}." if len(at_fault) > 2 else ""
    verdict = limit.verdict(sizes[largest]) if case.misfits else "good"
    if verdict == "bad" and all(_fresh(case, name) for name in at_fault):
        verdict = "suspect"  # what has never been trained is most likely to be, in training mode
    return Check(
        name="running statistics",
        verdict=verdict,
        value=sizes[largest],
        expected=1.0,
        low=None,
        high=limit.high,
        layers=case.in_order(at_fault),
        text=text,
        source="Ioffe and Szegedy 2015, Batch Normalization, section 3.1",
    )


def _fresh(case: Case, name: str) -> bool:
    used = case.layers[name].statistics
    return used is not None and used.fresh
