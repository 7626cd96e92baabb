"""Arrays of a network as what a picture draws of them."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import marimo
import numpy as np
from jaxtyping import Float

from fanin.lab.formula import activation_of_formula
from fanin.lab.one_pass import Within
from fanin.lab.pictures.chart import Chart, Series, bars, dots
from fanin.networks.activations import nonlinearity_of
from fanin.sampling import Sample
from fanin.theory import Gains, Nonlinearity, exact_gains, find_nonlinearity

_BEYOND = 0.97


def output_histogram(outputs: Float[np.ndarray, "..."], beyond: float = _BEYOND) -> list[Series]:
    """Outputs of tanh in per cent by bin, the saturated ones at both ends in another colour."""
    inner = np.linspace(-beyond, beyond, 65)
    edges = np.concatenate([[-1.0], inner, [1.0]])
    shares = 100 * np.histogram(outputs, edges)[0] / outputs.size
    ends = np.zeros_like(shares)
    ends[[0, -1]] = shares[[0, -1]]
    return [
        bars("between", edges, shares - ends),
        bars(f"beyond ±{beyond:g}", edges, ends, tone=1),
    ]


def show_output_histograms(
    charts: Sequence[Chart], outputs: Sequence[Float[np.ndarray, "..."]]
) -> None:
    """Histograms of several layers' outputs, of one height, so that they can be compared."""
    series = [output_histogram(each) for each in outputs]
    bars_of_all = (np.frombuffer(one.get("y", b""), np.float32) for two in series for one in two)
    highest = max(float(heights.max(initial=0)) for heights in bars_of_all)
    for chart, shown in zip(charts, series, strict=True):
        with chart.hold_sync():
            chart.y = {**chart.y, "high": 1.05 * highest}
            chart.series = shown


def small(number: float) -> str:
    """A number of three digits, in HTML, with a power of ten where it is small."""
    digits, _, power = f"{number:.3g}".partition("e")
    return f"{digits} · 10<sup>{int(power)}</sup>".replace("-", "−") if power else digits


def show_units(chart: Chart, weight: Float[Any, "fan_in units"]) -> None:
    """Every unit as a point, by its first two weights; and how many different ones there are."""
    weight = np.asarray(weight)
    count, different = weight.shape[1], different_units(weight)
    places = weight[0], weight[min(1, len(weight) - 1)]
    # Around zero, and never closer: one point would otherwise fill the picture like a hundred.
    reach = max(4.0, 1.1 * float(np.abs(places).max()))
    with chart.hold_sync():
        chart.x = {"label": "first weight of a unit", "low": -reach, "high": reach}
        chart.y = {
            "label": f"second weight; {count} units, {different} different",
            "low": -reach,
            "high": reach,
        }
        chart.series = [dots("", *places)]
        chart.label = f"{count} hidden units by two of their weights: {different} different"


def different_units(weight: Float[np.ndarray, "fan_in units"]) -> int:
    """Units whose weights differ by more than rounding."""
    return len(np.unique(np.round(weight / max(float(np.abs(weight).max()), 1e-30), 4), axis=1).T)


def let_through(seen: Within, before: str) -> float:
    """The share of the gradient (root mean square) that the hidden layer's activation lets through.

    `before` names what the activation gets to see.
    """
    inner, outer = (
        float(np.sqrt(np.mean(seen.gradients[name].astype(np.float64) ** 2)))
        for name in (before, "hidden.0.activation")
    )
    return inner / outer if outer else math.nan


def gains_of(name: str, formula: str = "") -> tuple[Nonlinearity, Gains]:
    """An activation by formula where there is one, by name otherwise, and its gains.

    Raises OptionError and TheoryError for what is no activation, or has no gain.
    """
    if formula.strip():
        found = nonlinearity_of(activation_of_formula(formula))
        nonlinearity = Nonlinearity(formula.strip(), found.function, found.derivative)
    else:
        nonlinearity = find_nonlinearity(name)
    return nonlinearity, exact_gains(nonlinearity)


def names(samples: Sequence[Sample], step: int) -> marimo.Html:
    """Words that a model made; those of its list in italics."""
    words = "".join(
        f"<div>{escape(each.word)}</div>"
        if each.known == "new"
        else f"<div><i>{escape(each.word)}</i></div>"
        for each in samples
    )
    new = sum(each.known == "new" for each in samples)
    return marimo.Html(
        f'<p class="number-line">After {step:,} steps, <b>{new}</b> of {len(samples)} are new; '
        f'those in italics are in the list.</p><div class="names">{words}</div>'
    )
