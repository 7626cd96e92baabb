"""How a run is called in a legend, and the words that somebody gives the page."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fanin.corpus import Words, read_words
from fanin.errors import WordsError
from fanin.training import TrainingOptions


def said(options: TrainingOptions, sizes: Mapping[str, Any]) -> str:
    """What is particular to a run: its rate, batch, sizes and seed."""
    hidden = ",".join(map(str, sizes.get("hidden", ())))
    named = {"embedding": "emb", "block": "block"}
    parts = [f"{short} {sizes[name]}" for name, short in named.items() if name in sizes]
    parts += [f"hidden {hidden}"] if hidden else []
    return ", ".join(
        [f"lr {options.rate:g}", f"batch {options.batch}", *parts, f"seed {options.seed}"]
    )


def literal(text: str) -> str:
    """Somebody's own text as it is, in Markdown and in HTML: no sign in it means anything."""
    return "".join(f"&#{ord(sign)};" for sign in text)


def uploaded_words(files: Sequence[Any]) -> Words | None:
    """The words of a file that was given to `marimo.ui.file`; None where there is none.

    Raises WordsError as `fanin.read_words` does, and calls the file as its owner does.
    """
    if not files:
        return None
    name, contents = files[0].name, files[0].contents
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words"
        path.write_bytes(contents)
        try:
            words = read_words(path)
        except WordsError as error:
            raise WordsError(str(error).replace(str(path), name)) from None
    return Words(words.words, name, words.duplicates)
