import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from fanin.corpus import Corpus, Words
from fanin.errors import OptionError, ShapeError
from fanin.networks import CharacterMLP
from fanin.race import Lane, Race, Results, Run, Tuning, course, race
from fanin.race.course import RECORD, best_rate
from fanin.race.events import Chunk, Finished, Opening, Resumed, Tuned
from fanin.race.lanes import program_of
from fanin.race.machine import this_machine
from fanin.race.record import RecordError, read_record
from fanin.race.run import evaluation_interval, heats
from fanin.race.waves import first_wave
from fanin.starts import find_start
from fanin.training import TrainingOptions, train

NAMES = [a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie")]
CORPUS = Corpus.of(Words.of(NAMES), block=2)
NETWORK = CharacterMLP(len(CORPUS.vocabulary), block=2, embedding=2, hidden=(4,))
OPTIONS = TrainingOptions(steps=60, batch=4)


def lane(start, name=None, network=NETWORK, **options):
    return Lane(name or start, network, find_start(start), replace(OPTIONS, **options))


LANES = (lane("fanin"), lane("kaiming-normal"))
RUNS = [Run(place, seed) for seed in range(4) for place in range(2)]


def losses(lanes, runs, **settings):
    """All numbers that each run gave: by run, a list by evaluation."""
    found = {run: [] for run in runs}
    for progress in race(lanes, runs, CORPUS, **settings):
        assert len(progress.runs) == len(progress.dev_loss)
        for place, run in enumerate(progress.runs):
            test = () if progress.test_loss is None else (progress.test_loss[place],)
            numbers = (progress.batch_loss[place], progress.dev_loss[place], *test)
            found[run].append((progress.step, *map(float, numbers)))
    return found


@pytest.fixture(scope="module")
def alone():
    return losses(LANES, RUNS[:2], evaluate_every=25)


@pytest.fixture(scope="module")
def in_company():
    return losses(LANES, RUNS, evaluate_every=25)


# --- a run's numbers and its company


def test_a_run_has_the_same_bits_in_any_company_and_order(alone, in_company):
    assert [numbers[0] for numbers in in_company[RUNS[0]]] == [0, 25, 50, 60]
    for run, numbers in alone.items():
        np.testing.assert_array_equal(np.concatenate(in_company[run]), np.concatenate(numbers))
    turned = losses(LANES[::-1], [Run(1 - run.lane, run.seed) for run in RUNS[::-1]])
    for run in RUNS:
        assert turned[Run(1 - run.lane, run.seed)][-1][2:] == in_company[run][-1][2:]


def test_in_tiles_of_several_runs_neither_company_nor_place_change_a_bit():
    many = losses(LANES, RUNS, tile=3)
    for few in (RUNS[:1], RUNS[5:2:-1]):
        for run, numbers in losses(LANES, few, tile=3).items():
            np.testing.assert_array_equal(np.concatenate(many[run]), np.concatenate(numbers))


def test_how_often_a_race_is_measured_changes_no_bit_of_its_end(in_company):
    seldom = losses(LANES, RUNS[:3], evaluate_every=60)
    for run, numbers in seldom.items():
        assert numbers[-1][2:] == in_company[run][-1][2:]


ELSEWHERE = """
import json, jax
jax.config.update("jax_num_cpu_devices", {devices})
from test_race import LANES, RUNS, losses
assert jax.device_count() == {devices}
found = losses(LANES, RUNS[:{runs}], evaluate_every=25)
print(json.dumps([[numbers[1:] for numbers in found[run]] for run in RUNS[:{runs}]]))
"""


def test_other_devices_in_another_process_give_the_same_bits(in_company):
    program = ELSEWHERE.format(devices=1 if jax.device_count() > 1 else 2, runs=3)
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{program}"],
        capture_output=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr.decode()
    here = [[list(numbers[1:]) for numbers in in_company[run]] for run in RUNS[:3]]
    # With NaN for the batch loss of step 0.
    assert repr(json.loads(done.stdout)) == repr(here)


def test_a_run_of_a_race_is_the_training_that_its_options_ask_for(in_company):
    options = replace(OPTIONS, seed=3)
    parameters = find_start("fanin")(NETWORK, jax.random.key(3))
    for progress in train(NETWORK, parameters, CORPUS, options):
        last = progress
    np.testing.assert_allclose(in_company[Run(0, 3)][-1][2], last.dev_loss, rtol=1e-5)


def test_a_seed_gives_all_starts_the_same_draws_and_the_same_batches():
    lanes = (lane("normal"), lane("fan-in"))
    runs = [Run(place, 5) for place in range(2)]
    program = program_of(lanes[0])
    wave = first_wave(lanes, program, runs, CORPUS, 2)
    normal, fan_in = (
        {name: np.asarray(array)[place] for name, array in wave.state["parameters"].items()}
        for place in range(2)
    )
    np.testing.assert_allclose(normal["output.weight"] / 2, fan_in["output.weight"], rtol=1e-6)
    np.testing.assert_array_equal(normal["embedding.weight"], fan_in["embedding.weight"])
    key = np.asarray(jax.random.key_data(wave.settings["key"]))
    np.testing.assert_array_equal(key[0], key[1])
    other = first_wave(lanes, program, [Run(0, 6)], CORPUS, 1)
    assert not np.array_equal(jax.random.key_data(other.settings["key"])[0], key[0])


def test_a_run_that_diverges_disturbs_no_other(in_company):
    lanes = (*LANES, lane("normal", "wild", lr=1e38))
    runs = [*RUNS[:2], Run(2, 0), Run(2, 1), *RUNS[2:4]]
    found = losses(lanes, runs, evaluate_every=25, tile=3)
    sound = losses(LANES, RUNS[:4], evaluate_every=25, tile=3)
    assert math.isnan(found[Run(2, 0)][-1][-1])
    for run in RUNS[:4]:
        assert found[run][-1] == sound[run][-1]
        assert math.isfinite(found[run][-1][-1])


def test_runs_move_together_as_far_as_memory_holds_them():
    size = NETWORK.parameter_count * 4 * 2
    assert heats(LANES, RUNS) == [tuple(RUNS)]
    assert heats(LANES, RUNS, 3 * size) == [tuple(RUNS[:3]), tuple(RUNS[3:6]), tuple(RUNS[6:])]
    assert heats(LANES, RUNS, 1) == [(run,) for run in RUNS]
    assert [evaluation_interval(steps) for steps in (0, 5, 2_000, 20_000, 200_000)] == [
        1,
        1,
        200,
        1024,
        5000,
    ]


# --- the course: a record, and a race that goes on


def raced(plan, folder=None, **settings):
    return list(course(plan, folder, **settings))


def numbers(events):
    """All that is not a time, each once, in any order."""
    found = set()
    for event in events:
        if isinstance(event, Chunk):
            dev = event.dev_loss
            for run, batch, loss in zip(event.runs, event.batch_loss, dev, strict=True):
                batch = None if batch is None or math.isnan(batch) else batch
                found.add((run, event.step, batch, loss))
        elif isinstance(event, Finished):
            found.add((event.run, "end", event.dev_loss, event.test_loss))
        elif isinstance(event, Tuned):
            found.add(event)
    return found


PLAN = Race(LANES, (0, 1, 2), CORPUS, evaluate_every=20)


@pytest.fixture(scope="module")
def whole():
    return raced(PLAN)


def test_the_course_begins_with_what_is_raced_and_ends_with_every_run(whole):
    opening, *events = whole
    assert isinstance(opening, Opening)
    assert (opening.lanes, opening.seeds) == (("fanin", "kaiming-normal"), (0, 1, 2))
    assert {"platform", "words", "split_seed", "lane fanin"} <= opening.options.keys()
    finished = [event for event in events if isinstance(event, Finished)]
    assert {event.run for event in finished} == {
        (place, seed) for place in (0, 1) for seed in range(3)
    }
    assert {event.step for event in events if isinstance(event, Chunk)} == {0, 20, 40, 60}


def test_a_race_that_was_closed_goes_on_with_the_same_numbers(tmp_path, whole):
    events = course(PLAN, tmp_path, checkpoint_seconds=0.0)
    seen = [next(events) for _ in range(15)]
    events.close()
    assert any(isinstance(event, Chunk) and event.step == 40 for event in seen)
    assert (tmp_path / "states.safetensors").exists()
    again = raced(PLAN, tmp_path)
    assert numbers(again) == numbers(whole)
    recorded = read_record(tmp_path / RECORD)
    assert numbers(recorded.events) == numbers(whole)
    # It went on from the checkpoint, and did not begin anew.
    resumed = next(i for i, e in enumerate(recorded.events) if isinstance(e, Resumed))
    steps = {e.step for e in recorded.events[resumed:] if isinstance(e, Chunk)}
    assert 0 not in steps
    assert 60 in steps
    # A third time there is nothing left to do.
    assert numbers(raced(PLAN, tmp_path)) == numbers(whole)
    assert sum(isinstance(e, Finished) for e in read_record(tmp_path / RECORD).events) == 6


def test_a_race_that_no_memory_holds_is_refused():
    huge = CharacterMLP(len(CORPUS.vocabulary), block=2, embedding=2, hidden=(10**10,))
    with pytest.raises(OptionError, match="one run of fanin needs"):
        next(course(Race((lane("fanin", network=huge),), (0,), CORPUS)))


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all"])
def test_a_checkpoint_that_is_damaged_costs_time_and_no_number(tmp_path, whole, content):
    events = course(PLAN, tmp_path, checkpoint_seconds=0.0)
    for _ in range(14):
        next(events)
    events.close()
    (tmp_path / "states.safetensors").write_bytes(content)
    assert numbers(raced(PLAN, tmp_path)) == numbers(whole)


KILLED = """
import sys
from test_race import CORPUS, LANES
from dataclasses import replace
from pathlib import Path
from fanin.race import Race, course
lanes = tuple(replace(lane, options=replace(lane.options, steps=40_000)) for lane in LANES)
plan = Race(lanes, (0, 1), CORPUS, evaluate_every=500)
if __name__ == "__main__":
    for event in course(plan, sys.argv[1], checkpoint_seconds=0.0):
        pass
"""


def test_a_race_that_was_killed_goes_on_with_the_same_numbers(tmp_path):
    folder = str(Path(__file__).parent)
    program = f"import sys; sys.path.insert(0, {folder!r})\n{KILLED}"
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    until = time.monotonic() + 120
    while not (tmp_path / "states.safetensors").exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed_after = len(read_record(tmp_path / RECORD).events)
    lanes = tuple(replace(one, options=replace(OPTIONS, steps=40_000)) for one in LANES)
    plan = Race(lanes, (0, 1), CORPUS, evaluate_every=500)
    after = raced(plan, tmp_path)
    assert 4 <= killed_after < len(after)
    assert numbers(after) == numbers(raced(plan))


def test_a_race_goes_on_with_the_width_that_it_was_begun_with(tmp_path, monkeypatch):
    monkeypatch.setattr("fanin.race.widths.tile_width", lambda: 3)
    begun = raced(PLAN)
    events = course(PLAN, tmp_path, checkpoint_seconds=0.0)
    for _ in range(10):
        next(events)
    events.close()
    monkeypatch.undo()
    again = raced(PLAN, tmp_path)
    assert numbers(again) == numbers(begun)
    assert Results(PLAN).add_all(again).tile == 3
    wave = next(event for event in again if isinstance(event, Chunk))
    assert len(wave.runs) == min(6, 3 * jax.device_count())


def test_a_race_tells_that_it_went_on_on_another_machine(tmp_path, monkeypatch):
    events = course(PLAN, tmp_path, checkpoint_seconds=0.0)
    for _ in range(14):
        next(events)
    events.close()
    here = this_machine()
    monkeypatch.setattr("fanin.race.plan.this_machine", lambda: replace(here, cpu="another one"))
    results = Results(PLAN).add_all(raced(PLAN, tmp_path))
    said = " ".join(results.document(results.judge()).notes)
    assert f"the same run may have other numbers: processor {here.cpu}, then another one." in said
    assert [machine.cpu for machine in results.machines] == [here.cpu, "another one"]
    # Only to look at what is on record is not to run.
    monkeypatch.undo()
    assert Results(PLAN).add_all(raced(PLAN, tmp_path)).machines == results.machines


def test_another_race_is_refused_in_the_same_folder(tmp_path, whole):
    events = course(PLAN, tmp_path)
    next(events)
    events.close()
    for other, name in (
        (replace(PLAN, seeds=(0, 1)), "seeds"),
        (replace(PLAN, lanes=(LANES[0], lane("kaiming-normal", lr=0.2))), "lane kaiming-normal"),
        (replace(PLAN, corpus=Corpus.of(Words.of(NAMES[1:]), block=2)), "words"),
    ):
        with pytest.raises(RecordError, match=f"another race: {name}.* was"):
            raced(other, tmp_path)
    with pytest.raises(RecordError, match="no folder for the record"):
        raced(PLAN, tmp_path / RECORD / "below")


# --- tuning


def test_every_lane_is_tuned_by_the_same_grid_on_seeds_of_its_own(tmp_path):
    tuning = Tuning((0.01, 0.3, 1e20), (7, 8))
    plan = replace(PLAN, tuning=tuning)
    events = raced(plan, tmp_path)
    first, second = (event for event in events if isinstance(event, Tuned))
    assert (first.lane, second.lane) == (0, 1)
    assert first.rates == second.rates == (0.01, 0.3, 1e20)
    assert first.seeds == (7, 8)
    assert first.rate == 0.3
    results = Results(plan).add_all(events)
    assert results.document(results.judge()).starts[0].tuned_lr == 0.3
    tuned = raced(
        replace(PLAN, lanes=tuple(replace(one, options=replace(OPTIONS, lr=0.3)) for one in LANES))
    )
    assert numbers(tuned) == {entry for entry in numbers(events) if not isinstance(entry, Tuned)}
    # What was tuned is not tuned again.
    again = raced(plan, tmp_path)
    assert sum(isinstance(event, Tuned) for event in again) == 2


def test_the_best_rate_is_the_lowest_mean_at_which_every_run_finished():
    nan = math.nan
    assert best_rate(((2.5, 2.6), (2.4, 2.5), (2.0, nan), (2.0, None), (1.0, 9.0)), 3.0) == 1
    assert best_rate(((nan,), (nan,)), 3.0) == 0
    # Where there is no such rate, the one at which most finished, then the lowest finite losses.
    assert best_rate(((2.0, nan), (2.4, 3.5), (2.2, 3.4), (nan, nan)), 3.0) == 2
    assert best_rate(((6.0, 7.0), (4.0, 5.0)), 3.0) == 1


def test_a_best_rate_at_the_edge_is_told():
    results = Results(replace(PLAN, tuning=Tuning((0.1, 0.2, 0.4))))
    results.add(Tuned(0, 0.4, (0.1, 0.2, 0.4), (7,), ((2.5,), (2.4,), (2.3,))))
    results.add(Tuned(1, 0.2, (0.1, 0.2, 0.4), (7,), ((2.5,), (2.3,), (2.4,))))
    assert list(results.at_edge()) == ["fanin"]
    assert results.never_finished() == []
    results.add(Tuned(1, 0.2, (0.1, 0.2), (7, 8), ((2.5, None), (2.3, 9.0))))
    assert results.never_finished() == ["kaiming-normal"]


def test_a_grid_goes_with_the_rate_that_the_optimiser_has():
    assert Tuning().rates_of(lane("fanin")) == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    assert Tuning().rates_of(lane("fanin", optimiser="adam"))[3] == 0.001


# --- results


def test_a_race_that_is_through_is_judged_on_test_losses(whole):
    results = Results(PLAN).add_all(whole)
    verdict = results.judge(reference="kaiming-normal")
    document = results.document(verdict, target=100.0)
    assert (verdict.judged_on, verdict.step, document.interim) == ("test", 60, False)
    ends = {event.run: event for event in whole if isinstance(event, Finished)}
    for place, start in enumerate(document.starts):
        assert start.test_loss == tuple(ends[place, seed].test_loss for seed in range(3))
        assert start.dev_loss == tuple(ends[place, seed].dev_loss for seed in range(3))
        assert start.steps_to_target.median == 0
    assert document.starts[1].verdict == "reference"
    assert document.seconds > 0


def test_a_race_on_the_way_is_judged_on_dev_losses_and_says_so(whole):
    cut = next(i for i, e in enumerate(whole) if isinstance(e, Chunk) and e.step == 60)
    results = Results(PLAN).add_all(whole[:cut])
    verdict = results.judge()
    document = results.document(verdict, target=0.0)
    assert (verdict.judged_on, verdict.step, document.interim) == ("dev", 40, True)
    assert document.starts[0].test_loss == (None, None, None)
    assert None not in document.starts[0].dev_loss
    assert document.starts[0].mean == pytest.approx(np.mean(document.starts[0].dev_loss))
    assert any("dev losses after step 40 of 60" in note for note in document.notes)
    assert document.starts[0].steps_to_target.median is None
    with pytest.raises(OptionError, match="nothing was measured"):
        Results(PLAN).judge()


def test_curves_have_every_measured_step_by_seed(whole):
    curves = Results(PLAN).add_all(whole).curves(1)
    assert curves.steps.tolist() == [0, 20, 40, 60]
    assert curves.dev_loss.shape == (3, 4)
    assert np.isnan(curves.batch_loss[:, 0]).all()
    assert np.isfinite(curves.batch_loss[:, 1:]).all()


# --- what makes no race


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lanes": ()}, "one lane or more"),
        ({"lanes": (LANES[0], LANES[0])}, "two lanes are called 'fanin'"),
        ({"lanes": (LANES[0], lane("normal", steps=61))}, "as many steps"),
        ({"seeds": ()}, "one seed or more"),
        ({"seeds": (1, 1)}, "twice"),
        ({"seeds": (-1,)}, "seeds are from 0"),
        ({"tuning": Tuning(seeds=(2,))}, "seed 2 is both for tuning and for the race"),
        ({"evaluate_every": 0}, "1 or more"),
    ],
)
def test_what_makes_no_race_is_refused(settings, message):
    with pytest.raises(OptionError, match=message):
        replace(PLAN, **settings)


def test_a_network_for_other_words_is_refused():
    with pytest.raises(ShapeError, match="the network of fanin has block=3 and the corpus 2"):
        replace(PLAN, lanes=(lane("fanin", network=replace(NETWORK, block=3)),))


@pytest.mark.parametrize("rates", [(0.1,), (0.1, 0.1), (0.1, -1.0), (0.1, math.inf)])
def test_rates_that_make_no_grid_are_refused(rates):
    with pytest.raises(OptionError, match="rate"):
        Tuning(rates)
