"""The field for a seed, and the whole number that stands in it."""

from typing import Any

import marimo

from fanin.errors import OptionError
from fanin.lab.layout import complaint

MOST = 2**31 - 1
"""Far enough below the generator's own limit for a race to count on from any seed."""


def seed_field() -> Any:
    """A number field that is read when one leaves it."""
    return marimo.ui.number(0, MOST, value=0, step=1, label="seed", debounce=True)


def seed_of(field: Any) -> tuple[int, marimo.Html | None]:
    """The seed in a field, 0 where it is empty; where it is none, 0 and what is wrong."""
    value = field.value or 0
    if value == int(value):
        return int(value), None
    wrong = OptionError(f"a seed is a whole number; found {value:g}, so 0 is taken")
    return 0, complaint(wrong)
