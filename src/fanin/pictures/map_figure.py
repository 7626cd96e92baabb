"""A map drawn: its cells as colours, where half is learnt, and theory's depth scales over it."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.map import MEASURES, MULTIPLES, Map, MapAxis, MapResults, between, scales
from fanin.pictures.figures import BLACK, GREY, new_figure
from fanin.theory import NoTheory

_COLOURS = {
    "trained": "magma",
    "gradient-ratio": "RdBu_r",
    "saturation": "viridis",
    "correlation": "viridis",
}
_SCALES = {"xi_c": ("#56b4e9", "ξ_c"), "xi_grad": ("#009e73", "ξ_∇")}
_STYLES: dict[int, Literal[":", "--"]] = {1: ":", 6: "--"}
_LABELS = {"gain": "gain", "sigma_w": "σ_w", "sigma_b": "σ_b", "lr": "learning rate"}


def map_figure(results: MapResults) -> Figure:
    """The map; cells that are not computed yet have the colour of the nearest one that is."""
    plan = results.plan
    figure, axes = new_figure(7.4, 5.2)
    values = results.filled()
    low, high = _range(plan, values)
    painted = axes.pcolormesh(
        _edges(plan.x),
        _edges(plan.y),
        values,
        cmap=_COLOURS[plan.measure],
        vmin=low,
        vmax=high,
        rasterized=True,
    )
    for axis, scale in ((plan.x, axes.set_xscale), (plan.y, axes.set_yscale)):
        if axis.logarithmic:
            scale("log")
    axes.set_xlabel(_LABELS.get(plan.x.name, plan.x.name), color=BLACK)
    axes.set_ylabel(_LABELS.get(plan.y.name, plan.y.name), color=BLACK)
    axes.set_facecolor(GREY)
    bar = figure.colorbar(painted, ax=axes, pad=0.02)
    bar.set_label(MEASURES[plan.measure], color=BLACK, fontsize=9)
    bar.ax.tick_params(colors=BLACK, labelsize=8)
    handles = _boundary(axes, results) + _theory(axes, results)
    if handles:
        figure.legend(
            handles=handles,
            frameon=False,
            labelcolor=BLACK,
            fontsize=9,
            loc="outside lower center",
            ncols=3 if len(handles) == 5 else 2,
        )
    axes.set_title(title(results), fontsize=9, color=BLACK, loc="left")
    for axis, limits in ((plan.x, axes.set_xlim), (plan.y, axes.set_ylim)):
        edges = _edges(axis)
        limits(float(edges[0]), float(edges[-1]))
    return figure


def title(results: MapResults) -> str:
    """The network in words, and the agreement of theory with what was found."""
    plan = results.plan
    cell, varied = plan.cell, (plan.x.setting, plan.y.setting)
    what = [plan.activation.replace("$", r"\$")]
    what += [f"{plan.normalisation} normalisation"] if plan.normalisation else []
    what += ["residual"] if plan.residual else []
    numbers = {
        "gain": f"gain {cell.gain:g}",
        "sigma_b": f"σ_b {cell.sigma_b:.3g}",
        "depth": f"depth {cell.depth}",
        "width": f"width {cell.width}",
    }
    if plan.measure == "trained":
        numbers["lr"] = f"learning rate {cell.lr:g}"
    what += [text for name, text in numbers.items() if name not in varied]
    if plan.measure == "trained":
        what.append(f"{plan.steps:,} steps of {plan.batch}")
    lines = [", ".join(what)]
    for name, agreement in results.agreement().items():
        if name == "xi_c" and agreement.rank is not None:
            lines.append(
                f"boundary of 50 % and ξ_c over {agreement.columns} values of {plan.x.name}: "
                f"rank correlation {agreement.rank:.2f}"
            )
    if not results.done.all():
        lines.append(f"{results.done.sum():,} of {results.done.size:,} cells computed")
    return "\n".join(lines)


def _range(plan: Map, values: Float[np.ndarray, "rows columns"]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if plan.measure == "gradient-ratio":
        # Outliers would make the rest one colour.
        size = max(float(np.quantile(np.abs(finite), 0.9)), 0.5) if finite.size else 1.0
        return -size, size
    if plan.measure == "correlation":
        return min(0.0, float(finite.min(initial=0.0))), 1.0
    return 0.0, max(1.0, float(finite.max(initial=0.0)))


def _boundary(axes: Axes, results: MapResults) -> list[Line2D]:
    plan = results.plan
    if plan.measure != "trained" or min(plan.shape) < 2:
        return []
    # Of steps painted for cells that lack, a contour would show the steps.
    shown = results.values
    if not ((shown > 0.5).any() and (shown < 0.5).any()):
        return []
    values = plan.x.values, plan.y.values
    axes.contour(*values, shown, levels=[0.5], colors="white", linewidths=1.6)
    return [Line2D([], [], color=GREY, linewidth=1.6, label="half is learnt (white)")]


def _theory(axes: Axes, results: MapResults) -> list[Line2D]:
    """Where the depth is 1 or 6 times a scale, on whatever axes."""
    if isinstance(results.scales, NoTheory) or min(results.plan.shape) < 2:
        return []
    plan = between(results.plan)
    theory = scales(plan)
    assert not isinstance(theory, NoTheory)
    rows, columns = plan.shape
    depths = np.array([[plan.at(r, c).depth for c in range(columns)] for r in range(rows)])
    handles: list[Line2D] = []
    for name, (colour, label) in _SCALES.items():
        xi = getattr(theory, name)
        # log(ξ / depth) is smooth where the scale runs through infinity, once it is capped.
        with np.errstate(divide="ignore", invalid="ignore"):
            layers = np.log(np.clip(xi, 1e-3, 1e4) / depths)
        for multiple in MULTIPLES:
            level = -np.log(multiple)
            known = layers[~np.isnan(layers)]
            if not known.size or not (known.min() < level < known.max()):
                continue
            style = _STYLES[multiple]
            axes.contour(
                plan.x.values,
                plan.y.values,
                np.ma.masked_invalid(layers),
                levels=[level],
                colors=colour,
                linewidths=1.2,
                linestyles=style,
            )
            times = "" if multiple == 1 else f"{multiple} "
            handles.append(
                Line2D([], [], color=colour, linestyle=style, label=f"depth = {times}{label}")
            )
    return handles


def _edges(axis: MapAxis) -> Float[np.ndarray, " nodes"]:
    """The cells' borders, half way between the values."""
    values = np.array(axis.values)
    if axis.logarithmic:
        values = np.log(values)
    gaps = np.diff(values) if values.size > 1 else np.ones(1)  # a cell alone has some width too
    between = (values[1:] + values[:-1]) / 2
    edges = np.concatenate([[values[0] - gaps[0] / 2], between, [values[-1] + gaps[-1] / 2]])
    return np.exp(edges) if axis.logarithmic else edges
