"""The progress of a training run, on a terminal or line by line."""

import math
from typing import TextIO

import numpy as np
from rich.console import Group
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from fanin import training
from fanin.pictures.live import LiveDisplay, duration
from fanin.pictures.live_curve import LiveCurve

_SMOOTHED = 1_000  # the latest batch losses that the one shown is the mean of


class Pace:
    """What the numbers beside the bar are made of: smoothed loss, dev loss, speed, time left."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.dev = math.nan
        self._latest = np.empty(0, np.float32)
        self._began: tuple[int, float] | None = None
        self._now = 0.0

    def update(self, progress: training.Progress) -> None:
        """Takes in what one record says."""
        self.done, self._now = progress.step, progress.seconds
        self._latest = np.concatenate([self._latest, progress.batch_losses])[-_SMOOTHED:]
        if progress.dev_loss is not None:
            self.dev = progress.dev_loss
        if self._began is None and progress.batch_losses.size:
            # The first chunk holds the compilation, which says nothing of the time to come.
            self._began = progress.step, progress.seconds

    @property
    def batch(self) -> float:
        """Mean of the latest batch losses; NaN before the first."""
        return float(self._latest.mean()) if self._latest.size else math.nan

    @property
    def speed(self) -> float:
        """Steps a second since the first chunk; NaN as long as there is only that one."""
        if self._began is None or self._now <= self._began[1]:
            return math.nan
        return (self.done - self._began[0]) / (self._now - self._began[1])

    @property
    def text(self) -> str:
        """One line: step, losses, speed and time left, as far as they are known."""
        parts = [f"step {self.done:,} of {self.steps:,}"]
        parts += [f"batch {self.batch:.3f}"] if math.isfinite(self.batch) else []
        parts += [f"dev {self.dev:.3f}"] if math.isfinite(self.dev) else []
        if self.speed > 0:
            left = (self.steps - self.done) / self.speed
            parts += [f"{self.speed:,.0f} steps/s"] + [f"{duration(left)} left"] * (left > 0)
        return " · ".join(parts)


class TrainingDisplay(LiveDisplay):
    """Shows each record it is called with, on standard error unless told otherwise.

    A context manager. With a terminal, a bar (and with `live` the curve of the losses under it);
    without, a plain line now and then. `uniform` is the loss of a blind guess, log V.
    """

    def __init__(
        self, steps: int, uniform: float, *, live: bool = False, stream: TextIO | None = None
    ) -> None:
        super().__init__(stream)
        self._pace = Pace(steps)
        self._curve = LiveCurve(steps, uniform) if live else None
        self._bar = Progress(BarColumn(bar_width=24), TextColumn("{task.description}"))
        self._task = self._bar.add_task("compiling", total=steps)

    def __call__(self, progress: training.Progress) -> None:
        """Takes a record in, and shows it if enough time has gone by since the last."""
        self._pace.update(progress)
        if self._curve is not None:
            self._curve.update(progress)
        self._bar.update(self._task, completed=self._pace.done, description=self._pace.text)
        self.show()

    @property
    def text(self) -> str:
        """One line: step, losses, speed and time left, as far as they are known."""
        return self._pace.text

    def picture(self) -> Group:
        """A bar, with the curve of the losses under it where that is asked for."""
        if self._curve is None:
            return Group(self._bar)
        size = self._console.size
        curve = self._curve.draw(size.width, size.height - 2)
        return Group(self._bar, Text(curve, no_wrap=True, overflow="crop"))
