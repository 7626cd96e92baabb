"""The wheel holds the whole package and nothing else, and works away from the repository."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fanin import bundled_names

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("fanin-*.whl"))


def test_it_holds_every_file_of_the_package_and_no_other(wheel):
    package = ROOT / "src"
    expected = {
        path.relative_to(package).as_posix()
        for path in (package / "fanin").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    assert "fanin/py.typed" in found


def test_it_works_from_an_empty_folder(wheel, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    (work / "words.txt").write_text("\n".join(bundled_names().words[:200]))
    environment = os.environ | {"PYTHONPATH": str(site)}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=work, env=environment, capture_output=True, text=True
        )

    where = run("-c", "import fanin; print(fanin.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(site)
    trained = run("-m", "fanin", "train", "words.txt", "--steps", "50", "--json")
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["schema"] == "fanin.train/1"
    assert (work / "names.safetensors").is_file()
