"""How the time of fanin's step grows with each of its sizes, all others as in 10/3/200/32.

A slope is that of the straight line through logarithms of size and time: 1 where time grows in
proportion. `from the middle on` leaves out the smaller sizes, where a step's fixed costs count.
"""

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.contest import Contestant, closing_all, take_turns
from benchmarks.setting import Setting, duration, table
from benchmarks.step_problem import Sizes, problem_files

BASE = Sizes(10, 3, 200, 32)
AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "batch": ("batch", (8, 32, 128, 512, 2048)),
    "width": ("hidden", (50, 200, 400, 800, 1600)),
    "depth": ("depth", (1, 2, 4, 8, 16)),
    "block": ("block", (1, 3, 8, 24, 64)),
    "vocabulary": ("vocabulary", (27, 108, 432, 1728, 6912)),
}
PICTURE = "growth.svg"


def measure(setting: Setting) -> str:
    found = {axis: of_axis(setting, axis) for axis in (["batch"] if setting.quick else AXES)}
    draw(found, setting.pictures / PICTURE)
    rows = [
        [
            axis,
            ", ".join(f"{size:,}: {duration(seconds)}" for size, seconds in times.items()),
            f"{slope(list(times.items())):.2f}",
            f"{slope(list(times.items())[(len(times) - 1) // 2 :]):.2f}",
        ]
        for axis, times in found.items()
    ]
    picture = (
        f"![The time of a step over each of its sizes, on logarithmic axes.](pictures/{PICTURE})"
    )
    return table(["", "a step", "slope", "from the middle on"], rows) + f"\n\n{picture}"


def of_axis(setting: Setting, axis: str) -> dict[int, float]:
    """Seconds of a step, by size."""
    field, sizes = AXES[axis]
    sizes = sizes[:2] if setting.quick else sizes
    every = [replace(BASE, **{field: size}) for size in sizes]
    with tempfile.TemporaryDirectory() as folder:
        files = problem_files(every, Path(folder), setting.one)
        contestants = {
            str(size): [Contestant("benchmarks.step_contenders:Fanin", path, at=setting.one)]
            for size, path in zip(sizes, files, strict=True)
        }
        with closing_all(contestants):
            times = take_turns(contestants, setting.rounds, setting.seconds(1.5))
    return {size: times.median(str(size)) for size in sizes}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line through the logarithms, by least squares."""
    x, y = ([math.log(number) for number in column] for column in zip(*points, strict=True))
    return statistics.linear_regression(x, y).slope


def draw(found: dict[str, dict[int, float]], path: Path) -> None:
    from fanin.pictures.figures import BLACK, GREY, new_figure, write_figure

    figure, axes = new_figure(7.2, 3.8)
    # Of Okabe and Ito's palette, which the colour-blind can tell apart.
    colours = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
    for (axis, times), colour, mark in zip(found.items(), colours, "osD^v", strict=False):
        microseconds = [1e6 * seconds for seconds in times.values()]
        axes.plot(list(times), microseconds, marker=mark, ms=4, color=colour, label=axis, lw=1.4)
    line = [20.0, 2_000.0]
    axes.plot(line, [2 * x for x in line], "--", color=GREY, lw=1, label="slope 1")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size", color=BLACK)
    axes.set_ylabel("a step (µs)", color=BLACK)
    axes.legend(frameon=False, labelcolor=BLACK, fontsize=9)
    path.parent.mkdir(exist_ok=True)
    write_figure(figure, path, salt="growth")
