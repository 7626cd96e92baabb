"""What the diagnosis says of every cell start × activation × normalisation × depth, and should say.

`tests/expected_verdicts.csv` has a row for each cell: the verdicts that are right ("suspect or bad"
where seeds differ), and how far behind the best of its depth a short training ended
(`benchmarks/short_trainings.py`), which decided the doubtful ones. Where they say that training is
hindered and one pass does not show it, `missed` says so. `python -m benchmarks.expected_verdicts`
judges some seeds of every cell and names those that say something else (half an hour on one core);
`tests/test_expected_verdicts.py` does a part of it. `--seeds 0 --page PAGE` writes the summary.
"""

import argparse
import csv
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from benchmarks.page import put_part
from benchmarks.short_trainings import ACTIVATIONS, DEPTHS, NORMALISATIONS, STARTS

from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.of_network import diagnose
from fanin.diagnosis.report import Report, Verdict
from fanin.networks import CharacterMLP
from fanin.starts import find_start

TABLE = Path(__file__).parent.parent / "tests" / "expected_verdicts.csv"
WIDTH = 100
EXAMPLES = 1024


@dataclass(frozen=True)
class Cell:
    """One start of one network."""

    start: str
    activation: str
    normalisation: str | None
    depth: int
    width: int = WIDTH

    @property
    def network(self) -> CharacterMLP:
        return CharacterMLP(
            27,
            hidden=(self.width,) * self.depth,
            activation=self.activation,
            normalisation=self.normalisation,  # pyright: ignore[reportArgumentType]
        )

    def report(self, seed: int, contexts: np.ndarray, targets: np.ndarray) -> Report:
        parameters = find_start(self.start)(self.network, jax.random.key(seed), contexts)
        return diagnose(self.network, parameters, contexts, targets)


@dataclass(frozen=True)
class Expected:
    """The row of a cell. `behind`: nats on dev after 2,000 steps, or "diverged"."""

    cell: Cell
    verdicts: tuple[Verdict, ...]
    behind: str
    missed: bool
    """whether the diagnosis is known to call it good all the same"""


def read_table(path: Path = TABLE) -> tuple[Expected, ...]:
    """All rows of the table."""
    with path.open(newline="") as lines:
        return tuple(
            Expected(
                Cell(
                    row["start"],
                    row["activation"],
                    row["normalisation"] or None,
                    int(row["depth"]),
                ),
                tuple(row["verdict"].split(" or ")),  # pyright: ignore[reportArgumentType]
                row["behind"],
                row["missed"] == "yes",
            )
            for row in csv.DictReader(lines)
        )


def all_cells() -> Iterator[Cell]:
    """Every cell, those of one network together."""
    for depth, activation, normalisation, start in itertools.product(
        DEPTHS, ACTIVATIONS, NORMALISATIONS, STARTS
    ):
        yield Cell(start, activation, normalisation, depth)


def some_examples(count: int = EXAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Contexts and targets by chance from the training split of the bundled names."""
    corpus = Corpus.of(bundled_names())
    some = np.random.default_rng(0).permutation(len(corpus.train))[:count]
    return corpus.train.contexts[some].astype(np.int32), corpus.train.targets[some].astype(np.int32)


def summary(table: Iterable[Expected]) -> str:
    """How many cells of each depth are to be called what, and those that are known to be missed."""
    kinds = ("good", "good or suspect", "suspect", "suspect or bad", "bad", "missed")
    counts = Counter[tuple[int, str]]()
    missed: list[str] = []
    for each in table:
        said = " or ".join(each.verdicts) if not each.missed else "missed"
        counts[each.cell.depth, said if said in kinds else "good or suspect"] += 1
        if each.missed:
            cell = each.cell
            missed.append(
                f"- {cell.start}, {cell.activation}, {cell.normalisation or 'no'} normalisation, "
                f"depth {cell.depth}: "
                + ("diverged" if each.behind == "diverged" else f"{each.behind} nats behind")
            )
    lines = [f"| depth | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for depth in DEPTHS:
        cells = (str(counts[depth, kind]) for kind in kinds)
        lines.append(f"| {depth} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Missed:", "", *missed])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--depths", nargs="*", type=int, default=DEPTHS)
    options.add_argument("--page", type=Path, help="write a summary of the table into this page")
    asked = options.parse_args()
    if asked.page:
        put_part(asked.page, "expected verdicts", summary(read_table()))
    contexts, targets = some_examples()
    wrong = judged = missed = 0
    cells = [each for each in read_table() if each.cell.depth in asked.depths]
    for _, of_one_depth in itertools.groupby(cells, lambda each: each.cell.depth):
        for expected, seed in itertools.product(of_one_depth, range(asked.seeds)):
            report = expected.cell.report(seed, contexts, targets)
            judged += 1
            if expected.missed:
                missed += report.verdict == "good"
            elif report.verdict not in expected.verdicts:
                wrong += 1
                print(
                    f"{expected.cell}, seed {seed}: {report.verdict}, expected "
                    f"{' or '.join(expected.verdicts)}: "
                    + "; ".join(
                        f"{check.name} {check.value}" for check in report.checks if check.layers
                    ),
                    flush=True,
                )
        jax.clear_caches()  # a hundred networks have programs of their own
    print(
        f"{judged:,} diagnoses of {len(cells):,} cells: {wrong} with another verdict; {missed} in "
        f"the {sum(each.missed for each in cells)} cells that are known to be missed are good"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
