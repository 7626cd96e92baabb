"""One start against the reference, seed by seed: who diverged, then whose losses are lower."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import binomtest

from fanin.race.intervals import Interval, bootstrap_interval, sample_spread, t_interval
from fanin.race.power import pairs_for_divergence, pairs_for_verdict, smallest_difference

Verdict: TypeAlias = Literal["better", "worse", "equivalent", "undecided", "identical"]

# A loss of exactly log V, as a zero output layer gives, may be rounded upwards in float32.
_ROUNDING = 1e-6


@final
@dataclass(frozen=True, eq=False)
class Outcomes:
    """How the runs of one start ended, by seed; a run that is not yet through is neither."""

    losses: Float64[np.ndarray, "runs"]
    finished: Bool[np.ndarray, "runs"]
    diverged: Bool[np.ndarray, "runs"]

    @staticmethod
    def of(losses: tuple[float | None, ...], uniform_loss: float) -> "Outcomes":
        """Of losses in nats per symbol, None where a run is not yet through.

        Diverged is what is not finite, or worse than a uniform model.
        """
        through = np.array([loss is not None for loss in losses], dtype=bool)
        values = np.array([np.nan if loss is None else loss for loss in losses], dtype=np.float64)
        finite = np.isfinite(values)
        finished = finite & (np.where(finite, values, 0) <= uniform_loss * (1 + _ROUNDING))
        return Outcomes(values, finished, through & ~finished)

    @property
    def through(self) -> Bool[np.ndarray, "runs"]:
        return self.finished | self.diverged


@final
@dataclass(frozen=True)
class Divergence:
    """Diverged runs, among the seeds at which both starts are through."""

    pairs: int
    start: int
    reference: int
    start_only: int
    """seeds at which the start diverged and the reference did not"""
    reference_only: int
    p: float
    """of McNemar's exact test, two-sided"""

    @property
    def more(self) -> int:
        """1 where the start diverged more often, −1 where less often, 0 where as often."""
        return (self.start_only > self.reference_only) - (self.start_only < self.reference_only)


@final
@dataclass(frozen=True)
class Comparison:
    """A start against the reference; losses in nats per symbol, start minus reference."""

    reference: str
    verdict: Verdict
    basis: Literal["losses", "divergence"]
    """what the verdict rests on; for "undecided", what leaves it open"""
    divergence: Divergence
    pairs: int
    """the pairs in which both runs finished: losses are compared among these"""
    difference: float | None
    """the mean over those pairs; None where there are none"""
    spread: float | None
    """the standard deviation of the pairs' differences"""
    interval: Interval | None
    """for the difference, by t; None for fewer than two pairs"""
    bootstrap: Interval | None
    """for the difference, by BCa, from 16 pairs on"""
    equivalence_interval: Interval | None
    """two one-sided tests find equivalence where this lies within the margin"""
    margin: float
    smallest_difference: float | None
    """what these pairs would have shown with a chance of 80 %"""
    seeds_needed: int | None
    """where undecided: the seeds that would do with a chance of 80 %, if what was seen is true"""

    @property
    def within_margin(self) -> bool:
        """Whether the difference, shown or not, is shown to be smaller than the margin."""
        interval = self.equivalence_interval
        return interval is not None and interval.within(self.margin)


def compare(
    start: Outcomes,
    reference: Outcomes,
    reference_name: str,
    *,
    margin: float,
    alpha: float,
    bootstrap: bool = True,
) -> Comparison:
    """The verdict on a start, at most `alpha` of which is false where there is no difference."""
    divergence = _divergence(start, reference)
    both = start.finished & reference.finished
    mine, theirs = start.losses[both], reference.losses[both]
    differences = mine - theirs
    pairs = len(differences)
    difference = spread = interval = bootstrapped = equivalence = smallest = None
    if pairs:
        difference = float(np.mean(differences))
    if difference is not None and pairs > 1:
        spread = sample_spread(differences, float(np.max(np.abs([mine, theirs]))))
        interval = t_interval(difference, spread, pairs, 1 - alpha)
        equivalence = t_interval(difference, spread, pairs, 1 - 2 * alpha)
        smallest = smallest_difference(pairs, spread, alpha)
        bootstrapped = bootstrap_interval(differences, 1 - alpha) if bootstrap and spread else None
    equivalent = (
        divergence.start_only + divergence.reference_only == 0
        and equivalence is not None
        and equivalence.within(margin)
    )
    verdict, basis = _verdict(divergence, interval, equivalent, alpha)
    if pairs and _identical(start, reference):
        verdict, basis = "identical", "losses"
    needed = None
    if verdict == "undecided" and (basis == "divergence" or not pairs):
        needed = pairs_for_divergence(
            divergence.pairs, divergence.start_only, divergence.reference_only, alpha / 2
        )
    elif verdict == "undecided" and difference is not None and spread:
        # Where a seed made one run of two diverge, equivalence is not to be had.
        wanted = 0.0 if divergence.start_only + divergence.reference_only else margin
        needed = pairs_for_verdict(pairs, difference, spread, alpha, wanted)
        # Not every seed gives a pair of finished runs.
        needed = None if needed is None else -(-needed * divergence.pairs // pairs)
    return Comparison(
        reference=reference_name,
        verdict=verdict,
        basis=basis,
        divergence=divergence,
        pairs=pairs,
        difference=difference,
        spread=spread,
        interval=interval,
        bootstrap=bootstrapped,
        equivalence_interval=equivalence,
        margin=margin,
        smallest_difference=smallest,
        seeds_needed=needed,
    )


def _divergence(start: Outcomes, reference: Outcomes) -> Divergence:
    through = start.through & reference.through
    mine, theirs = start.diverged & through, reference.diverged & through
    start_only, reference_only = int(np.sum(mine & ~theirs)), int(np.sum(theirs & ~mine))
    return Divergence(
        pairs=int(np.sum(through)),
        start=int(np.sum(mine)),
        reference=int(np.sum(theirs)),
        start_only=start_only,
        reference_only=reference_only,
        p=_mcnemar(start_only, reference_only),
    )


@lru_cache(maxsize=1024)
def _mcnemar(start_only: int, reference_only: int) -> float:
    differing = start_only + reference_only
    return float(binomtest(start_only, differing, 0.5).pvalue) if differing else 1.0


def _identical(start: Outcomes, reference: Outcomes) -> bool:
    through = start.through & reference.through
    return np.array_equal(start.losses[through], reference.losses[through], equal_nan=True)


def _verdict(
    divergence: Divergence, interval: Interval | None, equivalent: bool, alpha: float
) -> tuple[Verdict, Literal["losses", "divergence"]]:
    # Two tests share alpha. McNemar's gets half. The other half is what is left to the t-test
    # once a start that diverges more cannot be better, nor one that diverges less worse: where
    # the starts are alike, that stops every other false difference. Where as many diverged on
    # both sides McNemar's test is silent, and the t-test has all.
    if divergence.p <= alpha / 2:
        return ("worse" if divergence.more > 0 else "better"), "divergence"
    shown = 0 if interval is None else (interval.low > 0) - (interval.high < 0)
    if shown * divergence.more < 0:
        return "undecided", "divergence"
    if shown:
        return ("worse" if shown > 0 else "better"), "losses"
    return ("equivalent" if equivalent else "undecided"), "losses"
