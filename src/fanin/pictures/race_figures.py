"""A race drawn: each start's losses on the way with their band, and the paired differences."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.pictures.figures import BLACK, GREY, new_figure
from fanin.race import Results
from fanin.race.table import StandingsDocument

# Okabe and Ito's, apart to all eyes, on light pages and dark ones; then round again, dashed.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1")
_STYLES = ("-", "--", ":", "-.")
_NEAR = 1.15  # times log V: what lies above it would press the rest flat
_EARLY = 0.05  # of the steps: the part that does not set the scale
_ROOM = 0.06
_JITTER = 0.28  # of the distance between two rows
_LEGEND = 24  # characters of a name


def curves_figure(results: Results, uniform: float) -> Figure:
    """The mean dev loss of each start by step, and the inner 80 % of its seeds as a band."""
    figure, axes = new_figure(7.4, 4.4)
    settled, lines = [uniform], list[tuple[Line2D, str, float]]()
    for place, lane in enumerate(results.plan.lanes):
        curves = results.curves(place)
        if not curves.steps.size:
            continue
        finite = np.where(np.isfinite(curves.dev_loss), curves.dev_loss, np.nan)
        low, mean, high = _spread(finite)
        colour, style = _look(place)
        axes.fill_between(curves.steps, low, high, color=colour, alpha=0.18, linewidth=0)
        (line,) = axes.plot(curves.steps, mean, color=colour, linestyle=style, linewidth=1.6)
        lowest = float(np.min(mean, initial=math.inf, where=np.isfinite(mean)))
        lines.append((line, _short(lane.name), lowest))
        late = curves.steps > _EARLY * curves.steps[-1]
        shown = np.concatenate([low[late], high[late]])
        settled += shown[np.isfinite(shown) & (shown < _NEAR * uniform)].tolist()
    axes.axhline(uniform, color=GREY, linewidth=1, linestyle="--", label="log V, a blind guess")
    room = (max(settled) - min(settled)) * _ROOM or _ROOM
    axes.set_ylim(min(settled) - room, max(settled) + room)
    for line, name, lowest in lines:
        line.set_label(name if lowest <= axes.get_ylim()[1] else f"{name} (above)")
    axes.set_xlim(0, max(results.plan.steps, 1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step", color=BLACK)
    axes.set_ylabel("dev loss (nats per symbol)", color=BLACK)
    figure.legend(frameon=False, labelcolor=BLACK, fontsize=9, loc="outside lower center", ncols=3)
    return figure


def differences_figure(document: StandingsDocument) -> Figure | None:
    """Each seed's difference to the reference, with mean, interval and the margin.

    None where no pair of runs finished.
    """
    on_test = document.judged_on == "test"
    losses = {s.name: s.test_loss if on_test else s.dev_loss or () for s in document.starts}
    rows = [
        (place, start, _differences(losses[start.name], losses[document.reference], document))
        for place, start in enumerate(document.starts)
        if start.name != document.reference
    ]
    rows = [row for row in rows if row[2].size]
    if not rows:
        return None
    figure, axes = new_figure(7.4, 1.3 + 0.62 * len(rows))
    for height, (place, start, differences) in enumerate(reversed(rows)):
        colour, _ = _look(place)
        # Spread by place and not by chance, so that the same numbers give the same picture.
        spread = _JITTER * (((np.arange(differences.size) * 0.618034) % 1) - 0.5)
        axes.plot(differences, height + spread, "o", color=colour, markersize=3.5, alpha=0.5, mew=0)
        if start.difference is not None:
            axes.plot(start.difference, height, "D", color=colour, markersize=6, mec=BLACK, mew=0.8)
        if start.difference_interval is not None:
            axes.plot(start.difference_interval, [height] * 2, color=BLACK, linewidth=1.8, zorder=1)
    axes.axvspan(-document.margin, document.margin, color=GREY, alpha=0.18, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [_short(row[1].name) for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    _pad(axes)
    axes.set_xlabel(
        f"{document.judged_on} loss minus that of {_short(document.reference)}, seed by seed "
        "(nats per symbol; left is better)",
        color=BLACK,
        fontsize=9,
    )
    return figure


def _spread(
    losses: Float[np.ndarray, "runs steps"],
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Of the finite losses at each step: where the inner 80 % begin, the mean, where they end."""
    lines = np.full((3, losses.shape[1]), np.nan)
    for place, column in enumerate(losses.T):
        finite = column[np.isfinite(column)]
        if finite.size:
            low, high = np.quantile(finite, (0.1, 0.9))
            lines[:, place] = low, finite.mean(), high
    return lines[0], lines[1], lines[2]


def _differences(
    mine: Sequence[float | None], theirs: Sequence[float | None], document: StandingsDocument
) -> Float[np.ndarray, " runs"]:
    worst = document.uniform_loss
    return np.array(
        [
            a - b
            for a, b in zip(mine, theirs, strict=False)
            if a is not None
            and b is not None
            and math.isfinite(a)
            and math.isfinite(b)
            and max(a, b) <= worst
        ]
    )


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], _STYLES[place // len(COLOURS) % len(_STYLES)]


def _short(name: str) -> str:
    # A dollar sign would begin a formula.
    name = name if len(name) <= _LEGEND else f"{name[: _LEGEND - 1]}…"
    return name.replace("$", r"\$")


def _pad(axes: Axes) -> None:
    axes.margins(x=0.05)
