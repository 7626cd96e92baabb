"""Contexts and targets of a list of words, split by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import UInt

from fanin.corpus.vocabulary import BOUNDARY, Vocabulary
from fanin.corpus.words import LONGEST_WORD, Words
from fanin.errors import OptionError, WordsError

FEWEST_WORDS = 10  # so that a tenth is a word at least


@final
@dataclass(frozen=True, eq=False)
class Examples:
    """What a model predicts, symbol by symbol: each target with the `block` ids before it."""

    contexts: UInt[np.ndarray, "examples block"]
    targets: UInt[np.ndarray, "examples"]

    def __len__(self) -> int:
        return len(self.targets)


def build_examples(words: Sequence[str], vocabulary: Vocabulary, block: int) -> Examples:
    """One example for each symbol of each word and one for each word's end, in order.

    A context is filled up with boundaries on its left and holds nothing of the word before. Ids are
    of the vocabulary's type. Raises OptionError for an impossible block, WordsError for a symbol
    that the vocabulary lacks.
    """
    if not 1 <= block <= LONGEST_WORD:
        raise OptionError(
            f"block is {block}; it is the number of symbols that a context holds, "
            f"from 1 to {LONGEST_WORD:,} (no word is longer)"
        )
    lengths = np.fromiter(map(len, words), np.int64, len(words)) + 1  # a boundary ends each word
    ends = np.cumsum(lengths) - 1
    starts = ends - lengths + 1
    count = int(lengths.sum())

    is_symbol = np.ones(count, bool)
    is_symbol[ends] = False
    targets = np.full(count, BOUNDARY, vocabulary.dtype)
    targets[is_symbol] = vocabulary.encode("".join(words))

    # Each column is the one to its right, an example later; at a word's start the context is empty.
    contexts = np.full((count, block), BOUNDARY, vocabulary.dtype)
    following = targets
    for column in reversed(range(block)):
        contexts[1:, column] = following[:-1]
        contexts[starts, column] = BOUNDARY
        following = contexts[:, column]
    return Examples(contexts, targets)


@final
@dataclass(frozen=True)
class Splits:
    """Words to train on, to choose by (dev) and to report (test); no word is in two of them."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


def split_words(words: Sequence[str], seed: int, *, source: str = "list of words") -> Splits:
    """80, 10 and 10 % of the words, by a permutation drawn from `seed`.

    Raises WordsError, naming `source`, where the words are too few or one is there twice, and
    OptionError for a negative seed.
    """
    count = len(words)
    if count < FEWEST_WORDS:
        raise WordsError(
            f"{source}: {count} different word{'s' * (count != 1)} "
            f"{'is' if count == 1 else 'are'} too few to split into 80 % for training and "
            f"10 % each for dev and test; at least {FEWEST_WORDS} are needed"
        )
    if len(set(words)) < count:
        raise WordsError(f"{source}: a word is there twice and could be in two splits")
    if seed < 0:
        raise OptionError(f"the split's seed is {seed}; a seed is 0 or more")
    # Sorting random keys gives every permutation the same chance. NumPy promises that a bit
    # generator's raw stream stays as it is; of Generator.permutation it does not, and a model file
    # keeps only the seed.
    keys = np.asarray(np.random.PCG64(seed).random_raw(count))
    order: list[int] = np.argsort(keys, kind="stable").tolist()
    shuffled = [words[place] for place in order]
    train, dev = count * 8 // 10, count * 9 // 10
    return Splits(tuple(shuffled[:train]), tuple(shuffled[train:dev]), tuple(shuffled[dev:]))


@final
@dataclass(frozen=True, eq=False)
class Corpus:
    """Everything that training reads: words, their vocabulary, the splits and their examples."""

    words: Words
    vocabulary: Vocabulary
    splits: Splits
    block: int
    split_seed: int
    train: Examples
    dev: Examples
    test: Examples

    @staticmethod
    def of(words: Words, *, block: int = 3, split_seed: int = 0) -> "Corpus":
        """The corpus of a list of words. Raises WordsError or OptionError, as its parts do."""
        splits = split_words(words.words, split_seed, source=words.source)
        vocabulary = Vocabulary.of(words.words)
        train, dev, test = (
            build_examples(part, vocabulary, block)
            for part in (splits.train, splits.dev, splits.test)
        )
        return Corpus(words, vocabulary, splits, block, split_seed, train, dev, test)
