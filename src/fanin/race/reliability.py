"""How well step zero told who would train: outcomes beside verdicts, over networks at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float

from fanin.corpus import Examples
from fanin.diagnosis.report import Verdict
from fanin.race.calibration import Trained, TrainedFamily
from fanin.race.judgement import Judgement

Outcome: TypeAlias = Literal["trained", "behind", "unigrams", "diverged"]
OUTCOMES: tuple[Outcome, ...] = ("trained", "behind", "unigrams", "diverged")

BEHIND = 0.15
"""Nats behind the best of its family from which a network counts as hindered. Seeds and good
starts differ by 0.05 after 2,000 steps; what the thresholds of step zero call hindered began at
0.16."""

LEFT = 0.05
"""A network has left the unigrams when it is so many nats better than they are."""

BEST_SHARE = 0.1


@final
@dataclass(frozen=True)
class Ended:
    """One network of a calibration, how step zero judged it and how it ended."""

    family: TrainedFamily
    network: Trained
    judgement: Judgement
    outcome: Outcome
    among_best: bool
    """in the best tenth of its family, and trained"""

    @property
    def hindered(self) -> bool:
        return self.outcome != "trained"

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict


def ended(
    families: Sequence[TrainedFamily],
    judgements: Sequence[Sequence[Judgement]],
    *,
    uniform_loss: float,
    unigram_loss: float,
) -> list[Ended]:
    """Every network with its judgement and its outcome.

    Diverged is what is not finite or worse than uniform; behind, what ends `BEHIND` nats or more
    above the best of its family.
    """
    found: list[Ended] = []
    for family, judged in zip(families, judgements, strict=True):
        losses = np.array([np.nan if n.loss is None else n.loss for n in family.networks])
        losses = np.where(np.isfinite(losses) & (losses <= uniform_loss), losses, np.inf)
        best, order = float(losses.min()), np.argsort(np.argsort(losses, kind="stable"))
        few = max(1, round(BEST_SHARE * len(losses)))
        for network, judgement, loss, place in zip(
            family.networks, judged, losses, order, strict=True
        ):
            outcome = _outcome(float(loss), best, unigram_loss)
            among_best = outcome == "trained" and int(place) < few
            found.append(Ended(family, network, judgement, outcome, among_best))
    return found


def _outcome(loss: float, best: float, unigram_loss: float) -> Outcome:
    if not np.isfinite(loss):
        return "diverged"
    if loss > unigram_loss - LEFT:
        return "unigrams"
    return "behind" if loss - best >= BEHIND else "trained"


def halves(networks: Sequence[Ended]) -> tuple[list[Ended], list[Ended]]:
    """The networks of families of even and of odd number: what is set on one holds on the other,
    which has other shapes."""
    even = [each for each in networks if each.family.family % 2 == 0]
    return even, [each for each in networks if each.family.family % 2 == 1]


def unigram_loss(train: Examples, other: Examples, symbols: int) -> float:
    """Nats per symbol of `other` under the shares that symbols have in `train`."""
    counts = np.bincount(train.targets, minlength=symbols) + 1.0
    return float(-np.log(counts / counts.sum())[other.targets.astype(np.int64)].mean())


def roc_area(score: Float[np.ndarray, " runs"], hindered: Bool[np.ndarray, " runs"]) -> float:
    """The chance that a hindered network has the higher score than one that trained, ties half.

    NaN where there are not both.
    """
    from scipy.stats import rankdata

    positive, negative = int(hindered.sum()), int((~hindered).sum())
    if not positive or not negative:
        return float("nan")
    above = rankdata(score)[hindered].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))
