import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.corpus import Corpus, Vocabulary, Words, build_examples, bundled_names, split_words
from fanin.errors import OptionError, WordsError

word_lists = st.lists(st.text(st.sampled_from("ab-' é名"), min_size=1), min_size=1)
different_words = [f"word {number}" for number in range(40)]


def slow_examples(words, vocabulary, block):
    """Contexts and targets in the plainest way, symbol by symbol."""
    contexts, targets = [], []
    for word in words:
        context = [0] * block
        for target in [*(vocabulary.symbols.index(symbol) + 1 for symbol in word), 0]:
            contexts.append(context)
            targets.append(target)
            context = [*context[1:], target]
    return contexts, targets


def test_examples_of_one_name():
    examples = build_examples(["emma"], Vocabulary.of(["emma"]), 3)
    assert examples.contexts.tolist() == [[0, 0, 0], [0, 0, 2], [0, 2, 3], [2, 3, 3], [3, 3, 1]]
    assert examples.targets.tolist() == [2, 3, 3, 1, 0]
    assert len(examples) == 5


@given(word_lists, st.integers(1, 9))
def test_examples_are_those_of_a_plain_loop(words, block):
    vocabulary = Vocabulary.of(words)
    examples = build_examples(words, vocabulary, block)
    contexts, targets = slow_examples(words, vocabulary, block)
    assert examples.contexts.tolist() == contexts
    assert examples.targets.tolist() == targets
    assert examples.contexts.dtype == examples.targets.dtype == vocabulary.dtype


def test_no_words_give_no_examples():
    examples = build_examples([], Vocabulary.of(["ab"]), 3)
    assert examples.contexts.shape == (0, 3)
    assert len(examples) == 0


def test_ids_beyond_a_byte():
    symbols = [chr(0x4E00 + place) for place in range(300)]
    vocabulary = Vocabulary.of(symbols)
    examples = build_examples(symbols, vocabulary, 2)
    assert examples.contexts.dtype == np.uint16
    assert examples.contexts[-1].tolist() == [0, 300]


@pytest.mark.parametrize("block", [0, -1, 1001])
def test_impossible_block(block):
    with pytest.raises(OptionError, match=f"block is {block}"):
        build_examples(["ab"], Vocabulary.of(["ab"]), block)


def test_examples_of_a_symbol_that_is_not_known():
    with pytest.raises(WordsError, match="'x'"):
        build_examples(["ab", "ax"], Vocabulary.of(["ab"]), 3)


@given(st.integers(10, 200), st.integers(0, 2**64))
def test_splits_are_disjoint_and_whole(count, seed):
    words = [str(number) for number in range(count)]
    splits = split_words(words, seed)
    assert sorted(splits.train + splits.dev + splits.test) == sorted(words)
    assert len(splits.train) == count * 8 // 10
    assert len(splits.dev) in (count // 10, count // 10 + 1)
    assert len(splits.test) in (count // 10, count // 10 + 1)


def test_the_same_seed_splits_alike_and_another_does_not():
    assert split_words(different_words, 1) == split_words(different_words, 1)
    assert split_words(different_words, 1) != split_words(different_words, 2)


def test_splits_of_a_seed_never_change():
    # A model file keeps only the seed: other words here would call seen words new.
    splits = split_words(different_words, 0)
    assert splits.dev == ("word 12", "word 16", "word 37", "word 5")


def test_every_place_is_as_likely_as_any_other():
    # A permutation without fixed points (a shuffle that never leaves a word in its place) would
    # count 0 on the diagonal. Each cell is binomial: 4000 seeds, 1/10.
    words = [str(number) for number in range(10)]
    counts = np.zeros((10, 10))
    for seed in range(4000):
        splits = split_words(words, seed)
        for place, word in enumerate(splits.train + splits.dev + splits.test):
            counts[int(word), place] += 1
    deviation = (counts - 400) / np.sqrt(4000 * 0.1 * 0.9)
    assert np.abs(deviation).max() < 4.5
    assert 0.7 < deviation.std() < 1.3


def test_too_few_words_to_split():
    with pytest.raises(WordsError, match=r"mine: 9 different words are too few .* 10 are needed"):
        split_words(different_words[:9], 0, source="mine")
    with pytest.raises(WordsError, match=r"short list: 3 different words"):
        Corpus.of(Words.of(["ava", "mia", "zoe", "ava"], source="short list"))


def test_negative_seed():
    with pytest.raises(OptionError, match="seed is -1"):
        split_words(different_words, -1)


def test_a_word_given_twice_is_not_split():
    with pytest.raises(WordsError, match="there twice"):
        split_words([*different_words, "word 0"], 0)


def test_corpus_of_the_bundled_names():
    corpus = Corpus.of(bundled_names())
    assert len(corpus.vocabulary) == 27
    words = len(corpus.words.words)
    assert len(corpus.splits.train) == int(0.8 * words)
    symbols = sum(map(len, corpus.words.words))
    assert len(corpus.train) + len(corpus.dev) + len(corpus.test) == symbols + words
    assert corpus.train.contexts.dtype == np.uint8
    assert corpus.train.contexts.shape == (len(corpus.train), 3)
    # The first word of each split opens it.
    for examples, split in [(corpus.train, corpus.splits.train), (corpus.dev, corpus.splits.dev)]:
        assert corpus.vocabulary.decode(examples.targets) == split[0]


def test_corpus_keeps_what_it_was_made_with():
    corpus = Corpus.of(Words.of(different_words), block=5, split_seed=7)
    assert (corpus.block, corpus.split_seed) == (5, 7)
    assert corpus.splits == split_words(different_words, 7)
    assert corpus.test.contexts.shape[1] == 5
