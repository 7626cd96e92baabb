"""How every figure is saved: the same bytes for the same numbers, and at home on any page."""

import io
import re
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.atomic_file import check_writable, reason, write_atomically
from fanin.errors import OptionError

FORMATS = (".svg", ".png")
# Not quite black: matplotlib leaves pure black out of an SVG, where nothing could be put for it.
BLACK = "#010101"
GREY = "#808080"  # readable on a light page and on a dark one
_DOTS_PER_INCH = 160


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes, in the house's style."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(BLACK)
    axes.tick_params(colors=BLACK, labelsize=9)
    return figure, axes


def check_figure_path(path: str | Path) -> None:
    """Raises OptionError where a figure could not be written there."""
    if Path(path).suffix.lower() not in FORMATS:
        raise OptionError(
            f"{path}: a picture is written as {' or '.join(FORMATS)}; end its name in one of them"
        )
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: the picture cannot be written: {reason(error)}") from None


def figure_bytes(figure: Figure, suffix: str, *, salt: str) -> bytes:
    """The figure as .svg (text as text, black as `currentColor`) or .png (on white).

    `salt` names the figure: the identifiers in an SVG come from it and not from chance.
    """
    file = io.BytesIO()
    if suffix.lower() == ".png":
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
        return file.getvalue()
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
    }
    with rc_context(style):
        nothing = dict.fromkeys(("Date", "Creator"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue().decode()
    return re.sub(BLACK, "currentColor", text).encode()


def write_figure(figure: Figure, path: str | Path, *, salt: str) -> None:
    """Writes the figure, in the format that its name ends in, whole or not at all."""
    check_figure_path(path)
    try:
        write_atomically(path, figure_bytes(figure, Path(path).suffix, salt=salt))
    except OSError as error:
        raise OptionError(f"{path}: the picture cannot be written: {reason(error)}") from error
