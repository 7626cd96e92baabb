import io
import json
import sys

import jax
import pytest

from fanin.cli import MENDABLE, main
from fanin.cli.diff import FAILED
from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.of_network import diagnose
from fanin.networks import CharacterMLP
from fanin.starts import find_start


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A network, the same again, with another seed, and with one weight ten times as large."""
    folder = tmp_path_factory.mktemp("reports")
    corpus = Corpus.of(bundled_names())
    examples = corpus.train.contexts[:1024], corpus.train.targets[:1024]
    network = CharacterMLP(27, hidden=(50, 50))
    for name, seed, factor in (("a", 0, 1), ("same", 0, 1), ("seed", 1, 1), ("wide", 1, 10)):
        parameters = dict(find_start("fanin")(network, jax.random.key(seed)))
        parameters["hidden.1.weight"] = parameters["hidden.1.weight"] * factor
        (folder / name).write_bytes(diagnose(network, parameters, *examples).to_json())
    return folder


@pytest.fixture(autouse=True)
def folder(reports, monkeypatch):
    monkeypatch.chdir(reports)


def printed(capsys, command, code=0):
    assert main(["diff", *command.split()]) == code
    return capsys.readouterr()


def test_a_refactor_that_changed_nothing_has_moved_nothing(capsys):
    out = printed(capsys, "a same --fail-on moved").out
    assert "Nothing moved: all 25 numbers are equal but for rounding." in out


def test_another_seed_has_moved_nothing_beyond_the_seeds_spread(capsys):
    out = printed(capsys, "a seed --fail-on moved").out
    assert "None of 25 numbers moved beyond the seeds' spread" in out
    told = json.loads(printed(capsys, "a seed --json").out)
    assert told["schema"] == "fanin.diff/1"
    assert (told["moved"], told["moves"], told["compared"]) == (False, [], 25)
    assert told["same"] < 10


def test_a_weight_ten_times_as_large_is_found_where_it_is(capsys):
    out = printed(capsys, "a wide --fail-on moved", FAILED).out
    first = next(line for line in out.splitlines() if line.startswith("hidden.1"))
    assert "hidden.1" in first
    told = json.loads(printed(capsys, "a wide --json --fail-on worse", FAILED).out)
    assert told["after"] != "good"
    moved = {(move["layer"], move["name"]): move for move in told["moves"]}
    assert {("hidden.1", "weight_std"), ("hidden.1", "saturated_share")} <= moved.keys()
    weight = moved["hidden.1", "weight_std"]
    assert weight["after"] / weight["before"] == pytest.approx(10, rel=0.1)
    # What comes before it forward is as it was.
    assert ("hidden.0", "activation_std") not in moved
    assert [move["deviations"] for move in told["moves"]] == sorted(
        (move["deviations"] for move in told["moves"]), reverse=True
    )
    assert {change["name"] for change in told["checks"]} >= {"gain"}


def test_a_better_verdict_is_not_a_worse_one(capsys):
    printed(capsys, "wide a --fail-on worse", 0)
    printed(capsys, "wide a --fail-on moved", FAILED)


def test_one_report_may_come_from_standard_input(capsys, monkeypatch, reports):
    content = io.TextIOWrapper(io.BytesIO((reports / "a").read_bytes()))
    monkeypatch.setattr(sys, "stdin", content)
    assert "Nothing moved" in printed(capsys, "- same").out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "odd: is no report of fanin diagnose --json"),
        (b"{}", "odd: is no report of fanin diagnose --json"),
        (b"\xff\xfe", "odd: is no report of fanin diagnose --json"),
        (b"[" * 100_000, "odd: is no report of fanin diagnose --json"),
        (None, "odd: cannot be read: no such file or directory"),
    ],
)
def test_what_is_no_report_is_told_in_one_line(capsys, reports, content, complaint):
    (reports / "odd").unlink(missing_ok=True)
    if content is not None:
        (reports / "odd").write_bytes(content)
    told = printed(capsys, "a odd", MENDABLE)
    assert told.out == ""
    assert complaint in told.err
    assert told.err.count("\n") == 1


def test_a_report_of_another_schema_is_refused(capsys, reports):
    report = json.loads((reports / "a").read_text())
    (reports / "odd").write_text(json.dumps({**report, "schema": "fanin.diagnose/99"}))
    assert "fanin.diagnose/99" in printed(capsys, "a odd", MENDABLE).err


def test_both_reports_cannot_come_from_standard_input(capsys):
    assert "give a file for one" in printed(capsys, "- -", MENDABLE).err
