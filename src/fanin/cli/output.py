"""What the commands print: one JSON object for machines, text that no word can upset for people."""

import math
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from cyclopts import Parameter, Token

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
# What turns the direction of all text after it.
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def print_json(schema: str, fields: Mapping[str, Any]) -> None:
    """One object on a line of its own, in UTF-8; numbers that are not finite are null and named.

    `nonfinite` lists them by their path, as in `options.lr` or `losses.3`.
    """
    import msgspec

    nonfinite: list[str] = []
    whole = {"schema": schema, **_plain(fields, "", nonfinite), "nonfinite": nonfinite}
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(whole) + b"\n")


def whole(kind: object, tokens: Sequence[Token]) -> int:
    """A whole number of a command line; 1.5 is none, and is not rounded to one."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None


WHOLE = Parameter(converter=whole, n_tokens=1)


def printable(text: str) -> str:
    """The text with controls and changes of direction written as escapes."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _UNPRINTABLE or character in _DIRECTIONS
        else character
        for character in text
    )


def _plain(value: Any, path: str, nonfinite: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{path}.{k}".lstrip("."), nonfinite) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{path}.{i}".lstrip("."), nonfinite) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        nonfinite.append(path)
        return None
    if isinstance(value, str):  # the name of a file may hold bytes that are no UTF-8
        return value.encode("utf-8", "backslashreplace").decode()
    return value
