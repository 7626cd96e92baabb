import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fanin.cli import MENDABLE, app, main
from fanin.cli.output import print_json, printable
from fanin.corpus import Words
from fanin.model_file import save_model
from fanin.sampling import sample
from fanin.trainer import fit
from fanin.training import TrainingOptions

NAMES = [a + b for a in "abcdefghjk" for b in ("ann", "lo", "rie", "sé")]


@pytest.fixture(scope="module")
def model():
    return fit(Words.of(NAMES), options=TrainingOptions(steps=400, batch=8), hidden=(8,))


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    save_model(model, path)
    return str(path)


def test_a_line_for_each_word_says_what_it_is(model, path, capsys):
    assert main(["sample", path, "-n", "40", "--seed", "2"]) == 0
    out, err = capsys.readouterr()
    names = {"new": "new", "train": "in the training data", "held out": "held out (dev or test)"}
    expected = [(made.word, names[made.known]) for made in sample(model, 40, seed=2)]
    assert [tuple(line.split(maxsplit=1)) for line in out.splitlines()] == expected
    assert {kind for _, kind in expected} == set(names.values())
    assert err.startswith("40 words: ")


def test_json_of_a_process(model, path):
    arguments = ["sample", path, "--count=7", "--prefix", "b", "--temperature", "0.5", "--json"]
    done = subprocess.run([sys.executable, "-m", "fanin", *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    report = json.loads(done.stdout)
    made = sample(model, 7, prefix="b", temperature=0.5)
    assert report["schema"] == "fanin.sample/1"
    assert [word["word"] for word in report["words"]] == [each.word for each in made]
    assert [word["known"] for word in report["words"]] == [each.known for each in made]
    assert sum(report["counts"].values()) == 7
    assert report["file"] == path
    assert report["nonfinite"] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-n", "0"], "number of words, is from 1"),
        (["-n", "-5"], "number of words, is from 1"),
        (["-n", "99999999999"], "number of words, is from 1"),
        (["--temperature", "nan"], "temperature is 0 or a positive number; found nan"),
        (["--temperature", "-1"], "temperature is 0 or a positive number"),
        (["--seed", "-1"], "seed is from 0"),
        (["--prefix", "B"], "try 'b'"),
        (["--prefix", "-"], "the prefix '-' holds '-'"),
        (["--prefix", "\x1b[2J"], r"holds '\x1b'"),
        (["--temprature", "1"], "Did you mean --temperature"),
        (["--activation", "relu"], "trained with the activation 'tanh'"),
    ],
)
def test_mistakes_are_told_in_one_line(path, capsys, arguments, complaint):
    assert main(["sample", path, *arguments]) == MENDABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_model_that_is_none(tmp_path, capsys):
    assert main(["sample", str(tmp_path)]) == MENDABLE
    assert "is a directory" in capsys.readouterr().err
    assert main(["sample"]) == MENDABLE
    assert "MODEL" in capsys.readouterr().err


def test_a_cut_word_is_marked(model, tmp_path, capsys):
    bias = np.array(model.parameters["output.bias"])
    bias[0] = -50
    endless = replace(model, parameters={**model.parameters, "output.bias": bias})
    save_model(endless, tmp_path / "m")
    assert main(["sample", str(tmp_path / "m"), "-n", "1"]) == 0
    assert "…" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_fault(path):
    command = f'"{sys.executable}" -m fanin sample "{path}" -n 20000 | head -n 1'
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], capture_output=True
    )
    assert done.returncode == 141
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_nothing_that_is_printed_upsets_a_terminal():
    assert printable("zoë mary-ann o'neil 李") == "zoë mary-ann o'neil 李"
    assert printable("\x1b[2J\u202eanna\u2028\x85") == "\\x1b[2J\\u202eanna\\u2028\\x85"


def test_numbers_that_are_not_finite_are_null_and_named(capsysbinary):
    print_json("s/1", {"a": float("nan"), "b": {"c": [1.0, float("inf")]}, "d": "é", "e": None})
    report = json.loads(capsysbinary.readouterr().out)
    assert report == {
        "schema": "s/1",
        "a": None,
        "b": {"c": [1.0, None]},
        "d": "é",
        "e": None,
        "nonfinite": ["a", "b.c.1"],
    }


def test_completion_knows_commands_options_and_choices():
    script = app.generate_completion(shell="bash")
    for expected in ("train", "sample", "--temperature", "--schedule", "constant"):
        assert expected in script
