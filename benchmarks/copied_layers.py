"""Whether the copies that nn.TransformerEncoder makes of its layer matter: trainings, in pairs.

`python benchmarks/copied_layers.py` trains the encoder of `benchmarks/stock_models.py` on the
bundled names, letter by letter, from PyTorch's own start and from the same after `report.fix_()`,
with the same batches; some minutes on one core.
"""

import argparse
import copy
import math
import statistics

import torch
import torch.nn.functional as F
from benchmarks.stock_models import Encoder
from scipy import stats
from torch import Tensor, nn

from fanin.corpus import bundled_names
from fanin.torch import diagnose

LENGTH, SYMBOLS = 16, 27


def names() -> tuple[Tensor, Tensor]:
    """The names as rows of symbols, shuffled once, and what follows each symbol; −100 for what
    comes after the end."""
    words = [word for word in bundled_names().words if len(word) < LENGTH and word.isascii()]
    rows = torch.zeros(len(words), LENGTH + 1, dtype=torch.long)
    for row, word in zip(rows, words, strict=True):
        row[1 : len(word) + 1] = torch.tensor([ord(letter) - 96 for letter in word.lower()])
    rows = rows[((rows >= 0) & (rows < SYMBOLS)).all(1)]
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    inputs, targets = rows[:, :-1], rows[:, 1:].clone()
    targets[(targets == 0) & (inputs == 0)] = -100
    targets[:, 0] = rows[:, 1]
    return inputs, targets


def trained(module: nn.Module, data: tuple[Tensor, Tensor], steps: int, seed: int) -> float:
    """The loss on 2,000 names that were held back, after so many steps of Adam."""
    x, y = data
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    module.train()
    for _ in range(steps):
        some = torch.randint(2000, len(x), (64,), generator=order)
        loss = F.cross_entropy(module(x[some]).flatten(0, 1), y[some].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    with torch.no_grad():
        return float(F.cross_entropy(module(x[:2000]).flatten(0, 1), y[:2000].flatten()))


def paired(norm_first: bool, seeds: int, steps: int) -> tuple[float, float, float, float]:
    """Mean losses as it comes and mended, the mean difference, and half its 95 % t interval."""
    data, pairs = names(), []
    for seed in range(seeds):
        torch.manual_seed(seed)
        module = Encoder(norm_first, layers=4, width=64, symbols=SYMBOLS)
        report = diagnose(module, data[0][:64], data[1][:64])
        assert [c.name for c in report.checks if c.verdict != "good"] == ["streams"]
        mended = report.fixed(copy.deepcopy(module))
        pairs.append(tuple(trained(each, data, steps, seed) for each in (module, mended)))
    differences = [mended - own for own, mended in pairs]
    half = stats.t.ppf(0.975, seeds - 1) * statistics.stdev(differences) / math.sqrt(seeds)
    own, after = (statistics.mean(each) for each in zip(*pairs, strict=True))
    return own, after, statistics.mean(differences), float(half)


def evidence(seeds: int = 8, steps: int = 400) -> str:
    text = (
        "`nn.TransformerEncoder(layer, 4)` holds four copies of one layer, so that they start "
        f"equal. Trained on the bundled names ({steps} steps of Adam at 0.001, batches of 64, "
        f"width 64, {seeds} seeds, the same batches for both), as it comes and after "
        "`report.fix_()`, which shuffles the entries of all copies but the first:\n"
    )
    lines = [
        "## Whether it matters that nn.TransformerEncoder copies its layer\n",
        text,
        "| normalisation | held-back loss as it comes | mended | mended − as it comes, 95 % |",
        "|---|---:|---:|---:|",
    ]
    for norm_first in (False, True):
        own, after, mean, half = paired(norm_first, seeds, steps)
        lines.append(
            f"| {'first' if norm_first else 'last'} | {own:.4f} | {after:.4f} "
            f"| {mean:+.4f} ± {half:.4f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=8)
    options.add_argument("--steps", type=int, default=400)
    asked = options.parse_args()
    torch.set_num_threads(1)
    print(evidence(asked.seeds, asked.steps))
