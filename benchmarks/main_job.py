"""The time of the main job: `fanin train` at its defaults, from the command to the file it writes.

`python -m benchmarks.main_job` runs it on one core, first with an empty folder of compiled programs
and then with what that run left there, in several rounds. `steps` are the 200,000 steps with the
dev losses between them, and in the first row what they compile.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.one_core import keep_to_one_core


def run(folder: Path, steps: int) -> tuple[float, float]:
    """Seconds of the whole command, and of the steps in it."""
    command = [sys.executable, "-m", "fanin", "train", "--quiet", "--json"]
    options = ["--steps", str(steps), "--out", str(folder / "model.safetensors")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, *options], check=True, capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - begin
    return seconds, steps / json.loads(done.stdout)["steps_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200_000)
    given = parser.parse_args()
    print(f"core {keep_to_one_core()}, {given.steps:,} steps, medians of {given.rounds} rounds")
    found: dict[str, list[tuple[float, float]]] = {"nothing compiled yet": [], "once more": []}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for times in found.values():
                times.append(run(Path(folder), given.steps))
    print("| | whole command, s | its steps, s |\n|---|---|---|")
    for name, times in found.items():
        whole, steps = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| {name} | {whole:.1f} | {steps:.1f} |")


if __name__ == "__main__":
    main()
