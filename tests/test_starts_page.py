"""docs/starts.md says what its command would say today, for a few of its cells."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fanin.networks import ACTIVATIONS
from fanin.starts import SCHEMES, find_start

ROOT = Path(__file__).parents[1]
FIGURES = re.compile(r"(\S+) / (\S+)(?: \(×(\S+)\))?")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("starts_page", ROOT / "scripts/starts_page.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    """The rows of the page: start, activation and depth to the cells after them."""
    rows, start = {}, ""
    for line in (ROOT / "docs" / "starts.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            start = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if start in SCHEMES and len(cells) == 6 and cells[1].isdigit():
            rows[start, cells[0], int(cells[1])] = cells[2:]
    return rows


def test_every_start_at_every_depth_with_every_activation(page, script):
    wanted = {(s, a, d) for s in SCHEMES for a in ACTIVATIONS for d in script.DEPTHS}
    assert set(page) == wanted


@pytest.mark.parametrize(
    ("start", "activation", "depth"),
    [
        ("fanin", "tanh", 5),
        ("kaiming-normal", "relu", 1),
        ("lsuv", "selu", 1),
    ],
)
def test_measured_and_expected_are_those_of_the_command(start, activation, depth, page, script):
    row = script.row(SCHEMES[start], activation, depth)
    assert row.agrees.all()
    for index, power in enumerate((0.5, 1, 1)):
        measured, expected, tolerance = map(
            float, FIGURES.match(page[start, activation, depth][index]).groups()
        )
        assert measured == pytest.approx(np.exp(row.measured[index] * power), rel=0.02)
        assert expected == pytest.approx(np.exp(row.expected[index] * power), rel=0.01)
        assert tolerance == pytest.approx(np.exp(row.tolerance[index] * power), rel=0.02)


def test_a_start_that_is_not_what_it_says_leaves_the_tolerance(script):
    network = script.network_of("tanh", 5)
    wrong = find_start("fanin:gain=1.4")
    measured = np.mean([script.measure(wrong, network, seed) for seed in range(4)], axis=0)
    row = script.row(SCHEMES["fanin"], "tanh", 5)
    assert (np.abs(measured - row.expected) > row.tolerance)[:2].all()


def test_measured_and_expected_agree_all_over_the_page(page):
    cells = [cell for row in page.values() for cell in row[:3]]
    assert len(cells) > 900
    assert [cell for cell in cells if "≠" in cell] == []


def test_the_page_shows_what_theory_calls_unstable(page):
    for activation in ACTIVATIONS:
        unstable = "**unstable** at 1" in page["fanin", activation, 20][3]
        assert unstable == (activation in ("gelu", "silu"))
        # Networks lie far from each other there, at the gain that keeps the moment in theory.
        tolerance = float(FIGURES.match(page["fanin", activation, 20][1])[3])
        assert (tolerance > 10) == unstable
