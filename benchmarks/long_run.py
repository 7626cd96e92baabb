"""Memory of the main job over 10,000,000 steps: `python -m benchmarks.long_run`, some ten minutes.

A process of its own trains, and the system is asked once a second how much of it is in memory. The
losses, a float32 for each step, have their room from the beginning; the line fitted to the second
half of the run says what grows. Its figures are in docs/reliability.md.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=10_000_000)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(watched(asked.steps, Path(folder)), indent=1))


def watched(steps: int, folder: Path) -> dict[str, object]:
    """Memory in MiB by share of the run's time, and the slope of its second half."""
    command = [sys.executable, "-m", "fanin", "train", "--quiet", "--json"]
    command += ["--steps", str(steps), "--save-every", str(max(1, steps // 10))]
    command += ["--out", str(folder / "long.safetensors")]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    seen: list[tuple[float, float]] = []
    while process.poll() is None:
        if (memory := resident(process.pid)) is not None:
            seen.append((time.perf_counter() - began, memory))
        time.sleep(1.0)
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    assert process.returncode == 0
    assert report["steps"] == steps
    seconds, memory = np.array(seen).T
    training = report["seconds"]
    first = seconds[-1] - training  # imports, words and the like come before
    within = (seconds > first) & (seconds < first + 0.98 * training)
    done = (seconds - first) / training * steps
    half = within & (done > steps / 2)
    slope = np.polyfit(done[half], memory[half], 1)[0] if half.sum() > 2 else float("nan")
    shares = (0.05, 0.25, 0.5, 0.75, 0.97)
    return {
        "steps": steps,
        "seconds": round(training, 1),
        "steps_per_second": round(report["steps_per_second"]),
        "MiB_by_share": {s: round(float(np.interp(s * steps, done, memory)), 1) for s in shares},
        "peak_MiB": round(float(memory.max()), 1),
        "bytes_a_step_in_the_second_half": round(float(slope) * 2**20, 2),
        "dev_loss": report["dev_loss"],
    }


def resident(process: int) -> float | None:
    """MiB of the process that are in memory; None where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmRSS:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


if __name__ == "__main__":
    main()
