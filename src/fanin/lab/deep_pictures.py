"""The depth's pictures: measured at once, and beside it what theory says as soon as it is known."""

import math
import threading
from typing import final

import numpy as np

from fanin.lab.deep import (
    ALIKE,
    DeepSignals,
    expected_correlations,
    expected_signals,
    measured_signals,
)
from fanin.lab.pictures.chart import Chart, Series, dots, line
from fanin.lab.tab import background
from fanin.theory import Nonlinearity

_QUANTITIES = ("activations", "gradients", "correlations")


@final
class DepthPictures:
    """Three charts over the layers: of activations, of gradients, and of how alike examples are."""

    def __init__(self) -> None:
        self.activations, self.gradients = (
            Chart(
                label=f"Root mean square of the {name} by layer, measured and predicted",
                x={"label": "layer", "low": 0},
                y={"label": f"{name}, root mean square", "log": True},
                height=270,
            )
            for name in ("activations", "gradients")
        )
        self.correlations = Chart(
            label="Correlation of two examples by layer, measured and predicted",
            x={"label": "layer", "low": 0},
            y={"label": "correlation of two examples", "low": -0.1, "high": 1.0},
            height=270,
        )
        self._asked = 0
        self._lock = threading.Lock()

    def show(
        self,
        activation: Nonlinearity,
        gain: float,
        depth: int,
        *,
        seed: int = 0,
        wait: bool = False,
    ) -> DeepSignals:
        """Measure and draw; predicted correlations, which take half a second, follow by themselves.

        With `wait` it returns when they are there too.
        """
        measured = measured_signals(activation, gain, depth, seed=seed)
        expected = expected_signals(activation, gain, depth)
        with self._lock:
            self._asked += 1
            asked = self._asked
            for name in _QUANTITIES:
                found = [np.asarray(getattr(each, name)) for each in (measured, expected)]
                getattr(self, name).series = _series(*found)
        self.correlations.marks = [
            {"axis": "y", "value": ALIKE, "label": f"at the input {ALIKE:g}"}
        ]

        def predict() -> None:
            known = expected_correlations(activation, gain)[: depth + 1]
            with self._lock:
                if asked == self._asked:  # nobody has asked for another picture meanwhile
                    self.correlations.series = _series(measured.correlations, known)

        if wait:
            predict()
        else:
            background(predict)
        return measured


def _series(measured: np.ndarray, expected: np.ndarray) -> list[Series]:
    layers = np.arange(len(measured))
    drawn = [dots("measured", layers, measured, tone=1)]
    known = np.isfinite(expected)
    if known.any():
        drawn.insert(0, line("predicted", layers[known], expected[known], wide=2.2))
    return drawn


def by_layer(values: np.ndarray) -> float:
    """The factor from one layer to the next, on average over the depth."""
    first, last = float(values[0]), float(values[-1])
    return math.nan if first <= 0 or last <= 0 else (last / first) ** (1 / (len(values) - 1))
