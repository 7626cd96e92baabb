"""The named checks: each looks at one kind of fault and names the layers that are its cause."""

from collections.abc import Callable

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.attention import attention
from fanin.diagnosis.checks.depth import examples, gradients
from fanin.diagnosis.checks.finite import finite
from fanin.diagnosis.checks.output import logits, loss
from fanin.diagnosis.checks.scale import gain, input_scale
from fanin.diagnosis.checks.statistics import running_statistics
from fanin.diagnosis.checks.stream import stream
from fanin.diagnosis.checks.symmetry import streams, symmetry
from fanin.diagnosis.checks.units import dead_units, saturation
from fanin.diagnosis.checks.updates import first_step, updates
from fanin.diagnosis.report import VERDICTS, Check

CHECKS: tuple[Callable[[Case], Check | None], ...] = (
    finite,
    loss,
    logits,
    saturation,
    dead_units,
    gain,
    input_scale,
    running_statistics,
    attention,
    stream,
    gradients,
    examples,
    symmetry,
    streams,
    updates,
    first_step,
)
"""In the order in which a reader wants to know. None of a check says that there is nothing to it
in this network."""


def check(case: Case) -> tuple[Check, ...]:
    """All checks, the worst first.

    Where values are not finite, only what does not depend on them is judged.
    """
    if case.recording.not_finite is not None:
        found = [finite(case), streams(case)]
    else:
        found = [each(case) for each in CHECKS]
    made = [each for each in found if each is not None]
    return tuple(sorted(made, key=lambda each: -VERDICTS.index(each.verdict)))
