"""Generated words, files and options by the hundred thousand: `python -m benchmarks.fuzz`.

hypothesis draws lists of words as bytes and as text, and command lines; of mutants of files, and of
most lists of words, it draws a number from which 16 are made. What comes out of an input is
something that keeps what is promised of it, or a FaninError; anything else stops the run, shrunk to
the smallest input that does it. docs/reliability.md has the number of inputs; tests/test_fuzz.py
runs some thousands.
"""

import argparse
import contextlib
import math
import os
import random
import struct
import sys
import tempfile
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks import damage
from benchmarks.option_edges import NUMBERS, commands, options
from cyclopts import CycloptsError
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from fanin.cli import _usage_error, app
from fanin.cli.output import printable
from fanin.corpus import Vocabulary, Words
from fanin.corpus.words import _words_in
from fanin.diagnosis.document import ReportDocument, read_document
from fanin.errors import FaninError
from fanin.map import read_axis
from fanin.model_file import load_model
from fanin.race.record import read_record
from fanin.starts import SCHEMES, find_start
from fanin.starts.scheme_file import load_scheme
from fanin.tensor_file import pack, unpack
from fanin.training import TrainingOptions

PIECE = 20_000  # hypothesis remembers what it has drawn
MUTANTS = 16

# Words.

_ANY = st.characters()
_LONE = st.characters(categories=["Cs"])
_LETTER = st.one_of(
    st.characters(categories=["L"]),
    st.characters(categories=["M"]),  # combining marks
    st.sampled_from(
        "\u05d0\u0627\u202e\u2067\u200f\u200d\ufe0f\U0001f469\U0001f1e9\x00\x1b\x07\x85"
    ),
    st.sampled_from(" -'.\t\ufeff\u2028\xad\u3000\u0130\u01c5\ufdfa\u1e9e"),
    _ANY,
)
_WORD = st.one_of(
    st.text(_LETTER, max_size=12),
    st.builds(lambda letter, count: letter * count, _LETTER, st.sampled_from([1, 2, 999, 1001])),
)
_LINES = st.lists(_WORD, max_size=8)
_ENDING = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\x85", "\u2028"])
_TEXT = st.builds(lambda lines, end: end.join(lines).encode(errors="replace"), _LINES, _ENDING)
CONTENTS = st.one_of(
    st.binary(max_size=60),
    _TEXT,
    st.builds(lambda text, cut: text[: cut % (len(text) + 1)], _TEXT, st.integers(0, 500)),
    st.builds(lambda text, end: text + end, _TEXT, st.binary(max_size=4)),
    st.builds(lambda lines: "\n".join(lines).encode("utf-16", "surrogatepass"), _LINES),
)
FROM_PYTHON = st.lists(st.one_of(_WORD, st.text(_LONE, max_size=2)), max_size=8)


@lru_cache(maxsize=1)
def _letters() -> list[list[str]]:
    """Every code point but lone surrogates, by category."""
    found = defaultdict[str, list[str]](list)
    for code in range(sys.maxunicode + 1):
        found[unicodedata.category(chr(code))].append(chr(code))
    del found["Cs"]
    return list(found.values())


def list_of_words(chance: random.Random) -> bytes:
    """Words of a few kinds of letters, in one of a few encodings, now and then damaged."""
    kinds = chance.choices(_letters(), k=chance.choice((1, 2, 4)))
    lengths = chance.choice(((1,), (1, 2, 3), (3, 8, 12), (1, 12, 999, 1001)))
    words = [
        "".join(chance.choice(chance.choice(kinds)) for _ in range(chance.choice(lengths)))
        for _ in range(chance.randrange(1, 9))
    ]
    ending = chance.choice(("\n", "\n", "\r\n", "\r", "\n\n", "\x85", "\u2028"))
    encoding = chance.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    content = ending.join(words).encode(encoding, "replace")
    return mutant(content, chance) if chance.random() < 0.3 else content


def check_words(content: bytes | list[str]) -> None:
    """Words as they are promised, or an error that names its source."""
    try:
        if isinstance(content, bytes):
            words = _words_in(content, "its-source")
        else:
            words = Words.of(content, "its-source")
    except FaninError as error:
        message = str(error)
        if not message.startswith("its-source") or printable(message) != message:
            raise AssertionError(f"a message that is none: {message!r}") from None
        return
    assert words.words
    assert len(set(words.words)) == len(words.words)
    for word in words.words:
        assert 1 <= len(word) <= 1_000
        assert word == word.strip() == unicodedata.normalize("NFC", word)
        assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in word)
        assert printable(word).isprintable() or not word.isprintable()
        assert not set(printable(word)) & set("\x00\x07\x1b\x7f\x9b\u202e\u2067")
    assert Words.of(words.words).words == words.words
    vocabulary = Vocabulary.of(words.words)
    text = "".join(words.words)
    assert vocabulary.decode(vocabulary.encode(text)) == text


# Files.

_HEADERS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["F32", "U8", "F64", "BF16", "I64", "dtype", "shape", "data_offsets"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["__metadata__", "fanin", "dtype", "shape", "data_offsets", "words"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


def hostile(header: Any, body: bytes) -> bytes:
    """A safetensors file of any header."""
    text = repr(header).replace("'", '"').replace("None", "null").encode(errors="replace")
    with contextlib.suppress(TypeError, msgspec.ValidationError, OverflowError):
        text = msgspec.json.encode(header)
    return struct.pack("<Q", len(text)) + text + body


def mutant(content: bytes, chance: random.Random) -> bytes:
    """The content with a few changes: bits, pieces taken out, doubled, exchanged, numbers."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(changed) + 1)
        length = chance.choice((1, 2, 8, 100))
        kind = chance.randrange(7)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[place : place + length]
        elif kind == 2:
            changed[place:place] = changed[place : place + length]
        elif kind == 3:
            changed[place:place] = chance.choice(
                (b"9" * 30, b"-1", b"NaN", b"1e999", b"[[[[", b"\0")
            )
        elif kind == 4:
            del changed[place:]
        elif kind == 5:
            changed[place : place + length] = chance.randbytes(length)
        else:
            changed[:8] = struct.pack("<Q", chance.choice((0, 1, 2**31, 2**63, len(changed))))
    return bytes(changed)


class Files:
    """Whole files of every kind, and what reads their mutants."""

    def __init__(self, folder: Path) -> None:
        kinds = {name: make() for name, make in damage.kinds(folder).items()}
        self._folder = folder
        self.wholes = [kind.content for kind in kinds.values()]
        self._truths = {name: kind.truths for name, kind in kinds.items()}
        self._tensors, self.description = unpack(kinds["model"].content)
        readers: dict[str, Callable[[bytes], object]] = {
            "model": self.model,
            "checkpoint": self.tensors,
            "report": self.report,
            "scheme": self.scheme,
        }
        self.readers = [readers.get(name, self.record) for name in kinds]

    def model(self, content: bytes) -> None:
        path = self._folder / "fuzzed"
        path.write_bytes(content)
        found = load_model(path)
        assert all(np.isfinite(array).all() for array in found.parameters.values())

    def tensors(self, content: bytes) -> None:
        unpack(content, "fuzzed")

    def record(self, content: bytes) -> None:
        path = self._folder / "fuzzed.jsonl"
        path.write_bytes(content)
        found = read_record(path).events
        assert any(found == truth for truth in self._truths["race record"])

    def report(self, content: bytes) -> None:
        found = read_document(content, "fuzzed")
        assert isinstance(found, ReportDocument)
        assert found in self._truths["report"]

    def scheme(self, content: bytes) -> None:
        path = self._folder / "fuzzed.json"
        path.write_bytes(content)
        load_scheme(path)

    def lying(self, description: bytes) -> None:
        """A file whose checksum is right and whose description is anything."""
        self.model(pack(self._tensors, description))

    def read(self, which: int, content: bytes) -> None:
        try:
            self.readers[which](content)
        except FaninError as error:
            if "fuzzed" not in str(error):
                raise AssertionError(f"a message that names no file: {error}") from None


# Options.

_VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.text(_LETTER, max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from([*SCHEMES, "gain=1:2:3", "kaiming-normal:gain=1", "normal:std=", "-", "--"]),
)


def _command_lines() -> st.SearchStrategy[list[str]]:
    def line(command: str) -> st.SearchStrategy[list[str]]:
        names = [name for every in options(command).values() for name in every]
        word = st.sampled_from([*names, "--json", "--quiet", "--fix", "-h"]) if names else _VALUES
        pair = st.tuples(word, _VALUES).map(list)
        parts = st.lists(st.one_of(pair, pair, _VALUES.map(lambda value: [value])), max_size=5)
        return parts.map(lambda all_: [command, *(each for part in all_ for each in part)])

    return st.sampled_from(commands()).flatmap(line)


def check_line(line: list[str]) -> None:
    """A command line is parsed, or refused with one line that can be printed."""
    try:
        app.parse_args(line, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        message = _usage_error(error)
        assert message
        assert "Traceback" not in message
    except FaninError:
        pass


def check_settings(number: Any, name: str, text: str) -> None:
    """The small languages: settings of a training, starts, axes."""
    for call in (
        lambda: TrainingOptions(**{name: number}),
        lambda: find_start(text),
        lambda: read_axis(text),
    ):
        # Within the tests annotations are checked, and a whole number for a rate is refused there.
        with contextlib.suppress(FaninError, TypeCheckError):
            made = call()
            if isinstance(made, TrainingOptions):
                assert math.isfinite(made.rate)


_SETTINGS = ("steps", "batch", "lr", "eval_every", "seed", "momentum", "weight_decay", "warm_up")
_SPEC = st.one_of(
    _VALUES,
    st.builds(
        lambda name, key, value: f"{name}:{key}={value}",
        st.sampled_from([*SCHEMES]),
        st.sampled_from(["gain", "std", "output", "mode", "bias", "x"]),
        _VALUES,
    ),
    st.builds(
        lambda name, a, b, c, end: f"{name}={a}:{b}:{c}{end}",
        st.sampled_from(["gain", "depth", "width", "lr", "sigma_b", "x"]),
        _VALUES,
        _VALUES,
        _VALUES,
        st.sampled_from(["", ":log", ":x", ":"]),
    ),
)


@dataclass(frozen=True)
class Property:
    """What is drawn, how it is checked, and how many inputs one drawing makes."""

    inputs: int
    check: Callable[..., None]
    strategies: tuple[st.SearchStrategy[Any], ...]


def properties(folder: Path) -> dict[str, "Property"]:
    """What is drawn and checked, by name."""
    files = Files(folder)
    which = st.integers(0, len(files.wholes) - 1)

    def mutants(which: int, number: int) -> None:
        chance = random.Random(number)
        for _ in range(MUTANTS):
            files.read(which, mutant(files.wholes[which], chance))

    def lying(description: Any) -> None:
        with contextlib.suppress(FaninError, TypeError, msgspec.ValidationError, OverflowError):
            files.lying(msgspec.json.encode(description))

    def described(number: int) -> None:
        chance = random.Random(number)
        for _ in range(MUTANTS):
            text = mutant(files.description, chance).decode(errors="replace").encode()
            with contextlib.suppress(FaninError):
                files.lying(text)

    def headers(header: Any, body: bytes) -> None:
        for reader in (0, 1):
            files.read(reader, hostile(header, body))

    def lists(number: int) -> None:
        chance = random.Random(number)
        for _ in range(MUTANTS):
            check_words(list_of_words(chance))

    number = st.integers(0, 2**32)
    settled = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=3))
    return {
        "words": Property(1, check_words, (CONTENTS,)),
        "words from Python": Property(1, check_words, (FROM_PYTHON,)),
        "lists of words": Property(MUTANTS, lists, (number,)),
        "mutants": Property(MUTANTS, mutants, (which, number)),
        "lying descriptions": Property(MUTANTS, described, (number,)),
        "made-up descriptions": Property(1, lying, (_HEADERS,)),
        "made-up headers": Property(1, headers, (_HEADERS, st.binary(max_size=20))),
        "command lines": Property(1, check_line, (_command_lines(),)),
        "settings": Property(3, check_settings, (settled, st.sampled_from(_SETTINGS), _SPEC)),
    }


def run(checked: Property, inputs: int, first: int) -> int:
    """Draws so many inputs of a property, in pieces; the number that was tried."""
    tried = 0
    for piece in range(first, 10**9):
        left = -(-(inputs - tried) // checked.inputs)
        if left <= 0:
            break
        drawn = min(PIECE, left)
        quiet = settings(
            max_examples=drawn,
            deadline=None,
            database=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        quiet(seed(piece)(given(*checked.strategies)(checked.check)))()
        tried += drawn * checked.inputs
    return tried


# So many inputs in the long run, a million in all.
SHARES = {
    "words": 20_000,
    "words from Python": 20_000,
    "lists of words": 360_000,
    "mutants": 400_000,
    "lying descriptions": 80_000,
    "made-up descriptions": 20_000,
    "made-up headers": 20_000,
    "command lines": 20_000,
    "settings": 60_000,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SHARES))
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs of the long run")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if strange := set(asked.names) - set(SHARES):
        parser.error(f"{', '.join(strange)}: there are {', '.join(SHARES)}")
    with tempfile.TemporaryDirectory() as folder:
        drawn = properties(Path(folder))
        for name in asked.names:
            began = time.perf_counter()
            tried = run(drawn[name], int(SHARES[name] * asked.share), asked.seed)
            print(f"{name}: {tried:,} inputs, {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
