"""From a recording to a report: predictions, checks, prescriptions."""

from collections.abc import Mapping

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks import check
from fanin.diagnosis.checks.output import expected_loss
from fanin.diagnosis.choices import ChoiceWriter, choices
from fanin.diagnosis.prescriptions import Writer, prescribe
from fanin.diagnosis.recording import Recording
from fanin.diagnosis.report import Prescription, Report, Subject
from fanin.diagnosis.thresholds import THRESHOLDS, Thresholds
from fanin.theory import Nonlinearity


def _in_words(prescription: Prescription) -> str:
    return f"{prescription.parameter}: {prescription.change}"


def judge(
    recording: Recording,
    nonlinearities: Mapping[str, Nonlinearity],
    *,
    thresholds: Thresholds = THRESHOLDS,
    subject: Subject | None = None,
    write: Writer = _in_words,
    write_choice: ChoiceWriter = str,
    choice_options: Mapping[str, str] | None = None,
) -> Report:
    """Judge a recording. `nonlinearities` has the activations by the recording's names for them.

    `write` and `write_choice` put changes into the code of the recording's framework;
    `choice_options` has the command line's options for a choice by its name, where it has any.
    """
    case = Case(recording, nonlinearities, thresholds)
    checks = check(case)
    finite = recording.not_finite is None
    return Report(
        recording=recording,
        predictions=case.predictions,
        checks=checks,
        prescriptions=prescribe(case, checks, write),
        choices=choices(case, write_choice, choice_options) if finite else (),
        expected_loss=expected_loss(recording.loss),
        subject=subject,
        write=write,
    )
