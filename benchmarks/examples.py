"""The time and memory that it takes to make a list of words into examples.

Words are distinct, of 3 to 12 letters, in a file. `read` is reading and checking it; `made` is what
follows before `fanin train` trains: the vocabulary, the split by word, contexts (block 3) and
targets of the three splits. Beside it a notebook's way from the same words: a Python loop over
words and symbols that appends to lists, and two tensors of PyTorch made of them.
"""

import importlib.util
import tempfile
from pathlib import Path

from benchmarks.contest import Contestant, closing_all, peak_memory, take_turns
from benchmarks.setting import Setting, duration, megabytes, table

COUNTS = (10_000, 100_000, 1_000_000, 10_000_000)
LOOPED = 1_000_000  # the largest that the loop is given
BLOCK = 3


class WordFile:
    """So many distinct words of 3 to 12 of the 26 letters, written once for the others."""

    def __init__(self, path: str, count: int) -> None:
        import numpy as np

        random = np.random.default_rng(0)
        words = np.empty(0, "S12")
        while len(words) < count:
            letters = random.integers(97, 123, (count, 12), np.uint8)
            letters[np.arange(12) >= random.integers(3, 13, count)[:, None]] = 0
            words = np.unique(np.concatenate([words, letters.view("S12")[:, 0]]))
        random.shuffle(words)
        with Path(path).open("wb") as file:
            file.write(b"\n".join(words[:count].tolist()))

    def run(self, count: int) -> None:
        del count


class Reading:
    def __init__(self, path: str) -> None:
        from fanin.corpus import Corpus, read_words

        self.path, self.read_words, self.corpus_of = path, read_words, Corpus.of
        self.facts = {"before": peak_memory()}

    def run(self, count: int) -> None:
        for _ in range(count):
            self.words = self.read_words(self.path)


class Making(Reading):
    """Examples of words that are read already."""

    def run(self, count: int) -> None:
        if not hasattr(self, "words"):
            super().run(1)
        for _ in range(count):
            corpus = self.corpus_of(self.words, block=BLOCK)
            splits = corpus.train, corpus.dev, corpus.test
            self.facts |= {
                "examples": sum(map(len, splits)),
                "arrays": sum(s.contexts.nbytes + s.targets.nbytes for s in splits),
            }


class Looping(Reading):
    def __init__(self, path: str) -> None:
        import torch

        self.tensor = torch.tensor
        super().__init__(path)

    def run(self, count: int) -> None:
        if not hasattr(self, "words"):
            super().run(1)
        for _ in range(count):
            number = {symbol: i + 1 for i, symbol in enumerate("abcdefghijklmnopqrstuvwxyz")}
            contexts, targets = [], []
            for word in self.words.words:
                context = [0] * BLOCK
                for symbol in [number[letter] for letter in word] + [0]:
                    contexts.append(context)
                    targets.append(symbol)
                    context = [*context[1:], symbol]
            self.tensor(contexts), self.tensor(targets)


def measure(setting: Setting) -> str:
    rows = [of_count(setting, count) for count in ((1_000,) if setting.quick else COUNTS)]
    header = ["words", "examples", "read", "made", "a Python loop", "arrays"]
    return table([*header, "peak beyond imports", "the loop's"], rows)


def of_count(setting: Setting, count: int) -> list[str | None]:
    makers = {"read": "Reading", "made": "Making"}
    if count <= LOOPED and importlib.util.find_spec("torch") is not None:
        makers["loop"] = "Looping"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "words.txt")
        Contestant("benchmarks.examples:WordFile", path, count, at=setting.one).close()
        group = {
            name: [Contestant(f"benchmarks.examples:{maker}", path, at=setting.one)]
            for name, maker in makers.items()
        }
        with closing_all(group):
            rounds = min(setting.rounds, 1 if count > 10**6 else 3)
            times = take_turns(group, rounds, setting.seconds(0.5))
            facts, peak = group["made"][0].facts, group["made"][0].peak
            loop = group.get("loop", [None])[0]
            looped = None if loop is None else megabytes(loop.peak - loop.facts["before"])
    return [
        f"{count:,}",
        f"{facts['examples']:,}",
        duration(times.median("read")),
        duration(times.median("made")),
        duration(times.median("loop")) if loop else None,
        megabytes(facts["arrays"]),
        megabytes(peak - facts["before"]),
        looped,
    ]
