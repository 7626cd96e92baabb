"""What the same seed gives elsewhere: `python -m benchmarks.same_bits`.

One training in a process of its own under one condition after the other: again, with other hashes
of Python, on one core and on two, with fewer of the processor's instructions. Each model file is
compared with the first one's, byte by byte, and by its losses. The figures are in
docs/reliability.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fanin.model_file import Model, load_model

CONDITIONS: dict[str, tuple[int, dict[str, str]]] = {
    "one core": (1, {}),
    "one core, again": (1, {}),
    "one core, another hash seed": (1, {"PYTHONHASHSEED": "7"}),
    "one core, nothing kept compiled": (1, {"JAX_ENABLE_COMPILATION_CACHE": "false"}),
    "two cores": (2, {}),
    "two cores, again": (2, {}),
    "one core, AVX2 at most": (1, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}),
    "one core, SSE4.2 at most": (1, {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    asked = parser.parse_args()
    print("| | file | steps with the same loss | dev loss | largest difference of a parameter |")
    print("|---|---|---|---|---|")
    first: tuple[bytes, Model] | None = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "names.safetensors")
        for name, (cores, variables) in CONDITIONS.items():
            if cores > (os.cpu_count() or 1):
                continue
            _train(path, cores, variables, asked.steps)
            content, model = path.read_bytes(), load_model(path)
            first = first or (content, model)
            print(f"| {name} | {_compared(content, model, *first)} |", flush=True)


def _train(path: Path, cores: int, variables: dict[str, str], steps: int) -> None:
    subprocess.run(
        [sys.executable, "-m", "fanin", "train", "--steps", str(steps), "--out", str(path)],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, range(cores)),
        check=True,
    )


def _compared(content: bytes, model: Model, first: bytes, other: Model) -> str:
    losses, others = model.history.batch_losses, other.history.batch_losses
    unlike = np.flatnonzero(losses != others)
    same = f"all {losses.size:,}" if not unlike.size else f"{int(unlike[0]):,}"
    gap = max(
        float(np.abs(np.asarray(model.parameters[name]) - np.asarray(array)).max())
        for name, array in other.parameters.items()
    )
    whole = "the same" if content == first else "another"
    return f"{whole} | {same} | {model.losses['dev']:.6f} | {gap:.2g}"


if __name__ == "__main__":
    main()
