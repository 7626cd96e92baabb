"""The two axes of a map: what varies from cell to cell, and over which values."""

import difflib
import math
from dataclasses import dataclass
from typing import final

import numpy as np

from fanin.errors import OptionError
from fanin.training.options import MOST_FLOAT32

AXES = {
    "gain": "the weights' standard deviation times √fan-in",
    "sigma_w": "the same, as mean-field theory calls it",
    "sigma_b": "the biases' standard deviation",
    "depth": "hidden layers",
    "width": "units of a hidden layer",
    "lr": "learning rate",
}
"""What a map can vary, and what it is."""

WHOLE = ("depth", "width")
"""Axes that take whole numbers."""

MOST_VALUES = 10_000
_POSITIVE = ("gain", "sigma_w", "lr")


@final
@dataclass(frozen=True)
class MapAxis:
    """One axis with its values, rising. Raises OptionError for values that make no axis."""

    name: str
    values: tuple[float, ...]
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if self.name not in AXES:
            near = difflib.get_close_matches(self.name, AXES, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OptionError(
                f"the axis {self.name!r} is not known; {hint}There are {', '.join(AXES)}."
            )
        if not 1 <= len(self.values) <= MOST_VALUES:
            raise OptionError(
                f"the axis {self.name} has {len(self.values)} values; give 1 to {MOST_VALUES:,}"
            )
        if any(b <= a for a, b in zip(self.values, self.values[1:], strict=False)):
            more = ", and as whole numbers no two may be equal" if self.name in WHOLE else ""
            raise OptionError(f"the values of the axis {self.name} must rise{more}")
        check_setting(self.name, self.values[0])
        check_setting(self.name, self.values[-1])

    @property
    def setting(self) -> str:
        """What it varies: a gain, by either name."""
        return "gain" if self.name == "sigma_w" else self.name


def check_setting(name: str, value: float | int) -> None:
    """Raises OptionError for a number that this axis or option cannot be."""
    if not abs(value) <= MOST_FLOAT32:
        raise OptionError(f"{name} must be a number that float32 holds; found {value:g}")
    if name in WHOLE and (value != int(value) or not 1 <= value <= 100_000):
        raise OptionError(f"{name} must be a whole number from 1 to 100,000; found {value:g}")
    if name in _POSITIVE and value <= 0:
        raise OptionError(f"{name} must be above 0; found {value:g}")
    if value < 0:
        raise OptionError(f"{name} must be 0 or more; found {value:g}")


def read_axis(text: str) -> MapAxis:
    """The axis that `gain=0.2:4:40` means: start, stop and count, and `:log` for equal ratios.

    Depths and widths are rounded to whole numbers. Raises OptionError.
    """
    name, equals, span = text.partition("=")
    parts = span.split(":")
    if not equals or len(parts) not in (3, 4):
        raise OptionError(
            f"the axis {text!r} is not NAME=START:STOP:COUNT, as in gain=0.2:4:40 "
            "(or with :log at its end)"
        )
    if len(parts) == 4 and parts[3] not in ("log", "linear"):
        raise OptionError(f"the axis {text!r}: after the count comes log or linear")
    logarithmic = parts[3:] == ["log"]
    try:
        start, stop, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        raise OptionError(
            f"the axis {text!r}: start and stop are numbers and the count is a whole one"
        ) from None
    if name not in AXES:
        return MapAxis(name, (start,))  # which says so
    if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
        raise OptionError(f"the axis {text!r}: the start must be below the stop")
    if not 2 <= count <= MOST_VALUES:
        raise OptionError(f"the axis {text!r}: the count is from 2 to {MOST_VALUES:,}")
    if logarithmic and start <= 0:
        raise OptionError(f"the axis {text!r}: a logarithmic axis starts above 0")
    values = (np.geomspace if logarithmic else np.linspace)(start, stop, count)
    if name in WHOLE:
        values = np.round(values)
    return MapAxis(name, tuple(float(f"{value:.6g}") for value in values), logarithmic)
