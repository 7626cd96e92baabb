"""The losses of a run, drawn over its steps."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from jaxtyping import Float, Float32
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fanin.pictures.figures import BLACK, GREY, new_figure
from fanin.training import History

STRETCHES = 160  # that a run is drawn in; more would be a smear and no curve
_BATCH, _DEV = "#4878a8", "#d1571a"
_EARLY = 0.05  # of the steps: the part that does not set the scale
_NEAR = 1.2  # times log V: a first loss below this is shown rather than told
_ROOM = 0.06  # of the height, above and below what is drawn


@final
@dataclass(frozen=True, eq=False)
class Band:
    """Batch losses by stretches of steps: the middle step, the median and the inner 80 %."""

    steps: Float[np.ndarray, "nodes"]
    low: Float[np.ndarray, "nodes"]
    median: Float[np.ndarray, "nodes"]
    high: Float[np.ndarray, "nodes"]


def band(batch_losses: Float32[np.ndarray, "steps"], stretches: int = STRETCHES) -> Band:
    """Smooths batch losses, which jump from step to step, over at most so many stretches."""
    edges = np.linspace(0, batch_losses.size, min(stretches, batch_losses.size) + 1).astype(int)
    quantiles = [np.quantile(batch_losses[a:b], (0.1, 0.5, 0.9)) for a, b in pairwise(edges)]
    low, median, high = np.array(quantiles).reshape(-1, 3).T
    return Band((edges[:-1] + edges[1:] + 1) / 2, low, median, high)


def loss_figure(history: History, uniform: float, *, title: str = "") -> Figure:
    """Batch losses as a smoothed band, dev losses, and log V (`uniform`), in nats per symbol.

    A start far above log V would press the rest flat: the scale is that of all but the first
    twentieth of the run, and where the loss at step 0 lies above it, a line of text says so.
    """
    figure, axes = new_figure(7.2, 4.2)
    smooth = band(history.batch_losses)
    steps, losses = np.array(history.dev_steps), np.array(history.dev_losses)
    axes.fill_between(
        smooth.steps,
        smooth.low,
        smooth.high,
        color=_BATCH,
        alpha=0.25,
        linewidth=0,
        label="batch, the inner 80 %",
    )
    axes.plot(smooth.steps, smooth.median, color=_BATCH, linewidth=1.6, label="batch, median")
    axes.plot(steps, losses, color=_DEV, linewidth=1.6, marker="o", markersize=3, label="dev")
    axes.axhline(uniform, color=GREY, linewidth=1, linestyle="--", label="log V, a blind guess")

    late = history.batch_losses.size * _EARLY
    settled = [line[smooth.steps > late] for line in (smooth.low, smooth.high)]
    settled += [losses[steps > late], losses[:1][losses[:1] < _NEAR * uniform], [uniform]]
    bottom, top = _range(np.concatenate(settled))
    axes.set_ylim(bottom, top)
    if losses.size and losses[0] > top:
        beyond = f"dev {losses[0]:.1f} at step 0, above this scale"
        axes.set_title(beyond, color=_DEV, fontsize=9, loc="right")
    axes.set_xlim(0, max(history.batch_losses.size, 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step", color=BLACK)
    axes.set_ylabel("loss (nats per symbol)", color=BLACK)
    axes.set_title(title, color=BLACK, fontsize=10, loc="left")
    figure.legend(frameon=False, labelcolor=BLACK, fontsize=9, loc="outside lower center", ncols=4)
    return figure


def _range(losses: Float[np.ndarray, "..."]) -> tuple[float, float]:
    finite = losses[np.isfinite(losses)]
    room = (finite.max() - finite.min()) * _ROOM or _ROOM
    return float(finite.min() - room), float(finite.max() + room)
