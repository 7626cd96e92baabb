"""Panels on which an activation is smooth, so that Gauss-Legendre nodes give all its digits.

Kinks and steps (relu at 0, a hard tanh at ±1, a user's own anywhere) are found by halving: a panel
whose Legendre coefficients do not die away is cut in two, and one that cannot be cut any further
stands on a kink, which then becomes an edge between two smooth panels.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from fanin.theory.nonlinearity import Nonlinearity, TheoryError

ORDER = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)

# Values at the nodes to all Legendre coefficients.
_COEFFICIENTS = (
    np.polynomial.legendre.legvander(NODES, ORDER - 1) * WEIGHTS[:, None] * (np.arange(ORDER) + 0.5)
)
# Values at the nodes to the last three Legendre coefficients: what they leave is unresolved.
_TAIL = _COEFFICIENTS[:, -3:]

# Values within this distance of 0 set the scale against which small values count as noise.
_CORE = 4.0
_MOST_PANELS = 20_000

Values = Callable[[Float64[np.ndarray, "... nodes"]], Float64[np.ndarray, "... nodes"]]


def panel_nodes(
    low: Float64[np.ndarray, "..."],
    high: Float64[np.ndarray, "..."],
    places: Float64[np.ndarray, "nodes"] = NODES,
) -> Float64[np.ndarray, "... nodes"]:
    """The nodes (Gauss-Legendre, or other places in -1..1) of each panel from `low` to `high`."""
    return 0.5 * (low + high)[..., None] + 0.5 * (high - low)[..., None] * places


def unresolved(values: Float64[np.ndarray, "... nodes"]) -> Float64[np.ndarray, "..."]:
    """The size of the last Legendre coefficients of values at a panel's nodes."""
    return np.abs(values @ _TAIL).max(axis=-1)


@lru_cache(maxsize=256)
def smooth_panels(nonlinearity: Nonlinearity, reach: float) -> Float64[np.ndarray, "..."]:
    """Edges, rising from -reach to reach, between which f and f' are smooth.

    `reach` is a power of two, at least 16, so that few different ones are asked for. Resolved to
    1e-11 of the size of f (float32: 2e-5).
    Errors: TheoryError for an activation that 20,000 panels do not resolve (it is noisy, or
    oscillates too fast), or that mixes the entries of its argument, as softmax does.
    """
    _require_entry_by_entry(nonlinearity)
    precision = nonlinearity.precision
    powers = 2.0 ** np.arange(int(np.log2(reach)) + 1)
    edges = np.concatenate([-powers[::-1], [0.0], powers])

    def both(x: Float64[np.ndarray, "... nodes"]) -> Float64[np.ndarray, "... nodes"]:
        return np.stack([nonlinearity.values(x), nonlinearity.slopes(x)])

    edges = cut_at_kinks(both, edges, precision, nonlinearity.name)
    edges.flags.writeable = False
    return edges


def cut_at_kinks(
    values: Values, edges: Float64[np.ndarray, "..."], precision: float, name: str
) -> Float64[np.ndarray, "..."]:
    """Edges, those given among them, between which each component of `values` is smooth.

    `values` maps an array of nodes to one array of the same shape for each component, stacked.
    """
    cut, kinks = _halve(values, edges, precision, name)
    if not kinks.size:
        return cut
    # With the kinks as edges the second pass has no need of the tiny panels around them.
    return _halve(values, np.union1d(edges, kinks), precision, name)[0]


def _halve(
    values: Values, edges: Float64[np.ndarray, "..."], precision: float, name: str
) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    """Edges after halving, and the middles of the panels that could not be halved further."""
    tolerance = max(1e-11, 200.0 * precision)
    # The nodes keep away from a panel's ends, where a kink could hide: two more points, just inside
    # them, are held against what the nodes foretell.
    inset = max(1e-8, 100.0 * precision)
    ends = np.array([inset - 1.0, 1.0 - inset])
    foretell = _COEFFICIENTS @ np.polynomial.legendre.legvander(ends, ORDER - 1).T
    low, high = edges[:-1], edges[1:]
    found = [edges]
    kinks: list[Float64[np.ndarray, "..."]] = []
    core: Float64[np.ndarray, "..."] | None = None
    count = low.size
    while low.size:
        points = panel_nodes(low, high, np.concatenate([NODES, ends]))
        at_nodes, at_ends = np.split(values(points), [ORDER], axis=-1)
        largest = np.abs(at_nodes).max(axis=-1)
        if core is None:
            inner = (np.abs(low) <= _CORE) & (np.abs(high) <= _CORE)
            core = largest[:, inner].max(axis=-1, keepdims=True, initial=0.0)
        scale = np.maximum(largest, core)
        missed = np.abs(at_ends - at_nodes @ foretell).max(axis=-1)
        rough = (np.maximum(unresolved(at_nodes), missed / 30.0) > tolerance * scale).any(axis=0)
        smallest = 64.0 * precision * np.maximum(np.maximum(np.abs(low), np.abs(high)), 0.1)
        stuck = rough & (high - low <= smallest)
        if stuck.any():
            kinks.append(0.5 * (low[stuck] + high[stuck]))
        rough &= ~stuck
        low, high = low[rough], high[rough]
        middle = 0.5 * (low + high)
        found.append(middle)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        count += middle.size
        if count > _MOST_PANELS:
            raise TheoryError(
                f"{name}: {_MOST_PANELS:,} panels do not resolve it between {edges[0]:.6g} and "
                f"{edges[-1]:.6g}; it is noisy there, or oscillates too fast for its moments to be "
                "computed."
            )
    return np.unique(np.concatenate(found)), _merge(kinks, precision)


def _merge(kinks: list[Float64[np.ndarray, "..."]], precision: float) -> Float64[np.ndarray, "..."]:
    """One point for each kink, where neighbouring panels both reported it."""
    if not kinks:
        return np.empty(0)
    points = np.sort(np.concatenate(kinks))
    apart = np.diff(points) > 1000.0 * precision * np.maximum(np.abs(points[1:]), 0.1)
    groups = np.split(points, np.flatnonzero(apart) + 1)
    return np.array([group.mean() for group in groups])


def _require_entry_by_entry(nonlinearity: Nonlinearity) -> None:
    x = np.linspace(-2.0, 2.0, 8)
    together = nonlinearity.values(x)
    alone = np.array([nonlinearity.values(x[k : k + 1])[0] for k in range(x.size)])
    if not np.allclose(together, alone, rtol=1e-5, atol=1e-5 * float(np.abs(together).max())):
        raise TheoryError(
            f"{nonlinearity.name}: the activation gives a number another value in other company; "
            "theory needs one that acts on each number by itself, without randomness."
        )
