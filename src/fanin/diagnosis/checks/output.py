"""The loss at step 0 and the logits that make it."""

import math

from fanin.diagnosis.assembly import root_mean_square
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import OWN_FAULT, blame
from fanin.diagnosis.recording import Layer, Loss, Moments
from fanin.diagnosis.report import Check, worst

_UNIFORM = (
    "A guess that gives each of V classes the same chance has the loss log V, and small logits "
    "add ½(1 − 1/V) Var(logit)"
)

WIDEST = 1.0
"""An output of this size, or logits that differ so much over the classes, is nobody's fault."""

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
        where = f", which come from {case.listed(at_fault)}" if at_fault else ""
        text += f" The first steps will only unlearn the network's own opinions{where}."
        text += _reasons(case, recorded, causes)
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
            text += _reasons(case, recorded, causes)
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
    uniform = expected_loss(recorded)
    if recorded.value is not None and uniform is not None and recorded.value < uniform:
        verdict = "good"  # they know something, as where a pair of views is told from others
    causes = [] if verdict == "good" else _at_fault(case, recorded)
    sure = recorded.largest_probability
    text = f"The logits differ by {std:.3g} (standard deviation over the classes)"
    text += "" if sure is None else f"; the likeliest class gets {sure:.0%} on average."
    if verdict != "good":
        text += " That is far too wide before anything has been learnt."
        if offset is not None and case.thresholds.class_offset.verdict(offset) != "good":
            text += f" One class is {offset:.3g} off the others' mean for all examples alike."
        text += _reasons(case, recorded, causes)
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
    """Whether the output's bias makes up more than half of the logits' variance over classes, or of
    the power of an output that is not classes."""
    bias = next((own.data for own in layer.parameters if own.name == layer.bias), None)
    return bias is not None and bias_size(loss, bias) ** 2 > 0.5 * output_size(loss) ** 2 > 0.0


def bias_size(loss: Loss, bias: Moments) -> float:
    """How much the output's biases say: to classes, of which only differences count, theirs."""
    classes = loss.kind == "cross_entropy"
    return (bias.std if classes else root_mean_square(bias)) or 0.0


def _reasons(case: Case, recorded: Loss, causes: list[str]) -> str:
    """Sentences on causes that are not a layer's own weights; a temperature among them."""
    text = case.reasons(causes)
    if too_large_multiplier(case, recorded) is not None:
        by = recorded.multiplied_by
        text += f" {recorded.multiplier} multiplies the output, by {by:.3g}, as its last step."
    return text


def output_size(recorded: Loss) -> float:
    """The standard deviation of logits over the classes, or the output's root mean square."""
    power = recorded.output_variance
    return math.sqrt((recorded.output.second_moment if power is None else power) or 0.0)


def too_large_multiplier(case: Case, recorded: Loss) -> str | None:
    """The layer that has the temperature, where it is that which makes the output too wide."""
    by, size = recorded.multiplied_by, output_size(recorded)
    if not by or recorded.multiplier is None or size / abs(by) > WIDEST:
        return None
    owner = case.owners[recorded.multiplier]
    return owner.name if owner.kind == "other" else None


def factors(case: Case) -> list[Layer]:
    """The layers with parameters that the output is a product of, or a sum, those apart that give
    next to nothing."""
    found: dict[str, Layer] = {}
    waiting = [*case.ends]
    while waiting:
        now = waiting.pop()
        if now.kind == "sum" or not case.whole(now).parameters:
            waiting += (case.layers[name] for name in now.reads if name in case.layers)
        else:
            found[now.name] = now
    sizes = {
        n: (each.activation and each.activation.second_moment) or 0.0 for n, each in found.items()
    }
    least = 1e-3 * max(sizes.values(), default=0.0)
    return [found[name] for name in case.in_order([n for n, size in sizes.items() if size > least])]


def _at_fault(case: Case, recorded: Loss) -> list[str]:
    """The output layer, unless what it reads is itself too large; INPUT is one of the causes."""
    output, multiplier = case.output, too_large_multiplier(case, recorded)
    if multiplier is not None:
        return [multiplier]
    if case.drowning:
        return [*case.drowning]
    if output is None:
        ends = factors(case)
        shares = {n: s for n, s in case.shares(case.upstream(*ends)).items() if s >= OWN_FAULT}
        return blame(shares) if shares else [each.name for each in ends]
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
