"""How a residual stream grows over the depth."""

import math
import statistics
from dataclasses import dataclass

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import OWN_FAULT, blame
from fanin.diagnosis.checks.units import mostly_bias
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check

WIDE_START = 10.0
"""Streams begin at about 1 (root mean square), and branches add about as much."""


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


def stream(case: Case) -> Check | None:
    """The second moment of a stream at its last sum over that at its first; or what one branch
    adds over what the others do, where that is more. Of several streams the worst.

    What the first branch adds is a part of the first sum, and would go unseen.
    """
    streams = case.streams
    added = {each: None for sums in streams for each in _all_added(case, sums)}
    grown = max(streams, key=lambda sums: _growth(sums) or 0.0, default=[])
    growth, most = _growth(grown), max(added, key=lambda each: each.power, default=None)
    ratio = 0.0 if most is None else _drowning(most, list(added))
    start, starting = max(
        ((_beside_start(found), found) for sums in streams if (found := _all_added(case, sums))),
        key=lambda each: each[0],
        default=(0.0, []),
    )
    if growth is None and not ratio:
        return None
    limit, value = case.thresholds.stream, max(growth or 0.0, ratio, start)
    verdict = limit.verdict(value)
    text = "Nothing that a branch adds drowns the residual stream."
    if growth is not None:
        text = (
            f"Over {len(grown)} sums, from {grown[0].name} to {grown[-1].name}, the second moment "
            f"of the residual stream is multiplied by {growth:.3g}."
        )
    at_fault: tuple[str, ...] = ()
    if verdict != "good" and start == value:
        at_fault = case.in_order(_made_wide(case, starting[0].to))
        text = (
            f"The residual stream begins at {math.sqrt(starting[0].before):.3g} (root mean "
            f"square): at {start:.3g} times the second moment of what branches add, which is lost "
            "in it."
        )
    elif verdict != "good" and most is not None and ratio > (growth or 0.0):
        at_fault = case.in_order(_at_fault(case, most))
        scaled = f", times {most.scale}," if most.scale else ""
        text = (
            f"What {most.reads[-1] or 'the input'}{scaled} adds to the residual stream has "
            f"{ratio:.3g} times the second moment of what other branches add, which is lost in it."
        )
    elif verdict != "good":
        text += (
            " What the branches add grows with what they read: they want a normalisation, or their "
            f"last weights a factor of 1/√{len(grown)}."
        )
        causes = {str(place): each for place, each in enumerate(_all_added(case, grown))}
        shares = {
            place: math.log1p(each.power / each.before)
            for place, each in causes.items()
            if each.before
        }
        named = [causes[place] for place in blame(shares)]
        at_fault = case.in_order([name for each in named for name in _at_fault(case, each)])
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


def _all_added(case: Case, sums: list[Layer]) -> list[_Added]:
    """What is added along a stream."""
    pairs = zip([None, *sums[:-1]], sums, strict=True)
    return [each for before, now in pairs for each in _added(case, before, now)]


def _growth(sums: list[Layer]) -> float | None:
    """The second moment of the last of three sums, or more, over that of the first."""
    moments = [layer.preactivation and layer.preactivation.second_moment for layer in sums]
    if len(sums) < 3 or not moments[0] or moments[-1] is None:
        return None
    return moments[-1] / moments[0]


def _drowning(most: _Added, added: list[_Added]) -> float:
    """What one branch adds over what others do; no more than 1 where the stream itself is more."""
    others = [each.power for each in added if each is not most and each.power > 0.0]
    if not others:
        return 0.0
    beside = most.power / statistics.median(others)
    return beside if most.power > most.before else min(1.0, beside)


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


def _beside_start(added: list[_Added]) -> float:
    """What a stream begins with over what branches add to it, where it begins beyond 10."""
    powers = [each.power for each in added if each.power > 0.0]
    if len(added) < 3 or not powers or added[0].before < WIDE_START**2:
        return 0.0
    return added[0].before / statistics.median(powers)


def _made_wide(case: Case, names: tuple[str, ...]) -> list[str]:
    """What made the start of a stream so wide."""
    ends = [case.layers[name] for name in names if name in case.layers]
    before = {each.name: each for end in ends for each in case.upstream(end)}
    return blame(case.shares(list(before.values()))) or [each.name for each in ends]


def _behind(case: Case, names: tuple[str, ...]) -> set[str]:
    """The layers that some were made of."""
    return {each for name in names if name in case.layers for each in case.ancestors(name)}


def _at_fault(case: Case, added: _Added) -> list[str]:
    """Of a branch the layers that made what it adds so large: its last one, unless others did; or
    the scale that it was multiplied by."""
    if added.scale in case.large_scales:
        return [case.large_scales[added.scale].name]
    layers = {
        each.name: each
        for end in added.reads
        if end in case.layers
        for each in case.upstream(case.layers[end])
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
