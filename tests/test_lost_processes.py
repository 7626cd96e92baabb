"""A race and a map whose processes are killed or frozen: real processes, and none that hangs."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks.lost_processes import CASES, COMMANDS, TABLES, UNDER_WAY, free_port, lose, record_of

from fanin.cli import main

# Each of the eight cases once, and each kind of work with either count, victim and signal.
RACED = [case for case in CASES if (case[0] == 3) ^ (case[1] == 0) ^ (case[2] == signal.SIGKILL)]
SHARED = [("race" if case in RACED else "map", *case) for case in CASES]
KILLED = [case for case in SHARED if case[3] == signal.SIGKILL]
FROZEN = [case for case in SHARED if case[3] == signal.SIGSTOP]
# Of the benchmark's race a good third, in as many parts almost.
SHORTER = {"--steps": "7500", "--eval-every": "250"}
MORE = {"race": ["--json"], "map": ["--plot", "map.svg"]}


def finished(work, table, *options):
    assert main([*COMMANDS[work], TABLES[work], str(table), "--quiet", *map(str, options)]) == 0
    return table.read_text()


@pytest.fixture(scope="module", autouse=True)
def shorter_race():
    command = [*COMMANDS["race"]]
    for option, value in SHORTER.items():
        command[command.index(option) + 1] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMMANDS, "race", command)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The numbers of each kind of work that nothing befalls."""
    folder = tmp_path_factory.mktemp("whole")
    return {work: finished(work, folder / f"{work}.csv") for work in COMMANDS}


def check_that_it_goes_on(work, folder, whole):
    """The record is readable, what is in it stays, and the rest comes to the same numbers."""
    record = record_of(work, folder)
    begun = [line for line in record.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert len(begun) >= UNDER_WAY
    assert all(json.loads(line)["crc"] for line in begun)
    assert finished(work, folder / "again.csv", "--out", folder) == whole[work]
    assert record.read_bytes().startswith(b"".join(begun[:UNDER_WAY]))


def test_a_process_that_freezes_ends_the_others_within_thirty_seconds(tmp_path, request):
    folders = [tmp_path / str(place) for place in range(len(FROZEN))]
    # At once, since each takes some twenty seconds in which nothing is computed; what they are
    # compared with meanwhile.
    with ThreadPoolExecutor(len(FROZEN)) as pool:
        waiting = [
            pool.submit(lose, *case, folder) for case, folder in zip(FROZEN, folders, strict=True)
        ]
        whole = request.getfixturevalue("whole")
        ends = [each.result() for each in waiting]
    for (work, count, victim, _), ended, folder in zip(FROZEN, ends, folders, strict=True):
        assert [each.place for each in ended] == [p for p in range(count) if p != victim]
        for each in ended:
            assert each.seconds < 30
            assert each.code in (1, -signal.SIGABRT), each.errors
        check_that_it_goes_on(work, folder, whole)


@pytest.mark.parametrize(("work", "count", "victim", "how"), KILLED)
def test_a_process_that_is_killed_ends_the_others_within_five_seconds(
    tmp_path, monkeypatch, whole, work, count, victim, how
):
    monkeypatch.chdir(tmp_path)
    ended = lose(work, count, victim, how, tmp_path / "record", *MORE[work])
    assert [each.place for each in ended] == [place for place in range(count) if place != victim]
    for each in ended:
        assert each.seconds < 5
        # By itself, or by JAX's own abort.
        assert each.code in (1, -signal.SIGABRT), each.errors
    if victim:
        told = ended[0]
        assert told.code == 1
        assert f"fanin: process {victim} (127.0.0.1) of {count} has ended; " in told.errors
        if work == "race":
            report = json.loads(told.out)
            assert report["interim"]
            assert report["judged_at_step"] >= 250
            assert "what it had to do is missing from step" in told.errors
        else:
            assert "cells are missing, its share among them" in told.errors
            assert "written: map.svg" in told.out
            assert (tmp_path / "map.svg").stat().st_size > 1_000
    check_that_it_goes_on(work, tmp_path / "record", whole)


SHARED = """
import os, sys
import fanin
from fanin.race import Lane, Race, course, join
from fanin.race.events import Chunk, Finished, Later

address, processes, process, ends = sys.argv[1], *map(int, sys.argv[2:])
with join(address, processes, process) as team:
    corpus = fanin.Corpus.of(fanin.bundled_names())
    network = fanin.CharacterMLP(len(corpus.vocabulary), embedding=2, hidden=(4,))
    options = fanin.TrainingOptions(steps=600, batch=4)
    lanes = [Lane(name, network, fanin.find_start(name), options) for name in ("fanin", "normal")]
    plan = Race(tuple(lanes), seeds=(0, 1, 2), corpus=corpus, evaluate_every=100)
    # A checkpoint after each stretch.
    for event in course(plan, "record", processes=team, checkpoint_seconds=0.0):
        if process == 1 and isinstance(event, Chunk) and event.step == ends:
            os._exit(9)
        if process == 0 and isinstance(event, Chunk):
            print("chunk", event.step, *event.runs)
        if process == 0 and isinstance(event, Finished):
            print("end", event.run, event.dev_loss, event.test_loss)
"""


def shared(count, folder, ends=-1):
    """What process 0 prints of a race that so many processes share; the second may end early."""
    folder.mkdir(exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, address, str(count), str(place), str(ends)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in range(count)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    codes = [process.returncode for process in processes]
    assert (codes == [0] * count) == (ends < 0), said
    return said[0][0].splitlines()


def ends_of(lines):
    return sorted(line for line in lines if line.startswith("end"))


def test_a_race_of_several_processes_has_the_bits_of_one_and_goes_on_from_its_checkpoint(tmp_path):
    alone = shared(1, tmp_path / "alone")
    assert len(ends_of(alone)) == 6
    assert ends_of(shared(2, tmp_path / "two")) == ends_of(alone)
    begun = shared(2, tmp_path / "lost", ends=400)
    assert not ends_of(begun)
    # Three processes then train what is missing: nothing before the last checkpoint, and the
    # first is written as soon as anything is.
    gone_on = shared(3, tmp_path / "lost")
    assert ends_of(gone_on) == ends_of(alone)
    fresh = gone_on[len(begun) :]
    steps = {int(line.split()[1]) for line in fresh if line.startswith("chunk")}
    assert 100 not in steps
    assert 600 in steps
