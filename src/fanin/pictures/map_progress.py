"""The progress of a map: on a terminal the map itself as it becomes finer, else a line at times."""

import sys
import time
from types import TracebackType
from typing import TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fanin.map import MapResults
from fanin.pictures.progress import LINE_SECONDS, REFRESH_SECONDS, duration

_MOST_COLUMNS, _MOST_ROWS = 60, 40


class MapDisplay:
    """Shows how far the map of these results is, whenever it is told that there is more of it.

    A context manager, on standard error unless told otherwise.
    """

    def __init__(self, results: MapResults, *, stream: TextIO | None = None) -> None:
        self._results = results
        self._stream = stream or sys.stderr
        self._shown = time.monotonic()
        self._began: tuple[int, float] | None = None
        self._live: Live | None = None
        console = Console(file=self._stream)
        if console.is_terminal and not console.is_dumb_terminal:
            # Standard output is for results, so that one is left alone.
            self._live = Live(
                self._picture(), console=console, auto_refresh=False, redirect_stdout=False
            )

    def __enter__(self) -> "MapDisplay":
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def update(self) -> None:
        """Shows the map, if enough time has gone by since the last."""
        now = time.monotonic()
        if self._began is None:
            # The first cells hold the compilation, which says nothing of the time to come.
            self._began = int(self._results.done.sum()), now
        if now - self._shown < (LINE_SECONDS if self._live is None else REFRESH_SECONDS):
            return
        self._shown = now
        if self._live is None:
            print(self.text, file=self._stream, flush=True)
        else:
            self._live.update(self._picture(), refresh=True)

    @property
    def text(self) -> str:
        """One line: how many cells, and the time left as far as it is known."""
        done, cells = int(self._results.done.sum()), self._results.done.size
        parts = [f"{done:,} of {cells:,} cells"]
        if self._began is not None and done > self._began[0] and done < cells:
            pace = (time.monotonic() - self._began[1]) / (done - self._began[0])
            parts.append(f"{duration(pace * (cells - done))} left")
        return " · ".join(parts)

    def _picture(self) -> Group:
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
