"""The loss at step 0 and the logits that make it."""

import math

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import blame
from fanin.diagnosis.recording import Layer, Loss
from fanin.diagnosis.report import Check, worst

_UNIFORM = (
    "A guess that gives each of V classes the same chance has the loss log V, and small logits "
    "add ½(1 − 1/V) Var(logit)"
)

# Losses whose best constant has the targets' entropy, or their variance.
_CONSTANT = ("binary_cross_entropy", "mse")


def expected_loss(loss: Loss | None) -> float | None:
    """log V for classes; for binary targets and for numbers what the best constant would have."""
    if loss is None:
        return None
    if loss.kind == "cross_entropy":
        return math.log(loss.classes) if loss.classes else None
    return loss.target_entropy if loss.kind in _CONSTANT else None


def loss(case: Case) -> Check | None:
    """The loss against that of a guess that knows nothing."""
    recorded, uniform = case.recording.loss, expected_loss(case.recording.loss)
    if recorded is None or uniform is None or recorded.value is None:
        return None
    if recorded.kind != "cross_entropy":
        return _against_constant(case, recorded, recorded.value, uniform)
    limit = case.thresholds.loss
    excess = recorded.value - uniform
    verdict = limit.verdict(excess)
    causes = [] if verdict == "good" else _at_fault(case, recorded)
    at_fault = case.in_order(causes)
    text = f"The loss is {recorded.value:.4g}, where a uniform guess has {uniform:.4g}."
    small = _of_small_logits(recorded, uniform)
    if small is not None:
        text += f" Small logits that know nothing have {small:.4g} at this variance."
    if verdict != "good":
        text += " The first steps will only unlearn the network's own opinions" + (
            f", which come from {case.listed(at_fault)}." if at_fault else "."
        )
        text += case.reasons(causes)
    return Check(
        name="loss",
        verdict=verdict,
        value=recorded.value,
        expected=uniform,
        low=None,
        high=uniform + (limit.high or 0.0),
        layers=at_fault,
        text=text,
        source=_UNIFORM,
    )


def _of_small_logits(recorded: Loss, uniform: float) -> float | None:
    """log V + ½ (1 − 1/V) Var(logit); None where the logits are too wide for that."""
    power = recorded.output.second_moment
    if power is None or power > 1.0 or not recorded.classes:
        return None
    return uniform + 0.5 * (1.0 - 1.0 / recorded.classes) * power


def _against_constant(case: Case, recorded: Loss, value: float, constant: float) -> Check | None:
    """The loss of two classes, or of numbers, against that of the best constant."""
    relative = recorded.kind == "mse"
    if relative and constant <= 0.0:
        return None  # all targets are one
    limit = case.thresholds.squared_loss if relative else case.thresholds.loss
    excess = value / constant if relative else value - constant
    verdict = limit.verdict(excess)
    high = (limit.high or 0.0) * constant if relative else (limit.high or 0.0) + constant
    at_fault: tuple[str, ...] = ()
    text = f"The loss is {value:.4g}, where the best constant has {constant:.4g}."
    if verdict != "good":
        output = recorded.output.second_moment or 0.0
        if relative and output < 0.5 * value:
            text += (
                " That is the targets' doing: their mean lies far from 0 beside their spread. "
                "Standardise them, or begin with the output's bias at their mean."
            )
        else:
            causes = _at_fault(case, recorded)
            at_fault = case.in_order(causes)
            text += " The first steps will only unlearn the network's own opinions."
            text += case.reasons(causes)
    return Check(
        name="loss",
        verdict=verdict,
        value=value,
        expected=constant,
        low=None,
        high=high,
        layers=at_fault,
        text=text,
        source="the targets' entropy, or their variance: Bishop 2006, section 1.5.5",
    )


def logits(case: Case) -> Check | None:
    """How far the logits are from giving all classes the same chance."""
    recorded = case.recording.loss
    if recorded is None or recorded.output_variance is None:
        return None
    limit, offset = case.thresholds.logits, recorded.class_offset
    std = math.sqrt(recorded.output_variance)
    verdict = worst((limit.verdict(std), case.thresholds.class_offset.verdict(offset)))
    causes = [] if verdict == "good" else _at_fault(case, recorded)
    sure = recorded.largest_probability
    text = f"The logits differ by {std:.3g} (standard deviation over the classes)"
    text += "" if sure is None else f"; the likeliest class gets {sure:.0%} on average."
    if verdict != "good":
        text += " That is far too wide before anything has been learnt."
        if offset is not None and case.thresholds.class_offset.verdict(offset) != "good":
            text += f" One class is {offset:.3g} off the others' mean for all examples alike."
        text += case.reasons(causes)
    return Check(
        name="logits",
        verdict=verdict,
        value=std,
        expected=0.0,
        low=None,
        high=limit.high,
        layers=case.in_order(causes),
        text=text,
        source=_UNIFORM,
    )


def output_bias_dominates(layer: Layer, loss: Loss) -> bool:
    """Whether the output's bias makes up more than half of the logits' variance over classes."""
    bias = next((own.data for own in layer.parameters if own.name == layer.bias), None)
    if bias is None or bias.std is None or not loss.output_variance:
        return False
    return bias.std**2 > 0.5 * loss.output_variance


def _at_fault(case: Case, recorded: Loss) -> list[str]:
    """The output layer, unless what it reads is itself too large; INPUT is one of the causes."""
    output = case.output
    if output is None:
        return []
    if output_bias_dominates(output, recorded):
        return [output.name]
    shares = case.shares(case.upstream(output))
    # An output layer should have a gain far below 1: it is at fault as soon as it has 1.
    shares[output.name] = max(shares.get(output.name, 0.0), 0.0)
    reads = case.read(output)
    given = reads and reads.activation and reads.activation.second_moment
    if output.input is not None:  # of several that it reads side by side
        given = output.input.second_moment
    if given is not None and given <= 4.0:
        return [output.name]
    return blame(shares)
