"""A search drawn: the losses of its first rung by each number that was drawn, a panel each."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from fanin.networks.activations import activation_name
from fanin.pictures.figures import BLACK, GREY
from fanin.pictures.race_figures import COLOURS
from fanin.search import Candidate, SearchResults

_PANELS = {
    "gain": "gain of hidden weights",
    "output": "gain of output weights",
    "embedding": "deviation of the embedding",
    "bias": "deviation of hidden biases",
    "lr": "learning rate",
}
_MARKERS = {None: "o", "batch": "s", "layer": "^"}
_ROOM = 0.04


def search_figure(results: SearchResults) -> Figure:
    """Mean dev loss after the first rung by gain of each role and learning rate.

    A point is a candidate whose number was drawn; those that went on are full, and a ring is round
    the winner. The grey line is where `fanin` stands.
    """
    names = [name for name in _PANELS if _drawn(results, name)] or ["gain"]
    figure = Figure(figsize=(7.4, 1.0 + 2.5 * -(-len(names) // 2)), layout="constrained")
    grid = figure.subplots(-(-len(names) // 2), 2, squeeze=False, sharey=True)
    panels: list[Axes] = list(grid.flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(BLACK)
        axes.tick_params(colors=BLACK, labelsize=8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(_PANELS[name], color=BLACK, fontsize=9)
        if place % 2 == 0:
            axes.set_ylabel("dev loss (nats)", color=BLACK, fontsize=9)
        _paint(axes, results, name)
    figure.legend(
        handles=_legend(results),
        frameon=False,
        labelcolor=BLACK,
        fontsize=8,
        loc="outside lower center",
        ncols=5,
    )
    if results.rungs:
        rung = results.rungs[0]
        figure.suptitle(
            f"{len(rung.candidates):,} candidates after {rung.steps:,} steps, the first rung of "
            f"{len(results.plan.rungs)}",
            fontsize=9,
            color=BLACK,
        )
    return figure


def _paint(axes: Axes, results: SearchResults, name: str) -> None:
    shown: list[float] = []
    for place, value in _drawn(results, name):
        each = results.plan.pool[place]
        at = results.placed(place)
        mean = at[0].mean
        if mean is None:
            continue
        colour = COLOURS[_activation(results, each) % len(COLOURS)]
        went_on = len(at) > 1
        axes.plot(
            value,
            mean,
            _MARKERS[each.network.normalisation],
            color=colour,
            markerfacecolor=colour if went_on else "none",
            markersize=5 if went_on else 4,
            alpha=0.9 if went_on else 0.45,
        )
        if each is results.winner:
            axes.plot(value, mean, "o", color=BLACK, markerfacecolor="none", markersize=11)
        shown.append(mean)
    for placed in results.placed_reference()[:1]:
        if placed.mean is not None:
            axes.axhline(placed.mean, color=GREY, linewidth=1, linestyle="--")
            shown.append(placed.mean)
    if shown:
        # The worst would press the rest flat.
        low, high = min(shown), sorted(shown)[int(0.9 * (len(shown) - 1))]
        room = (high - low) * _ROOM or _ROOM
        axes.set_ylim(low - room, high + room)


def _drawn(results: SearchResults, name: str) -> Sequence[tuple[int, float]]:
    """The candidates of the first rung whose number of that name was drawn, with the number."""
    if not results.rungs:
        return []
    found: list[tuple[int, float]] = []
    for place in results.rungs[0].candidates:
        each = results.plan.pool[place]
        if not each.drawn:
            continue
        if name == "lr":
            if each.lr != results.plan.options.rate:
                found.append((place, each.lr))
            continue
        _, _, options = each.start.name.partition(":")
        settings = dict(part.split("=") for part in options.split(",") if part)
        if name in settings:
            found.append((place, float(settings[name])))
    return found


def _activation(results: SearchResults, each: Candidate) -> int:
    names = [activation_name(known) for known in results.plan.activations]
    return names.index(activation_name(each.network.activation))


def _legend(results: SearchResults) -> list[Line2D]:
    handles = [
        Line2D([], [], color=COLOURS[place % len(COLOURS)], marker="o", linestyle="", label=name)
        for place, name in enumerate(map(activation_name, results.plan.activations))
    ]
    handles += [
        Line2D(
            [],
            [],
            color=GREY,
            marker=_MARKERS[kind],
            markerfacecolor="none",
            linestyle="",
            label=f"{kind or 'no'} norm",
        )
        for kind in results.plan.normalisations
    ]
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="fanin"))
    return handles
