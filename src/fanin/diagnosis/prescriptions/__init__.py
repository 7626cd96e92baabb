"""What to change in each layer that a verdict names: which parameter, by how much, why."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from fanin.diagnosis.case import Case
from fanin.diagnosis.prescriptions.numbers import finite, streams
from fanin.diagnosis.prescriptions.outputs import output
from fanin.diagnosis.prescriptions.scales import looking_about, narrower, scales
from fanin.diagnosis.prescriptions.units import dead, symmetry
from fanin.diagnosis.remaining import OF_DEPTH
from fanin.diagnosis.report import Action, Check, Prescription

Writer = Callable[[Prescription], str]
"""Writes the code of a prescription for one framework."""

# A scale that was measured holds for the entries as they are; what is drawn afresh has its own.
_ORDER: tuple[Action, ...] = ("scale", "shuffle", "draw", "zero")


def prescribe(case: Case, checks: Iterable[Check], write: Writer) -> tuple[Prescription, ...]:
    """The changes that the checks ask for, in order of execution; at most one of a kind for each
    parameter, and none for what no verdict names."""
    found: dict[tuple[str, Action, tuple[int, ...]], Prescription] = {}
    wrong = [check for check in checks if check.verdict != "good"]
    killed = {name for check in wrong if check.name == "dead units" for name in check.layers}
    for check in wrong:
        if check.name in OF_DEPTH:  # what is dead is not brought to life by its scale
            layers = tuple(name for name in check.layers if name not in killed)
            check = replace(check, layers=layers)
        for made in _RULES.get(check.name, _nothing)(case, check):
            made = _once_for_all(case, made)
            own = case.parameters.get(made.parameter)
            if own is not None and not own.trainable and own.data.finite:
                continue  # what is frozen is meant to be as it is
            key = (made.parameter, made.action, made.units)
            if key not in found and any(_overlap(made, each) for each in found.values()):
                continue
            asked = found[key].checks if key in found else ()
            kept = found.get(key, made)
            found[key] = replace(kept, checks=tuple(dict.fromkeys((*asked, check.name))))
    drawn = {p.parameter for p in found.values() if p.action == "draw" and not p.units}
    kept = [p for p in found.values() if p.action == "draw" or p.parameter not in drawn]
    places = {own.name: place for place, own in enumerate(case.recording.parameters)}
    kept.sort(key=lambda p: (places.get(p.parameter, len(places)), _ORDER.index(p.action)))
    return tuple(replace(p, code=write(p)) for p in kept)


def _overlap(one: Prescription, other: Prescription) -> bool:
    """Whether two changes are of one kind to one parameter, for some of its units twice."""
    if (one.parameter, one.action) != (other.parameter, other.action):
        return False
    return not (one.units and other.units) or bool({*one.units} & {*other.units})


def _once_for_all(case: Case, made: Prescription) -> Prescription:
    """A change of a tied parameter under the name of the first, saying whose it is besides."""
    own = case.parameters.get(made.parameter)
    if own is None:
        return made
    first = own.tied_to or own.name
    others = [each.name for each in case.recording.parameters if each.tied_to == first]
    if not others:
        return made
    shared = f"{made.reason} (one array with {', '.join({first, *others} - {made.parameter})})"
    return replace(made, parameter=first, reason=shared)


def _nothing(case: Case, check: Check) -> list[Prescription]:
    return []


_RULES: dict[str, Callable[[Case, Check], list[Prescription]]] = {
    "finite": finite,
    "loss": output,
    "logits": output,
    "saturation": narrower,
    "gain": scales,
    "input scale": scales,
    "running statistics": scales,
    "attention": looking_about,
    "stream": narrower,
    "gradients": scales,
    "examples": scales,
    "dead units": dead,
    "symmetry": symmetry,
    "streams": streams,
    "updates": scales,
    "first step": narrower,
}
