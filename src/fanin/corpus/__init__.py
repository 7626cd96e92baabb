"""Words, their vocabulary, and the examples that a model learns from. NumPy only."""

from fanin.corpus.examples import Corpus, Examples, Splits, build_examples, split_words
from fanin.corpus.vocabulary import BOUNDARY, Vocabulary
from fanin.corpus.words import Words, bundled_names, read_words

__all__ = [
    "BOUNDARY",
    "Corpus",
    "Examples",
    "Splits",
    "Vocabulary",
    "Words",
    "build_examples",
    "bundled_names",
    "read_words",
    "split_words",
]
