"""The time and memory that it takes to make a list of words into examples.

`python -m benchmarks.examples` draws distinct words of 3 to 12 letters, writes them to a file, and
times what `fanin train` does with such a file before it trains: reading and checking it, the
vocabulary, the split by word, contexts and targets of the three splits. Each list has a process of
its own, whose memory Linux's `/proc` tells.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

COUNTS = (10_000, 100_000, 1_000_000)

MEASURE = r"""
import json, re, sys, time
from fanin.corpus import Corpus, read_words
def used(): return time.process_time()
# Linux's own count for this program: ru_maxrss still knows the one that started it.
def peak(): return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
before = peak()
begin = used(); words = read_words(sys.argv[1]); read = used()
corpus = Corpus.of(words, block=3); made = used()
arrays = [a for s in (corpus.train, corpus.dev, corpus.test) for a in (s.contexts, s.targets)]
print(json.dumps({
    "words": len(words.words), "read": read - begin, "made": made - read,
    "examples": sum(len(s) for s in (corpus.train, corpus.dev, corpus.test)),
    "arrays": sum(a.nbytes for a in arrays),
    "peak": peak() - before,
}))
"""


def write_words(path: Path, count: int) -> None:
    """So many distinct words of 3 to 12 of the 26 letters."""
    random = np.random.default_rng(0)
    words: set[str] = set()
    while len(words) < count:
        letters = random.integers(97, 123, (count, 12), np.uint8)
        lengths = random.integers(3, 13, count)
        words.update(
            bytes(row[:length]).decode() for row, length in zip(letters, lengths, strict=True)
        )
    path.write_text("\n".join(sorted(words)[:: max(1, len(words) // count)][:count]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, nargs="+", default=COUNTS, metavar="N")
    given = parser.parse_args()
    print("| words | examples | read, s | made, s | arrays, MB | peak beyond imports, MB |")
    print("|---|---|---|---|---|---|")
    for count in given.words:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.txt"
            write_words(path, count)
            command = [sys.executable, "-c", MEASURE, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        print(
            f"| {found['words']:,} | {found['examples']:,} | {found['read']:.2f} "
            f"| {found['made']:.2f} | {found['arrays'] / 1e6:.0f} | {found['peak'] / 1e6:.0f} |"
        )


if __name__ == "__main__":
    main()
