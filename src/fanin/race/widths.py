"""How many runs a device trains side by side: the width of a tile, on which a run's bits hang.

On a CPU it is fixed, so that a run's bits depend on nothing that was timed. Elsewhere a few widths
are timed before a race, as far as the memory goes, and its record keeps the one that was chosen.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import jax

from fanin.corpus import Corpus
from fanin.race.devices import everywhere, memory_for_states, tile_width
from fanin.race.events import Width
from fanin.race.lanes import Lane, Run, grouped, program_of, state_bytes
from fanin.race.waves import first_wave

WIDTHS = (8, 32, 128, 512)
TIMED_STEPS = 64
TOLERANCE = 1.05
"""A wider tile must gain more than this factor: it takes more memory, and may stand half empty."""

Timer = Callable[[int], float]
"""From a width to the seconds that one step of a tile of it takes on each device."""


def choose_width(lanes: Sequence[Lane], runs: Sequence[Run], corpus: Corpus) -> Width:
    """The width for a race of these runs, chosen for the program that most of them share."""
    if jax.default_backend() == "cpu":
        return Width(tile_width())
    groups = grouped(lanes, runs).values()
    most = max(groups, key=lambda members: (len(members), _size(lanes, members)))
    count = -(-len(most) // jax.local_device_count())
    memory = memory_for_states() // jax.local_device_count()
    widths = widths_to_try(count, _size(lanes, most), memory)
    return fastest_width(widths, count, lambda width: step_seconds(lanes, most[0], corpus, width))


def widths_to_try(runs: int, size: int, memory: int) -> tuple[int, ...]:
    """Rising widths for so many runs on a device, each of `size` bytes of its `memory`."""
    most = max(1, min(runs, memory // size))
    return tuple(sorted({min(width, most) for width in WIDTHS}))


def fastest_width(widths: Sequence[int], runs: int, timer: Timer) -> Width:
    """The width at which a device is through with so many runs first; of about equal ones the
    narrowest. Nothing is timed where there is but one."""
    if len(widths) == 1:
        return Width(widths[0])
    seconds = {width: timer(width) for width in widths}
    return Width(_fastest(seconds, runs), tuple(seconds.items()))


def _fastest(seconds: Mapping[int, float], runs: int) -> int:
    whole = {width: -(-runs // width) * taken for width, taken in seconds.items()}
    least = min(whole.values())
    return min(width for width, taken in whole.items() if taken <= TOLERANCE * least)


def step_seconds(lanes: Sequence[Lane], run: Run, corpus: Corpus, width: int) -> float:
    """Seconds that one step takes of a tile of so many repeats of a run, on every device at once.

    Infinite where the memory does not hold them.
    """
    program, steps = program_of(lanes[run.lane]), 2 * TIMED_STEPS
    data = jax.device_put((corpus.train.contexts, corpus.train.targets), everywhere())
    try:
        wave = first_wave(lanes, program, [run], corpus, width * jax.local_device_count())
        wave, _ = wave.train(data, 0, TIMED_STEPS, steps)  # compiles
        began = time.perf_counter()
        wave.train(data, TIMED_STEPS, steps, steps)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return math.inf
    return (time.perf_counter() - began) / TIMED_STEPS


def _size(lanes: Sequence[Lane], members: Sequence[Run]) -> int:
    return state_bytes(lanes[members[0].lane])
