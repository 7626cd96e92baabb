"""`fanin map`: what it prints and writes, what it refuses, and what an interrupt leaves."""

import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest

import fanin.map
from fanin.cli import INTERRUPTED, MENDABLE, main

NAMES = [a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie")]
SETTINGS = "--width 5 --embedding 2 --block 2"
SMALL = f"words.txt --x gain=0.5:2.5:4 --y depth=1:6:3 {SETTINGS} --quiet"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a list of names in it."""
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text):
    return main(["map", *text.split()])


def test_a_map_is_drawn_and_told_in_numbers(folder, capsysbinary):
    outputs = "--plot m.svg --plot m.png --data m.csv --data m.npz --out record --json"
    assert run(f"{SMALL} --steps 6 --batch 4 {outputs}") == 0
    out, err = capsysbinary.readouterr()
    assert err == b""
    report = json.loads(out, parse_constant=pytest.fail)
    assert (report["schema"], report["complete"], report["cells"]) == ("fanin.map/1", True, 12)
    assert np.shape(report["values"]) == np.shape(report["theory"]["xi_c"]) == (3, 4)
    assert [point["x"] for point in report["boundary"]] == report["x"]["values"]
    assert {"rank_correlation", "columns"} <= report["agreement"]["xi_c"].keys()
    assert report["blind_loss"] > report["bigram_loss"]
    rows = list(csv.DictReader((folder / "m.csv").read_text().splitlines()))
    assert len(rows) == 12
    with np.load(folder / "m.npz") as grids:
        assert float(rows[0]["dev_loss"]) == grids["dev_loss"][0, 0]
        np.testing.assert_array_equal(grids["value"], report["values"])
    svg = (folder / "m.svg").read_text()
    assert "gain" in svg
    assert "depth" in svg
    assert "share learnt" in svg
    assert (folder / "m.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "record" / "map.jsonl").read_bytes().count(b"\n") == 13


def test_an_interrupt_leaves_what_is_there(folder, capsys, monkeypatch):
    explore = fanin.map.explore

    def interrupted(plan, out, **rest):
        for count, cell in enumerate(explore(plan, out, **rest)):
            if count == 5:
                raise KeyboardInterrupt
            yield cell

    monkeypatch.setattr(fanin.map, "explore", interrupted)
    text = f"{SMALL} --measure saturation --out record --plot m.png --json"
    assert run(text) == INTERRUPTED
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["complete"], report["cells"]) == (False, 5)
    assert err == "fanin: interrupted at 5 of 12 cells\n"
    assert (folder / "m.png").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run(f"{SMALL} --measure saturation --out record") == 0
    assert "12 cells" in capsys.readouterr().out


def test_a_map_that_was_killed_goes_on(folder):
    text = f"words.txt --x gain=0.5:2:6 --y depth=1:6:6 {SETTINGS} --steps 1000 --out record"
    process = subprocess.Popen([sys.executable, "-m", "fanin", "map", *text.split(), "--quiet"])
    record = folder / "record" / "map.jsonl"
    until = time.monotonic() + 120
    while not (record.exists() and record.read_bytes().count(b"\n") > 5):
        assert process.poll() is None
        assert time.monotonic() < until
    process.kill()
    process.wait()
    lines = record.read_bytes().count(b"\n")
    assert lines < 37
    assert run(f"{text} --data again.csv --quiet") == 0
    # Only what was missing was computed: each cell has one line, and the going on one more.
    assert record.read_bytes().count(b"\n") == 38
    assert run(f"{text.replace('--out record', '')} --data whole.csv --quiet") == 0
    assert (folder / "again.csv").read_bytes() == (folder / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--x gian=1:2:3", "did you mean gain"),
        ("--x gain=1:2:3 --y sigma_w=1:2:3", "two different ones"),
        ("--gain 2", "gain is the axis --x and an option"),
        ("--measure trainde", "did you mean trained"),
        ("--activation tanj", "did you mean tanh"),
        ("--plot map.gif", ".svg or .png"),
        ("--data map.txt", ".csv or .npz"),
        ("--plot m.png --plot ./m.png", "one file"),
        ("--depht 3", "--depth"),
        ("--lr 0", "lr must be above 0"),
        ("--batch 1", "batch must be 2 or more"),
        ("--measure saturation --steps 5", "--steps is of training"),
        ("--measure correlation --lr 0.2", "--lr is of training"),
    ],
)
def test_what_the_user_can_mend_is_one_message(folder, capsys, text, message):
    assert run(f"words.txt {text}") == MENDABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["words.txt"]
