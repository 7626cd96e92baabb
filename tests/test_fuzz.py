"""Generated words, files and options; a million of them: `python -m benchmarks.fuzz`."""

import pytest
from benchmarks.fuzz import SHARES, properties, run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return properties(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("words", 500),
        ("words from Python", 300),
        ("lists of words", 1_600),
        ("mutants", 1_600),
        ("lying descriptions", 480),
        ("made-up descriptions", 60),
        ("made-up headers", 120),
        ("command lines", 60),
        ("settings", 300),
    ],
)
def test_generated_inputs_keep_what_is_promised(drawn, name, inputs):
    assert run(drawn[name], inputs, first=0) >= inputs


def test_every_property_has_its_share(drawn):
    assert drawn.keys() == SHARES.keys()
    assert sum(SHARES.values()) == 1_000_000
