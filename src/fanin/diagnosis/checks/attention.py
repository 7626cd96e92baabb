"""Attention that looks at one place alone before it has learnt where."""

import math

from fanin.diagnosis.assembly import root_mean_square
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import OWN_FAULT, blame
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, worst
from fanin.diagnosis.ways import INPUT


def attention(case: Case) -> Check | None:
    """The entropy of attention weights over that of equal ones, the lowest of any layer."""
    entropies = {
        layer.name: layer.attention_entropy
        for layer in case.layers.values()
        if layer.attention_entropy is not None
    }
    if not entropies:
        return None
    limit = case.thresholds.attention
    bad = [name for name, entropy in entropies.items() if limit.verdict(entropy) != "good"]
    lowest = min(entropies, key=entropies.__getitem__)
    causes = [cause for name in bad for cause in _causes(case, name)]
    text = (
        f"The weights of {lowest} have {entropies[lowest]:.0%} of the entropy that equal ones have."
    )
    if bad:
        text += (
            " Each query looks at hardly more than one key, and the softmax passes next to no "
            "gradient: the products of queries and keys are too large."
        )
        text += case.reasons(causes)
    return Check(
        name="attention",
        verdict=worst(limit.verdict(entropy) for entropy in entropies.values()),
        value=entropies[lowest],
        expected=1.0,
        low=limit.low,
        high=None,
        layers=case.in_order(causes),
        text=text,
        source="Vaswani et al. 2017, section 3.2.1; Zhai et al. 2023, on the collapse of entropy",
    )


def _causes(case: Case, name: str) -> list[str]:
    """Of the weights that make queries and keys those that are too wide; or what made their input
    so, INPUT for one."""
    weighted = asked_by(case, case.layers[name])
    if not weighted:
        return [name]
    shares = {each.name: 2 * math.log(_gain(each)) for each in weighted if _gain(each)}
    for each in weighted:
        before = [layer for layer in case.upstream(each) if layer is not each]
        first = [each] if INPUT in each.reads else []
        shares = case.shares([*before, *first]) | shares
    wide = {each: share for each, share in shares.items() if share > 0.0}
    if max(wide.values(), default=0.0) < OWN_FAULT:
        return [max(weighted, key=lambda layer: layer.gain or 0.0).name]
    return blame(wide)


def _gain(layer: Layer) -> float:
    """Of queries and keys that are a part of a wider projection, their own; of those that are
    normalised what their gains make of them."""
    own = layer.own("normalisation gain")
    if layer.normalisation is not None:
        return root_mean_square(own.data) or 0.0 if own is not None else 1.0
    return layer.wide_gain or layer.gain or 0.0


def asked_by(case: Case, layer: Layer) -> list[Layer]:
    """The nearest layers with weights that attention looks by; rotated positions are sums of
    them."""
    asked = [name for name in layer.reads if name not in layer.values]
    reads = [case.layers[name] for name in asked if name in case.layers]
    return [
        found
        for each in reads
        for found in ([each] if each.gain is not None else asked_by(case, each))
        if each.gain is not None or each.kind == "sum"
    ]
