"""`python -m benchmarks`: its contests and its page; its figures are no test's business."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import PAGE, SECTIONS
from benchmarks.contest import Contestant, Failure, Place, Times, closing_all, take_turns
from benchmarks.page import put_part, read_part
from benchmarks.setting import SPACE, duration, table
from benchmarks.step import HAND_WRITTEN, agree

ROOT = Path(__file__).parents[1]
WORK = """
import os
class Counting:
    chunk = 3
    def __init__(self, name):
        if not name:
            raise ValueError("no name\\nand more")
        self.facts = {"name": name, "counts": [], "threads": os.environ["OMP_NUM_THREADS"]}
    def run(self, count):
        print("what a library prints")
        self.facts["counts"].append(count)
        sum(range(100_000))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "counting_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return "counting_work:Counting"


def test_contestants_measure_in_turns_in_processes_of_their_own(module):
    place = Place((max(os.sched_getaffinity(0)),), threads=3)
    group = {
        "alone": [Contestant(module, "a", at=place)],
        "two": [Contestant(module, name, at=place) for name in "bc"],
    }
    with closing_all(group):
        times = take_turns(group, rounds=3, seconds=0.001)
        assert all(each.peak > 2**20 for several in group.values() for each in several)
    assert group["two"][1].facts == {"name": "c", "counts": [3], "threads": "3"}
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in times.seconds.values())
    with pytest.raises(Failure, match=r"counting_work:Counting: ValueError: no name$"):
        Contestant(module, "", at=place)


def test_ratios_are_taken_within_a_round():
    times = Times({"a": [2.0, 40.0, 6.0], "b": [1.0, 10.0, 2.0]})
    assert times.median("a") == 6
    assert times.ratio("a", "b") == 3


def test_a_step_is_measured_only_of_those_that_agree_on_its_losses():
    agree({HAND_WRITTEN: {"losses": [3.0, 2.0]}, "other": {"losses": [3.00001, 2.0]}, "none": {}})
    with pytest.raises(ValueError, match=r"other: a loss of 2\.1"):
        agree({HAND_WRITTEN: {"losses": [3.0, 2.0]}, "other": {"losses": [3.0, 2.1]}})


def test_a_section_runs_and_its_modules_load_no_jax():
    program = f"""
import sys
from importlib import import_module
for name in {list(SECTIONS)}:
    assert import_module(f"benchmarks.{{name}}").measure, name
assert "jax" not in sys.modules and "torch" not in sys.modules
sys.argv = ["benchmarks", "start_up", "--quick"]
from benchmarks.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "`fanin --help` |" in done.stdout


def test_the_page_has_a_full_part_for_every_section(tmp_path):
    for name in ("machine", *SECTIONS):
        assert read_part(PAGE, name), name
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text())
    put_part(copy, "step", "another")
    assert read_part(copy, "step") == "another"
    assert read_part(copy, "race") == read_part(PAGE, "race")
    with pytest.raises(ValueError, match="0 parts with the name none"):
        put_part(copy, "none", "text")


def test_tables_and_times():
    assert table(["a", "b"], [["x", None]]) == "| a | b |\n| --- | ---: |\n| x | – |"
    times = [duration(t) for t in (2.34567e-5, 0.0123456, 0.9996, 12.3456, 123.4)]
    assert [time.replace(SPACE, " ") for time in times] == [
        "23.5 µs",
        "12.3 ms",
        "1.00 s",
        "12.3 s",
        "123 s",
    ]
