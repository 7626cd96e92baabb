import os
import subprocess
import sys

import pytest

from fanin.program_cache import cache_folder, keep_programs

PROGRAM = """
import sys
from fanin.cli import main
code = main(["train", "words.txt", "--steps", "1", "--hidden", "3", "--embedding", "2", "--json"])
sys.exit(code)
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An environment in which nothing is said of the cache, and the user's folders are new."""
    for name in [name for name in os.environ if "COMPILATION_CACHE" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    (tmp_path / "words.txt").write_text("\n".join(f"{a}{b}" for a in "abcd" for b in "efghij"))
    return tmp_path


def train(folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def kept(folder):
    return {path.name for path in (folder / "caches").rglob("*-cache")}


def test_what_one_process_compiled_the_next_one_uses_and_damage_costs_only_time(elsewhere):
    first, _ = train(elsewhere)
    programs = kept(elsewhere)
    assert any("advance" in name for name in programs)
    for path in (elsewhere / "caches").rglob("*-cache"):
        if "advance" in path.name:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    second, errors = train(elsewhere)
    assert kept(elsewhere) == programs
    assert "cache" not in errors
    losses = [
        text[text.index('"initial_loss"') : text.index('"steps"')] for text in (first, second)
    ]
    assert losses[0] == losses[1]


def test_a_folder_that_cannot_be_made_stops_nothing(elsewhere):
    (elsewhere / "caches").write_text("a file stands where the folder would be")
    keep_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_what_the_user_set_stands(elsewhere, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert not cache_folder().exists()
