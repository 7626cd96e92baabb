"""Everything that fanin is measured by, side by side on this machine.

`python -m benchmarks` runs it all and writes docs/benchmarks.md; with names it runs those sections
and replaces their parts of the page. `--quick` only checks that everything runs, in sizes that say
nothing, and writes no page.
"""

import argparse
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from benchmarks.machine import description
from benchmarks.page import put_part, read_part
from benchmarks.setting import Setting

SECTIONS = {
    "step": "a training step beside JAX by hand, PyTorch and NumPy, and the notebook's loop",
    "shares": "what the compiled step spends its time on",
    "growth": "how a step grows with batch, width, depth, block and vocabulary",
    "race": "many runs at once, beside PyTorch's ways",
    "maps": "the cells of a map",
    "examples": "building examples of 10,000 to 10,000,000 words",
    "sampling": "drawing 10,000 words",
    "costs": "a diagnosis beside the plain pass, fanin's networks and PyTorch modules",
    "main_job": "the main job, cold and warm, and its memory",
    "start_up": "imports and help",
}
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(f"  {name:10} {what}" for name, what in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="sections; left out: all")
    parser.add_argument("--quick", action="store_true", help="a check; prints, writes no page")
    parser.add_argument("--rounds", type=int, default=9, help="of each contest, at most")
    parser.add_argument("--cores", help="which to run on: 0,1 (default: the last two allowed)")
    parser.add_argument("--page", type=Path, default=PAGE, help="(default: docs/benchmarks.md)")
    given = parser.parse_args()
    if strange := sorted(set(given.names) - set(SECTIONS)):
        parser.error(f"no section has the name {', '.join(strange)}; {', '.join(SECTIONS)} have")
    names = given.names or list(SECTIONS)
    try:
        cores = _cores(given.cores)
    except ValueError:
        parser.error(f"--cores {given.cores}: give numbers of cores that this process may use, 0,1")
    if not given.quick and not given.page.is_file():
        parser.error(f"--page {given.page}: there is no such page; name a copy of {PAGE.name}")
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) if given.quick else given.page.parent / "pictures"
        setting = Setting(cores, given.quick, pictures, given.rounds)
        if not given.quick:
            machine = description(len(cores), setting.gpus)
            if set(names) < set(SECTIONS) and read_part(given.page, "machine") not in ("", machine):
                parser.error(f"{given.page} was made on another machine; run all, or name a copy")
            put_part(given.page, "machine", machine)
        for name in names:
            began = time.perf_counter()
            text = import_module(f"benchmarks.{name}").measure(setting)
            print(f"## {name}\n\n{text}\n", flush=True)
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if not given.quick:
                put_part(given.page, name, text)
    return 0


def _cores(text: str | None) -> tuple[int, ...]:
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 1]
    if text is not None:
        asked = tuple(int(part) for part in text.split(","))
        if not set(asked) <= set(allowed):
            raise ValueError
        return asked
    return tuple(allowed[-2:])


if __name__ == "__main__":
    raise SystemExit(main())
