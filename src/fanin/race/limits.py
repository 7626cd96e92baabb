"""Limits and a score of step zero, as the outcomes of some networks would set them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float

from fanin.diagnosis.report import Verdict
from fanin.race.reliability import Ended
from fanin.race.sides import EXTREME, Bounds, Side

# Suspect begins where so many of the networks of one level are hindered, and bad likewise.
SUSPECT_SHARE, BAD_SHARE = 0.7, 0.95
# From fewer networks beyond it a limit would be chance.
FEWEST = 20


@final
@dataclass(frozen=True)
class Curve:
    """The share of networks that were hindered, by one side's level; it never falls."""

    levels: Float[np.ndarray, " levels"]
    shares: Float[np.ndarray, " levels"]
    bounds: Bounds

    def share(self, level: float) -> float:
        """Between two levels in proportion; nothing where nothing was measured."""
        if level <= -EXTREME or not self.levels.size:
            return 0.0
        return float(np.interp(level, self.levels, self.shares))


@final
@dataclass(frozen=True)
class Fitted:
    """What some networks say of each side."""

    sides: tuple[Side, ...]
    networks: tuple[Ended, ...]

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        return tuple(_curve(side, self.networks) for side in self.sides)

    def score(self, network: Ended) -> float:
        """The share hindered on the worst side; what is not finite is beyond all."""
        if "finite" in network.judgement.bad:
            return 1.0
        return max(curve.share(side.level(network)) for side, curve in self._pairs())

    def verdict(self, network: Ended) -> Verdict:
        """The verdict that the limits found would give."""
        if "finite" in network.judgement.bad:
            return "bad"
        levels = [(side.level(network), curve.bounds) for side, curve in self._pairs()]
        if any(level >= bounds.bad for level, bounds in levels):
            return "bad"
        return "suspect" if any(level >= bounds.suspect for level, bounds in levels) else "good"

    def _pairs(self) -> Sequence[tuple[Side, Curve]]:
        return list(zip(self.sides, self.curves, strict=True))


def _curve(side: Side, networks: Sequence[Ended]) -> Curve:
    """By isotonic regression of hindered or not on the level, of what was measured."""
    from scipy.optimize import isotonic_regression

    known = [(side.level(each), each) for each in networks]
    known = sorted((pair for pair in known if pair[0] > -EXTREME), key=lambda pair: pair[0])
    if not known:
        return Curve(np.zeros(0), np.zeros(0), Bounds(math.inf, math.inf))
    levels, first, count = np.unique(
        [level for level, _ in known], return_index=True, return_counts=True
    )
    hindered = np.array([each.hindered for _, each in known], np.float64)
    means = np.add.reduceat(hindered, first) / count
    shares = np.asarray(isotonic_regression(means, weights=count.astype(np.float64)).x)
    best = max((level for level, each in known if each.among_best), default=-math.inf)
    beyond = len(known) - first
    suspect = (shares >= SUSPECT_SHARE) & (beyond >= FEWEST)
    bad = (shares >= BAD_SHARE) & (beyond >= FEWEST) & (levels > best)
    return Curve(levels, shares, Bounds(_first(levels, suspect), _first(levels, bad)))


def _first(levels: Float[np.ndarray, " levels"], will_do: np.ndarray) -> float:
    return float(levels[will_do][0]) if will_do.any() else math.inf
