"""What the compiled training step spends its time on, by JAX's profiler.

XLA names every piece of a program after the line of fanin that it came from; a piece that fuses
several operations counts for its last. Each piece weighs a few tenths of a microsecond more under
the profiler than without.
"""

import tempfile
from pathlib import Path

from benchmarks.contest import Contestant
from benchmarks.setting import Setting, figure, table
from benchmarks.step import QUICK, SIZES
from benchmarks.step_problem import problem_files


def measure(setting: Setting) -> str:
    every = QUICK if setting.quick else SIZES
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = problem_files(every, Path(folder), setting.one)
        for sizes, path in zip(every, files, strict=True):
            profiled = Contestant("benchmarks.step_profile:Profile", path, at=setting.one)
            profiled.close()
            found[str(sizes)] = profiled.facts
    kinds = sorted(
        {kind for shares in found.values() for kind in shares},
        key=lambda kind: -max(shares.get(kind, 0) for shares in found.values()),
    )
    rows = [
        [kind, *(_cell(shares.get(kind, 0), sum(shares.values())) for shares in found.values())]
        for kind in kinds
    ]
    return table(["embedding/block/hidden/batch", *found], rows)


def _cell(microseconds: float, whole: float) -> str:
    return f"{microseconds / whole:.1%} ({figure(microseconds, 2)} µs)" if microseconds else "–"
