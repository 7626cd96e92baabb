"""Every file that is read again, cut at every byte and with bits flipped."""

import pytest
from benchmarks.damage import kinds, misread


# All bits of all bytes: python -m benchmarks.damage
@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("model", 4),
        ("checkpoint", 1),
        ("race record", 1),
        ("map record", 1),
        ("search record", 3),
        ("calibration record", 3),
        ("report", 97),
        ("scheme", 1),
    ],
)
def test_a_damaged_file_is_refused_or_read_up_to_the_damage(tmp_path, name, every):
    kind = kinds(tmp_path)[name]()
    count, wrong = misread(kind, bits=1, every=every)
    assert wrong == []
    assert count >= (1 + kind.checked) * (len(kind.content) // every)
