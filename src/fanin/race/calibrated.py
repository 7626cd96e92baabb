"""What a calibration found, as a document: tables of verdicts and outcomes, areas, limits."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from fanin.corpus import Corpus
from fanin.diagnosis.report import VERDICTS, Verdict
from fanin.race.calibration import Calibration, TrainedFamily, measured_examples
from fanin.race.judgement import Judgement
from fanin.race.limits import Fitted
from fanin.race.reliability import OUTCOMES, Ended, ended, halves, roc_area, unigram_loss
from fanin.race.sides import RATE_SIDES, SIDES, shipped_score

SCHEMA = 1

Table = dict[str, dict[str, int]]
"""Networks by verdict, then by outcome."""


@final
@dataclass(frozen=True)
class ByCheck:
    """How one check did where it said bad, and where no other check did."""

    check: str
    bad: int
    bad_and_trained: int
    alone: int
    alone_and_trained: int
    bad_among_best: int


@final
@dataclass(frozen=True)
class ByRate:
    """Networks whose rate is from `low` to `high` times the finder's.

    `missed` were hindered and called good; `area` is of the limits as they are, over all, and
    `area_set` of what one half sets, on the other.
    """

    low: float
    high: float
    networks: int
    hindered: int
    missed: int
    area: float | None
    area_set: float | None


@final
@dataclass(frozen=True)
class LimitFound:
    """One limit, as people read it: as it is, and as half of the networks would set it."""

    name: str
    suspect: float | None
    bad: float | None
    set_suspect: float | None
    set_bad: float | None


@final
@dataclass(frozen=True)
class OnOtherHalf:
    """What one half sets, reported on the other; `area` is there of the limits as they are."""

    area: float | None
    area_set: float | None
    area_set_with_rate: float | None
    table: Table
    table_set: Table
    best: int
    bad_among_best: int
    bad_among_best_set: int


@final
@dataclass(frozen=True)
class CalibrationDocument:
    """Areas are those under the ROC curve of the verdict's score; null where there is none.

    `halves` are the odd families with what the even ones set, and the other way round; `limits`
    are those of the first.
    """

    schema: int
    networks: int
    families: int
    steps: int
    seconds: float
    unigram_loss: float
    hindered: int
    area: float | None
    table: Table
    bad_among_best: tuple[str, ...]
    best: int
    halves: tuple[OnOtherHalf, OnOtherHalf]
    checks: tuple[ByCheck, ...]
    rates: tuple[ByRate, ...]
    limits: tuple[LimitFound, ...]


def document_of(
    families: Sequence[TrainedFamily],
    judgements: Sequence[Sequence[Judgement]],
    corpus: Corpus,
    settings: Calibration,
) -> CalibrationDocument:
    """The document of as many families as there are."""
    unigrams = unigram_loss(corpus.train, measured_examples(corpus.dev), len(corpus.vocabulary))
    uniform = math.log(len(corpus.vocabulary))
    networks = ended(families, judgements, uniform_loss=uniform, unigram_loss=unigrams)
    even, odd = halves(networks)
    by_even, by_odd = Fitted(SIDES, tuple(even)), Fitted(SIDES, tuple(odd))
    best = [each for each in networks if each.among_best]
    trained = Counter(each.family.family for each in networks if not each.hindered)
    return CalibrationDocument(
        schema=SCHEMA,
        networks=len(networks),
        families=len(families),
        steps=settings.steps,
        seconds=sum(family.seconds for family in families),
        unigram_loss=unigrams,
        hindered=sum(each.hindered for each in networks),
        area=_area(networks, shipped_score),
        table=_table(networks, lambda each: each.verdict),
        bad_among_best=tuple(
            f"{_named(each)} "
            f"({trained[each.family.family]} of its {len(each.family.networks)} trained)"
            for each in best
            if each.verdict == "bad"
        ),
        best=len(best),
        halves=(_on_other_half(by_even, odd), _on_other_half(by_odd, even)),
        checks=_by_check(networks),
        rates=_by_rate(networks, odd, by_even),
        limits=_limits(by_even),
    )


def _on_other_half(found: Fitted, reported: Sequence[Ended]) -> OnOtherHalf:
    with_rate = Fitted(SIDES + RATE_SIDES, found.networks)
    best = [each for each in reported if each.among_best]
    return OnOtherHalf(
        area=_area(reported, shipped_score),
        area_set=_area(reported, found.score),
        area_set_with_rate=_area(reported, with_rate.score),
        table=_table(reported, lambda each: each.verdict),
        table_set=_table(reported, found.verdict),
        best=len(best),
        bad_among_best=sum(each.verdict == "bad" for each in best),
        bad_among_best_set=sum(found.verdict(each) == "bad" for each in best),
    )


def _area(networks: Sequence[Ended], score: Callable[[Ended], float]) -> float | None:
    scores = np.array([score(each) for each in networks])
    area = roc_area(scores, np.array([each.hindered for each in networks], dtype=bool))
    return None if math.isnan(area) else area


def _table(networks: Sequence[Ended], judged: Callable[[Ended], Verdict]) -> Table:
    counts = Counter((judged(each), each.outcome) for each in networks)
    return {name: {outcome: counts[name, outcome] for outcome in OUTCOMES} for name in VERDICTS}


def _named(each: Ended) -> str:
    """A network as its user would ask for it."""
    network = each.family.network
    hidden = network["hidden"]
    normalised = f", {network['normalisation']} normalisation" if network["normalisation"] else ""
    bad = ", ".join(sorted(each.judgement.bad))
    return (
        f"{each.network.start}, {len(hidden)} × {hidden[0]} {network['activation']}{normalised}, "
        f"seed {each.network.seed}: {bad}"
    )


def _by_check(networks: Sequence[Ended]) -> tuple[ByCheck, ...]:
    names = sorted({check.name for each in networks for check in each.judgement.checks})
    made: list[ByCheck] = []
    for name in names:
        said = [each for each in networks if name in each.judgement.bad]
        alone = [each for each in said if each.judgement.bad == {name}]
        made.append(
            ByCheck(
                name,
                len(said),
                sum(not each.hindered for each in said),
                len(alone),
                sum(not each.hindered for each in alone),
                sum(each.among_best for each in said),
            )
        )
    return tuple(made)


def _by_rate(
    networks: Sequence[Ended], reported: Sequence[Ended], found: Fitted
) -> tuple[ByRate, ...]:
    ends = (0.1, 0.2, 1 / 3, 3.0, 5.0, 10.0)
    made: list[ByRate] = []
    for low, high in pairwise(ends):
        # Rates are rounded, so that some are just beyond the ends.
        span = (low if low > ends[0] else 0.0, high if high < ends[-1] else math.inf)
        these = [each for each in networks if _rate_within(each, *span)]
        made.append(
            ByRate(
                low,
                high,
                len(these),
                sum(each.hindered for each in these),
                sum(each.hindered and each.verdict == "good" for each in these),
                _area(these, shipped_score),
                _area([each for each in reported if _rate_within(each, *span)], found.score),
            )
        )
    return tuple(made)


def _rate_within(each: Ended, low: float, high: float) -> bool:
    factor = each.network.rate_factor
    return factor is not None and low <= factor < high


def _limits(found: Fitted) -> tuple[LimitFound, ...]:
    return tuple(
        LimitFound(
            side.name,
            *(
                None if math.isinf(at) else side.shown(at)
                for bounds in (side.shipped, curve.bounds)
                for at in (bounds.suspect, bounds.bad)
            ),
        )
        for side, curve in zip(found.sides, found.curves, strict=True)
    )
