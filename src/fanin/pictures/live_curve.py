"""The losses so far as a curve in text."""

import math
from typing import Any

import plotille

from fanin.training import Progress

_MOST_POINTS = 256  # when there are more, neighbours are averaged: the width of two terminals
_HEIGHT = 12  # lines of the drawing, where the terminal has them
_FRAME_WIDTH, _FRAME_HEIGHT = 24, 5  # what axes and their labels take
_BEYOND = 1.5  # times log V: losses above are left out once there are some below


class LiveCurve:
    """Takes a run's records in and draws batch losses (smoothed) and log V over the steps."""

    def __init__(self, steps: int, uniform: float) -> None:
        self._steps, self._uniform = steps, uniform
        self._points: list[tuple[float, float]] = []

    def update(self, progress: Progress) -> None:
        """Adds the mean of the record's batch losses as one point."""
        if not progress.batch_losses.size:
            return
        loss = float(progress.batch_losses.mean())
        if math.isfinite(loss):
            self._points.append((progress.step - progress.batch_losses.size / 2, loss))
        if len(self._points) > _MOST_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            self._points = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairs]

    def draw(self, width: int, height: int) -> str:
        """The curve in at most so many columns and lines; nothing where that is too small."""
        columns, lines = width - _FRAME_WIDTH, min(_HEIGHT, height - _FRAME_HEIGHT)
        near = [point for point in self._points if point[1] < _BEYOND * self._uniform]
        points = near if len(near) > 1 else self._points
        if columns < 10 or lines < 3 or len(points) < 2:
            return ""
        figure = plotille.Figure()
        figure.width, figure.height, figure.with_colors = columns, lines, False
        figure.x_label, figure.y_label, figure.origin = "step", "loss", False
        figure.x_ticks_fkt = _step
        figure.y_ticks_fkt = _loss
        figure.set_x_limits(0, self._steps)
        figure.plot([x for x, _ in points], [y for _, y in points])
        figure.plot([0, self._steps], [self._uniform] * 2)
        text = f"{figure.show()}\nbatch loss by step, smoothed; the level line is log V\n"
        return "".join(f"{line[:width]}\n" for line in text.splitlines())


def _step(value: Any, _next: Any) -> str:
    return f"{value:,.0f}"


def _loss(value: Any, _next: Any) -> str:
    return f"{value:.2f}"
