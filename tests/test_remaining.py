"""What a report says of a verdict that prescriptions did not make good."""

from dataclasses import replace

from fanin.diagnosis.recording import Recording
from fanin.diagnosis.remaining import remaining
from fanin.diagnosis.report import Check, Choice, Prescription, Report


def check(name, verdict="suspect"):
    return Check(name, verdict, 1.0, None, None, None, ("hidden.0",), "", "")


def report(*checks, prescriptions=(), choices=()):
    recording = Recording("fanin", "for this test", 1024, (), None)
    return Report(recording, (), checks, prescriptions, choices)


WAY = Choice("residual", "residual=True", "", 1.0, 1.0, 0.1, "", "--residual --norm layer")
CHANGE = Prescription("output.weight", "output", "scale", 0.1, (), "× 0.1", "", "", ("loss",))


def test_nothing_remains_where_all_is_good():
    assert remaining(report(check("loss", "good"), choices=(WAY,))) == ()


def test_what_adds_up_over_the_depth_names_the_options_that_change_it():
    (told,) = remaining(report(check("gradients"), check("examples"), choices=(WAY,)))
    assert "gradients and examples" in told
    assert "residual (--residual --norm layer)" in told
    elsewhere = replace(WAY, options="")
    assert (
        "residual (residual=True)" in remaining(report(check("gradients"), choices=(elsewhere,)))[0]
    )
    assert "normalisation" in remaining(report(check("gradients")))[0]


def test_what_was_hidden_by_a_fault_is_to_be_fixed_once_more():
    (told,) = remaining(report(check("loss", "bad"), prescriptions=(CHANGE,)))
    assert "output.weight" in told
    assert "--fix" in told


def test_what_has_no_prescription_is_said_to_have_none():
    assert remaining(report(check("updates"))) == (
        "For updates fanin has no change of parameters to prescribe.",
    )
