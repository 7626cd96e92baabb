"""Races the starts of the published experiment, and writes their part of docs/results.md.

    python scripts/published_table.py FOLDER [--steps N] [--seeds N] [--page docs/results.md]

The race's record goes to FOLDER, where a race that was stopped goes on; of one that is through,
the page is written again from its record.
"""

import argparse
import math
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

from fanin.corpus import Corpus, bundled_names
from fanin.networks import CharacterMLP
from fanin.race import Lane, Race, Results, course, judge
from fanin.race.comparison import Comparison
from fanin.race.devices import use_all_cores
from fanin.race.standings import MARGIN
from fanin.starts import find_start
from fanin.training import TrainingOptions

HEADING = "## The published differences, raced"

# What makemore part 3 calls it, the start here, normalisation, and its final dev loss there.
ROWS = (
    ("everything N(0, 1)", "normal", None, 2.1682),
    ("output ×0.01, its bias zero", "uniform-logits", None, 2.13),
    ("and W1 ×0.2, b1 ×0.01", "uniform-logits:gain=0.2,bias=0.01", None, 2.1027),
    ("and W1 ×(5/3)/√30", "published", None, 2.1070),
    ("and batch normalisation", "published", "batch", 2.1048),
)

LEVEL = 0.95
UNIFORM = math.log(27)

Row: TypeAlias = tuple[str, str, str | None, float]

PART = """{heading}

The rows of the published table as lanes of one race: {runs} runs ({seeds} seeds each), {steps:,}
steps, everything else as above. Made by

    python scripts/published_table.py FOLDER

in {minutes:.0f} minutes of wall time on {cores} cores ({cpu}) that other programs were using too. A
seed decides initialisation and the order of mini-batches, and all rows share it; words and split
are fixed, so the intervals are over initialisation and order. Mean ± half of the t interval at
95 %, in nats per symbol:

| published row | start here | dev there | dev here | test here |
|---|---|---|---|---|
{rows}

Every pair of rows on test losses, the lower row minus the upper one, so that negative is better:
paired differences with t intervals at {level:.1%}, which makes {whole:.0%} for all {count} verdicts
together. Differences within ±{margin:g} count as none.

**{answer}**

| lower row | upper row | dev there | test here | verdict |
|---|---|---|---|---|
{pairs}
"""


def plan(steps: int, seeds: int) -> Race:
    corpus = Corpus.of(bundled_names())
    options = TrainingOptions(steps=steps)
    lanes = [
        Lane(
            name,
            CharacterMLP(len(corpus.vocabulary), normalisation=normalisation),
            find_start(start),
            options,
        )
        for name, start, normalisation, _ in ROWS
    ]
    return Race(tuple(lanes), tuple(range(seeds)), corpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=TrainingOptions().steps)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    asked = parser.parse_args()
    use_all_cores()
    race = plan(asked.steps, asked.seeds)
    results = Results(race)
    with closing(course(race, asked.folder)) as events:
        results.add_all(events)
    before, _, _ = asked.page.read_text(encoding="utf-8").partition(HEADING)
    whole = f"{before.rstrip()}\n\n{part(results)}"
    asked.page.write_text(whole, encoding="utf-8")


def part(results: Results) -> str:
    """The part of the page that is the race's."""
    race = results.plan
    pairs = list(combinations(ROWS, 2))
    level = 1 - (1 - LEVEL) / len(pairs)
    machine = race.opening().machine
    return PART.format(
        heading=HEADING,
        runs=len(race.lanes) * len(race.seeds),
        seeds=len(race.seeds),
        steps=race.steps,
        minutes=results.seconds / 60,
        cores=machine.cores,
        cpu=machine.cpu,
        rows="\n".join(row(results, place) for place in range(len(ROWS))),
        level=level,
        whole=LEVEL,
        count=len(pairs),
        margin=MARGIN,
        answer=answer([compared(results, *both, level) for both in pairs]),
        pairs="\n".join(pair(results, *both, level) for both in pairs),
    )


def row(results: Results, place: int) -> str:
    name, start, normalisation, published = ROWS[place]
    finished = [results.finished[place, seed] for seed in results.plan.seeds]
    dev, test = (
        mean_and_half([getattr(run, which) for run in finished])
        for which in ("dev_loss", "test_loss")
    )
    called = f"`{start}`" + (f", `normalisation={normalisation}`" if normalisation else "")
    return f"| {name} | {called} | {published:.4f} | {dev} | {test} |"


def mean_and_half(losses: list[float | None]) -> str:
    judged = judge({"start": losses}, uniform_loss=UNIFORM).starts[0]
    if judged.interval is None:
        return "" if judged.mean is None else f"{judged.mean:.4f}"
    half = (judged.interval.high - judged.interval.low) / 2
    gone = f" ({judged.diverged} diverged)" if judged.diverged else ""
    return f"{judged.mean:.4f} ± {half:.4f}{gone}"


def compared(results: Results, upper: Row, lower: Row, level: float) -> Comparison:
    """The lower row against the upper one, on test losses."""
    losses = {
        name: [results.finished[place, seed].test_loss for seed in results.plan.seeds]
        for place, (name, *_) in enumerate(ROWS)
    }
    both = {name: losses[name] for name in (upper[0], lower[0])}
    judged = judge(both, uniform_loss=UNIFORM, level=level, margin=MARGIN)
    found = judged[lower[0]].comparison
    assert found is not None
    return found


def answer(found: list[Comparison]) -> str:
    """How many of the published differences are real, and how many within seeds."""
    real = [each for each in found if each.verdict in ("better", "worse")]
    small = sum(bool(each.within_margin) for each in real)
    within = sum(each.verdict == "equivalent" for each in found)
    undecided = len(found) - len(real) - within
    return (
        f"Of these {len(found)} differences {len(real) - small} are real, {small} real and below "
        f"{MARGIN:g},\n{within} within seeds and below {MARGIN:g}, {undecided} undecided."
    )


def pair(results: Results, upper: Row, lower: Row, level: float) -> str:
    found = compared(results, upper, lower, level)
    ends = ""
    if found.difference is not None and found.interval is not None:
        ends = f"{signed(found.difference)} ({signed(found.interval.low)} to "
        ends += f"{signed(found.interval.high)})"
    there = signed(lower[3] - upper[3])
    return f"| {lower[0]} | {upper[0]} | {there} | {ends} | {words(found)} |"


def words(found: Comparison) -> str:
    if found.verdict == "undecided":
        needed = found.seeds_needed
        return "undecided" + (f"; about {needed:,} seeds would do" if needed else "")
    if found.verdict == "equivalent":
        return f"equivalent within {found.margin:g}"
    small = f", by less than {found.margin:g}" if found.within_margin else ""
    return f"real: {found.verdict}{small}"


def signed(number: float) -> str:
    return f"{number:+.4f}".replace("-", "−")


if __name__ == "__main__":
    main()
