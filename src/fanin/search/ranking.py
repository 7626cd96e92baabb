"""Which candidates of a rung go on."""

import math
from collections.abc import Sequence

from fanin.race.comparison import Outcomes
from fanin.race.events import Number


def ranked(dev_loss: Sequence[Sequence[Number]], uniform_loss: float) -> list[int]:
    """The places of candidates by their dev losses, by seed, the best first.

    Fewer diverged runs come first, as the race has it: not finite, or worse than a uniform model;
    then the lower mean of the others, over the same seeds for all of those that have none. Of
    equals the earlier one comes first.
    """
    return sorted(range(len(dev_loss)), key=lambda place: _score(dev_loss[place], uniform_loss))


def lost(losses: Sequence[Number], uniform_loss: float) -> int:
    """How many of a candidate's runs diverged; null is a loss that is not finite."""
    return int(_outcomes(losses, uniform_loss).diverged.sum())


def mean_loss(losses: Sequence[Number], uniform_loss: float) -> float | None:
    """The mean dev loss of the runs that finished; None where there is none."""
    outcomes = _outcomes(losses, uniform_loss)
    return float(outcomes.losses[outcomes.finished].mean()) if outcomes.finished.any() else None


def _score(losses: Sequence[Number], uniform_loss: float) -> tuple[int, float]:
    mean = mean_loss(losses, uniform_loss)
    return lost(losses, uniform_loss), math.inf if mean is None else mean


def _outcomes(losses: Sequence[Number], uniform_loss: float) -> Outcomes:
    return Outcomes.of(tuple(math.nan if loss is None else loss for loss in losses), uniform_loss)
