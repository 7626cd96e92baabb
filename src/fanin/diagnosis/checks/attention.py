"""Attention that looks at one place alone before it has learnt where."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, worst


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
    text = (
        f"The weights of {lowest} have {entropies[lowest]:.0%} of the entropy that equal ones have."
    )
    if bad:
        text += (
            " Each query looks at hardly more than one key, and the softmax passes next to no "
            "gradient: the products of queries and keys are too large."
        )
    return Check(
        name="attention",
        verdict=worst(limit.verdict(entropy) for entropy in entropies.values()),
        value=entropies[lowest],
        expected=1.0,
        low=limit.low,
        high=None,
        layers=case.in_order(list({_cause(case, name) for name in bad})),
        text=text,
        source="Vaswani et al. 2017, section 3.2.1; Zhai et al. 2023, on the collapse of entropy",
    )


def _cause(case: Case, name: str) -> str:
    """Of the weights that make queries and keys, those with the largest gain."""
    weighted = _weights(case, case.layers[name])
    if not weighted:
        return name
    return max(weighted, key=lambda layer: layer.gain or 0.0).name


def _weights(case: Case, layer: Layer) -> list[Layer]:
    """The nearest layers with weights that one reads; rotated positions are sums of them."""
    reads = [case.layers[name] for name in layer.reads if name in case.layers]
    return [
        found
        for each in reads
        for found in ([each] if each.gain is not None else _weights(case, each))
        if each.gain is not None or each.kind == "sum"
    ]
