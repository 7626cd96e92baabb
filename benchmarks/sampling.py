"""The time that 10,000 words take to draw from one model: fanin's way and two of PyTorch's.

All draw symbol by symbol from the same parameters (the network 10/3/200 after 2,000 steps). The
notebook's loop draws one word at a time; the other draws all words side by side and drops those
that have ended.
"""

import importlib.util
import tempfile
from pathlib import Path

from benchmarks.contest import Contestant, closing_all, take_turns
from benchmarks.setting import Setting, duration, megabytes, table

COUNT, STEPS = 10_000, 2_000
FANIN = "**fanin.sample**, which also looks each word up in the list"


class Trained:
    """A model file, written once for the others."""

    def __init__(self, path: str, steps: int) -> None:
        import fanin

        options = fanin.TrainingOptions(steps=steps)
        fanin.save_model(fanin.fit(options=options), path)

    def run(self, count: int) -> None:
        del count


class FaninSample:
    def __init__(self, path: str, words: int) -> None:
        import fanin

        self.sample, self.model, self.chunk = fanin.sample, fanin.load_model(path), words

    def run(self, count: int) -> None:
        for seed in range(count // self.chunk):
            assert len(self.sample(self.model, self.chunk, seed=seed)) == self.chunk


class TorchSample:
    """Reads the parameters alone, and PyTorch alone is imported."""

    def __init__(self, path: str, words: int, at_once: bool) -> None:
        import torch
        from safetensors.torch import load_file

        torch.set_num_threads(1)
        found = {name.removeprefix("parameters/"): array for name, array in load_file(path).items()}
        names = ["embedding.weight", "hidden.0.weight", "hidden.0.bias"]
        self.parameters = [found[name] for name in (*names, "output.weight", "output.bias")]
        self.block = self.parameters[1].shape[0] // self.parameters[0].shape[1]
        self.symbols = ".abcdefghijklmnopqrstuvwxyz"
        self.chunk, self.at_once = words, at_once

    def run(self, count: int) -> None:
        import torch

        with torch.inference_mode():
            for _ in range(count // self.chunk):
                words = self.together() if self.at_once else self.one_by_one()
                assert len(words) == self.chunk

    def probabilities(self, contexts):
        table, weight, bias, out_weight, out_bias = self.parameters
        hidden = (table[contexts].flatten(1) @ weight + bias).tanh()
        return (hidden @ out_weight + out_bias).softmax(1)

    def one_by_one(self) -> list[str]:
        import torch

        words: list[str] = []
        for _ in range(self.chunk):
            context, word = [0] * self.block, ""
            while len(word) < 100:
                drawn = torch.multinomial(self.probabilities(torch.tensor([context])), 1).item()
                if drawn == 0:
                    break
                word += self.symbols[drawn]
                context = [*context[1:], drawn]
            words.append(word)
        return words

    def together(self) -> list[str]:
        import torch

        words = [""] * self.chunk
        going = torch.arange(self.chunk)
        contexts = torch.zeros(self.chunk, self.block, dtype=torch.long)
        for _ in range(100):
            drawn = torch.multinomial(self.probabilities(contexts), 1)
            left = drawn[:, 0] != 0
            going, drawn = going[left], drawn[left]
            contexts = torch.cat([contexts[left][:, 1:], drawn], 1)
            for word, symbol in zip(going.tolist(), drawn[:, 0].tolist(), strict=True):
                words[word] += self.symbols[symbol]
            if not len(going):
                break
        return words


def measure(setting: Setting) -> str:
    count, steps = (16, 2) if setting.quick else (COUNT, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.safetensors")
        Contestant("benchmarks.sampling:Trained", path, steps, at=setting.one).close()
        group = {
            FANIN: [Contestant("benchmarks.sampling:FaninSample", path, count, at=setting.one)]
        }
        if importlib.util.find_spec("torch") is not None:
            for name, at_once in (("side by side", True), ("a word at a time", False)):
                group[f"PyTorch, {name}"] = [
                    Contestant(
                        "benchmarks.sampling:TorchSample", path, count, at_once, at=setting.one
                    )
                ]
        with closing_all(group):
            times = take_turns(group, min(5, setting.rounds), setting.seconds(2.0))
            rows = [
                [
                    name,
                    duration(times.median(name)),
                    duration(count * times.median(name)),
                    f"{times.ratio(name, FANIN):.2f}",
                    duration(each.first),
                    megabytes(each.peak),
                ]
                for name, (each,) in group.items()
            ]
    header = ["", "a word", f"{count:,} words", "÷ fanin", f"the first {count:,}", "peak memory"]
    return table(header, rows)
