"""How often the diagnosis cries wolf: starts that are known to be good, over many seeds.

A cell is a start, an activation and a depth; each has seeds of its own. Any verdict other than good
is an alarm. `python -m benchmarks.false_alarms` diagnoses 400 seeds of every cell (eleven minutes
on one core) and gives the rate with its 95 % interval of Clopper and Pearson 1934.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import jax
from benchmarks.expected_verdicts import some_examples
from benchmarks.page import put_part
from scipy import stats

from fanin.diagnosis.of_network import diagnose
from fanin.networks import CharacterMLP
from fanin.starts import find_start

# In each the output is near-uniform: a gain of 0.1 on its fan-in.
STARTS = ("fanin", "lsuv", "orthogonal:gain=forward,output=0.1")
ACTIVATIONS = ("identity", "tanh", "relu", "gelu", "silu", "selu")
DEPTHS = (1, 2, 5)


@dataclass
class Rate:
    """Alarms among networks."""

    networks: int = 0
    alarms: int = 0
    by_check: Counter[str] = field(default_factory=Counter)

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the rate."""
        found = stats.binomtest(self.alarms, self.networks).proportion_ci(0.95, "exact")
        return float(found.low), float(found.high)

    def row(self, name: str) -> str:
        low, high = self.interval
        checks = ", ".join(f"{name} {count}" for name, count in self.by_check.most_common())
        return (
            f"| {name} | {self.networks:,} | {self.alarms} | {self.alarms / self.networks:.3%} "
            f"| {low:.3%} to {high:.3%} | {checks or 'none'} |"
        )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=400)
    options.add_argument("--widths", nargs="*", type=int, default=(100,))
    options.add_argument("--depths", nargs="*", type=int, default=DEPTHS)
    options.add_argument("--activations", nargs="*", default=ACTIVATIONS)
    options.add_argument("--page", type=Path, help="write the table into this page")
    options.add_argument("--part", default="false alarms", help="the name of its part there")
    asked = options.parse_args()
    contexts, targets = some_examples()
    rates: dict[tuple[int, str, str, int], Rate] = {}
    for width, depth, activation in itertools.product(
        asked.widths, asked.depths, asked.activations
    ):
        network = CharacterMLP(27, hidden=(width,) * depth, activation=activation)
        for start, seed in itertools.product(STARTS, range(asked.seeds)):
            rate = rates.setdefault((width, start, activation, depth), Rate())
            key = jax.random.fold_in(jax.random.key(seed), len(rates))
            report = diagnose(network, find_start(start)(network, key, contexts), contexts, targets)
            rate.networks += 1
            if report.verdict != "good":
                rate.alarms += 1
                flagged = [each for each in report.checks if each.verdict != "good"]
                rate.by_check.update(each.name for each in flagged)
                print(
                    f"{start}, {depth} × {width} {activation}, seed {seed}: "
                    + "; ".join(each.text for each in flagged),
                    flush=True,
                )
        jax.clear_caches()  # each network has programs of its own
    text = table(rates)
    print(text)
    if asked.page:
        put_part(asked.page, asked.part, text)
    return 0 if together(rates.values()).interval[1] <= 0.01 else 1


def together(rates: Iterable[Rate]) -> Rate:
    """Several rates as one."""
    total = Rate()
    for rate in rates:
        total.networks += rate.networks
        total.alarms += rate.alarms
        total.by_check += rate.by_check
    return total


def table(rates: dict[tuple[int, str, str, int], Rate]) -> str:
    """A row for each start, activation, depth and width, over all that it goes with; then all."""
    lines = ["| | networks | alarms | rate | 95 % interval | checks |", "|---|---|---|---|---|---|"]
    for place, what in ((1, ""), (2, ""), (3, "depth "), (0, "width ")):
        for value in dict.fromkeys(cell[place] for cell in rates):
            some = [rate for cell, rate in rates.items() if cell[place] == value]
            lines.append(together(some).row(f"{what}{value}"))
    lines.append(together(list(rates.values())).row("all"))
    worst = max(rates, key=lambda cell: rates[cell].alarms / rates[cell].networks)
    width, start, activation, depth = worst
    lines.append(rates[worst].row(f"the worst cell: {start}, {activation}, {depth} × {width}"))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
