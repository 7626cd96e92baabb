"""A chart of lines, bands, points and bars: its numbers go to the browser, which draws them."""

from collections.abc import Sequence
from typing import Any, TypedDict

import anywidget
import numpy as np
import traitlets

from fanin.lab.pictures.source import program, style


class Series(TypedDict, total=False):
    """One thing drawn; the numbers as float32 in bytes.

    `tone` chooses a colour and `dashed` a pattern of dashes; a series with a `name` is in the
    legend. `low` and `high` make a band around a line.
    """

    name: str
    kind: str
    tone: int
    dashed: int
    faint: bool
    wide: float
    x: bytes
    y: bytes
    low: bytes
    high: bytes


class Chart(anywidget.AnyWidget):
    """Series over two axes.

    `x` and `y` are settings of the axes: `label`, `log`, `low` and `high` where they are not to
    come from the numbers, `ticks` as pairs of place and text. `marks` are lines across, each with
    `axis`, `value` and `label`. `label` says to those who cannot see it what the picture is.
    """

    _esm = program("frame.js", "chart.js", "chart_widget.js")
    _css = style()
    series = traitlets.List([]).tag(sync=True)
    x = traitlets.Dict({}).tag(sync=True)
    y = traitlets.Dict({}).tag(sync=True)
    marks = traitlets.List([]).tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    empty = traitlets.Unicode("").tag(sync=True)
    """what is said while there is nothing to draw"""
    height = traitlets.Int(None, allow_none=True).tag(sync=True)


def numbers(values: Any) -> bytes:
    """Numbers as the browser takes them."""
    with np.errstate(over="ignore"):  # what is too large for them is infinite, and not drawn
        return np.asarray(values, np.float32).tobytes()


def line(
    name: str,
    x: Any,
    y: Any,
    *,
    tone: int = 0,
    dashed: int = 0,
    faint: bool = False,
    wide: float = 1.8,
    between: tuple[Any, Any] | None = None,
) -> Series:
    """A line through points; `between` are the lower and upper ends of a band around it."""
    series = Series(
        name=name,
        kind="line",
        tone=tone,
        dashed=dashed,
        faint=faint,
        wide=wide,
        x=numbers(x),
        y=numbers(y),
    )
    if between is not None:
        series["low"], series["high"] = map(numbers, between)
    return series


def dots(name: str, x: Any, y: Any, *, tone: int = 0) -> Series:
    """Points."""
    return Series(name=name, kind="dots", tone=tone, x=numbers(x), y=numbers(y))


def bars(name: str, edges: Any, heights: Any, *, tone: int = 0) -> Series:
    """Bars between edges, of which there is one more."""
    return Series(name=name, kind="bars", tone=tone, x=numbers(edges), y=numbers(heights))


def categories(labels: Sequence[str]) -> dict[str, Any]:
    """Settings of an x axis with a bar for each label, at the whole numbers from 0 on."""
    ticks = [[place, label] for place, label in enumerate(labels)]
    return {"ticks": ticks, "low": -0.6, "high": len(labels) - 0.4}
