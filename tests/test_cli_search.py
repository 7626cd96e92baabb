import json
import re
import signal
import subprocess
import sys
import time

import pytest

from fanin.cli import MENDABLE, main
from fanin.starts import SCHEMES, load_scheme, save_scheme

NAMES = [a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie")]
SMALL = "words.txt --hidden 4 --embedding 2 --block 2 --batch 4 --steps 600 --budget 40 --seeds 2"
SMALL += (
    " --candidates 6 --tuning-seeds 1 --rates 0.1,0.3 --start normal:gain=50 --start orthogonal"
)
SMALL += " --activation tanh,relu --norm none"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a list of names in it."""
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *arguments):
    """The one message of a command that the user can mend."""
    assert main([*map(str, arguments)]) == MENDABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fanin: ")
    assert err.count("\n") == 1
    return err


def test_a_search_writes_a_start_that_every_command_takes(folder, capfd):
    arguments = ["search", *SMALL.split(), "--out", "record"]
    assert main([*arguments, "--plot", "search.svg"]) == 0
    out, err = capfd.readouterr()
    assert "84 words (words.txt; 0 duplicates dropped), 6 candidates on 2 rungs" in err
    assert "6 candidates, 2 by name and 4 drawn from seed 0" in " ".join(out.split())
    assert "written: found.json, search.svg" in out
    assert "candidates after 200 steps" in (folder / "search.svg").read_text()
    command = re.search(r"^  fanin (train .*)$", out, re.MULTILINE)[1].split()
    assert main([*arguments, "--json", "--quiet", "--scheme", "again.json"]) == 0
    out, err = capfd.readouterr()
    assert (err, out.count("\n")) == ("", 1)
    report = json.loads(out, parse_constant=pytest.fail)
    assert (report["schema"], report["interim"]) == ("fanin.search/1", False)
    assert report["comparisons"][0]["verdict"] in ("better", "worse", "equivalent", "undecided")
    assert report["spent"] <= report["budget"] == 40
    assert (folder / "again.json").read_bytes() == (folder / "found.json").read_bytes()

    command[command.index("--steps") + 1] = "20"
    assert main([*command, "--quiet", "--json"]) == 0
    out, err = capfd.readouterr()
    assert (err, json.loads(out)["options"]["start"]) == ("", "found.json")
    made_for = load_scheme("found.json").made_for
    other = "gelu" if made_for.activation != "gelu" else "silu"
    sizes = [
        "words.txt",
        "--hidden",
        "4",
        "--embedding",
        "2",
        "--block",
        "2",
        "--activation",
        other,
    ]
    told = f"the start found.json was made for {made_for.activation}"
    for name, *more in (
        ("race", "--start", "found.json:gain=1", "--seeds", "2", "--steps", "20", "--quiet"),
        ("diagnose", "--json"),
        ("find-lr", "--steps", "10", "--batch", "4"),
    ):
        assert main([name, *sizes, "--start", "found.json", *more]) == 0
        assert told in capfd.readouterr().err


def test_an_interrupted_search_tells_how_it_stands(folder):
    slow = SMALL.replace("--steps 600", "--steps 90000")
    command = [sys.executable, "-m", "fanin", "search", *slow.split(), "--out", "record", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    record, until = folder / "record" / "search.jsonl", time.monotonic() + 120
    while not (record.exists() and b'"kind":"rung"' in record.read_bytes()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"interrupted after" in err
    report = json.loads(out)
    assert (report["interim"], report["winner"], report["scheme"]) == (True, None, None)
    assert len(report["rungs"]) == 1
    assert not (folder / "found.json").exists()


def test_what_cannot_be_searched_is_told_before_anything_is_trained(folder, capsys):
    def told(*options, **changed):
        small = SMALL
        for name, value in changed.items():
            small = re.sub(rf"--{name.replace('_', '-')} \S+", f"--{name} {value}", small, count=1)
        return refused(capsys, "search", *small.split(), *options)

    assert "so 20 would do" in told(budget=9)
    assert "normalisations are none, batch and layer" in told(norm="bath")
    assert "activation 'fish' is not known" in told(activation="fish")
    assert "did you mean fanin?" in told(start="fannin")
    assert "none.json: there is no such file" in told(start="none.json")
    assert "end its name in that" in told("--scheme", "found")
    save_scheme(SCHEMES["fanin"], "w.json")
    assert "written over what is read" in told("--scheme", "w.json", start="w.json")
    over = told("--scheme", "w.json", start="w.json:output=0.2")
    assert "--scheme w.json would be written over what is read, w.json:output=0.2" in over
    assert "candidates must be from 2 to" in told(candidates=1)
    assert "leaves rates fixed" in told("--fixed-lr")
    assert "--seeds 1" in told(seeds=1)
    assert "give numbers" in told(rates="a")
    assert "margin is 0.0" in told("--margin", 0)
    assert "level is 1.0" in told("--level", 1)
    assert main(["search", *SMALL.split(), "--out", "words.txt"]) == 2
    told_at_once = "fanin: --out words.txt: no folder for the record: a file has that name\n"
    assert capsys.readouterr().err == told_at_once
    assert sorted(path.name for path in folder.iterdir()) == ["w.json", "words.txt"]


def test_help_on_a_search_imports_nothing_heavy():
    program = (
        "import sys; from fanin.cli import main\n"
        "code = main(['search', '--help'])\n"
        "heavy = {'jax', 'numpy', 'scipy', 'matplotlib', 'rich.live'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"fanin search --budget 200" in done.stdout
