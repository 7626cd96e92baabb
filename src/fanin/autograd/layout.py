"""Where to draw the nodes of a graph: in layers, each node below its parents.

The three steps of Sugiyama, Tagawa and Toda 1981: layers, an order within each that crosses few
edges, and places that keep edges straight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

ORDERING_SWEEPS = 8
PLACING_SWEEPS = 24
BEND_WIDTH = 6.0
SPINE_WEIGHT = 20.0


@dataclass(frozen=True)
class Layout:
    """The layer of each node from the top, where its centre is, and where its edges bend.

    `bends[node]` has a place for each layer that an edge from the node passes on its way down.
    """

    layers: list[int]
    x: list[float]
    bends: list[list[float]]


def layered_layout(parents: Sequence[Sequence[int]], widths: Sequence[float], gap: float) -> Layout:
    """Lay out nodes given in topological order, each by the places of its parents.

    Edges from one node share their bends, so that a value used in many layers is one line.
    """
    layers = _layers(parents)
    chains: list[list[int]] = [[node] for node in range(len(parents))]  # a node, then its bends
    layer_of, width = list(layers), list(widths)
    near: list[tuple[list[int], list[int]]] = [([], []) for _ in parents]  # above and below

    def connect(upper: int, lower: int) -> None:
        near[upper][1].append(lower)
        near[lower][0].append(upper)

    for child, above in enumerate(parents):
        for parent in dict.fromkeys(above):
            chain = chains[parent]
            for layer in range(layers[parent] + len(chain), layers[child]):
                layer_of.append(layer)
                width.append(BEND_WIDTH)
                near.append(([], []))
                connect(chain[-1], len(near) - 1)
                chain.append(len(near) - 1)
            connect(chain[layers[child] - layers[parent] - 1], child)

    rows: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    for point, layer in enumerate(layer_of):
        rows[layer].append(point)
    _order(rows, near)
    # What is computed holds its place, leaves and bends make room: so a network has a spine.
    weight = [SPINE_WEIGHT if above else 1.0 for above in parents]
    weight += [1.0] * (len(width) - len(weight))
    x = _place(rows, near, width, weight, gap)
    return Layout(layers, x[: len(parents)], [[x[p] for p in chain[1:]] for chain in chains])


def _layers(parents: Sequence[Sequence[int]]) -> list[int]:
    layers = [0] * len(parents)
    first_use: dict[int, int] = {}
    for node, above in enumerate(parents):
        if above:
            layers[node] = 1 + max(layers[parent] for parent in above)
    for node, above in enumerate(parents):
        for parent in above:
            first_use[parent] = min(first_use.get(parent, layers[node]), layers[node])
    # A leaf stands just above where it is used first, not at the very top.
    return [
        layer if above or node not in first_use else first_use[node] - 1
        for node, (layer, above) in enumerate(zip(layers, parents, strict=True))
    ]


def _order(rows: list[list[int]], near: list[tuple[list[int], list[int]]]) -> None:
    """Sort each row by where its neighbours in the row before are on average."""
    position: dict[int, float] = {}

    def note(row: list[int]) -> None:
        position.update({point: i - (len(row) - 1) / 2 for i, point in enumerate(row)})

    for row in rows:
        note(row)
    for sweep in range(ORDERING_SWEEPS):
        side = sweep % 2
        for row in reversed(rows) if side else rows:
            row.sort(key=lambda p: _mean([position[q] for q in near[p][side]], None, position[p]))
            note(row)


def _place(
    rows: list[list[int]],
    near: list[tuple[list[int], list[int]]],
    width: list[float],
    weight: list[float],
    gap: float,
) -> list[float]:
    """Pull every point to the mean of those above, then below, as far as its row allows."""
    x = [0.0] * len(near)
    for sweep in range(PLACING_SWEEPS):
        side = sweep % 2
        for row in reversed(rows) if side else rows:
            wanted = [
                _mean([x[q] for q in near[p][side]], [weight[q] for q in near[p][side]], x[p])
                for p in row
            ]
            places = _apart(wanted, [width[p] for p in row], [weight[p] for p in row], gap)
            for point, place in zip(row, places, strict=True):
                x[point] = place
    return x


def _apart(
    wanted: list[float], widths: list[float], weights: list[float], gap: float
) -> list[float]:
    """The places nearest to those wanted (weighted least squares) at which no two overlap."""
    offset = [0.0]
    for left, right in pairwise(widths):
        offset.append(offset[-1] + (left + right) / 2 + gap)
    # Less their offsets the places must not fall: isotonic regression, by pooling neighbours.
    pools: list[tuple[float, float, int]] = []  # mean, weight, number
    for place, start, weight in zip(wanted, offset, weights, strict=True):
        pools.append((place - start, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, p, m), (b, q, n) = pools[-2:]
            pools[-2:] = [((a * p + b * q) / (p + q), p + q, m + n)]
    flat = [mean for mean, _, number in pools for _ in range(number)]
    return [place + start for place, start in zip(flat, offset, strict=True)]


def _mean(places: list[float], weights: list[float] | None, otherwise: float) -> float:
    return fmean(places, weights) if places else otherwise
