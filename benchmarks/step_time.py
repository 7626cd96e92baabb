"""The time of a training step: fanin beside hand-written JAX, PyTorch and NumPy, on one core.

`python -m benchmarks.step_time` races them in rounds, each taking its turn in every round, after it
has checked that all of them give the same losses on the same batches. The times are medians over
the rounds of the process's own CPU time, so that what else the machine does counts little; ratios
are taken within a round. Small batches on a CPU are what makes a compiled loop look as good as it
does here: the numbers are few, so the price of calling each operation from Python is most of an
eager step.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.one_core import keep_to_one_core

if TYPE_CHECKING:
    from benchmarks.step_contenders import Contender
    from benchmarks.step_problem import Problem

DEFAULT_SIZES = ("3/4/100/32", "10/3/200/32", "24/8/512/128")
HAND_WRITTEN, EAGER = "JAX by hand", "PyTorch eager"
FANIN, NOTEBOOK = "fanin", "fanin, notebook loop"
LOSSES_TO_COMPARE, TOLERANCE = 20, 1e-4


def contenders(problem: "Problem") -> tuple[dict[str, "Contender"], list[str]]:
    """Those that can run here, having agreed on the losses, and notes on those that cannot."""
    from benchmarks.step_contenders import (
        Fanin,
        FaninNotebook,
        HandWrittenJax,
        NumpyByHand,
        largest_difference,
    )

    makers: dict[str, Any] = {
        HAND_WRITTEN: HandWrittenJax,
        FANIN: Fanin,
        NOTEBOOK: FaninNotebook,
        "NumPy by hand": NumpyByHand,
    }
    notes: list[str] = []
    try:
        from benchmarks.step_torch import TorchCompiled, TorchEager
    except ImportError as error:
        notes.append(f"no PyTorch here: {error}")
    else:
        makers |= {EAGER: TorchEager, "PyTorch torch.compile": TorchCompiled}

    batches = problem.first_batches(LOSSES_TO_COMPARE)
    ready: dict[str, Contender] = {}
    reference: list[float] = []
    for name, maker in makers.items():
        try:
            contender = maker(problem)
            losses = contender.replay(batches)
        except Exception as error:
            if "compile" not in name:  # which takes a C++ compiler and more besides
                raise
            notes.append(f"{name} failed: {str(error).strip().splitlines()[0]}")
            continue
        reference = reference or losses
        difference = largest_difference(reference, losses)
        assert difference < TOLERANCE, f"{name} is off by {difference:.2g} at {problem.sizes}"
        ready[name] = contender
    return ready, notes


def race(ready: dict[str, "Contender"], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds of a step, by contender and round."""
    from benchmarks.step_contenders import warm_up

    counts = {
        name: max(1, round(seconds / rounds / warm_up(contender)))
        for name, contender in ready.items()
    }
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name, contender in ready.items():
            began = time.process_time()
            contender.train(counts[name])
            times[name].append((time.process_time() - began) / counts[name] * 1e6)
    return times


def matrix_multiply_peak(size: int = 1024, tries: int = 7) -> float:
    """GFLOP/s of a large float32 product on this core, the best of NumPy's and JAX's."""
    import jax
    import numpy as np

    a = np.random.default_rng(0).random((size, size), np.float32)
    on_jax, product = jax.device_put(a), jax.jit(lambda x: x @ x)

    def seconds(multiply: Any) -> float:
        began = time.process_time()
        multiply()
        return time.process_time() - began

    def by_jax() -> None:
        product(on_jax).block_until_ready()

    by_jax()
    best = min(seconds(multiply) for _ in range(tries) for multiply in (lambda: a @ a, by_jax))
    return 2 * size**3 / best / 1e9


def rows_of(problem: "Problem", times: dict[str, list[float]], peak: float) -> list[dict[str, Any]]:
    """A row for each contender, with its ratios to the two that others are measured by."""

    def ratio(name: str, other: str) -> float | None:
        if other not in times:
            return None
        return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))

    return [
        {
            "sizes": str(problem.sizes),
            "contender": name,
            "microseconds": statistics.median(measured),
            "over_hand_written_jax": ratio(name, HAND_WRITTEN),
            "over_pytorch_eager": ratio(name, EAGER),
            "share_of_peak": problem.sizes.flops
            / (statistics.median(measured) * 1e-6)
            / (peak * 1e9),
            "rounds": measured,
        }
        for name, measured in sorted(times.items(), key=lambda item: statistics.median(item[1]))
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'':24}{'µs a step':>11}{'÷ JAX by hand':>15}{'÷ PyTorch eager':>17}{'of peak':>9}")
    for row in rows:
        ratios = [
            "-" if row[name] is None else f"{row[name]:.3f}"
            for name in ("over_hand_written_jax", "over_pytorch_eager")
        ]
        print(
            f"{row['contender']:24}{row['microseconds']:11.1f}{ratios[0]:>15}{ratios[1]:>17}"
            f"{row['share_of_peak']:>9.1%}"
        )


def print_aims(rows: list[dict[str, Any]]) -> None:
    by_name = {row["contender"]: row for row in rows}
    print(f"  fanin ÷ JAX by hand: {by_name[FANIN]['over_hand_written_jax']:.3f} (aim: up to 1.05)")
    if EAGER in by_name:
        times_faster = 1 / by_name[FANIN]["over_pytorch_eager"]
        slower = by_name[NOTEBOOK]["over_pytorch_eager"]
        print(f"  PyTorch eager ÷ fanin: {times_faster:.1f} (aim: 8 or more on the small sizes)")
        print(f"  notebook loop ÷ PyTorch eager: {slower:.2f} (aim: up to 2)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_time", description=__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=DEFAULT_SIZES,
        metavar="E/B/H/N",
        help="embedding/block/hidden/batch (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each cell of the table")
    parser.add_argument("--core", type=int, help="the core to run on (default: the last)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the data there as well")
    options = parser.parse_args()
    core = keep_to_one_core(options.core)

    from benchmarks.step_problem import VOCABULARY, Problem, Sizes

    peak = matrix_multiply_peak()
    print(f"core {core}; float32 matrix product of 1024: {peak:.0f} GFLOP/s")
    print(
        f"a step's products: 2·3·batch·(block·embedding·hidden + hidden·{VOCABULARY}) operations\n"
        "small batches on a CPU are what makes compiled loops so much faster than eager steps\n"
    )
    every_row: list[dict[str, Any]] = []
    for text in options.sizes:
        problem = Problem(Sizes.of(text))
        ready, notes = contenders(problem)
        rows = rows_of(problem, race(ready, options.rounds, options.seconds), peak)
        print(f"embedding/block/hidden/batch {problem.sizes}, {problem.sizes.flops:,} operations")
        print_table(rows)
        print_aims(rows)
        print("\n".join([*(f"  {note}" for note in notes), ""]))
        sys.stdout.flush()
        every_row += rows
    if options.json:
        data = {"core": core, "peak_gflops": peak, "rows": every_row}
        text = json.dumps(data, indent=2, allow_nan=False)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
