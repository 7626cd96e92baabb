"""What a map found: the grids, the boundary of 50 % and how theory's scales go with it."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float
from scipy import stats

from fanin.map.course import dev_places
from fanin.map.plan import MEASURES, Map, blind_and_bigram
from fanin.map.record import MapCell
from fanin.map.scales import Scales, scales
from fanin.theory import NoTheory

TRAINED_NUMBERS = ("first_loss", "batch_loss", "dev_loss")
STEP_0_NUMBERS = ("gradient-ratio", "saturation", "correlation")
HALF = 0.5
FEWEST = 3  # points that a correlation is told of


@final
@dataclass(frozen=True)
class BoundaryPoint:
    """Down to which depth networks of one column train."""

    x: float
    depth: float
    """where the share learnt falls below a half, between two depths; a bound where not found"""
    found: Literal["within", "beyond", "before"]
    """beyond: all depths of the map train; before: none does"""


@final
@dataclass(frozen=True)
class Agreement:
    """How one of theory's depth scales goes with the boundary, over the values of x."""

    rank: float | None
    """Spearman's over all columns; beyond the map's depths all scales and boundaries are equal"""
    columns: int
    logarithms: float | None
    """Pearson's of the logarithms, over the columns whose boundary is within the map"""
    within: int


@final
class MapResults:
    """A map as far as it is computed: fed with cells, asked for grids."""

    def __init__(self, plan: Map) -> None:
        self.plan = plan
        self.numbers: Float[np.ndarray, "rows columns 3"] = np.full((*plan.shape, 3), np.nan)
        self.done = np.zeros(plan.shape, bool)
        self.blind, self.bigram = blind_and_bigram(plan.corpus, dev_places(plan))
        self._scales: Scales | NoTheory | None = None

    def add(self, cell: MapCell) -> None:
        """Takes in a cell."""
        values = [math.nan if number is None else number for number in cell.numbers]
        self.numbers[cell.row, cell.column] = values
        self.done[cell.row, cell.column] = True

    @property
    def scales(self) -> Scales | NoTheory:
        """Theory's depth scales at the cells."""
        if self._scales is None:
            self._scales = scales(self.plan)
        return self._scales

    @property
    def names(self) -> tuple[str, str, str]:
        """What the three numbers of a cell are."""
        return TRAINED_NUMBERS if self.plan.measure == "trained" else STEP_0_NUMBERS

    @property
    def values(self) -> Float[np.ndarray, "rows columns"]:
        """What the map paints; NaN where it is not computed, or a step-0 measure not finite.

        Of a trained map it is the share learnt: 0 for the dev loss of a guess by the symbols'
        frequencies or any higher one, and for a cell that diverged; 1 for that by the frequencies
        after the last symbol. It may exceed 1.
        """
        if self.plan.measure != "trained":
            return self.numbers[..., STEP_0_NUMBERS.index(self.plan.measure)]
        share = (self.blind - self.numbers[..., 2]) / (self.blind - self.bigram)
        share = np.maximum(np.where(np.isfinite(share), share, 0.0), 0.0)
        return np.where(self.done, share, np.nan)

    def filled(self) -> Float[np.ndarray, "rows columns"]:
        """The values, with each cell that is not computed painted as the nearest one that is."""
        if self.done.all() or not self.done.any():
            return self.values
        from scipy.ndimage import distance_transform_edt

        _, (rows, columns) = distance_transform_edt(~self.done, return_indices=True)
        return self.values[rows, columns]

    def boundary(self) -> tuple[BoundaryPoint, ...]:
        """By value of x, the depth at which the share learnt falls below a half.

        Empty unless the map is of training with depth upwards, and complete.
        """
        plan = self.plan
        if plan.measure != "trained" or plan.y.setting != "depth" or not self.done.all():
            return ()
        depths = plan.y.values
        return tuple(
            _fall(x, depths, share.tolist())
            for x, share in zip(plan.x.values, self.values.T, strict=True)
        )

    def agreement(self) -> dict[str, Agreement]:
        """Of ξ_c and ξ_∇ with the boundary; empty where there is no boundary or no theory."""
        points = self.boundary()
        if not points or isinstance(self.scales, NoTheory):
            return {}
        return {
            name: _agreement(points, grid[0], self.plan.y.values)
            for name, grid in (("xi_c", self.scales.xi_c), ("xi_grad", self.scales.xi_grad))
        }

    def document(self) -> dict[str, Any]:
        """All of it as JSON values; not-finite numbers stay what they are."""
        plan = self.plan
        theory = self.scales
        return {
            "measure": plan.measure,
            "meaning": MEASURES[plan.measure],
            "x": {"name": plan.x.name, "values": plan.x.values, "log": plan.x.logarithmic},
            "y": {"name": plan.y.name, "values": plan.y.values, "log": plan.y.logarithmic},
            "complete": bool(self.done.all()),
            "cells": int(self.done.sum()),
            "values": self.values.tolist(),
            "numbers": {
                name: self.numbers[..., place].tolist() for place, name in enumerate(self.names)
            },
            "blind_loss": self.blind,
            "bigram_loss": self.bigram,
            "theory": (
                {"reason": theory.reason}
                if isinstance(theory, NoTheory)
                else {"xi_c": theory.xi_c.tolist(), "xi_grad": theory.xi_grad.tolist()}
            ),
            "boundary": [
                {"x": point.x, "depth": point.depth, "found": point.found}
                for point in self.boundary()
            ],
            "agreement": {
                name: {
                    "rank_correlation": agreement.rank,
                    "columns": agreement.columns,
                    "log_correlation": agreement.logarithms,
                    "columns_within": agreement.within,
                }
                for name, agreement in self.agreement().items()
            },
        }

    def to_csv(self) -> str:
        """A row for each computed cell."""
        theory = self.scales
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [self.plan.x.name, self.plan.y.name, "value", *self.names, "xi_c", "xi_grad"]
        )
        for row, column in np.argwhere(self.done).tolist():
            both = (
                ("", "")
                if isinstance(theory, NoTheory)
                else (theory.xi_c[row, column], theory.xi_grad[row, column])
            )
            writer.writerow(
                [
                    self.plan.x.values[column],
                    self.plan.y.values[row],
                    self.values[row, column],
                    *self.numbers[row, column].tolist(),
                    *both,
                ]
            )
        return file.getvalue()

    def to_npz(self) -> bytes:
        """The grids as NumPy's archive: x, y, value, the three numbers and theory's scales."""
        theory = self.scales
        grids: dict[str, Any] = {
            name.replace("-", "_"): self.numbers[..., i] for i, name in enumerate(self.names)
        }
        if not isinstance(theory, NoTheory):
            grids |= {"xi_c": theory.xi_c, "xi_grad": theory.xi_grad}
        file = io.BytesIO()
        x, y = np.array(self.plan.x.values), np.array(self.plan.y.values)
        np.savez_compressed(file, x=x, y=y, value=self.values, **grids)
        return file.getvalue()


def _fall(x: float, depths: Sequence[float], share: Sequence[float]) -> BoundaryPoint:
    if share[0] < HALF:
        return BoundaryPoint(x, depths[0], "before")
    for place in range(1, len(depths)):
        above, below = share[place - 1], share[place]
        if below < HALF:
            part = (above - HALF) / (above - below)
            return BoundaryPoint(
                x, depths[place - 1] + part * (depths[place] - depths[place - 1]), "within"
            )
    return BoundaryPoint(x, depths[-1], "beyond")


def _agreement(
    points: Sequence[BoundaryPoint], xi: Float[np.ndarray, " columns"], depths: Sequence[float]
) -> Agreement:
    known = np.isfinite([point.depth for point in points]) & ~np.isnan(xi)
    reached = np.array([point.depth for point in points])
    within = known & np.array([point.found == "within" for point in points]) & np.isfinite(xi)
    within &= xi > 0
    # What is beyond the map cannot be told apart, of the boundary as of the scale.
    capped = np.minimum(xi, depths[-1])
    return Agreement(
        _correlation(stats.spearmanr, capped[known], reached[known]),
        int(known.sum()),
        _correlation(stats.pearsonr, np.log(xi[within]), np.log(reached[within])),
        int(within.sum()),
    )


def _correlation(
    kind: Any, one: Float[np.ndarray, " columns"], other: Float[np.ndarray, " columns"]
) -> float | None:
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(kind(one, other).statistic)
