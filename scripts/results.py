"""Trains every start with five seeds at the main job's defaults, and writes docs/results.md.

    python scripts/results.py [--steps N] [--seeds N] [--processes N] [--out docs/results.md]

Each run is that of `fanin train --start START --seed SEED`; about 10 s a run and core.
"""

import argparse
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np

from fanin import TrainingOptions
from fanin.starts import SCHEMES
from fanin.trainer import fit

PAGE = """# Results of the main job

`fanin train --start START --seed SEED` on the bundled names: {words:,} words split by word into
80/10/10, {vocabulary} symbols, block 3, embedding 10, one tanh layer of 200 ({parameters:,}
parameters), batch 32, {steps:,} steps of SGD at 0.1, then 0.01 from half way. Made by

    python scripts/results.py

Mean over seeds 0 to {last} ± the standard deviation between them, in nats per symbol; the words
and their split are the same throughout. log {vocabulary} = {uniform:.4f}. For orientation, the
published experiment (*makemore part 3*, on another year's names) has 27.9 at step 0 and 2.1682 on
dev at the end for `normal`, and 2.13 and 2.10 to 2.11 for what `uniform-logits` and `published`
are here.

| start | dev at step 0 | train | dev | test |
|---|---|---|---|---|
{rows}

Differences between neighbours in this table that are as small as the deviations beside them are
not settled by five seeds; `fanin race` is for that.
"""


def losses(run: tuple[str, int, int]) -> tuple[str, dict[str, float]]:
    start, seed, steps = run
    model = fit(start=start, options=TrainingOptions(steps=steps, seed=seed))
    return start, {name: float(loss or np.nan) for name, loss in model.losses.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=TrainingOptions().steps)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    given = parser.parse_args()

    runs = [(start, seed, given.steps) for start in SCHEMES for seed in range(given.seeds)]
    found: dict[str, list[dict[str, float]]] = {start: [] for start in SCHEMES}
    # Spawned, since JAX's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for start, result in pool.imap_unordered(losses, runs):
            found[start].append(result)
            print(f"{start:20} {result}", flush=True)

    model = fit(options=replace(TrainingOptions(), steps=0))
    rows: list[str] = []
    for start, results in sorted(found.items(), key=lambda item: _mean(item[1], "dev")):
        cells = [_cell(results, name) for name in ("initial", "train", "dev", "test")]
        rows.append(f"| `{start}` | {' | '.join(cells)} |")
    page = PAGE.format(
        words=len(model.words.words),
        vocabulary=len(model.vocabulary),
        parameters=model.network.parameter_count,
        steps=given.steps,
        last=given.seeds - 1,
        uniform=model.uniform_loss,
        rows="\n".join(rows),
    )
    # What stands below is written by scripts/published_table.py.
    known = given.out.read_text(encoding="utf-8") if given.out.exists() else ""
    _, heading, race = known.partition("\n## ")
    given.out.write_text(page + heading + race, encoding="utf-8")


def _mean(results: list[dict[str, float]], name: str) -> float:
    return float(np.mean([result[name] for result in results]))


def _cell(results: list[dict[str, float]], name: str) -> str:
    deviation = np.std([result[name] for result in results])
    return f"{_mean(results, name):.4f} ± {deviation:.4f}"


if __name__ == "__main__":
    main()
