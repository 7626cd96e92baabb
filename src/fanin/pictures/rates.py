"""A sweep of learning rates, drawn."""

from matplotlib.figure import Figure

from fanin.pictures.figures import BLACK, GREY, new_figure
from fanin.training import LearningRateSearch

_LOSS, _SUGGESTION = "#4878a8", "#d1571a"


def rate_figure(search: LearningRateSearch, *, title: str = "") -> Figure:
    """The loss after each step over the rate of that step, with the best and the suggested one."""
    figure, axes = new_figure(7.2, 4.0)
    axes.plot(search.rates, search.losses, color=_LOSS, alpha=0.35, linewidth=1, label="loss")
    axes.plot(search.rates, search.smoothed, color=_LOSS, linewidth=1.8, label="running mean")
    axes.axhline(search.first_loss, color=GREY, linewidth=1, linestyle="--", label="before")
    axes.axvline(search.best_rate, color=GREY, linewidth=1, linestyle=":", label="best")
    axes.axvline(
        search.suggestion,
        color=_SUGGESTION,
        linewidth=1.6,
        label=f"suggested: {search.suggestion:g}",
    )
    axes.set_xscale("log")
    top = 1.1 * max(search.first_loss, float(search.smoothed.min()))
    bottom = float(search.smoothed.min())
    axes.set_ylim(bottom - 0.05 * (top - bottom), top)
    axes.set_xlabel("learning rate of the step", color=BLACK)
    axes.set_ylabel("loss after it (nats per symbol)", color=BLACK)
    axes.set_title(title, color=BLACK, fontsize=10, loc="left")
    axes.legend(frameon=False, labelcolor=BLACK, fontsize=9)
    return figure
