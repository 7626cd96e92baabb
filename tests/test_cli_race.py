import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import pytest

from fanin.cli import MENDABLE, main

NAMES = [a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie")]
SMALL = "--hidden 4 --embedding 2 --block 2 --batch 4 --steps 40 --seeds 3 --eval-every 20"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a list of names in it."""
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *arguments):
    """The one message of a command that the user can mend."""
    assert main(["race", *map(str, arguments)]) == MENDABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fanin: ")
    assert err.count("\n") == 1
    return err


def test_a_race_gives_json_csv_and_a_page_and_goes_on_from_its_folder(folder, capsysbinary):
    arguments = [
        "race",
        "words.txt",
        *SMALL.split(),
        "--start",
        "fanin",
        "--start",
        "glorot-normal",
    ]
    arguments += [
        "--out",
        "record",
        "--json",
        "--csv",
        "r.csv",
        "--html",
        "r.html",
        "--target",
        "3",
    ]
    assert main(arguments) == 0
    out, err = capsysbinary.readouterr()
    assert out.count(b"\n") == 1
    report = json.loads(out, parse_constant=pytest.fail)
    assert (report["schema"], report["reference"], report["seeds"]) == ("fanin.race/1", "fanin", 3)
    assert (report["steps"], report["interim"], report["judged_on"]) == (40, False, "test")
    assert report["seconds"] > 0
    assert [machine["versions"]["jax"] for machine in report["machines"]] == [jax.__version__]
    assert report["tile"] == 1
    assert {"platform", "lane fanin", "lane glorot-normal"} <= report["options"].keys()
    keys = {"name", "dev_loss", "test_loss", "mean", "interval", "difference", "verdict", "level"}
    keys |= {"difference_interval", "paired_seeds", "diverged", "tuned_lr", "steps_to_target"}
    for start in report["starts"]:
        assert keys <= start.keys()
        assert len(start["dev_loss"]) == len(start["test_loss"]) == 3
    assert report["starts"][0]["verdict"] == "reference"
    assert "84 words (words.txt; 0 duplicates dropped), 2 starts × 3 seeds" in err.decode()
    rows = list(csv.DictReader((folder / "r.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["fanin", "glorot-normal"]
    assert float(rows[1]["test_loss_2"]) == report["starts"][1]["test_loss"][2]
    page = (folder / "r.html").read_text()
    assert page.count("<svg") == 2
    assert "log V, a blind guess" in page
    assert "http" not in re.sub(
        r'(xmlns|xmlns:xlink|rdf:resource)="[^"]*"|<metadata>.*?</metadata>',
        "",
        page,
        flags=re.DOTALL,
    )
    before = (folder / "record" / "race.jsonl").read_bytes()

    assert main(arguments) == 0
    again = json.loads(capsysbinary.readouterr().out)
    assert again["starts"] == report["starts"]
    added = (folder / "record" / "race.jsonl").read_bytes().removeprefix(before)
    assert added.count(b"\n") == 1
    assert b'"kind":"resumed"' in added


def test_axes_cross_the_starts_and_the_table_has_a_row_for_each(folder, capsys):
    axes = ["--axis", "activation=tanh,relu", "--axis", "lr=0.1,0.3", "--reference"]
    arguments = [
        "race",
        "words.txt",
        *SMALL.replace("--seeds 3", "--seeds 1").split(),
        "--start",
        "fanin",
        *axes,
    ]
    assert main([*arguments, "fanin activation=relu lr=0.3", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for activation in ("tanh", "relu"):
        for lr in ("0.1", "0.3"):
            assert f"fanin activation={activation} lr={lr}" in out
    assert re.search(r"fanin activation=relu lr=0\.3 .* reference", out)
    assert "undecided" in out


def test_tuning_tells_the_rate_it_chose_and_warns_at_the_edge(folder, capsys):
    tune = ["--tune-lr", "--rates", "0.0001,0.3", "--tuning-seeds", "1"]
    arguments = ["race", "words.txt", *SMALL.split(), "--start", "fanin", "--start", "fan-in"]
    assert main([*arguments, *tune]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"fan-in .* 0\.3 ", out)
    assert "fanin: the best rate of fanin, 0.3, is at the edge of its grid" in err
    assert "is the highest that was tried" in " ".join(out.split())


def test_an_interrupt_gives_an_interim_verdict_and_the_race_goes_on(folder):
    small = SMALL.replace("--steps 40 --seeds 3 --eval-every 20", "--steps 4000000 --seeds 2")
    command = [sys.executable, "-m", "fanin", "race", "words.txt", *small.split()]
    command += ["--lr", "0.01", "--eval-every", "500", "--out", "record"]
    command += ["--start", "fanin", "--start", "glorot-normal"]
    process = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    record = folder / "record" / "race.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (
        record.exists() and b'"step":1500' in record.read_bytes()
    ):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(rb"interrupted at step [\d,]+ of 4,000,000", err)
    report = json.loads(out)
    assert report["interim"]
    assert report["judged_on"] == "dev"
    assert report["judged_at_step"] >= 500
    assert report["starts"][1]["test_loss"] == [None, None]
    assert report["starts"][1]["paired_seeds"] == 2
    assert any(note.startswith("Interim:") for note in report["notes"])


def test_what_cannot_be_raced_is_told_before_anything_is_trained(folder, capsys):
    start = ("words.txt", "--start", "fanin")
    assert "did you mean fanin?" in refused(capsys, "words.txt", "--start", "fannin")
    assert "two lanes are called 'fanin'" in refused(capsys, *start, "--start", "fanin")
    assert "give its values" in refused(capsys, *start, "--axis", "lr")
    assert "the axis lr has no values" in refused(capsys, *start, "--axis", "lr=")
    assert "did you mean depth?" in refused(capsys, *start, "--axis", "dept=1,2")
    assert "takes whole numbers from 1 up; found '0'" in refused(
        capsys, *start, "--axis", "depth=0"
    )
    assert "activation=fish" in refused(capsys, *start, "--axis", "activation=fish")
    assert "--seeds 0" in refused(capsys, *start, "--seeds", 0)
    assert "seeds are from 0" in refused(capsys, *start, "--first-seed", -1)
    assert "--rates are for tuning" in refused(capsys, *start, "--rates", "0.1,0.2")
    assert "give one of the two" in refused(capsys, *start, "--tune-lr", "--axis", "lr=0.1,1")
    assert "give numbers" in refused(capsys, *start, "--tune-lr", "--rates", "a,b")
    assert "'normal' is not in the race" in refused(capsys, *start, "--reference", "normal")
    assert "margin is 0.0" in refused(capsys, *start, "--margin", 0)
    assert "--target nan: give a dev loss" in refused(capsys, *start, "--target", "nan")
    assert "level is 2.0" in refused(capsys, *start, "--level", 2)
    assert "written over" in refused(capsys, *start, "--csv", "words.txt")
    assert "are one file" in refused(capsys, *start, "--csv", "a", "--html", "a")
    assert "its folder does not exist" in refused(capsys, *start, "--html", "none/a.html")
    assert "no folder for the record" in refused(capsys, *start, "--out", "words.txt")
    assert sorted(path.name for path in folder.iterdir()) == ["words.txt"]


def test_help_on_a_race_imports_nothing_heavy():
    program = (
        "import sys; from fanin.cli import main\n"
        "code = main(['race', '--help'])\n"
        "heavy = {'jax', 'numpy', 'scipy', 'matplotlib', 'rich.live'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"fanin race --start fanin" in done.stdout
