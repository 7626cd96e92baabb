"""How a residual stream grows over the depth."""

import statistics

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import OWN_FAULT, blame
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check


def stream(case: Case) -> Check | None:
    """The second moment of a stream at its last sum over that at its first; or what one branch
    adds over what the others do, where that is more. Of several streams the worst.

    What the first branch adds is a part of the first sum, and would go unseen.
    """
    found = [each for parts in case.streams if (each := _one(case, parts)) is not None]
    return max(found, key=lambda each: each.value or 0.0, default=None)


def _one(case: Case, parts: list[list[Layer]]) -> Check | None:
    into = {name for part in parts for each in part for name in each.reads}
    grown = [(growth, part) for part in parts if (growth := _growth(part)) is not None]
    if sum(map(len, parts)) < 3 or not grown:
        return None
    growth, sums = max(grown, key=lambda each: each[0])
    limit = case.thresholds.stream
    branches = [layer for layer in case.layers.values() if layer.branches and layer.name in into]
    ends = {
        layer.name: own
        for layer in branches
        if (own := layer.activation and layer.activation.second_moment)
    }
    largest, ratio = max(ends, key=ends.__getitem__, default=""), 0.0
    if len(ends) > 2:
        ratio = ends[largest] / statistics.median(ends.values())
    value = max(growth, ratio)
    verdict = limit.verdict(value)
    text = (
        f"Over {len(sums)} sums, from {sums[0].name} to {sums[-1].name}, the second moment of the "
        f"residual stream is multiplied by {growth:.3g}."
    )
    at_fault: tuple[str, ...] = ()
    if verdict != "good" and ratio > growth:
        text = (
            f"What {largest} adds to the residual stream has {ratio:.3g} times the second moment "
            "of what other branches add, which is lost in it."
        )
        at_fault = case.in_order(_in_branch(case, largest))
    elif verdict != "good":
        text += (
            " What the branches add grows with what they read: they want a normalisation, or their "
            f"last weights a factor of 1/√{len(sums)}."
        )
        shares = {layer.name: case.added(layer) or 0.0 for layer in branches if layer.weight}
        named = blame({name: s for name, s in shares.items() if s > 0.0})
        at_fault = case.in_order([each for name in named for each in _in_branch(case, name)])
    return Check(
        name="stream",
        verdict=verdict,
        value=value,
        expected=None,
        low=None,
        high=limit.high,
        layers=at_fault,
        text=text,
        source="Radford et al. 2019, GPT-2, section 2.3: 1/√N on what N residual layers add",
    )


def _growth(sums: list[Layer]) -> float | None:
    """The second moment of the last of some sums over that of the first."""
    moments = [layer.preactivation and layer.preactivation.second_moment for layer in sums]
    if not moments[0] or moments[-1] is None:
        return None
    return moments[-1] / moments[0]


def _in_branch(case: Case, end: str) -> list[str]:
    """Of a branch the layers that made what it adds so large: its last one, unless others did."""
    layers = [
        each
        for each in case.upstream(case.layers[end])
        if each.name in case.aside and each.kind != "sum"
        # A gate hands on no more than its bound.
        if each.saturation is None or not each.saturation.bounded
    ]
    shares = {each.name: case.made(each) for each in layers}
    shares |= {each.name: case.excess(each) for each in layers if each.normalisation}
    if max(shares.values(), default=0.0) < OWN_FAULT:
        return [end]
    return blame({name: share for name, share in shares.items() if share > 0.0})
