import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import get_args

import pytest

import fanin.sampling
import fanin.trainer
from fanin import bundled_names
from fanin.cli import FAULT, MENDABLE, main
from fanin.cli.train import Schedule
from fanin.errors import FaninError
from fanin.model_file import load_model
from fanin.sampling import NoWordsToDraw
from fanin.training import options as training_options

NAMES = [a + b for a in "abcdefghjk" for b in ("ann", "lo", "rie", "sé")]
COMMAND = [sys.executable, "-m", "fanin"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a list of names in it."""
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *arguments):
    """The one message of a command that the user can mend."""
    assert main([*map(str, arguments)]) == MENDABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fanin: ")
    assert err.count("\n") == 1
    return err


# Whole processes.


def test_words_from_a_pipe_to_json_model_and_picture(folder):
    arguments = "train - --hidden 5,4 --embedding 3 --steps 30 --batch 4 --lr 0.2 --activation relu"
    arguments += " --eval-every 10 --seed 3 --split-seed 2 --plot losses.svg --out m --json"
    content = "\n".join([*NAMES, NAMES[0]]).encode()
    done = subprocess.run([*COMMAND, *arguments.split()], input=content, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"\n") == 1
    report = json.loads(done.stdout)
    assert report["schema"] == "fanin.train/1"
    expected = {"start": "fanin", "hidden": [5, 4], "embedding": 3, "block": 3, "steps": 30}
    expected |= {"batch": 4, "lr": 0.2, "activation": "relu", "eval_every": 10, "seed": 3}
    expected |= {"split_seed": 2, "schedule": "step"}
    assert expected.items() <= report["options"].items()
    assert (report["words"], report["duplicates"], report["steps"]) == (40, 1, 30)
    assert report["nonfinite"] == []
    assert report["steps_per_second"] > 0
    assert report["file"] == "m"
    model = load_model("m")
    assert report["vocabulary"] == len(model.vocabulary)
    assert report["parameters"] == model.network.parameter_count
    for name in ("initial", "train", "dev", "test"):
        assert report[f"{name}_loss"] == model.losses[name]
    assert len(report["names"]) == 10
    assert not set(report["names"]) & set(NAMES)
    assert model.history.dev_steps == (0, 10, 20, 30)
    assert model.words.source == "<stdin>"
    assert (folder / "losses.svg").read_text().startswith("<?xml")
    assert files(folder) == ["losses.svg", "m", "words.txt"]
    # No terminal and no ten seconds: a line at the beginning and one at the end.
    assert re.fullmatch(
        r"40 words \(<stdin>; 1 duplicates dropped\), [\d,]+ parameters, start fanin\n"
        r"step 30 of 30 · batch \d\.\d+ · dev \d\.\d+[^\n]*\n",
        done.stderr.decode(),
    )


@pytest.mark.parametrize("seconds", [0.25, 0.6, 1.2])
def test_an_interrupt_while_all_loads_ends_it(folder, seconds):
    process = subprocess.Popen(
        [*COMMAND, "train", "words.txt", "--steps", "900000000", "--out", "m"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("fanin: interrupted\n") or "interrupted at step" in err
    assert "Traceback" not in err
    assert not list(folder.glob(".fanin-*"))


def test_an_interrupt_on_a_terminal_keeps_the_model_trained_so_far(folder):
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", "words.txt", "--hidden", "4", "--steps", "900000000", "--live"],
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    try:
        while b"steps/s" not in seen:
            seen += os.read(controller, 65536)
        process.send_signal(signal.SIGINT)
        while b"interrupted at step" not in seen:
            seen += os.read(controller, 65536)
        out = process.communicate(timeout=60)[0].decode()
    finally:
        process.kill()
        os.close(controller)
    assert process.returncode == 130
    shown = seen.decode(errors="replace")  # the interrupt may have cut a character in two
    assert "\x1b[" in shown
    assert re.search(
        r"step [\d,]+ of 900,000,000 · batch \d\.\d+ · dev \d\.\d+ · [\d,]+ steps", shown
    )
    assert "the level line is log V" in shown
    steps = int(re.search(r"interrupted at step ([\d,]+) of", shown)[1].replace(",", ""))
    model = load_model("names.safetensors")
    assert model.steps == steps > 0
    assert None not in model.losses.values()
    assert "\x1b" not in out
    assert f"dev           {model.losses['dev']:.4f}" in out
    assert re.search(r"\n\d+ new words:\n(  \S+\n)+$", out)


def test_asking_for_help_imports_nothing_heavy():
    program = (
        "import sys; from fanin.cli import main\n"
        "for question in (['-h'], ['train', '-h'], ['sample', '--help'], ['--version'], []):\n"
        "    assert main(question) == 0\n"
        "heavy = {'jax', 'numpy', 'scipy', 'matplotlib', 'optax', 'safetensors', 'msgspec'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Example:")
    for name in ("start", "embedding", "block", "hidden", "activation", "batch", "steps", "lr"):
        assert f"--{name} " in done.stdout
    for name in ("schedule", "eval-every", "seed", "out", "plot", "json", "live", "prefix"):
        assert f"--{name} " in done.stdout


# What the user can mend.


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("trian", 'Did you mean "train"'),
        ("train --strat fanin", "Did you mean --start"),
        ("train --learning-rate=0.1", "Did you mean --lr?"),
        ("train -o model", "Did you mean --out?"),
        ("train --start fanim", "did you mean fanin"),
        ("train --schedule stpe", 'Did you mean "step"'),
        ("train --activation tahn", "activation 'tahn' is not known"),
        ("train --activation math:nothing", "cannot be imported"),
        ("train words.txt more.txt", "'more.txt' is one argument too many"),
        ("train --lr", "--lr requires an argument"),
        ("train --lr abc", "--lr"),
        ("train --lr nan", "lr must be a positive number; found nan"),
        ("train --lr -1", "lr must be a positive number; found -1"),
        ("train --lr 0", "lr must be a positive number; found 0"),
        ("train --steps -1", "steps must be from 0"),
        ("train --steps 1e3", "--steps"),
        ("train --steps 10000000000000000000000", "steps must be from 0"),
        ("train --batch 0", "batch must be from 1"),
        ("train --batch 100000000000", "batch must be from 1"),
        ("train --eval-every 0", "eval_every must be from 1"),
        ("train --seed -1", "seed must be from 0"),
        ("train --split-seed -1", "split_seed must be 0 or more"),
        ("train --embedding 0", "embedding must be a whole number of 1"),
        ("train --block 0", "block must be a whole number of 1"),
        ("train --block 10000000", "block"),
        ("train --hidden 0", "hidden must be a whole number of 1"),
        ("train --hidden 4,x", "'4,x' is no list of sizes"),
        ("train --hidden 4,,4", "'4,,4' is no list of sizes"),
        ("train --hidden 99999999999", "of memory, most of it for"),
        ("train missing.txt", "missing.txt: there is no such file"),
        ("train .", "is a directory"),
        ("train --start missing.safetensors", "missing.safetensors: cannot be read: no such file"),
        ("train --start words.txt", "words.txt: not a model file"),
        ("train --out missing/m", "--out missing/m: cannot be written: its folder does not exist"),
        ("train --out .", "--out .: cannot be written: is a folder"),
        ("train --out /dev/null", "is not a plain file"),
        ("train --plot losses.pdf", "losses.pdf: a picture is written as .svg or .png"),
        ("train --plot missing/l.svg", "missing/l.svg: the picture cannot be written"),
        ("train --plot m.svg --out m.svg", "--out and --plot are one file"),
        ("train words.txt --out words.txt", "would be written over what is read"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_written(
    folder, capsys, arguments, complaint
):
    assert complaint in refused(capsys, *arguments.split())
    assert files(folder) == ["words.txt"]


def test_a_run_that_diverges_writes_nothing(folder, capsys):
    arguments = ["train", "words.txt", "--hidden", "4", "--lr", "1e30", "--quiet", "--json"]
    assert "diverged in step" in refused(capsys, *arguments)
    assert files(folder) == ["words.txt"]


def test_a_run_that_ends_worse_than_it_began_is_remarked_on(folder, capsys):
    line = "train words.txt --hidden 4 --embedding 2 --block 2 --steps 50 --lr 100 --quiet"
    assert main(line.split()) == 0
    assert "training made the network worse" in capsys.readouterr().err
    assert main(line.replace("100", "0.1").split()) == 0
    assert capsys.readouterr().err == ""
    (folder / "few.txt").write_text("\n".join(bundled_names().words[:60]))
    line = "train few.txt --hidden 50 --embedding 8 --steps 1500 --lr 1 --quiet"
    assert main(line.split()) == 0
    assert "learnt its words by heart" in capsys.readouterr().err


def test_an_empty_name_is_no_file(folder, capsys):
    assert "--out is empty" in refused(capsys, "train", "words.txt", "--out", "")
    assert files(folder) == ["words.txt"]


@pytest.mark.parametrize("settings", [{"COLUMNS": "0"}, {"COLUMNS": "1"}, {"JAX_ENABLE_X64": "1"}])
def test_settings_of_other_programs_do_no_harm(folder, settings):
    line = "train words.txt --hidden 4 --steps 2 --quiet --out m"
    for arguments in (["train", "--help"], line.split()):
        subprocess.run(
            [sys.executable, "-m", "fanin", *arguments],
            env=os.environ | settings, check=True, capture_output=True, timeout=60,
        )  # fmt: skip


@pytest.mark.parametrize(
    "setting",
    ["JAX_PLATFORMS=nonsense", "JAX_DEFAULT_DEVICE=cpu:7", "JAX_ENABLE_COMPILATION_CACHE=maybe"],
)
def test_settings_that_jax_cannot_use_are_named(folder, setting):
    line = "train words.txt --steps 2 --quiet --out m"
    name, _, value = setting.partition("=")
    ended = subprocess.run(
        [sys.executable, "-m", "fanin", *line.split()],
        env=os.environ | {name: value}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == MENDABLE
    assert ended.stderr.startswith("fanin: JAX cannot ")
    assert setting in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (folder / "m").exists()


def test_a_fault_of_fanins_own_says_what_to_report(folder, capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("impossible")

    monkeypatch.setattr(fanin.trainer, "prepare", broken)
    assert main(["train", "words.txt"]) == FAULT
    out, err = capsys.readouterr()
    assert out == ""
    assert "a fault of fanin's own: RuntimeError: impossible" in err
    assert "report" in err
    assert "Traceback" in err


def test_training_on_from_a_model_file(folder, capsys):
    short = ["--steps", "5", "--quiet", "--json"]
    assert main(["train", "words.txt", "--hidden", "4", *short]) == 0
    first = json.loads(capsys.readouterr().out)
    # No list of words: the model's own. The file that is read may be the one that is written.
    assert main(["train", "--start", "names.safetensors", *short]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["options"]["start"] == "names.safetensors"
    assert second["options"]["hidden"] == [4]
    assert second["words"] == 40
    assert second["initial_loss"] == pytest.approx(first["dev_loss"])
    message = refused(capsys, "train", "--start", "names.safetensors", "--hidden", "9")
    assert "hidden is 9, and the model to start from has 4;" in message


def test_names_of_files_that_are_no_unicode(folder, capsysbinary):
    words = os.fsdecode(b"w\xff.txt")
    (folder / words).write_text("\n".join(NAMES))
    out = os.fsdecode(b"m\xfe")
    arguments = [words, "--out", out, "--steps", "1", "--hidden", "4", "--json"]
    assert main(["train", *arguments]) == 0
    assert json.loads(capsysbinary.readouterr().out)["file"] == "m\\udcfe"
    assert load_model(out).words.source == "w\\udcff.txt"


def test_choices_are_those_of_the_library():
    assert get_args(Schedule) == get_args(training_options.Schedule)
    assert issubclass(training_options.OptionError, FaninError)


def test_a_run_keeps_its_losses_where_no_word_can_be_drawn(folder, capsys, monkeypatch):
    def refuse(*arguments, **named):
        raise NoWordsToDraw("the model's logits are not finite")

    monkeypatch.setattr(fanin.sampling, "new_words", refuse)
    arguments = ["train", "words.txt", "--hidden", "4", "--steps", "20", "--quiet", "--json"]
    assert main([*arguments, "--out", "m.safetensors"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["names"] == []
    assert report["dev_loss"] > 0
    assert report["options"]["words"] == "words.txt"
    assert "logits are not finite" in err


@pytest.mark.parametrize("option", ["--steps", "--block", "--batch", "--eval-every", "--seed"])
def test_whole_numbers_are_not_rounded(folder, capsys, option):
    message = refused(capsys, "train", "words.txt", option, "1.5")
    assert f"Invalid value for {option}: '1.5' is no whole number. See" in message
