import os
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.corpus import Words, bundled_names, read_words
from fanin.corpus import words as words_module
from fanin.errors import FaninError, WordsError


def written(folder, content):
    path = folder / "words.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_line_ending_with_and_without_byte_order_mark(tmp_path, ending, mark):
    lines = ["emma", "", "  olivia\t", "   ", "zoë", "emma"]
    path = written(tmp_path, mark + ending.join(lines).encode())
    assert read_words(path) == Words(("emma", "olivia", "zoë"), str(path), duplicates=1)


def test_inner_spaces_hyphens_and_apostrophes_stay(tmp_path):
    lines = ["mary ann", "anne-marie", "o'neil", "d’arcy", "..."]
    assert read_words(written(tmp_path, "\n".join(lines).encode())).words == tuple(lines)


def test_one_spelling_of_a_word_after_normalisation(tmp_path):
    composed, decomposed = "zoë", "zoe\u0308"
    path = written(tmp_path, f"{composed}\n{decomposed}\n".encode())
    assert read_words(path) == Words((composed,), str(path), duplicates=1)


def test_only_line_endings_end_a_line(tmp_path):
    # A next-line character (U+0085) is white space and a control: inside a word it is refused.
    with pytest.raises(WordsError, match=r"line 2: holds the control character U\+0085"):
        read_words(written(tmp_path, "emma\nava\x85mia\n".encode()))


@pytest.mark.parametrize("invisible", ["\xad", "\u200b", "\u202e", "\u2060"])
def test_what_nobody_sees_is_refused_by_its_name(tmp_path, invisible):
    with pytest.raises(
        WordsError, match=rf"line 2: holds the invisible .* U\+{ord(invisible):04X}, "
    ):
        read_words(written(tmp_path, f"emma\na{invisible}va\n".encode()))


def test_joiners_are_letters_of_some_scripts():
    assert Words.of(["\u0645\u06cc\u200c\u062e"]).words


def test_a_file_that_is_not_there_gets_the_nearest_name(tmp_path):
    written(tmp_path, b"emma\n")
    with pytest.raises(WordsError, match=r"no such file; did you mean .*words\.txt\?"):
        read_words(tmp_path / "wrods.txt")


def test_byte_order_marks_of_joined_files_are_no_symbol(tmp_path):
    path = written(tmp_path, b"emma\n\xef\xbb\xbfemma\n\xef\xbb\xbf\n")
    assert read_words(path).words == ("emma",)


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]))))
def test_words_from_a_file_are_words_from_python(tmp_path_factory, lines):
    content = "\n".join(lines).encode()
    path = written(tmp_path_factory.mktemp("lists"), content)
    expected = [unicodedata.normalize("NFC", line.replace("\ufeff", "")).strip() for line in lines]
    expected = [word for word in expected if word]
    if not expected:
        with pytest.raises(WordsError, match="is empty"):
            read_words(path)
        return
    read, given = read_words(path), Words.of(lines)
    assert list(read.words) == sorted(set(expected), key=expected.index)
    assert read.duplicates == len(expected) - len(set(expected))
    assert (given.words, given.duplicates) == (read.words, read.duplicates)


def test_standard_input_is_read_as_utf_8_whatever_the_locale(tmp_path, monkeypatch):
    path = written(tmp_path, "ava\r\nzoë\r\n".encode())
    with path.open(encoding="ascii") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert read_words("-") == Words(("ava", "zoë"), "<stdin>")


def test_closed_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(WordsError, match="standard input is closed"):
        read_words("-")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "words.txt: is empty"),
        (b"\xef\xbb\xbf \r\n\t\n", "words.txt: is empty"),
        (b"emma\r\nav\0a\n", "words.txt, line 2: is binary"),
        ("emma\nava\n".encode("utf-16"), "words.txt, line 1: is binary"),
        ("emma\n\nzoë\n".encode("latin-1"), r"words.txt, line 3: is not UTF-8 \(byte 0xeb\)"),
        (b"a\rb\r\nc\n\xff", r"words.txt, line 4: is not UTF-8 \(byte 0xff\)"),
        (b"emma\n" + b"x" * 1001, r"words.txt, line 2: is 1,001 characters long \('xxx.*1,000"),
        (b"emma\n\nava\tf\n", "words.txt, line 3: holds a tab .* one word a line"),
        (b"emma\nav\x07a\n", r"words.txt, line 2: holds the control character U\+0007"),
        ("em\u2028ma".encode(), r"words.txt, line 1: holds the control character U\+2028"),
    ],
)
def test_what_is_no_list_of_words_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(WordsError, match=message):
        read_words(written(tmp_path, content))


def test_the_longest_word_is_read(tmp_path):
    (word,) = read_words(written(tmp_path, b"  " + b"x" * 1000 + b"  ")).words
    assert word == "x" * 1000


def test_an_endless_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(words_module, "LARGEST_FILE", 5)
    assert read_words(written(tmp_path, b"emma\n")).words == ("emma",)
    with pytest.raises(WordsError, match="longer than 5 bytes"):
        read_words(written(tmp_path, b"emma\nava\n"))


def test_missing_file_and_directory_are_named(tmp_path):
    missing = tmp_path / "missing.txt"
    with pytest.raises(WordsError, match=re.escape(f"{missing}: there is no such file")):
        read_words(missing)
    with pytest.raises(WordsError, match=re.escape(f"{tmp_path}: is a directory")):
        read_words(str(tmp_path))
    with pytest.raises(WordsError, match="cannot be read"):
        read_words("a\0b")
    with pytest.raises(FaninError, match="cannot be read"):
        read_words("x" * 10_000)


def test_file_that_may_not_be_read(tmp_path):
    path = written(tmp_path, b"emma\n")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # nothing is closed to the superuser: read as nobody
        os.seteuid(65534)
    try:
        with pytest.raises(WordsError, match="may not read it"):
            read_words(path)
    finally:
        os.seteuid(user)


def test_words_from_python_are_checked():
    assert Words.of(["ava", " ava ", "mia"], source="mine") == Words(("ava", "mia"), "mine", 1)
    with pytest.raises(WordsError, match="the one string 'emma'"):
        Words.of("emma")
    with pytest.raises(WordsError, match=r"word 2: holds the lone surrogate U\+D800"):
        Words.of(["ava", "a\ud800"])
    with pytest.raises(WordsError, match=r"mine, word 1: holds the control character U\+000A"):
        Words.of(["ava\nmia"], source="mine")
    with pytest.raises(WordsError, match="word 2: is 3 of type int"):
        Words.of(word for word in ["ava", 3])


def test_bundled_names():
    names = bundled_names()
    assert names.source == "bundled names"
    assert names.duplicates == 0
    assert len(names.words) == 30_460
    assert names.words[:3] == ("emma", "olivia", "sophia")
    assert set("".join(names.words)) == set("abcdefghijklmnopqrstuvwxyz")
