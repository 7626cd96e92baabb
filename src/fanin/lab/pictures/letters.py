"""The embedding as letters on a plane that turns as little as it can while they move."""

from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from jaxtyping import Float

from fanin.lab.pictures.source import program, style


class Letters(anywidget.AnyWidget):
    """Symbols at the places of their embedding, seen in the plane where they spread most."""

    _esm = program("frame.js", "letters_widget.js")
    _css = style()
    symbols = traitlets.List([]).tag(sync=True)
    places = traitlets.Bytes(b"").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._last: np.ndarray | None = None

    def show(
        self, symbols: Sequence[str], embedding: Float[Any, "vocab embedding"], step: int
    ) -> None:
        """Draw the rows of an embedding; the first symbol is the boundary."""
        places, share = plane(np.asarray(embedding, np.float64), None if step == 0 else self._last)
        self._last = places
        with self.hold_sync():
            self.step = step
            self.symbols = ["·", *symbols]
            self.places = places.astype(np.float32).tobytes()
            self.caption = (
                f"step {step:,}: the plane shows {share:.0%} of the spread; · is the boundary"
            )
            self.label = f"The {len(self.symbols)} symbols in the plane of their embedding."


def plane(
    embedding: Float[np.ndarray, "vocab embedding"], last: Float[np.ndarray, "vocab 2"] | None
) -> tuple[Float[np.ndarray, "vocab 2"], float]:
    """The first two principal components, and their share of the spread.

    Principal axes are known up to turns and reflections; of these the one is taken that moves the
    rows least from where they were `last` (orthogonal Procrustes; Schönemann 1966).
    """
    centred = embedding - embedding.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(embedding), 2))
    shown = min(2, sizes.size)
    places[:, :shown] = left[:, :shown] * sizes[:shown]
    spread = float((sizes**2).sum())
    share = float((sizes[:shown] ** 2).sum()) / spread if spread else 1.0
    if last is not None and last.shape == places.shape:
        u, _, v = np.linalg.svd(places.T @ last)
        places = places @ (u @ v)
    return places, share
