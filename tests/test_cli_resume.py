"""`fanin train --resume`, `--save-every`, `--lr auto`, and `fanin find-lr`."""

import json
from pathlib import Path

import numpy as np
import pytest

from fanin.cli import main
from fanin.model_file import load_model

SMALL = ["--embedding", "2", "--block", "2", "--hidden", "8", "--batch", "4", "--quiet"]


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["anna", "bob", "cara", "dora", "emil", "fritz", "gina", "hanna", "ida", "jan"]
    (tmp_path / "words.txt").write_text("\n".join(names))
    return "words.txt"


def test_a_run_goes_on_from_its_file(words, capsys):
    assert main(["train", words, *SMALL, "--steps", "30", "--schedule", "constant"]) == 0
    assert main(["train", "--resume", "names.safetensors", "--steps", "50", "--quiet"]) == 0
    whole = ["--steps", "50", "--schedule", "constant", "--out", "whole.safetensors"]
    assert main(["train", words, *SMALL, *whole]) == 0
    resumed, unbroken = load_model("names.safetensors"), load_model("whole.safetensors")
    assert resumed.steps == 50
    for name, array in unbroken.parameters.items():
        assert np.array_equal(array, resumed.parameters[name])
    capsys.readouterr()
    mistakes = {
        ("--resume", "names.safetensors", "--batch", "8"): "--batch and --resume exclude",
        ("--resume", "names.safetensors", "--steps", "20"): "only be raised",
        ("--resume", "names.safetensors"): "all 50 steps",
        ("--resume", "nowhere.safetensors"): "nowhere.safetensors",
    }
    for arguments, complaint in mistakes.items():
        assert main(["train", *arguments, "--quiet"]) == 2
        assert complaint in capsys.readouterr().err


def test_a_suggested_rate_is_that_of_the_finder(words, capsys):
    sweep = ["find-lr", words, *SMALL[:-1], "--steps", "60", "--plot", "rates.svg", "--json"]
    assert main(sweep) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "fanin.find-lr/1"
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert min(found["rates"]) <= found["suggestion"] <= max(found["rates"])
    assert "<svg" in Path("rates.svg").read_text()
    arguments = [*SMALL, "--steps", "5", "--lr", "auto", "--json"]
    assert main(["train", words, *arguments]) == 0
    output = capsys.readouterr()
    trained = json.loads(output.out)
    assert f"learning rate of {trained['options']['lr']:g}" in output.err


def test_where_no_rate_helped_none_is_suggested(words, capsys):
    wild = ["find-lr", words, *SMALL[:-1], "--steps", "20", "--start", "normal:gain=1e10"]
    assert main(wild) == 0
    assert capsys.readouterr().out.startswith("no rate lowered the loss, so that none is suggested")
    assert main([*wild, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suggestion"] is None


def test_words_are_not_drawn_over(words, capsys):
    kept = Path(words).rename("words.svg").read_bytes()
    assert main(["find-lr", "words.svg", "--plot", "words.svg"]) == 2
    assert "--plot words.svg would be written over what is read" in capsys.readouterr().err
    assert Path("words.svg").read_bytes() == kept


def test_rates_that_are_none(words, capsys):
    assert main(["train", words, "--lr", "fast"]) == 2
    assert "'fast' is no learning rate" in capsys.readouterr().err
    assert main(["find-lr", words, "--lowest", "1", "--highest", "0.1"]) == 2
    assert "rates must rise" in capsys.readouterr().err
