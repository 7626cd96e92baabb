"""The size of the first update: beside what it changes, and beside the loss that it can lower."""

import math

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import OWN_FAULT, blame
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, Verdict, worst

LEAST_OUTPUT_GAIN = 0.01
"""An output layer nearer to zero makes all updates before it small, and grows within a few steps:
they are taken as they would be at this gain."""


def updates(case: Case) -> Check | None:
    """The first update of each weight, over the weight: the largest, or one that is too small.

    The output layer is left out: near-uniform logits take small weights, which then grow fast.
    """
    limit = case.thresholds.update
    made_up = _made_up(case)
    shares = {
        layer.name: own.update_to_data + made_up
        for layer in case.layers.values()
        if layer.role != "output"
        for own in layer.parameters
        if own.name == layer.weight and own.update_to_data is not None
    }
    if not shares:
        return None
    verdicts: dict[str, Verdict] = {name: limit.verdict(share) for name, share in shares.items()}
    verdict = worst(verdicts.values())
    # Mostly a symptom: what makes the gradient small or large is elsewhere, or it is the rate.
    blamed = [name for name, share in shares.items() if _own_doing(case, case.layers[name], share)]
    told = max(shares, key=shares.__getitem__)
    if verdict != "good" and verdicts[told] != verdict:
        told = min(shares, key=shares.__getitem__)
    text = (
        f"The first step changes {told} by {10 ** shares[told]:.2g} of its size (log10 "
        f"{shares[told]:.1f})"
    )
    rate = case.recording.learning_rate
    text += "." if rate is None else f", at the learning rate {rate:g}."
    if limit.low is not None and shares[told] < limit.low:
        text += " It hardly learns at that."
    return Check(
        name="updates",
        verdict=verdict,
        value=shares[told],
        expected=-3.0,
        low=limit.low,
        high=limit.high,
        layers=case.in_order(blamed),
        text=text,
        source="makemore, part 3: about -3 is customary",
    )


def first_step(case: Case) -> Check | None:
    """What the first step of gradient descent promises, rate × |gradient|², over the whole loss.

    A loss that is nowhere below zero cannot keep a promise above 1: the step goes too far. Only for
    plain gradient descent, whose updates are the gradients, and a loss that was measured.
    """
    recording = case.recording
    rate, loss = recording.learning_rate, recording.loss and recording.loss.value
    if rate is None or recording.optimiser != "sgd" or not loss or loss <= 0.0:
        return None
    powers = [
        own.gradient.second_moment * math.prod(own.shape)
        for own in recording.parameters
        if own.trainable and not own.tied_to and own.gradient and own.gradient.second_moment
    ]
    if not powers:
        return None
    limit, value = case.thresholds.first_step, rate * sum(powers) / loss
    verdict = limit.verdict(value)
    at_fault = () if verdict == "good" else _too_wide(case)
    text = (
        f"At the learning rate {rate:g} the gradient promises to lower the loss by {value:.2g} of "
        "itself in the first step."
    )
    if verdict != "good":
        wide = f" of {case.listed(at_fault)}" if at_fault else ""
        text += (
            " No loss can fall by more than the whole: the step goes too far. Mend the scales"
            f"{wide}, or take a rate below {0.1 * rate / value:.1g}."
        )
    return Check(
        name="first step",
        verdict=verdict,
        value=value,
        expected=None,
        low=None,
        high=limit.high,
        layers=at_fault,
        text=text,
        source="to first order a step along the gradient lowers the loss by rate × |gradient|²",
    )


def _own_doing(case: Case, layer: Layer, share: float) -> bool:
    """Whether weights are so small that their updates are large beside them, or so large that
    these are small."""
    limit, gains = case.thresholds.update, case.thresholds.gain_ratio
    ratio = layer.gain if layer.kind == "embedding" else case.gain_ratio(layer)
    if ratio is None or limit.verdict(share) == "good":
        return False
    if limit.high is not None and share > limit.high:
        return gains.low is not None and ratio < gains.low
    return gains.high is not None and ratio > gains.high


def _too_wide(case: Case) -> tuple[str, ...]:
    """The layers that are too wide on their own account, where there are such.

    Of a plain stack alone; elsewhere sums and normalisations have a say in every scale.
    """
    if not case.plain:
        return ()
    shares = {
        layer.name: share
        for layer in case.layers.values()
        if not case.absorbed(layer) and (share := case.excess(layer)) > 0.0
    }
    if max(shares.values(), default=0.0) < OWN_FAULT:
        return ()
    return case.in_order(blame(shares))


def _made_up(case: Case) -> float:
    """What to add to each update's log10 for an output layer that is next to zero."""
    gains = [layer.gain for layer in case.layers.values() if layer.role == "output" and layer.gain]
    if not gains:
        return 0.0
    return max(0.0, math.log10(LEAST_OUTPUT_GAIN / min(gains)))
