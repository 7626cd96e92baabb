"""A race and a map whose processes are killed or frozen: real processes, and none that hangs."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks.lost_processes import CASES, COMMANDS, TABLES, UNDER_WAY, lose, record_of

from fanin.cli import main

# Each of the eight cases once, and each kind of work with either count, victim and signal.
RACED = [case for case in CASES if (case[0] == 3) ^ (case[1] == 0) ^ (case[2] == signal.SIGKILL)]
SHARED = [("race" if case in RACED else "map", *case) for case in CASES]
KILLED = [case for case in SHARED if case[3] == signal.SIGKILL]
FROZEN = [case for case in SHARED if case[3] == signal.SIGSTOP]
MORE = {"race": ["--json"], "map": ["--plot", "map.svg"]}


def finished(work, table, *options):
    assert main([*COMMANDS[work], TABLES[work], str(table), "--quiet", *map(str, options)]) == 0
    return table.read_text()


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
            assert report["judged_at_step"] >= 500
            assert "what it had to do is missing from step" in told.errors
        else:
            assert "cells are missing, its share among them" in told.errors
            assert "written: map.svg" in told.out
            assert (tmp_path / "map.svg").stat().st_size > 1_000
    check_that_it_goes_on(work, tmp_path / "record", whole)


def test_a_process_that_freezes_ends_the_others_within_thirty_seconds(tmp_path, whole):
    folders = [tmp_path / str(place) for place in range(len(FROZEN))]
    # At once, since each takes some twenty seconds in which nothing is computed.
    with ThreadPoolExecutor(len(FROZEN)) as pool:
        waiting = [
            pool.submit(lose, *case, folder) for case, folder in zip(FROZEN, folders, strict=True)
        ]
        ends = [each.result() for each in waiting]
    for (work, count, victim, _), ended, folder in zip(FROZEN, ends, folders, strict=True):
        assert [each.place for each in ended] == [p for p in range(count) if p != victim]
        for each in ended:
            assert each.seconds < 30
            assert each.code in (1, -signal.SIGABRT), each.errors
        check_that_it_goes_on(work, folder, whole)
