"""What `fanin.torch.diagnose` costs beside the plain forward and backward pass, in time and memory.

`python benchmarks/diagnosis_torch.py` prints a table. Times are processor seconds on one thread,
the best of some rounds, plain passes and diagnoses taking turns; memory is the highest that a
process of its own reached, less what it had once small modules of the same kinds had been through
it (so that no code is read in any more), with an allocator that gives back what is freed: it is of
what is held at once. (glibc's own settings keep holes between small and large tensors, which a
diagnosis makes more of.) At most three times the time (five where the plain pass takes under a
millisecond) and 1.3 times the memory is what fanin is held to.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fanin.diagnosis.judge import judge
from fanin.torch import diagnose
from fanin.torch.record import record


class Basic(nn.Module):
    """A block of ResNet-18."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.down = nn.Identity()
        if stride > 1:
            self.down = nn.Sequential(
                nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.down(x))


def resnet18(classes: int = 1000) -> nn.Module:
    """As torchvision has it: He et al. 2015, with the fan-out's gain."""
    module = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), Basic(64, 64, 1), Basic(64, 64, 1),
        Basic(64, 128, 2), Basic(128, 128, 1), Basic(128, 256, 2), Basic(256, 256, 1),
        Basic(256, 512, 2), Basic(512, 512, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes),
    )  # fmt: skip
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            nn.init.kaiming_normal_(each.weight, mode="fan_out", nonlinearity="relu")
    return module


def convolutions() -> nn.Module:
    """The kinds of a ResNet, in small."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Basic(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


class Block(nn.Module):
    """A block of a GPT."""

    def __init__(self, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for each in (self.attention, self.project, self.widen, self.narrow):
            nn.init.normal_(each.weight, std=0.02)
            nn.init.zeros_(each.bias)
        for each in (self.project, self.narrow):
            nn.init.normal_(each.weight, std=0.02 / (2 * blocks) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.attention(self.norm1(x)).split(width, -1)
        q, k, v = (p.view(batch, length, self.heads, -1).transpose(1, 2) for p in parts)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).reshape(x.shape))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))


class GPT(nn.Module):
    def __init__(
        self,
        symbols: int = 1000,
        width: int = 256,
        heads: int = 8,
        blocks: int = 4,
        length: int = 128,
    ) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(symbols, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, blocks) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)
        for each in (self.embedding, self.position, self.head):
            nn.init.normal_(each.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        return self.head(self.norm(self.blocks(self.embedding(x) + self.position(places))))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


Case = tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]
CASES: dict[str, Case] = {
    "ResNet-18, 16 × 3 × 96 × 96": (
        resnet18,
        lambda: (torch.randn(16, 3, 96, 96), torch.randint(1000, (16,))),
    ),
    "GPT of 4 blocks, width 256, 8 × 128": (
        GPT,
        lambda: (torch.randint(1000, (8, 128)), torch.randint(1000, (8, 128))),
    ),
    "GPT of 4 blocks, width 64, 4 × 32": (
        lambda: GPT(width=64, heads=4),
        lambda: (torch.randint(1000, (4, 32)), torch.randint(1000, (4, 32))),
    ),
    "MLP of 3 layers, 64 × 16": (mlp, lambda: (torch.randn(64, 16), torch.randint(10, (64,)))),
}


def plain(module: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    output = module(inputs)
    F.cross_entropy(output.flatten(0, -2), targets.flatten()).backward()


def times(case: Case, rounds: int) -> tuple[float, float]:
    """Processor seconds of the plain pass and of the diagnosis, the best of each."""
    module, (inputs, targets) = case[0](), case[1]()
    found: dict[str, list[float]] = {"plain": [], "diagnosis": []}
    for _ in range(rounds + 1):
        module.zero_grad()
        for name, call in (("plain", plain), ("diagnosis", diagnose)):
            began = time.process_time()
            call(module, inputs, targets)
            found[name].append(time.process_time() - began)
            module.zero_grad()
    return min(found["plain"][1:]), min(found["diagnosis"][1:])


class Seen(TorchDispatchMode):
    """Every operation comes by Python, where nothing is done about it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def least(case: Case, rounds: int) -> tuple[float, float]:
    """Processor seconds of the plain pass when its operations are seen, and of the judgement."""
    module, (inputs, targets) = case[0](), case[1]()
    recorded = record(module, inputs, targets)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        module.zero_grad()
        began = time.process_time()
        with Seen():
            plain(module, inputs, targets)
        seen = time.process_time()
        judge(recorded.recording, recorded.nonlinearities)
        found[0].append(seen - began)
        found[1].append(time.process_time() - seen)
    return min(found[0][1:]), min(found[1][1:])


def memory(name: str, what: str) -> float:
    """The most that a process took for it, in MiB, once everything is imported."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", name, what],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        },
    )
    return float(done.stdout)


def peak(name: str, what: str) -> float:
    for small, (inputs, targets) in (
        (GPT(50, 16, 2, 1, 8), (torch.randint(50, (2, 8)), torch.randint(50, (2, 8)))),
        (convolutions(), (torch.randn(2, 3, 32, 32), torch.randint(10, (2,)))),
        (mlp(), (torch.randn(64, 16), torch.randint(10, (64,)))),
    ):
        plain(small, inputs, targets)
        diagnose(small, inputs, targets)
    del small
    before = _in_memory("VmRSS")
    module, (inputs, targets) = CASES[name][0](), CASES[name][1]()
    (plain if what == "plain" else diagnose)(module, inputs, targets)
    return _in_memory("VmHWM") - before


def _in_memory(what: str) -> float:
    """What this process has in memory, or had at most, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--peak", nargs=2)
    asked = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if asked.peak:
        print(peak(*asked.peak))
        return
    print("| module, batch | plain pass | diagnosis | times | plain memory | diagnosis | times |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, case in CASES.items():
        first, second = times(case, asked.rounds)
        of_plain, most = memory(name, "plain"), memory(name, "diagnosis")
        print(
            f"| {name} | {1e3 * first:.2f} ms | {1e3 * second:.2f} ms | {second / first:.2f} | "
            f"{of_plain:.1f} MiB | {most:.1f} MiB | "
            f"{f'{most / of_plain:.2f}' if of_plain >= 1 else '–'} |",
            flush=True,
        )
    print("\nWhat no measurement can go below, though it measured nothing:\n")
    print("| module, batch | pass, every operation seen | judgement | together, times the plain |")
    print("|---|---:|---:|---:|")
    for name in list(CASES)[2:]:
        first, _ = times(CASES[name], asked.rounds)
        seen, judged = least(CASES[name], asked.rounds)
        print(
            f"| {name} | {1e3 * seen:.2f} ms | {1e3 * judged:.2f} ms | "
            f"{(seen + judged) / first:.1f} |"
        )


if __name__ == "__main__":
    main()
