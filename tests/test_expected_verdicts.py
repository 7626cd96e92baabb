"""The table of expected verdicts: it is whole, says what it must, and some of it is tried.

All of it, at the width and on the examples that it was made with: `python -m
benchmarks.expected_verdicts`.
"""

from dataclasses import replace

import pytest
from benchmarks.expected_verdicts import Cell, all_cells, read_table, some_examples

TABLE = {expected.cell: expected for expected in read_table()}
GOOD_STARTS = ("fanin", "lsuv", "orthogonal:gain=forward,output=0.1")
KEEP_THEIR_SCALE = ("identity", "tanh", "relu", "gelu", "silu", "selu")
NARROW = 48


@pytest.fixture(scope="module")
def examples():
    return some_examples()


def test_the_table_has_every_cell_once():
    assert len(read_table()) == len(TABLE)
    assert TABLE.keys() == set(all_cells())


def test_the_table_calls_good_what_is_good_by_theory():
    for activation in KEEP_THEIR_SCALE:
        for start in GOOD_STARTS:
            for depth in (1, 2, 5):
                assert TABLE[Cell(start, activation, None, depth)].verdicts == ("good",)


def test_the_table_flags_sigmoid_beyond_depth_two_and_the_starts_that_cannot_learn():
    for cell, expected in TABLE.items():
        deep_sigmoid = cell.activation == "sigmoid" and cell.depth > 2
        if deep_sigmoid and cell.normalisation is None:
            assert "good" not in expected.verdicts, cell
        if cell.start in ("normal", "constant"):
            assert "good" not in expected.verdicts, cell


def test_what_trains_hardly_at_all_is_flagged_or_said_to_be_missed():
    for cell, expected in TABLE.items():
        if expected.behind == "diverged" or float(expected.behind) >= 0.3:
            customary = cell.activation == "sigmoid" and cell.depth == 2
            assert expected.verdicts != ("good",) or customary, cell
        assert not (expected.missed and "good" in expected.verdicts)


@pytest.mark.parametrize(("depth", "activation"), [(2, "relu"), (5, "sigmoid")])
def test_a_sample_of_the_table_is_what_the_diagnosis_says(depth, activation, examples):
    """Flagged or not: in narrow networks, which are quick, faults are milder than the table's."""
    judged = 0
    for cell, expected in TABLE.items():
        if (cell.depth, cell.activation, cell.normalisation) != (depth, activation, None):
            continue
        if expected.verdicts == ("good",) or "good" not in expected.verdicts:
            report = replace(cell, width=NARROW).report(0, *examples)
            assert (report.verdict == "good") == ("good" in expected.verdicts), cell
            judged += 1
    assert judged >= 9
