"""The depth scales of mean-field theory at the cells of a map."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float

from fanin.map.axes import MapAxis
from fanin.map.plan import Cell, Map
from fanin.networks.activations import nonlinearity_of
from fanin.theory import NoTheory, TheoryError, depth_scales, fixed_point

MULTIPLES = (1, 6)
"""Of a scale, as drawn: in figure 5 of Schoenholz et al. 2017 networks train up to 6 ξ_c."""

_OF_THEORY = ("gain", "sigma_b")
_MOST_BETWEEN = 2_000


@final
@dataclass(frozen=True)
class Scales:
    """ξ_c and ξ_∇ = 1/|log χ| in layers, by row and column; NaN where theory says nothing."""

    xi_c: Float[np.ndarray, "rows columns"]
    xi_grad: Float[np.ndarray, "rows columns"]


def scales(plan: Map) -> Scales | NoTheory:
    """Theory's depth scales at each cell of the map, for networks without sums and normalisation.

    Schoenholz et al. 2017, equations 9 and 19; at a critical gain they are infinite.
    """
    if plan.residual or plan.normalisation is not None:
        what = "residual sums" if plan.residual else "normalisation"
        return NoTheory(f"the depth scales are those of plain layers, without {what}")
    rows, columns = plan.shape
    found = np.array(
        [
            [of_cell(plan.activation, plan.at(row, column)) for column in range(columns)]
            for row in range(rows)
        ]
    )
    return Scales(found[..., 0], found[..., 1])


def between(plan: Map, times: int = 6) -> Map:
    """The map with so many more values along its axes that theory knows, to draw lines by.

    Fewer where there would be thousands, as over two such axes.
    """
    known = [axis for axis in (plan.x, plan.y) if axis.setting in _OF_THEORY]
    while times > 1 and math.prod(len(axis.values) * times for axis in known) > _MOST_BETWEEN:
        times -= 1

    def finer(axis: MapAxis) -> MapAxis:
        if axis not in known:
            return axis
        places = np.linspace(0, len(axis.values) - 1, (len(axis.values) - 1) * times + 1)
        values = np.interp(places, np.arange(len(axis.values)), axis.values)
        return replace(axis, values=tuple(values.tolist()))

    return replace(plan, x=finer(plan.x), y=finer(plan.y))


def of_cell(activation: str, cell: Cell) -> tuple[float, float]:
    """ξ_c and ξ_∇ of one cell."""
    return _scales(activation, cell.gain, cell.sigma_b)


@lru_cache(maxsize=100_000)
def _scales(activation: str, gain: float, sigma_b: float) -> tuple[float, float]:
    nonlinearity = nonlinearity_of(activation)
    try:
        pair = depth_scales(nonlinearity, gain**2, sigma_b**2)
        if not isinstance(pair, NoTheory):
            return pair.xi_c, _by_gradient(pair.chi)
        settled = fixed_point(nonlinearity, gain**2, sigma_b**2)
    except TheoryError:
        return math.nan, math.nan
    if isinstance(settled, NoTheory) or settled.stability == "unstable":
        return math.nan, math.nan
    return math.nan, _by_gradient(settled.chi)


def _by_gradient(chi: float) -> float:
    return math.inf if chi == 1.0 else 0.0 if chi == 0.0 else 1 / abs(math.log(chi))
