"""A loss for each step, as a line that stays short however long the training."""

from typing import final

import numpy as np
from jaxtyping import Float, Float32

MOST_BINS = 600
"""More than this a screen's width does not show."""


@final
class Curve:
    """Losses one after the other, kept as the least, mean and largest of equally many steps each.

    When there are too many bins, two become one; so what is kept, and what goes to the browser
    with every frame, never grows beyond so many.
    """

    def __init__(self) -> None:
        self.width = 1
        """steps in each bin"""
        self.steps = 0
        self._bins = np.zeros((3, 0), np.float64)
        self._rest = np.zeros(0, np.float64)

    def add(self, losses: Float[np.ndarray, " steps"]) -> None:
        """Take in the losses of the next steps."""
        self.steps += len(losses)
        self._rest = np.concatenate([self._rest, losses.astype(np.float64)])
        while new := min(len(self._rest) // self.width, MOST_BINS - self._bins.shape[1]):
            full = self._rest[: new * self.width].reshape(new, self.width)
            self._rest = self._rest[new * self.width :]
            ends = np.stack([full.min(axis=1), full.mean(axis=1), full.max(axis=1)])
            self._bins = np.concatenate([self._bins, ends], axis=1)
            if self._bins.shape[1] == MOST_BINS:
                self._halve()

    def drawn(self) -> tuple[Float32[np.ndarray, " bins"], Float32[np.ndarray, "3 bins"]]:
        """The middle step of each bin, and least, mean and largest loss; the steps that make no
        whole bin yet are one of their own."""
        bins, count = self._bins, self._bins.shape[1]
        middles = (np.arange(count) + 0.5) * self.width
        if self._rest.size:
            rest = [[self._rest.min()], [self._rest.mean()], [self._rest.max()]]
            bins = np.concatenate([bins, np.array(rest)], axis=1)
            middles = np.append(middles, count * self.width + 0.5 * self._rest.size)
        return (middles + 0.5).astype(np.float32), bins.astype(np.float32)

    def _halve(self) -> None:
        least, mean, largest = self._bins.reshape(3, -1, 2)
        self._bins = np.stack([least.min(axis=1), mean.mean(axis=1), largest.max(axis=1)])
        self.width *= 2
