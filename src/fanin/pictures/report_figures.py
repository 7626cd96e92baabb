"""What a report measured, as figures: histograms layer by layer, and moments over the depth."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fanin.diagnosis.recording import Histogram, Layer, Moments, Number
from fanin.diagnosis.report import LayerPrediction, Prediction, Report, Verdict
from fanin.errors import OptionError
from fanin.pictures.figures import BLACK, GREY, new_figure
from fanin.pictures.report_text import SIGNS

FigureName: TypeAlias = Literal[
    "preactivations", "activations", "gradients", "moments", "gradient moments", "correlations"
]

# Small, so that the text is still readable where a telephone shrinks the figure to its width.
_SIZE = (4.6, 3.2)
# Every one of these stands out from a white page and from a black one.
VERDICT_COLOURS: dict[Verdict, str] = {"good": "#2e8b57", "suspect": "#c98a00", "bad": "#e0483e"}
_DEPTH = LinearSegmentedColormap.from_list("depth", ("#2f7fd0", "#8f6fc8", "#d9702a"))
_MEASURED, _PREDICTED = "#2f7fd0", "#d9702a"
_MARKS: dict[Verdict, tuple[str, float, str]] = {
    "good": ("o", 4, "measured"),
    "suspect": ("^", 7, "measured, ! suspect"),
    "bad": ("X", 7, "measured, ✗ bad"),
}
_LISTED = 6  # layers in a legend
_DECADE = 10.0
_POINTS = 96  # of a line on a bent scale
_SPREADS = 3  # of the band around a prediction


def report_figure(report: Report, name: str) -> Figure:
    """The figure of that name; OptionError where there is none."""
    if name not in get_args(FigureName):
        known = ", ".join(get_args(FigureName))
        raise OptionError(f"a report has no figure {name!r}; it has {known}")
    return _FIGURES[name](report)


def _histograms(report: Report, title: str, pick: Callable[[Layer], Moments | None]) -> Figure:
    """Density over value, a line for each layer; flagged layers are thick, and in front."""
    figure, axes = _figure(title)
    found = [
        (layer, moments.histogram, moments.std)
        for layer in report.recording.layers
        if (moments := pick(layer)) is not None and moments.histogram is not None and moments.std
    ]
    if not found:
        return _nothing(figure, axes)
    verdicts: dict[str, Verdict] = {
        layer.name: report.verdict_of(layer.name) for layer, _, _ in found
    }
    widths = [std for _, _, std in found if std]
    wide = max(widths) > _DECADE * min(widths)
    listed = _listed([layer.name for layer, _, _ in found], verdicts)
    # A layer has one colour in all three figures, though not every layer is in each.
    places = {layer.name: place for place, layer in enumerate(report.recording.layers)}
    for layer, histogram, _ in found:
        flagged = verdicts[layer.name] != "good"
        values, density = _outline(histogram)
        if wide:
            values, density = _on_symlog(values, density, min(widths))
        axes.plot(
            values,
            density,
            color=to_hex(_DEPTH(places[layer.name] / max(len(places) - 1, 1))),
            linewidth=1.8 if flagged else 1.0,
            zorder=3 if flagged else 2,
            label=_label(layer.name, verdicts) if layer.name in listed else None,
        )
    if wide:
        axes.set_xscale("symlog", linthresh=min(widths))
        axes.set_xticks(_symlog_ticks(min(widths), max(map(abs, axes.get_xlim()))), minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"logarithmic beyond ±{_tick(float(f'{min(widths):.1g}'))}", color=BLACK)
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set_ylim(0)
    axes.set_ylabel("density, each to its peak" if wide else "density", color=BLACK)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    _legend(figure, columns=2)
    return figure


def _outline(
    histogram: Histogram,
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """The top of a histogram's bars, from zero to zero: bars as thin as lines are not seen."""
    counts = np.asarray(histogram.counts, np.float64)
    edges = np.linspace(histogram.low, histogram.high, counts.size + 1)
    width = edges[1] - edges[0] or 1.0
    middle = (edges[1:] + edges[:-1]) / 2
    density = counts / (counts.sum() * width)
    return np.r_[edges[0], middle, edges[-1]], np.r_[0.0, density, 0.0]


def _on_symlog(
    values: Float[np.ndarray, " bins"], density: Float[np.ndarray, " bins"], threshold: float
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """The same line with points close enough for a scale that bends it, and a peak of 1."""
    low, high = (np.arcsinh(values[end] / threshold) for end in (0, -1))
    fine = threshold * np.sinh(np.linspace(low, high, _POINTS))
    return fine, np.interp(fine, values, density) / density.max()


def _symlog_ticks(threshold: float, reach: float) -> list[float]:
    """0 and some powers of ten to each side, none so near to 0 that their labels would touch."""
    first = math.ceil(math.log10(threshold)) + 1
    last = max(first, math.floor(math.log10(reach)))
    powers = range(last, first - 1, -max(1, (last - first + 2) // 2))
    ticks = [10.0**power for power in powers]
    return [*(-tick for tick in ticks), 0.0, *reversed(ticks)]


def _moments(report: Report) -> Figure:
    """The activations' standard deviation over the depth."""
    return _over_depth(
        report,
        "activations: standard deviation",
        [layer.activation and layer.activation.std for layer in report.recording.layers],
        [each.activation_std for each in _predictions(report)],
    )


def _gradient_moments(report: Report) -> Figure:
    """The gradients' second moment over the depth."""
    layers = report.recording.layers
    measured = [layer.gradient and layer.gradient.second_moment for layer in layers]
    return _over_depth(
        report,
        "gradients: second moment",
        measured,
        _backwards(measured, [each.gradient_growth for each in _predictions(report)]),
    )


def _correlations(report: Report) -> Figure:
    """The mean correlation of two examples over the depth."""
    return _over_depth(
        report,
        "correlation between examples",
        [layer.between and layer.between.correlation for layer in report.recording.layers],
        [each.correlation for each in _predictions(report)],
        logarithmic=False,
    )


_FIGURES: dict[str, Callable[[Report], Figure]] = {
    "preactivations": lambda report: _histograms(
        report, "pre-activations", lambda layer: _unless_embedding(layer, layer.preactivation)
    ),
    "activations": lambda report: _histograms(
        report,
        "activations",
        lambda layer: None if layer.role == "output" else layer.activation,
    ),
    "gradients": lambda report: _histograms(
        report, "gradients in the activations", lambda layer: layer.gradient
    ),
    "moments": _moments,
    "gradient moments": _gradient_moments,
    "correlations": _correlations,
}


def _unless_embedding(layer: Layer, moments: Moments | None) -> Moments | None:
    return None if layer.kind == "embedding" else moments


def _predictions(report: Report) -> list[LayerPrediction]:
    return [report.prediction(layer.name) for layer in report.recording.layers]


def _backwards(measured: Sequence[Number], growths: Sequence[Prediction]) -> list[Prediction]:
    """Each layer's gradient as theory has it, from that of the last layer back to the first."""
    found: list[Prediction] = [Prediction()] * len(measured)
    now, variance = measured[-1] if measured else None, 0.0
    for place in range(len(measured) - 2, -1, -1):
        growth, above = growths[place + 1], measured[place + 1]
        if now is not None and growth.from_input is not None:
            now *= growth.from_input
            variance += (growth.spread_from_input or 0.0) ** 2
        else:
            now = None
        ahead = None if above is None or growth.ahead is None else above * growth.ahead
        found[place] = Prediction(now, ahead, variance**0.5, growth.spread_ahead)
    return found


def _over_depth(
    report: Report,
    title: str,
    measured: Sequence[Number],
    predicted: Sequence[Prediction],
    *,
    logarithmic: bool = True,
) -> Figure:
    """What was measured of each layer, and what theory expects of it, twice."""
    figure, axes = _figure(title)
    layers = report.recording.layers
    values = _array(measured, positive=logarithmic)
    if not np.isfinite(values).any():
        return _nothing(figure, axes)
    places = np.arange(1, len(layers) + 1)
    line = _array([each.from_input for each in predicted], positive=logarithmic)
    ahead = _array([each.ahead for each in predicted], positive=logarithmic)
    spread = _array([each.spread_from_input for each in predicted], positive=False)
    if logarithmic:
        reach = np.exp(_SPREADS * np.nan_to_num(spread))
        axes.fill_between(
            places, line / reach, line * reach, color=_PREDICTED, alpha=0.2, linewidth=0
        )
    axes.plot(places, values, color=_MEASURED, linewidth=1.0)
    axes.plot(
        places,
        line,
        color=_PREDICTED,
        linewidth=1.8,
        linestyle="--",
        label="theory, from the input",
    )
    style: dict[str, Any] = {
        "linestyle": "none",
        "marker": "_",
        "markersize": 10,
        "markeredgewidth": 1.8,
    }
    axes.plot(places, ahead, color=GREY, label="theory, one layer ahead", zorder=4, **style)
    for verdict, (marker, size, label) in _MARKS.items():
        at = np.array([report.verdict_of(layer.name) == verdict for layer in layers])
        if at.any():
            colour = _MEASURED if verdict == "good" else VERDICT_COLOURS[verdict]
            style = {"linestyle": "none", "marker": marker, "markersize": size}
            axes.plot(places[at], values[at], color=colour, label=label, zorder=3, **style)
    if logarithmic:
        axes.set_yscale("log")
        _set_log_axis(axes, np.concatenate([values, line]))
    else:
        axes.set_ylim(min(0.0, 1.1 * float(np.nanmin(values))), 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel("layer, in order of execution", color=BLACK)
    _legend(figure, columns=2)
    return figure


def _set_log_axis(axes: Axes, values: Float[np.ndarray, " layers"]) -> None:
    """At least a factor of four is shown: what is nearly level should look it."""
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    room = max(1.2, 2.0 / math.sqrt(high / low))
    axes.set_ylim(low / room, high * room)
    decades = math.log10(high / low * room**2)
    between = (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=between, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())


def _array(numbers: Sequence[Number], *, positive: bool) -> Float[np.ndarray, " layers"]:
    """As an array, NaN for what is not there (or, on a logarithmic scale, not above zero)."""
    array = np.array([np.nan if each is None else each for each in numbers], np.float64)
    return np.where(array > 0, array, np.nan) if positive else array


def _figure(title: str) -> tuple[Figure, Axes]:
    figure, axes = new_figure(*_SIZE)
    axes.set_title(title, color=BLACK, fontsize=12, loc="left")
    axes.tick_params(labelsize=10)
    return figure, axes


def _nothing(figure: Figure, axes: Axes) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "nothing finite to draw", color=BLACK, ha="center", fontsize=10)
    return figure


def _legend(figure: Figure, *, columns: int) -> None:
    figure.legend(
        frameon=False,
        labelcolor=BLACK,
        fontsize=10,
        loc="outside lower center",
        ncols=columns,
        handlelength=1.4,
    )


def _listed(names: Sequence[str], verdicts: Mapping[str, Verdict]) -> set[str]:
    """The layers that a legend has room for: first, last, and some of the flagged, or of all."""
    flagged = [name for name in names if verdicts[name] != "good"]
    for some in (names, flagged or names):
        if len(some) <= _LISTED - 2:
            break
    chosen = {names[0], names[-1]}
    others = [name for name in some if name not in chosen]
    places = np.linspace(0, len(others) - 1, min(_LISTED - 2, len(others))).round().astype(int)
    return chosen | {others[place] for place in places}


def _label(name: str, verdicts: Mapping[str, Verdict]) -> str:
    verdict = verdicts[name]
    return name if verdict == "good" else f"{SIGNS[verdict]} {name}"


def _tick(value: float, _place: object = None) -> str:
    text = f"{value:g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.0e}"
    return text.replace("-", "−")
