"""How a residual stream grows over the depth."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import OWN_FAULT, blame
from fanin.diagnosis.checks.units import mostly_bias
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check

WIDE_START = 30.0
"""Streams begin at about 1 (root mean square), and branches add about as much; far beyond, no
branch counts."""


@dataclass(frozen=True)
class _Added:
    """What one branch adds to a stream."""

    reads: tuple[str, ...]
    """the layers that made it"""
    scale: str | None
    """a parameter by which it was multiplied last"""
    power: float
    before: float
    """the second moment of what it is added to"""
    to: tuple[str, ...]
    """the layers that made that"""


@dataclass(frozen=True)
class _Finding:
    """One way in which what a stream carries can be lost, and how far it has gone."""

    value: float
    text: str
    """where that is good"""
    wrong: str = ""
    """where it is not"""
    at_fault: Callable[[], list[str]] = list


def stream(case: Case) -> Check | None:
    """The second moment of a stream at its last sum over that at its first; or what one branch
    adds over what the others do, or what a stream begins with over what is added, where that is
    more. Of several streams the worst.

    What the first branch adds is a part of the first sum, and would go unseen.
    """
    along = [(sums, _all_added(case, sums)) for sums in case.streams]
    found = [_growing(case, sums, added) for sums, added in along]
    found += [_beginning(case, added) for _, added in along]
    found.append(_drowning(case, list({each: None for _, added in along for each in added})))
    known = [each for each in found if each is not None]
    if not known:
        return None
    limit, most = case.thresholds.stream, max(known, key=lambda each: each.value)
    verdict = limit.verdict(most.value)
    good = verdict == "good"
    return Check(
        name="stream",
        verdict=verdict,
        value=most.value,
        expected=None,
        low=None,
        high=limit.high,
        layers=() if good else case.in_order(most.at_fault()),
        text=most.text if good else most.wrong,
        source="Radford et al. 2019, GPT-2, section 2.3: 1/√N on what N residual layers add",
    )


def _growing(case: Case, sums: list[Layer], added: list[_Added]) -> _Finding | None:
    """The second moment of the last of three sums, or more, over that of the first."""
    moments = [layer.preactivation and layer.preactivation.second_moment for layer in sums]
    if len(sums) < 3 or not moments[0] or moments[-1] is None:
        return None
    growth = moments[-1] / moments[0]
    text = (
        f"Over {len(sums)} sums, from {sums[0].name} to {sums[-1].name}, the second moment "
        f"of the residual stream is multiplied by {growth:.3g}."
    )
    wrong = (
        f"{text} What the branches add grows with what they read: they want a normalisation, or "
        f"their last weights a factor of 1/√{len(sums)}."
    )

    def at_fault() -> list[str]:
        shares = {
            str(place): math.log1p(each.power / each.before)
            for place, each in enumerate(added)
            if each.before
        }
        return [name for place in blame(shares) for name in _made(case, added[int(place)])]

    return _Finding(growth, text, wrong, at_fault)


def _beginning(case: Case, added: list[_Added]) -> _Finding | None:
    """What a stream begins with over what branches add to it, where it begins very wide."""
    powers = [each.power for each in added if each.power > 0.0]
    if len(added) < 3 or not powers or added[0].before < WIDE_START**2:
        return None
    first, ratio = added[0], added[0].before / statistics.median(powers)
    text = (
        f"The residual stream begins at {math.sqrt(first.before):.3g} (root mean square): at "
        f"{ratio:.3g} times the second moment of what branches add"
    )

    def at_fault() -> list[str]:
        ends = [case.layers[name] for name in first.to if name in case.layers]
        return blame(case.shares(case.upstream(*ends))) or [each.name for each in ends]

    return _Finding(ratio, f"{text}.", f"{text}, which is lost in it.", at_fault)


def _drowning(case: Case, added: list[_Added]) -> _Finding | None:
    """What one branch adds over what others do; no more than 1 where the stream itself is more."""
    most = max(added, key=lambda each: each.power, default=None)
    others = [each.power for each in added if each is not most and each.power > 0.0]
    if most is None or not others:
        return None
    ratio = most.power / statistics.median(others)
    if most.power <= most.before:
        ratio = min(1.0, ratio)
    scaled = f", times {most.scale}," if most.scale else ""
    wrong = (
        f"What {most.reads[-1] or 'the input'}{scaled} adds to the residual stream has "
        f"{ratio:.3g} times the second moment of what other branches add, which is lost in it."
    )
    text = "Nothing that a branch adds drowns the residual stream."
    return _Finding(ratio, text, wrong, lambda: _made(case, most))


def _all_added(case: Case, sums: list[Layer]) -> list[_Added]:
    """What is added along a stream."""
    pairs = zip([None, *sums[:-1]], sums, strict=True)
    return [each for before, now in pairs for each in _added(case, before, now)]


def _added(case: Case, before: Layer | None, now: Layer) -> list[_Added]:
    """What a sum adds to the stream: all but the sum before it, or what was made of the other term,
    or can be gone round."""
    parts = [
        _Added(each.reads, each.scale, each.second_moment, 0.0, ())
        for each in case.summands(now)
        if each.second_moment is not None
    ]
    if len(parts) != 2:
        return []
    pairs = ((parts[0], parts[1]), (parts[1], parts[0]))
    found = [
        _Added(one.reads, one.scale, one.power, other.power, other.reads)
        for one, other in pairs
        if before is not None and other.reads == (before.name,)
    ]
    if found or now.name in case.avoidable:
        return found
    branches = [
        (one, other) for one, other in pairs if {*other.reads} <= _behind(case, one.reads)
    ] or [(one, other) for one, other in pairs if case.avoidable & {*one.reads}]
    return [
        _Added(one.reads, one.scale, one.power, other.power, other.reads)
        for one, other in sorted(branches, key=lambda pair: -pair[0].power)[:1]
    ]


def _behind(case: Case, names: tuple[str, ...]) -> set[str]:
    """The layers that some were made of."""
    return {each for name in names if name in case.layers for each in case.ancestors(name)}


def _made(case: Case, added: _Added) -> list[str]:
    """Of a branch the layers that made what it adds so large: its last one, unless others did; or
    the scale that it was multiplied by."""
    if added.scale in case.large_scales:
        return [case.large_scales[added.scale].name]
    ends = [case.layers[name] for name in added.reads if name in case.layers]
    layers = {
        each.name: each
        for each in case.upstream(*ends)
        if each.name in case.avoidable and each.kind != "sum"
        # A gate hands on no more than its bound, and a bias is no matter of weights.
        if each.saturation is None or not each.saturation.bounded
        if not mostly_bias(case, each)
    }
    shares = {name: case.made(each) for name, each in layers.items()}
    shares |= {name: case.excess(each) for name, each in layers.items() if each.normalisation}
    if max(shares.values(), default=0.0) < OWN_FAULT:
        return [name for name in added.reads[-1:] if name in case.layers]
    return blame({name: share for name, share in shares.items() if share > 0.0})
