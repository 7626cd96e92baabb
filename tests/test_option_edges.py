"""Options at their edges, taken from the command line's own signatures."""

import pytest
from benchmarks.option_edges import (
    JOBS,
    cases,
    commands,
    complaint,
    in_folder,
    kinds,
    misspelt,
    outcome,
    prepare,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    prepare(folder)
    return folder


def test_every_command_has_a_job():
    assert set(JOBS) == set(commands())


def test_a_misspelt_option_is_refused_with_the_right_one_suggested(folder, capsys):
    tried = 0
    with in_folder(folder):
        for command in commands():
            for option, line in misspelt(command):
                code, message = outcome(line)
                assert code == 2, line
                assert f'Did you mean "{option}"' in message or option in message, line
                tried += 1
    assert tried > 50


# Values that end at once, and whatever comes of them; the others: python -m benchmarks.option_edges
@pytest.mark.parametrize("command", sorted(JOBS))
def test_numbers_at_their_edges_are_refused_by_name(folder, command):
    seen = set()
    with in_folder(folder):
        for option, line in cases(command):
            number = kinds(command, option) & {int, float}
            if not number or line[-1] not in ("nan", "-inf", "-1" + "0" * 30):
                continue
            if (option, line[-1]) in seen:
                continue
            seen.add((option, line[-1]))
            code, message = outcome(line, seconds=60.0)
            assert complaint(option, line, code, message) == "", (line, message)
            # A seed may be any number that is not too large; what is none never.
            assert code == 2, (line, message)
