"""Two reports side by side, before and after a refactor: what moved beyond the seeds' spread."""

from dataclasses import dataclass
from math import isclose
from typing import final

from fanin.diagnosis.document import LayerDocument, ReportDocument
from fanin.diagnosis.report import VERDICTS, Verdict
from fanin.diagnosis.seed_spreads import deviations, spreads

# Of a few hundred numbers that are compared none lies this far off by chance, 99 times in 100.
LIMIT = 4.0
# What another order of summation leaves in float32.
_ROUNDING = 1e-4
_STRUCTURE = (
    "kind",
    "role",
    "weight",
    "weight_shape",
    "fan_in",
    "nonlinearity",
    "normalisation",
    "reads",
    "units",
)


@final
@dataclass(frozen=True)
class Move:
    """A number that is not what another seed would have made it."""

    layer: str
    """"" for the whole network"""
    name: str
    before: float
    after: float
    deviations: float
    """how many standard deviations over seeds lie between the two"""


@final
@dataclass(frozen=True)
class CheckChange:
    """A check whose verdict is another one; None where it was not made."""

    name: str
    before: Verdict | None
    after: Verdict | None


@final
@dataclass(frozen=True)
class Comparison:
    """What became of a network between two reports."""

    before: Verdict
    after: Verdict
    checks: tuple[CheckChange, ...]
    structure: tuple[str, ...]
    """layers that came, went or were changed, in words"""
    moves: tuple[Move, ...]
    """the furthest first"""
    compared: int
    """how many numbers were"""
    same: int
    """how many of them are equal but for rounding"""

    @property
    def moved(self) -> bool:
        """Whether anything is different that another seed would not explain."""
        return bool(self.checks or self.structure or self.moves)

    @property
    def worse(self) -> bool:
        """Whether the verdict, or that of a check, got worse."""
        fell = [(self.before, self.after)]
        fell += [(each.before or "good", each.after or "good") for each in self.checks]
        return any(VERDICTS.index(after) > VERDICTS.index(before) for before, after in fell)

    @property
    def identical(self) -> bool:
        return not self.moved and self.same == self.compared


def compare(before: ReportDocument, after: ReportDocument) -> Comparison:
    """The second report against the first, layer by layer under their names."""
    old, new = spreads(before), spreads(after)
    moves: list[Move] = []
    same = 0
    structure = [*_structure(before, after)]
    for key, was in old.items():
        if key not in new:
            continue
        now = new[key]
        same += isclose(was.value, now.value, rel_tol=_ROUNDING, abs_tol=_ROUNDING**2)
        if (apart := deviations(was, now)) > LIMIT:
            moves.append(Move(*key, was.value, now.value, apart))
    moves.sort(key=lambda move: -move.deviations)
    names = {layer.name for layer in before.layers} & {layer.name for layer in after.layers}
    for key in sorted(old.keys() ^ new.keys()):
        if not key[0] or key[0] in names:
            gone = "is not measured any more" if key in old else "was not measured before"
            structure.append(f"{' '.join(filter(None, key))} {gone}")
    return Comparison(
        before=before.verdict,
        after=after.verdict,
        checks=_checks(before, after),
        structure=tuple(structure),
        moves=tuple(moves),
        compared=len(old.keys() & new.keys()),
        same=same,
    )


def _checks(before: ReportDocument, after: ReportDocument) -> tuple[CheckChange, ...]:
    old: dict[str, Verdict] = {check.name: check.verdict for check in before.checks}
    new: dict[str, Verdict] = {check.name: check.verdict for check in after.checks}
    return tuple(
        CheckChange(name, old.get(name), new.get(name))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )


def _structure(before: ReportDocument, after: ReportDocument) -> list[str]:
    old = {layer.name: layer for layer in before.layers}
    new = {layer.name: layer for layer in after.layers}
    found = [f"{name} is gone" for name in old if name not in new]
    found += [f"{name} is new" for name in new if name not in old]
    for name in [name for name in old if name in new]:
        found += [f"{name}: {change}" for change in _changes(old[name], new[name])]
    if not found and list(old) != list(new):
        found.append("the layers come in another order")
    return found


def _changes(old: LayerDocument, new: LayerDocument) -> list[str]:
    return [
        f"{field} was {_shown(was)} and is {_shown(now)}"
        for field in _STRUCTURE
        if (was := getattr(old, field)) != (now := getattr(new, field))
    ]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " × ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
