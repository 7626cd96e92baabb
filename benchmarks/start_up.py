"""How long it takes to import fanin and to be told what its commands do.

Every program in a process of its own, one core, the interpreter's own start included.
"""

import statistics
import sys

from benchmarks.command import run
from benchmarks.setting import Setting, duration, megabytes, table

BOUND = 0.3
HELD = {
    "python -c pass": ["-c", "pass"],
    "import fanin": ["-c", "import fanin"],
    "fanin --help": ["-m", "fanin", "--help"],
    "fanin train --help": ["-m", "fanin", "train", "--help"],
}
OTHERS = {
    "fanin starts": ["-m", "fanin", "starts"],
    "import numpy": ["-c", "import numpy"],
    "import jax": ["-c", "import jax"],
    "import fanin; fanin.fit": ["-c", "import fanin; fanin.fit"],
    "import torch": ["-c", "import torch"],
    "import fanin.torch": ["-c", "import fanin.torch"],
}


def measure(setting: Setting) -> str:
    import importlib.util

    programs = HELD if setting.quick else {**HELD, **OTHERS}
    if importlib.util.find_spec("torch") is None:
        programs = {name: program for name, program in programs.items() if "torch" not in name}
    found: dict[str, list[float]] = {name: [] for name in programs}
    memory: dict[str, int] = {}
    for _ in range(min(5, setting.rounds)):
        for name, program in programs.items():
            ran = run([sys.executable, *program], setting.one)
            found[name].append(ran.seconds)
            memory[name] = ran.peak
    rows = []
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        bound = ("yes" if middle <= BOUND else "**no**") if name in HELD else None
        rows.append([f"`{name}`", duration(middle), bound, megabytes(memory[name])])
    return table(["", "time", f"within {BOUND} s", "peak memory"], rows)
