"""Every write, flush and rename of the commands fails in turn."""

import pytest
from benchmarks.faults import every_call, prepare


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    prepare(folder)
    return folder


# The others, and all kinds of faults at each call: python -m benchmarks.faults
@pytest.mark.parametrize(("command", "least"), [("train", 25), ("race", 29), ("map", 20)])
def test_a_fault_at_any_call_leaves_whole_files_and_one_message(template, tmp_path, command, least):
    calls, wrong = every_call(command, template, tmp_path, turns=1)
    assert wrong == []
    assert calls >= least
