"""What the repository's own files promise."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    if not line.startswith("#")
)


def requirements():
    yield from PROJECT["project"]["dependencies"]
    yield from PROJECT["build-system"]["requires"]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        yield from extra
    for group in PROJECT["dependency-groups"].values():
        yield from (entry for entry in group if isinstance(entry, str))


def test_constraints_are_pins_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        # No index, no address, no path: they would be those of one machine.
        assert re.fullmatch(r"# [^:/@]*|[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("text", sorted(set(requirements())))
def test_every_requirement_is_pinned_within_its_bounds(text):
    requirement = Requirement(text)
    assert Version(PINS[requirement.name.lower()]) in requirement.specifier


def test_names_are_different_lower_case_words():
    names = (ROOT / "src/fanin/corpus/names.txt").read_bytes().decode("ascii").splitlines()
    assert len(names) == len(set(names)) == 30_460
    assert all(re.fullmatch("[a-z]+", name) for name in names)


def test_ci_installs_the_pinned_torch():
    assert f"torch=={PINS['torch']}" in (ROOT / ".ci/run").read_text()
