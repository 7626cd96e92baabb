"""Symbols and their ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Integer, UInt

from fanin.errors import ShapeError, WordsError

BOUNDARY = 0  # the id that stands before and after every word, and belongs to no symbol
LARGEST_VOCABULARY = 10_000


@final
@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a list of words, in order of code point; symbol i has the id i + 1.

    The boundary of words is the id 0. It is no symbol, so nothing in the data can be taken for it.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.symbols:
            raise WordsError("a vocabulary needs at least one symbol; there is none")
        if len(self.symbols) > LARGEST_VOCABULARY:
            raise WordsError(
                f"a vocabulary of {len(self.symbols):,} different symbols is too large to be that "
                f"of a list of words; at most {LARGEST_VOCABULARY:,} would do"
            )
        if any(len(symbol) != 1 or "\ud800" <= symbol <= "\udfff" for symbol in self.symbols):
            raise WordsError("each symbol of a vocabulary is one character, and no lone surrogate")
        if list(self.symbols) != sorted(set(self.symbols)):
            raise WordsError("the symbols of a vocabulary are different and in order of code point")

    @staticmethod
    def of(words: Iterable[str], source: str = "list of words") -> "Vocabulary":
        """The symbols that occur in the words. Raises WordsError for too many or none."""
        try:
            return Vocabulary(tuple(sorted(set("".join(words)))))
        except WordsError as error:
            raise WordsError(f"{source}: {error}") from None

    def __len__(self) -> int:
        """Number of ids: the symbols and the boundary."""
        return len(self.symbols) + 1

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(len(self.symbols))

    @cached_property
    def _ids(self) -> UInt[np.ndarray, "..."]:
        """The id of every code point up to one past the last symbol's; 0 where there is none."""
        codes = _code_points("".join(self.symbols))
        ids = np.zeros(int(codes[-1]) + 2, self.dtype)
        ids[codes] = np.arange(1, len(self))
        return ids

    def encode(self, text: str) -> UInt[np.ndarray, "..."]:
        """Ids of the text's symbols, without boundaries: one axis, of type `dtype`.

        Raises WordsError, naming the symbol, where one is not in the vocabulary.
        """
        ids = self._ids[np.minimum(_code_points(text), len(self._ids) - 1)]
        if not ids.all():
            symbol = text[int(ids.argmin())]
            raise WordsError(
                f"the symbol {symbol!r} (U+{ord(symbol):04X}) is not in the vocabulary, whose "
                f"{len(self.symbols)} symbols begin {''.join(self.symbols[:60])!r}"
            )
        return ids

    def decode(self, ids: Iterable[int | np.integer]) -> str:
        """The text of the ids, up to the first boundary.

        Raises ShapeError, naming the id, where one is out of range.
        """
        letters: list[str] = []
        for number in ids:
            if not 0 <= number < len(self):
                raise ShapeError(
                    f"the id {number} is outside the vocabulary's range, 0 to {len(self) - 1}"
                )
            if number == BOUNDARY:
                break
            letters.append(self.symbols[number - 1])
        return "".join(letters)

    def decode_rows(self, ids: Integer[np.ndarray, "examples steps"]) -> list[str]:
        """The text of each row of ids in range: all before the boundaries that fill it up."""
        letters = np.array(["", *self.symbols])[ids]
        return np.ascontiguousarray(letters).view(f"<U{ids.shape[1]}")[:, 0].tolist()


def _code_points(text: str) -> UInt[np.ndarray, "..."]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
