import json
import math
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from fanin.cli import FAULT, MENDABLE, main
from fanin.cli.diagnose import FAILED
from fanin.diagnosis.document import read_document
from fanin.diagnosis.of_run import diagnose_run
from fanin.model_file import load_model
from fanin.pictures.annotations import annotations
from fanin.pictures.report_terminal import print_report
from fanin.trainer import prepare

# The keys that the issue lists, and that other programs may count on.
KEYS = {"schema", "verdict", "loss", "expected_loss", "layers", "checks", "prescriptions"}
LAYER_KEYS = {
    "name",
    "kind",
    "fan_in",
    "weight_std",
    "gain",
    "nonlinearity",
    "preactivation_std",
    "activation_std",
    "predicted_activation_std",
    "saturated_share",
    "zero_share",
    "dead_units",
    "example_correlation",
    "gradient_second_moment",
}
CHECK_KEYS = {"name", "verdict", "value", "expected", "layers", "text", "source"}
PRESCRIPTION_KEYS = {"parameter", "change", "code", "reason"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def printed(capsys, command, code=0):
    assert main(["diagnose", *command.split()]) == code
    return capsys.readouterr()


@pytest.fixture(scope="module")
def run():
    return prepare(start="normal")


@pytest.fixture(scope="module")
def report(run):
    return diagnose_run(run)


# What it must show.


def test_the_lessons_bad_start_is_told_and_put_right(folder, capsys):
    out = printed(capsys, "--start normal --fix --out mended.safetensors --json --html r.html").out
    assert out.count("\n") == 1
    told = json.loads(out)
    assert told["schema"] == "fanin.diagnose/1"
    assert told.keys() >= KEYS
    assert told["verdict"] == "bad"
    assert 24 < told["loss"] < 30
    assert told["expected_loss"] == pytest.approx(math.log(27))
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert all(layer.keys() >= LAYER_KEYS for layer in layers.values())
    assert layers["hidden.0"]["saturated_share"] == pytest.approx(0.70, abs=0.04)
    assert layers["hidden.0"]["fan_in"] == 30
    bad = {check["name"]: check for check in told["checks"] if check["verdict"] == "bad"}
    assert {"loss", "logits", "saturation"} <= bad.keys()
    assert all(check.keys() >= CHECK_KEYS for check in told["checks"])
    made = {each["parameter"]: each for each in told["prescriptions"]}
    assert all(each.keys() >= PRESCRIPTION_KEYS for each in made.values())
    factor = made["hidden.0.weight"]["number"]
    wanted = 1 / math.sqrt(30)
    assert factor * layers["hidden.0"]["weight_std"] == pytest.approx(wanted, rel=1e-3)
    after = told["after"]
    assert after.keys() == told.keys()
    assert after["verdict"] == "good"
    # Four seed standard deviations (0.009) about log V + ½ (1 − 1/V) Var(logit), of facts.md.
    variance = after["output"]["output_variance"]
    assert after["loss"] == pytest.approx(math.log(27) + 0.5 * (26 / 27) * variance, abs=0.036)
    # The page and the model file.
    assert files(folder) == ["mended.safetensors", "r.html"]
    assert "After the prescriptions" in (folder / "r.html").read_text()
    model = load_model("mended.safetensors")
    assert (model.steps, model.start) == (0, "normal, fixed")
    assert float(model.parameters["hidden.0.weight"].std()) == pytest.approx(wanted, rel=1e-3)
    assert (
        main(["train", "--start", "mended.safetensors", "--steps", "3", "--quiet", "--json"]) == 0
    )
    trained = json.loads(capsys.readouterr().out)
    assert trained["initial_loss"] == pytest.approx(after["loss"], abs=0.02)
    again = json.loads(printed(capsys, "--model mended.safetensors --json").out)
    assert again["loss"] == pytest.approx(after["loss"], rel=1e-6)
    assert again["after"] is None


def test_what_is_printed_for_people(capsys):
    out = printed(capsys, "--start normal --seed 3").out
    assert "hidden 200" in out
    assert re.search(r"✗ bad: \d bad", out)
    assert out.index("✗ bad     saturation") < out.index("hidden.0.weight")
    assert 'parameters["output.weight"] = parameters["output.weight"] * 0.0' in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 100


@pytest.mark.parametrize("name", ["README.md", "docs/reading-a-report.md"])
def test_what_the_documentation_shows_is_what_is_printed(name, report, capsys):
    """Line by line, but for digits that another processor may round otherwise."""
    report.fixed()
    print_report(report)
    text = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
    block = re.search(r"\$ fanin diagnose --start normal --fix.*\n\n((?: {4}.*\n|\n)+)", text)[1]
    promised = [without_digits(line) for line in textwrap.dedent(block).strip().splitlines()]
    printed = iter([without_digits(line) for line in capsys.readouterr().out.splitlines()])
    assert len(promised) > 30
    # In this order, each found after the one before it.
    assert [line for line in promised if line != "…" and line not in printed] == []


def without_digits(line):
    return re.sub(r"[\d.,–e-]+", "#", " ".join(line.split()))


def test_the_options_of_the_network_make_the_network(capsys):
    shape = "--hidden 20,20,20 --embedding 5 --block 2 --activation relu --norm batch --residual"
    told = json.loads(printed(capsys, f"{shape} --lr 0.01 --batch 512 --split-seed 3 --json").out)
    assert told["examples"] == 512
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert layers["hidden.0"]["weight_shape"] == [10, 20]
    assert layers["hidden.2.normalisation"]["normalisation"] == "batch"
    assert layers["hidden.2.normalisation"]["nonlinearity"] == "relu"
    weight = layers["output"]["parameters"][0]
    ratio = math.log10(0.01 * weight["gradient_to_data"])
    assert weight["update_to_data"] == pytest.approx(ratio, rel=1e-4)
    assert "sum" in {layer["kind"] for layer in told["layers"]}


def test_words_may_be_the_users_own(folder, capsys):
    (folder / "words.txt").write_text("\n".join(a + b for a in "abcdefgh" for b in ("an", "lo")))
    told = json.loads(printed(capsys, "words.txt --hidden 8 --json").out)
    assert told["output"]["classes"] == 12
    assert told["examples"] < 100


# The gate.


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--start normal --fail-on bad", FAILED),
        ("--start normal --fail-on suspect", FAILED),
        ("--start normal", 0),
        ("--start fanin --fail-on suspect", 0),
        # Judged as it would be written.
        ("--start normal --fix --fail-on suspect", 0),
    ],
)
def test_the_exit_code_of_the_gate(command, code, capsys):
    printed(capsys, command, code)


def test_a_suspect_network_fails_only_where_that_is_asked(capsys, report, monkeypatch):
    suspect = replace(
        report, checks=tuple(replace(each, verdict="suspect") for each in report.checks)
    )
    monkeypatch.setattr("fanin.diagnosis.of_run.diagnose_run", lambda *_, **__: suspect)
    printed(capsys, "--fail-on bad", 0)
    printed(capsys, "--fail-on suspect", FAILED)


def test_annotations_of_a_workflow(capsys, report):
    out = printed(capsys, "--start normal --format github --fail-on bad", FAILED).out
    lines = out.splitlines()
    assert lines == annotations(report)
    assert len(lines) == sum(check.verdict != "good" for check in report.checks)
    pattern = r"::(error|warning) title=fanin%3A [\w ]+ \([^:,]+\)::[^\n]+"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert lines[0].startswith("::error ")
    assert "%25" in out


def test_annotations_escape_and_name_the_line_where_it_is_known(report):
    layers = tuple(replace(layer, place="net/model.py:17") for layer in report.recording.layers)
    check = replace(report.checks[0], name="a:b", layers=("hidden.0",), text="50%\nof,all")
    placed = replace(report, recording=replace(report.recording, layers=layers), checks=(check,))
    (line,) = annotations(placed)
    assert "title=fanin%3A a%3Ab (hidden.0),file=net/model.py,line=17::50%25%0Aof,all" in line


# What the user can mend.


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("--start nrmal", "did you mean normal"),
        ("--out m.safetensors", "--out m.safetensors is for the mended start; add --fix"),
        ("--fix --out missing/m", "--out missing/m: cannot be written: its folder does not exist"),
        ("--html missing/r.html", "--html missing/r.html: cannot be written: its folder"),
        ("--fix --out r --html r", "--out and --html are one file"),
        ("words.txt --html words.txt", "words.txt would be written over what is read"),
        ("--json --format github", "--json and --format github exclude each other"),
        ("--format gitlab", '"github"'),
        ("--fail-on good", "--fail-on"),
        ("--model m --start normal", "--model and --start exclude each other"),
        ("--model missing.fanin", "--model missing.fanin: there is no such file"),
        ("--model normal", "--model normal: there is no such file"),
        ("--batch 1", "batch must be from 2 to 4,096 examples here; found 1"),
        ("--batch 5000", "batch must be from 2 to 4,096"),
        ("--lr 0", "lr must be a positive number"),
        ("missing.txt", "missing.txt: there is no such file"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_written(
    folder, capsys, command, complaint
):
    (folder / "words.txt").write_text("anna\nlo\n" * 10)
    told = printed(capsys, command, MENDABLE)
    assert told.out == ""
    assert complaint in told.err
    assert told.err.startswith("fanin: ")
    assert told.err.count("\n") == 1
    assert files(folder) == ["words.txt"]


def test_a_fault_of_fanins_own_is_no_verdict(capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("impossible")

    monkeypatch.setattr("fanin.diagnosis.of_run.diagnose_run", broken)
    assert "impossible" in printed(capsys, "--fail-on bad", FAULT).err


def test_asking_for_help_imports_nothing_heavy():
    program = (
        "import sys; from fanin.cli import main\n"
        "for question in (['diagnose', '-h'], ['diff', '--help']):\n"
        "    assert main(question) == 0\n"
        "heavy = {'jax', 'numpy', 'scipy', 'matplotlib', 'msgspec'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("model", "fix", "out", "html", "json", "format", "fail-on", "batch", "norm"):
        assert f"--{name} " in done.stdout


# From Python.


def test_the_document_comes_back_as_it_was_written(report):
    document = read_document(report.to_json())
    assert document.verdict == report.verdict
    assert document.checks == report.checks
    assert document.layers[1].dead_units == report.recording.layers[1].dead_units
    assert json.loads(report.to_json()) == report.to_dict()


def test_examples_are_spread_over_the_training_set(run, report):
    few = diagnose_run(run, examples=2)
    assert few.recording.examples == 2
    assert report.recording.examples == 4096
    first = run.corpus.train.targets[:4096]
    assert report.subject.targets.tolist() != first.tolist()
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (a == b).all(), report.subject.parameters, run.state.parameters)
    )


def test_the_first_update_is_that_of_the_optimiser_asked_for(capsys):
    told = json.loads(printed(capsys, "--optimizer adam --json").out)
    (one,) = (layer for layer in told["layers"] if layer["name"] == "hidden.0")
    (weight, *_) = one["parameters"]
    # Adam's first step is its rate, whatever the gradient.
    wanted = math.log10(0.001 / weight["data"]["std"])
    assert weight["update_to_data"] == pytest.approx(wanted, abs=0.01)
