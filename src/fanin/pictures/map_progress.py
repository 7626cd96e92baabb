"""The progress of a map: on a terminal the map itself as it becomes finer, else a line at times."""

import time
from typing import TextIO

import numpy as np
from rich.console import Group
from rich.text import Text

from fanin.map import MapResults
from fanin.pictures.live import LiveDisplay, duration

_MOST_COLUMNS, _MOST_ROWS = 60, 40
_UNTIMED = 16


class MapDisplay(LiveDisplay):
    """Shows how far the map of these results is, whenever it is told that there is more of it.

    A context manager, on standard error unless told otherwise.
    """

    def __init__(self, results: MapResults, *, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._results = results
        self._began: tuple[int, float] | None = None

    def update(self) -> None:
        """Shows the map, if enough time has gone by since the last."""
        done = int(self._results.done.sum())
        if self._began is None and done >= _UNTIMED:
            # The first cells hold every process's compilation, which says nothing of the others.
            self._began = done, time.monotonic()
        self.show()

    @property
    def text(self) -> str:
        """One line: how many cells, and the time left as far as it is known."""
        done, cells = int(self._results.done.sum()), self._results.done.size
        parts = [f"{done:,} of {cells:,} cells"]
        if self._began is not None and done > self._began[0] and done < cells:
            pace = (time.monotonic() - self._began[1]) / (done - self._began[0])
            parts.append(f"{duration(pace * (cells - done))} left")
        return " · ".join(parts)

    def picture(self) -> Group:
        """The map, coarse where it is not through yet."""
        values = self._results.filled()[::-1]
        rows, columns = values.shape
        values = values[:: -(-rows // _MOST_ROWS), :: -(-columns // _MOST_COLUMNS)]
        finite = values[np.isfinite(values)]
        low = float(finite.min(initial=0.0))
        span = max(float(finite.max(initial=1.0)) - low, 1e-9)
        lines: list[Text] = []
        for row in values:
            line = Text()
            for value in row.tolist():
                # Grey where nothing is known, else from blue to yellow.
                share = min(max((value - low) / span, 0.0), 1.0) if np.isfinite(value) else None
                line.append("  ", style=f"on {_colour(share)}")
            lines.append(line)
        return Group(*lines, Text(self.text))


def _colour(share: float | None) -> str:
    if share is None:
        return "#404040"
    red, green, blue = 30 + 220 * share, 20 + 190 * share, 90 - 50 * share
    return f"#{int(red):02x}{int(green):02x}{int(blue):02x}"
