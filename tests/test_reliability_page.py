"""The page of what the diagnosis was held against: the figures that it must keep to."""

import re
from pathlib import Path

import pytest
from benchmarks.expected_verdicts import read_table, summary
from benchmarks.false_alarms import ACTIVATIONS, DEPTHS, STARTS, Rate

PAGE = (Path(__file__).parents[1] / "docs/diagnosis-reliability.md").read_text(encoding="utf-8")


def part(name):
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)[1]


def rows(name):
    lines = [line for line in part(name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_summary_is_that_of_the_table():
    assert part("expected verdicts") == summary(read_table())


def test_false_alarms_are_rarer_than_one_in_a_hundred_beyond_doubt():
    (whole,) = (row for row in rows("false alarms") if row[0] == "all")
    networks, alarms = int(whole[1].replace(",", "")), int(whole[2])
    assert networks >= 400 * len(STARTS) * len(ACTIVATIONS) * len(DEPTHS)
    high = Rate(networks, alarms).interval[1]
    assert high <= 0.01
    assert whole[4].endswith(f"to {high:.3%}")


def test_no_planted_fault_is_missed_at_any_width():
    header = part("planted faults").splitlines()[0]
    assert re.findall(r"width (\d+)", header) == ["32", "64", "128", "256", "512"]
    found = rows("planted faults")
    assert len(found) >= 18
    for name, *cells in found:
        for cell in cells:
            right, planted = map(int, cell.split(" of "))
            assert right == planted > 0, name


def test_the_exact_interval_of_a_rate():
    assert Rate(400, 0).interval == pytest.approx((0.0, 0.00918), abs=1e-5)
    low, high = Rate(400, 4).interval
    assert low == pytest.approx(0.00273, abs=1e-5)
    assert high == pytest.approx(0.02541, abs=1e-5)
