"""Where an activation is flat: the ends at which it passes next to no gradient."""

from functools import lru_cache

import numpy as np

from fanin.theory import Nonlinearity

# The slope of tanh where it reaches 0.97, the customary bound of saturation, over its largest.
FLAT = 1 - 0.97**2

_FURTHEST = 64.0
_GRID = np.linspace(-_FURTHEST, _FURTHEST, 4097)


@lru_cache(maxsize=256)
def flat_ends(nonlinearity: Nonlinearity) -> tuple[float | None, float | None]:
    """The pre-activations from which down, and from which up, the slope stays small.

    Small is less than 1 − 0.97² of the largest slope: beyond ±2.092 for tanh, where |tanh| > 0.97;
    from 0 down for relu. Of one that grows without end, as a relu squared, the largest within ±1.
    None for an end where the slope does not stay small.
    """
    steep = np.abs(nonlinearity.slopes(_GRID))
    largest, usual = float(steep.max()), float(steep[np.abs(_GRID) <= 1.0].max())
    limit = FLAT * (usual if largest > 10.0 * usual else largest)
    (where,) = np.nonzero(steep >= limit)
    if where.size == 0:
        return None, None
    first, last = int(where[0]), int(where[-1])
    low = None if first == 0 else _edge(nonlinearity, limit, _GRID[first - 1], _GRID[first])
    at_end = last == _GRID.size - 1
    high = None if at_end else _edge(nonlinearity, limit, _GRID[last + 1], _GRID[last])
    return low, high


def _edge(nonlinearity: Nonlinearity, limit: float, flat: float, steep: float) -> float:
    """Where the slope crosses the limit, by halving, between a flat place and a steep one."""
    for _ in range(60):
        middle = 0.5 * (flat + steep)
        if abs(float(nonlinearity.slopes(np.array([middle]))[0])) < limit:
            flat = middle
        else:
            steep = middle
    return round(float(flat), 9) + 0.0  # never -0
