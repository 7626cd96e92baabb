"""A line in a project's tests: the module is healthy at its start."""

import warnings
from typing import Any, Literal

from torch import nn

from fanin.diagnosis.report import VERDICTS, Report
from fanin.errors import FaninError, OptionError
from fanin.torch.diagnosing import diagnose
from fanin.torch.losses import LossFunction
from fanin.torch.passing import Inputs


class UnhealthyWarning(UserWarning):
    """A module that a diagnosis has something against."""


def assert_healthy(
    module: nn.Module,
    inputs: Inputs,
    targets: Any = None,
    loss: str | LossFunction | None = "cross_entropy",
    *,
    fail_on: Literal["bad", "suspect"] = "bad",
    **settings: Any,
) -> Report:
    """Diagnose a module, and raise AssertionError where the verdict is as bad as `fail_on`.

    The error reads like the head of the report: what is wrong, where, and what would mend it. A
    verdict between good and that is an UnhealthyWarning. `settings` are those of `diagnose`, whose
    report is returned.
    """
    __tracebackhide__ = True
    if fail_on not in VERDICTS[1:]:
        raise OptionError(f"fail_on is {fail_on!r}; bad or suspect would do")
    report = diagnose(module, inputs, targets, loss, **settings)
    if VERDICTS.index(report.verdict) >= VERDICTS.index(fail_on):
        raise AssertionError(head(report))
    if report.verdict != "good":
        warnings.warn(head(report), UnhealthyWarning, stacklevel=2)
    return report


def looked(module: nn.Module, inputs: Inputs, targets: Any, loss: Any) -> Report | None:
    """The report of a diagnosis for a trainer, which goes on whatever it says.

    An UnhealthyWarning where it is not good; another warning, and None, where none could be made.
    """
    try:
        report = diagnose(module, inputs, targets, loss)
    except FaninError as error:
        warnings.warn(f"StepZero could not diagnose the module: {error}", stacklevel=3)
        return None
    if report.verdict != "good":
        warnings.warn(head(report), UnhealthyWarning, stacklevel=3)
    return report


def head(report: Report) -> str:
    """What a report has to say first: verdict, what is wrong, what would mend it."""
    lines = [f"{report.recording.subject} is {report.verdict} before its first step"]
    for check in report.checks:
        if check.verdict != "good":
            lines.append(f"{check.verdict}: {check.name}: {check.text}")
            if check.layers:
                lines.append(f"    in {_some(check.layers)}")
    lines += [f"mend {each.parameter}: {each.change}" for each in report.prescriptions[:_SHOWN]]
    if len(report.prescriptions) > _SHOWN:
        lines.append(
            f"and {len(report.prescriptions) - _SHOWN} more changes; report.fix_() does all"
        )
    return "\n".join(lines)


_SHOWN = 6


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
