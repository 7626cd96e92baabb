"""fanin on a GPU, beside the same machine's processor and PyTorch on that GPU.

`python -m benchmarks.gpu` needs a GPU that JAX and PyTorch see, and writes the part "gpu" of
docs/benchmarks.md. All that one framework does on one device is measured in one process, since each
takes long to begin: JAX on the GPU, then PyTorch on it, and meanwhile JAX on other cores. In a
process what stands in one table takes turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import Place, fill, make, timed
from benchmarks.costs import EXAMPLES
from benchmarks.machine import description, gpus
from benchmarks.page import put_part
from benchmarks.race import NETWORKS
from benchmarks.setting import duration, figure, table
from benchmarks.step import SIZES
from benchmarks.step_problem import problem_files

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ROUNDS, SECONDS = 3, 0.5
RUNS = (8, 64, 512, 2048)
RUNS_ON_CORES = (64, 512)  # a run's step takes equally long from few runs to many
SIDE, STEPS = 16, 100


@dataclass(frozen=True)
class Entry:
    """A row's work, which `maker` ("module:class", of benchmarks) makes of the arguments."""

    row: str
    maker: str
    arguments: tuple[Any, ...]


def tables(side: str, folder: str, cores: int) -> Iterator[tuple[str, list[Entry]]]:
    """What one side has to measure: "jax gpu", "jax cpu" or "torch gpu"."""
    framework, device = side.split()
    more = ["cuda"] if framework == "torch" else []
    makers = {
        "jax gpu": {
            "fanin": "step_contenders:Fanin",
            "JAX by hand": "step_contenders:HandWrittenJax",
        },
        "jax cpu": {"fanin": "step_contenders:Fanin"},
        "torch gpu": {
            "PyTorch eager": "step_torch:TorchEager",
            "PyTorch, torch.compile": "step_torch:TorchCompiled",
        },
    }[side]
    for sizes, path in zip(SIZES, sorted(Path(folder).glob("*.npz")), strict=True):
        yield (
            f"step {sizes}",
            [Entry(row, maker, (str(path), *more)) for row, maker in makers.items()],
        )
    for network, sizes in NETWORKS.items():
        for runs in RUNS if device == "gpu" else RUNS_ON_CORES:
            given = (sizes, runs, *([cores, *more] if framework == "torch" else []))
            if framework == "jax":
                entry = Entry("fanin's race", "race_contenders:FaninRace", given)
            else:
                entry = Entry("torch.func.vmap", "race_contenders:TorchVmap", given)
            yield f"race {network} {runs}", [entry]
    if framework == "jax":
        yield (
            "maps",
            [
                Entry(f"trained for {STEPS} steps", "maps:FaninMap", (SIDE, "trained", STEPS)),
                Entry("looked at", "maps:FaninMap", (SIDE, "gradient-ratio", STEPS)),
            ],
        )
    if device == "gpu":
        if framework == "jax":
            names = list(import_module("benchmarks.diagnosis").NETWORKS)
            maker, last = "costs:OfNetwork", (EXAMPLES,)
        else:
            names = list(import_module("benchmarks.diagnosis_torch").CASES)
            maker, last = "costs:OfModule", ("cuda",)
        for name in names:
            both = [Entry(what, maker, (name, what, *last)) for what in ("plain", "diagnosis")]
            yield f"costs {name}", both


def measure(side: str, folder: str, cores: int) -> None:
    """In the process of one side: a line of JSON for each table, as it is done."""
    if side == "jax cpu":
        from fanin.race.devices import use_all_cores

        use_all_cores()
    for name, entries in tables(side, folder, cores):
        works = {}
        for entry in entries:
            work = make(f"benchmarks.{entry.maker}", entry.arguments)
            chunk = getattr(work, "chunk", 1)
            timed(work, chunk)
            works[entry.row] = (work, fill(work, chunk, SECONDS)[0])
        found: dict[str, list[float]] = {row: [] for row in works}
        for _ in range(ROUNDS):
            for row, (work, count) in works.items():
                found[row].append(timed(work, count)[0] / count)
        print(json.dumps({"table": name, "seconds": found}), flush=True)


def run_side(side: str, folder: str, cores: Sequence[int]) -> subprocess.Popen[str]:
    place = Place(tuple(cores), platform=side.split()[1])
    count = str(len(cores))
    command = [sys.executable, "-m", "benchmarks.gpu", "--side", side, "--folder", folder]
    environment = place.environment()
    if side == "jax gpu":
        del environment["XLA_PYTHON_CLIENT_PREALLOCATE"]  # it is alone
    return subprocess.Popen(
        [*command, "--cores", count],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


Found = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Medians by table, side and row."""


def page(found: Found, cores: int) -> str:
    processor = f"fanin, {cores} cores"
    parts: list[str] = []

    def cell(name: str, side: str, row: str) -> str | None:
        seconds = found.get(name, {}).get(side, {}).get(row)
        return None if seconds is None else duration(seconds)

    sizes = [str(each) for each in SIZES]
    ways = (
        ("**fanin**, GPU", "jax gpu", "fanin"),
        ("JAX by hand, GPU", "jax gpu", "JAX by hand"),
        ("PyTorch, torch.compile, GPU", "torch gpu", "PyTorch, torch.compile"),
        ("PyTorch eager, GPU", "torch gpu", "PyTorch eager"),
        ("fanin, one core", "jax cpu", "fanin"),
    )
    rows = [[way, *(cell(f"step {size}", side, row) for size in sizes)] for way, side, row in ways]
    parts.append(table(["a step", *sizes], rows))
    ways = (
        ("**fanin's race**, GPU", "jax gpu", "fanin's race"),
        ("torch.func.vmap, GPU", "torch gpu", "torch.func.vmap"),
        (f"fanin's race, {cores} cores", "jax cpu", "fanin's race"),
    )
    for network in NETWORKS:
        rows = [
            [way, *(cell(f"race {network} {runs}", side, row) for runs in RUNS)]
            for way, side, row in ways
        ]
        parts.append(table([f"a step of a run, {network}", *(f"{n:,} runs" for n in RUNS)], rows))
    kinds = list(found.get("maps", {}).get("jax gpu", {}))
    rows = [[kind, cell("maps", "jax gpu", kind), cell("maps", "jax cpu", kind)] for kind in kinds]
    header = f"a cell of {SIDE} × {SIDE}, gain and depth 1 to 20, width 100"
    parts.append(table([header, "GPU", processor], rows))
    rows = []
    for name, sides in found.items():
        if name.startswith("costs"):
            (medians,) = sides.values()
            ratio = figure(medians["diagnosis"] / medians["plain"])
            times = (duration(medians[what]) for what in ("plain", "diagnosis"))
            rows.append([name.removeprefix("costs "), *times, ratio])
    parts.append(table(["on the GPU", "plain pass", "diagnosis", "÷"], rows))
    return "\n\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        measure(given.side, given.folder, given.cores)
        return 0
    seen = gpus()
    if missing := {"jax", "torch"} - set(seen):
        parser.error(f"no GPU is seen by {' and '.join(sorted(missing))}")
    allowed = sorted(os.sched_getaffinity(0))
    aside = max(1, len(allowed) // 8)  # cores for what drives the GPU
    here, there = allowed[aside:], allowed[:aside]
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        problem_files(SIZES, Path(folder), Place((0,)))
        began = {
            "jax cpu": run_side("jax cpu", folder, here),
            "jax gpu": run_side("jax gpu", folder, there),
        }
        for side in ("jax gpu", "torch gpu", "jax cpu"):
            process = began.get(side) or run_side(side, folder, there)
            assert process.stdout is not None
            for line in process.stdout:
                told = json.loads(line)
                medians = {row: median(times) for row, times in told["seconds"].items()}
                found.setdefault(told["table"], {})[side] = medians
                print(side, told["table"], *map(duration, medians.values()), flush=True)
            if process.wait():
                print(f"{side}: ended with {process.returncode}", file=sys.stderr)
    text = f"{description(len(here), seen)}\n\n{page(found, len(here))}"
    print(text)
    put_part(PAGE, "gpu", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
