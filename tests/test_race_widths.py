import math

import jax
import pytest

from fanin.corpus import Corpus, Words
from fanin.networks import CharacterMLP
from fanin.race import Lane, Run
from fanin.race.events import Width
from fanin.race.widths import choose_width, fastest_width, step_seconds, widths_to_try
from fanin.starts import find_start
from fanin.training import TrainingOptions

CORPUS = Corpus.of(Words.of([a + b + "n" for a in "abdefgk" for b in "aeio"]), block=2)
NETWORK = CharacterMLP(len(CORPUS.vocabulary), block=2, embedding=2, hidden=(4,))
LANES = (Lane("fanin", NETWORK, find_start("fanin"), TrainingOptions(steps=60, batch=4)),)
RUNS = [Run(0, seed) for seed in range(32)]


@pytest.mark.parametrize(
    ("runs", "memory", "widths"),
    [
        (1, 10**9, (1,)),
        (8, 10**9, (8,)),
        (20, 10**9, (8, 20)),
        (64, 10**9, (8, 32, 64)),
        (10_000, 10**9, (8, 32, 128, 512)),
        (10_000, 100 * 50, (8, 32, 50)),
        (10_000, 10, (1,)),
    ],
)
def test_no_width_is_tried_beyond_the_runs_and_the_memory(runs, memory, widths):
    assert widths_to_try(runs, 100, memory) == widths


@pytest.mark.parametrize(
    ("runs", "seconds", "width"),
    [
        # Where a step takes as long whatever the width, all at once; where each run adds as much
        # to it, as few as there may be.
        (64, lambda width: 1.0, 64),
        (64, lambda width: 1.0 * width, 8),
        (1_000, lambda width: 10.0 + width, 512),
        # A wider tile that gains a twentieth or less is not worth its memory.
        (64, lambda width: 0.3 + width, 8),
        # 40 runs are through after two tiles of 32 or one of 40, which takes longer than one.
        (40, lambda width: 10.0 + width, 40),
        (64, lambda width: math.inf if width > 8 else 1.0, 8),
    ],
)
def test_the_width_is_that_at_which_all_runs_are_through_first(runs, seconds, width):
    widths = widths_to_try(runs, 1, 10**9)
    found = fastest_width(widths, runs, seconds)
    assert found == Width(width, tuple((each, seconds(each)) for each in widths))


def test_one_width_alone_is_not_timed():
    assert fastest_width((3,), 100, lambda _: pytest.fail("timed")) == Width(3)


def test_on_a_cpu_a_width_is_fixed_and_elsewhere_it_is_timed(monkeypatch):
    assert choose_width(LANES, RUNS, CORPUS) == Width(1)
    monkeypatch.setattr("jax.default_backend", lambda: "elsewhere")
    monkeypatch.setattr("fanin.race.widths.memory_for_states", lambda: 10**9)
    monkeypatch.setattr("fanin.race.widths.WIDTHS", (1, 2))
    found = choose_width(LANES, RUNS, CORPUS)
    assert [width for width, _ in found.timed] == [1, 2]
    assert all(0 < seconds < 1 for _, seconds in found.timed)
    assert found.width in (1, 2)


def test_a_width_for_which_there_is_no_memory_takes_for_ever(monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr("fanin.race.widths.first_wave", full)
    assert step_seconds(LANES, RUNS[0], CORPUS, 2) == math.inf
