"""The standings as a document: the same numbers as JSON, as CSV and as rows for a terminal."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import msgspec

from fanin.race.comparison import Verdict
from fanin.race.intervals import Interval
from fanin.race.standings import Standing, Standings
from fanin.race.time_to_target import TimeToTarget
from fanin.race.wording import nats, notes, verdict_text

SCHEMA = 1

Number: TypeAlias = float | None
Ends: TypeAlias = tuple[float, float]


@final
@dataclass(frozen=True)
class Target:
    """How long the runs of a start took to a loss; `median` is null where it is later than all."""

    loss: float
    reached: int
    runs: int
    median: Number
    beyond: float


@final
@dataclass(frozen=True)
class StartDocument:
    """One start. Losses in nats per symbol, lists by seed; null for a run that diverged or runs."""

    name: str
    dev_loss: tuple[Number, ...] | None
    test_loss: tuple[Number, ...]
    mean: Number
    interval: Ends | None
    interval_level: float
    difference: Number
    """start minus reference, the mean over pairs; null for the reference, as are all below"""
    difference_interval: Ends | None
    bootstrap_interval: Ends | None
    level: Number
    """of difference_interval and bootstrap_interval"""
    paired_seeds: int | None
    """the pairs in which both runs finished"""
    spread: Number
    """the standard deviation of the paired differences"""
    verdict: Verdict | Literal["reference"]
    basis: str | None
    within_margin: bool | None
    smallest_difference: Number
    seeds_needed: int | None
    divergence_p: Number
    text: str
    """the verdict in words"""
    finished: int
    diverged: int
    pending: int
    tuned_lr: Number
    steps_to_target: Target | None = None
    seconds_to_target: Target | None = None


@final
@dataclass(frozen=True)
class StandingsDocument:
    """A race's standings. `schema` rises when a field changes its meaning or goes."""

    schema: int
    reference: str
    seeds: int
    seed_numbers: tuple[int, ...]
    """the seeds, in the order of every list of losses"""
    steps: int
    seconds: float
    margin: float
    level: float
    """of all verdicts together"""
    uniform_loss: float
    interim: bool
    notes: tuple[str, ...]
    starts: tuple[StartDocument, ...]
    judged_on: Literal["test", "dev"] = "test"
    """the losses that means and differences are of: dev in an interim verdict"""
    judged_at_step: int | None = None


def document_of(
    standings: Standings,
    *,
    steps: int,
    seconds: float,
    steps_to_target: Mapping[str, TimeToTarget] | None = None,
    seconds_to_target: Mapping[str, TimeToTarget] | None = None,
) -> StandingsDocument:
    """The standings as what is written, with the steps of each run and the race's wall time."""
    by_steps, by_seconds = steps_to_target or {}, seconds_to_target or {}
    return StandingsDocument(
        schema=SCHEMA,
        reference=standings.reference,
        seeds=len(standings.seeds),
        seed_numbers=standings.seeds,
        steps=steps,
        seconds=seconds,
        margin=standings.margin,
        level=standings.level,
        uniform_loss=standings.uniform_loss,
        interim=standings.interim,
        notes=notes(standings),
        starts=tuple(
            _start(start, standings, by_steps.get(start.name), by_seconds.get(start.name))
            for start in standings.starts
        ),
    )


def _start(
    start: Standing, standings: Standings, steps: TimeToTarget | None, seconds: TimeToTarget | None
) -> StartDocument:
    comparison = start.comparison
    return StartDocument(
        name=start.name,
        dev_loss=start.dev_loss,
        test_loss=start.test_loss,
        mean=start.mean,
        interval=_ends(start.interval),
        interval_level=standings.level,
        difference=comparison and comparison.difference,
        difference_interval=comparison and _ends(comparison.interval),
        bootstrap_interval=comparison and _ends(comparison.bootstrap),
        level=comparison and standings.comparison_level,
        paired_seeds=comparison and comparison.pairs,
        spread=comparison and comparison.spread,
        verdict=comparison.verdict if comparison else "reference",
        basis=comparison and comparison.basis,
        within_margin=comparison and comparison.within_margin,
        smallest_difference=comparison and comparison.smallest_difference,
        seeds_needed=comparison and comparison.seeds_needed,
        divergence_p=comparison and comparison.divergence.p,
        text=verdict_text(start),
        finished=start.finished,
        diverged=start.diverged,
        pending=start.pending,
        tuned_lr=start.tuned_lr,
        steps_to_target=_target(steps),
        seconds_to_target=_target(seconds),
    )


def _ends(interval: Interval | None) -> Ends | None:
    return None if interval is None else (interval.low, interval.high)


def _target(time: TimeToTarget | None) -> Target | None:
    return time and Target(time.target, time.reached, time.runs, time.median, time.beyond)


def to_json(document: StandingsDocument) -> bytes:
    """The document as JSON text; numbers that are not finite are null."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def to_csv(document: StandingsDocument) -> str:
    """The document as CSV: a row a start, intervals as two columns, then a column a seed.

    An empty field is a number that there is not.
    """
    text = io.StringIO()
    rows = [_csv_row(start, document) for start in document.starts]
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_row(start: StartDocument, document: StandingsDocument) -> dict[str, object]:
    # Through JSON, where what is not finite is null.
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(start))
    lists = {name: values.pop(name) for name in ("test_loss", "dev_loss")}
    row: dict[str, object] = {}
    for name, value in values.items():
        if name.endswith("interval"):
            row[f"{name}_low"], row[f"{name}_high"] = value or (None, None)
        elif name.endswith("to_target"):
            row[name] = value and value["median"]
        else:
            row[name] = value
    for name, by_seed in lists.items():
        for place, seed in enumerate(document.seed_numbers):
            row[f"{name}_{seed}"] = by_seed and by_seed[place]
    return row


def table(document: StandingsDocument) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads and rows of a table for people; a column that would be empty is left out."""
    heads = ("start", "test loss", "diverged", "rate", "steps to target", "verdict")
    rows = [
        (
            start.name,
            _loss(start),
            f"{start.diverged} of {start.diverged + start.finished}" if start.diverged else "",
            "" if start.tuned_lr is None else f"{start.tuned_lr:.3g}",
            _median(start.steps_to_target),
            start.text,
        )
        for start in document.starts
    ]
    kept = [place for place in range(len(heads)) if any(row[place] for row in rows)]
    return tuple(heads[place] for place in kept), [
        tuple(row[place] for place in kept) for row in rows
    ]


def _loss(start: StartDocument) -> str:
    if start.mean is None:
        return "no run finished" if not start.pending else "…"
    if start.interval is None:
        return nats(start.mean)
    half = (start.interval[1] - start.interval[0]) / 2
    return f"{nats(start.mean, half)} ± {nats(half, half)}"


def _median(target: Target | None) -> str:
    if target is None:
        return ""
    return f"> {target.beyond:,.0f}" if target.median is None else f"{target.median:,.0f}"
