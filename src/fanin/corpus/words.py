"""Lists of words: from a file, standard input or an http(s) address, from Python, or bundled."""

import difflib
import re
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import BinaryIO, final

from fanin.atomic_file import reason
from fanin.errors import WordsError

LONGEST_WORD = 1_000
LARGEST_FILE = 2**30

# Controls, the two Unicode line separators and lone surrogates: no part of any word.
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What nobody sees: soft hyphens, spaces without width, turns of direction. The joiners U+200C and
# U+200D are letters' own, in Persian and in emoji.
_INVISIBLE = re.compile(r"[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069]")
_WANTED = "give a text file of one word a line"


@final
@dataclass(frozen=True)
class Words:
    """Different words in the order of their first appearance, and where they are from.

    Each is stripped of surrounding white space, in Unicode's NFC, not empty, and free of control
    characters. `duplicates` counts the lines that repeated a word. Of words from an http(s) address
    `sha256` is that of the bytes there, and `cached` says that those are a copy kept from earlier.
    """

    words: tuple[str, ...]
    source: str
    duplicates: int = 0
    sha256: str | None = None
    cached: bool = field(default=False, compare=False)

    @staticmethod
    def of(words: Iterable[str], source: str = "list of words") -> "Words":
        """Words given from Python, under the same rules as words in a file.

        Raises WordsError, naming the word by its number, counted from 1.
        """
        if isinstance(words, str):
            raise WordsError(f"{source}: is the one string {words[:40]!r}; give a list of strings")
        return _words_of(words, source, place="word")


def bundled_names() -> Words:
    """The 30,460 US given names that come with fanin (PROVENANCE.md beside names.txt)."""
    content = resources.files("fanin.corpus").joinpath("names.txt").read_bytes()
    return _words_in(content, "bundled names")


def read_words(source: str | Path, *, refresh: bool = False) -> Words:
    """The words of a text file of one word a line, or of standard input where `source` is "-".

    An http(s) address will do as well; it is read once and then kept in the user's cache folder
    (`fanin.corpus.addresses`), unless `refresh` asks for it anew. UTF-8 with or without a byte
    order mark, any line ending; blank lines are skipped. Raises WordsError, naming the file or
    address and, where there is one, the line.
    """
    if source == "-":
        # Python has no standard input where the shell closed it.
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise WordsError(f"standard input is closed; {_WANTED}")
        return _words_in(_read(sys.stdin.buffer), "<stdin>")
    if isinstance(source, str) and "://" in source:
        from fanin.corpus.addresses import download, is_address

        if is_address(source):
            found = download(source, refresh=refresh)
            words = _words_in(found.content, source)
            if not found.cached:
                found.keep()
            return replace(words, sha256=found.sha256, cached=found.cached)
    name = str(source)
    try:
        with Path(source).open("rb") as file:
            content = _read(file)
    except FileNotFoundError:
        raise WordsError(
            f"{name}: there is no such file; {_nearest(Path(name))}{_WANTED}"
        ) from None
    except IsADirectoryError:
        raise WordsError(f"{name}: is a directory; {_WANTED}") from None
    except PermissionError:
        raise WordsError(f"{name}: this user may not read it; {_WANTED}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise WordsError(f"{name}: cannot be read: {reason(error)}; {_WANTED}") from None
    return _words_in(content, name)


def _nearest(path: Path) -> str:
    with suppress(OSError):
        near = difflib.get_close_matches(
            path.name, (other.name for other in path.parent.iterdir()), 1
        )
        return f"did you mean {path.with_name(near[0])}? " if near else ""
    return ""


def _read(file: BinaryIO) -> bytes:
    # One byte too many tells an endless source (a device, a pipe) from a long list.
    return file.read(LARGEST_FILE + 1)


def _words_in(content: bytes, source: str) -> Words:
    """The words in a file's bytes."""
    if len(content) > LARGEST_FILE:
        raise WordsError(f"{source}: is longer than {LARGEST_FILE:,} bytes; {_WANTED}")
    if (nul := content.find(0)) >= 0:
        line = _line_at(content, nul)
        raise WordsError(
            f"{source}, line {line}: is binary (a NUL byte), not text; {_WANTED}, in UTF-8"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line, byte = _line_at(content, error.start), content[error.start]
        raise WordsError(
            f"{source}, line {line}: is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8"
        ) from None
    # Not str.splitlines, which also splits at characters that end no line in a file.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _words_of(lines, source, place="line")


def _line_at(content: bytes, position: int) -> int:
    before = content[:position].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1


def _words_of(lines: Iterable[str], source: str, place: str) -> Words:
    """Normalised different words of the lines; `place` is what a message calls one of them."""
    words: list[str] = []
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            found = f"is {line!r} of type {type(line).__name__}; a string would do"
            raise WordsError(f"{source}, {place} {number}: {found}")
        # A byte order mark is invisible, and stands inside the text where files were joined.
        word = unicodedata.normalize("NFC", line.replace("\ufeff", "")).strip()
        if len(word) > LONGEST_WORD:
            found = f"is {len(word):,} characters long ({word[:20]!r}…)"
            raise WordsError(
                f"{source}, {place} {number}: {found}; a word has at most {LONGEST_WORD:,}"
            )
        if unwanted := _UNWANTED.search(word) or _INVISIBLE.search(word):
            raise WordsError(f"{source}, {place} {number}: {_complaint(word, unwanted.group())}")
        if word:
            words.append(word)
    if not words:
        raise WordsError(f"{source}: is empty, it holds no word; give one word a line")
    different = tuple(dict.fromkeys(words))
    return Words(different, source, duplicates=len(words) - len(different))


def _complaint(word: str, character: str) -> str:
    if character == "\t":
        return f"holds a tab ({word[:40]!r}), as a table does; {_WANTED}"
    if _INVISIBLE.match(character):
        kind = f"invisible character U+{ord(character):04X}, {unicodedata.name(character, '')}"
    elif "\ud800" <= character <= "\udfff":
        kind = f"lone surrogate U+{ord(character):04X}"
    else:
        kind = f"control character U+{ord(character):04X}"
    return f"holds the {kind} ({word[:40]!r}); take it out"
