import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.corpus import BOUNDARY, Vocabulary
from fanin.errors import ShapeError, WordsError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_ids_follow_code_points_after_the_boundary():
    vocabulary = Vocabulary.of(["emma", "ava"])
    assert vocabulary.symbols == ("a", "e", "m", "v")
    assert len(vocabulary) == 5
    assert vocabulary.encode("emma").tolist() == [2, 3, 3, 1]


def test_no_symbol_is_taken_for_the_boundary():
    # All of these sort before or beside ".", by which the lesson's code marks its boundary.
    vocabulary = Vocabulary.of([" '-.!a", "mary ann", "o'neil", "..."])
    ids = vocabulary.encode(" '-.!a")
    assert BOUNDARY not in ids.tolist()
    assert len(set(ids.tolist())) == 6
    assert vocabulary.decode(ids) == " '-.!a"


@given(st.lists(texts, min_size=1))
def test_decode_undoes_encode(words):
    vocabulary = Vocabulary.of(words)
    assert list(vocabulary.symbols) == sorted(set("".join(words)))
    for word in words:
        ids = vocabulary.encode(word)
        assert ids.dtype == vocabulary.dtype
        assert ids.tolist() == [vocabulary.symbols.index(symbol) + 1 for symbol in word]
        assert vocabulary.decode(ids) == word


@given(texts, texts)
def test_encode_refuses_what_the_vocabulary_lacks(known, text):
    vocabulary = Vocabulary.of([known])
    lacking = [symbol for symbol in text if symbol not in known]
    if lacking:
        with pytest.raises(WordsError) as caught:
            vocabulary.encode(text)
        assert f"{lacking[0]!r} (U+{ord(lacking[0]):04X})" in str(caught.value)
    else:
        assert len(vocabulary.encode(text)) == len(text)


def test_empty_text_and_lone_surrogates():
    vocabulary = Vocabulary.of(["ava"])
    assert vocabulary.encode("").tolist() == []
    assert vocabulary.decode([]) == ""
    with pytest.raises(WordsError, match=r"U\+D800"):
        vocabulary.encode("\ud800")


def test_decode_ends_at_the_first_boundary():
    assert Vocabulary.of(["ab"]).decode(np.array([2, 1, 0, 2], np.uint8)) == "ba"


@pytest.mark.parametrize("outside", [-1, 3])
def test_decode_refuses_ids_out_of_range(outside):
    with pytest.raises(ShapeError, match=f"the id {outside} .* 0 to 2"):
        Vocabulary.of(["ab"]).decode([1, outside])


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (10_000, np.uint16)]
)
def test_smallest_type_that_holds_every_id(size, dtype):
    symbols = [chr(0x4E00 + place) for place in range(size)]
    vocabulary = Vocabulary.of(symbols)
    assert vocabulary.dtype == dtype
    assert vocabulary.encode("".join(symbols)).tolist() == list(range(1, size + 1))


def test_too_many_symbols_for_words():
    with pytest.raises(WordsError, match="10,001 different symbols is too large"):
        Vocabulary.of(chr(0x4E00 + place) for place in range(10_001))


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ((), "at least one symbol"),
        (("a", "bc"), "one character"),
        (("a", ""), "one character"),
        (("\ud800",), "lone surrogate"),
        (("b", "a"), "in order"),
        (("a", "a"), "different"),
    ],
)
def test_what_is_no_vocabulary_is_refused(symbols, message):
    with pytest.raises(WordsError, match=message):
        Vocabulary(symbols)
