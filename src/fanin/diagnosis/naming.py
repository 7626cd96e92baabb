"""Names of layers in sentences: short, however deep the network."""

from collections.abc import Sequence

_SHORTEST_RUN = 3


def layer_list(layers: Sequence[str], order: Sequence[str]) -> str:
    """The names, runs of neighbours in the order of execution as "first … last (12 layers)"."""
    places = {name: place for place, name in enumerate(order)}
    runs: list[list[str]] = []
    for name in layers:
        last = places.get(runs[-1][-1]) if runs else None
        if last is not None and places.get(name) == last + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(
        f"{run[0]} … {run[-1]} ({len(run)} layers)" if len(run) > _SHORTEST_RUN else ", ".join(run)
        for run in runs
    )
