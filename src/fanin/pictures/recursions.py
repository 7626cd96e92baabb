"""The recursions of a deep network of one activation: second moment, correlation, gradient."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fanin.pictures.figures import BLACK, GREY
from fanin.theory.summary import Summary

_COLOURS = {"forward": "#4878a8", "backward": "#d1571a", "critical": "#3f8f4f"}


def recursion_figure(summary: Summary) -> Figure:
    """q, c and the gradient's second moment by layer, a line for each gain.

    The dashed lines in the first panel start from a disturbed second moment at the forward gain:
    where the fixed point is stable they come back, where not they leave.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    moments, correlations, gradients = figure.subplots(1, 3)
    for recursion in summary.recursions:
        layers = range(1, len(recursion.second_moments) + 1)
        style = {"color": _COLOURS[recursion.name], "linewidth": 1.6}
        label = f"{recursion.name} gain, {recursion.gain:.4g}"
        if recursion.bias_variance:
            label += f" (bias variance {recursion.bias_variance:g})"
        moments.plot(layers, recursion.second_moments, label=label, **style)
        correlations.plot(layers, recursion.correlations, **style)
        gradients.plot(layers, recursion.gradients, **style)
        if recursion.name == "forward":
            dashed = {**style, "linewidth": 1, "linestyle": "--"}
            for first, disturbed in zip(("disturbed q", None), recursion.disturbed, strict=True):
                moments.plot(range(1, len(disturbed) + 1), disturbed, label=first, **dashed)
    for axes, title in (
        (moments, "second moment q of pre-activations"),
        (correlations, "correlation c of two examples"),
        (gradients, "gradient's second moment, last layer 1"),
    ):
        axes.set_title(title, fontsize=9, color=BLACK)
        axes.set_xlabel("layer", fontsize=9, color=BLACK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(BLACK)
        axes.tick_params(which="both", colors=BLACK, labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    correlations.set_ylim(-0.02, 1.02)
    for axes in (moments, gradients):
        axes.set_yscale("log")
        axes.axhline(1, color=GREY, linewidth=0.8)
        low, high = axes.get_ylim()
        # So that a line which keeps to 1 looks level.
        axes.set_ylim(min(low, 0.5), max(high, 2))
    figure.suptitle(f"{summary.activation}, layer by layer", fontsize=10, color=BLACK)
    figure.legend(frameon=False, labelcolor=BLACK, fontsize=9, loc="outside lower center", ncols=4)
    return figure
