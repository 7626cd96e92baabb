"""Faults put into three PyTorch modules: found, mended, and trained beside the unmended ones.

`python -m benchmarks.mended_modules --page docs/pytorch.md` spoils a GPT, a ResNet-18 and a GAN's
generator as they are made, diagnoses and mends each with `report.fix_()`, and trains the untouched,
the spoilt and the mended copy on the same batches; some minutes on one core. A fault counts as
found where its check names its layer, and no layer that was not spoilt is named by any.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.copied_layers import names
from benchmarks.copied_layers import trained as trained_on_names
from benchmarks.diagnosis_torch import GPT, resnet18
from benchmarks.page import put_part
from scipy import stats
from torch import Tensor, nn

from fanin.diagnosis.report import Report
from fanin.torch import diagnose

NOISE, CLASSES = 32, 10


@dataclass(frozen=True)
class Fault:
    """One way to spoil a module; the check that is to find it, and the layer it is to name."""

    words: str
    plant: Callable[[nn.Module], Any]
    check: str
    layer: str


@dataclass(frozen=True)
class Subject:
    """A module that is spoilt and trained."""

    name: str
    make: Callable[[], nn.Module]
    given: Callable[[int], tuple[Any, ...]]
    """inputs, targets and loss for `diagnose`, by seed"""
    faults: tuple[Fault, ...]
    trained: Callable[[nn.Module, int, int], float]
    """trains a module so many steps from a seed; what it is then judged by, the less the better"""
    steps: int
    judged_by: str


@dataclass(frozen=True)
class Outcome:
    """One seed of a subject: its reports, and what came of the three copies."""

    before: Report
    after: Report
    untouched: float
    spoilt: float
    mended: float


def scaled(name: str, factor: float, rows: slice = slice(None)) -> Callable[[nn.Module], Any]:
    return lambda module: module.get_parameter(name)[rows].mul_(factor)


def lowered(name: str, units: slice) -> Callable[[nn.Module], Any]:
    return lambda module: module.get_parameter(name)[units].fill_(-10.0)


@cache
def some_names() -> tuple[Tensor, Tensor]:
    return names()


def on_names(module: nn.Module, seed: int, steps: int) -> float:
    return trained_on_names(module, some_names(), steps, seed)


def patterns(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (count, 3, 32, 32) of noise with one of ten patterns faintly in it, and which."""
    each = torch.randn(CLASSES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    classes = torch.randint(CLASSES, (count,), generator=draw)
    return 0.2 * each[classes] + torch.randn(count, 3, 32, 32, generator=draw), classes


def on_patterns(module: nn.Module, seed: int, steps: int) -> float:
    """The loss on 256 pictures that were held back, after so many steps of Adam."""
    draw = torch.Generator().manual_seed(seed + 1)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(steps):
        pictures, classes = patterns(32, draw)
        step(optimiser, F.cross_entropy(module(pictures), classes))
    # In training mode: after so few steps the running statistics are still those of the start.
    pictures, classes = patterns(256, torch.Generator().manual_seed(10**6 + seed))
    with torch.no_grad():
        return float(F.cross_entropy(module(pictures), classes))


def drawn_as_dcgan(module: nn.Module) -> nn.Module:
    """Radford et al. 2015: N(0, 0.02²), and γ about 1 as widely."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(each.weight, std=0.02)
        elif isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight, 1.0, 0.02)
    return module


def generator() -> nn.Module:
    return drawn_as_dcgan(nn.Sequential(
        nn.Unflatten(1, (NOISE, 1, 1)),
        nn.ConvTranspose2d(NOISE, 64, 4, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Tanh(),
    ))  # fmt: skip


def discriminator(seed: int) -> nn.Module:
    torch.manual_seed(1000 + seed)
    return drawn_as_dcgan(nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 4), nn.Flatten(),
    ))  # fmt: skip


def taken_for(judge: nn.Module, pictures: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(judge(pictures), targets)


def blobs(count: int, draw: torch.Generator) -> Tensor:
    """Pictures (count, 1, 16, 16) in −1 to 1, each of one round spot somewhere, wide or narrow."""
    x, y = (5 + 6 * torch.rand(2, count, 1, 1, generator=draw)).unbind()
    width = 1.5 + 1.5 * torch.rand(count, 1, 1, generator=draw)
    at = torch.arange(16.0)
    square = (at[:, None] - y) ** 2 + (at - x) ** 2
    return (2 * torch.exp(-square / (2 * width**2)) - 1)[:, None]


def distance(some: Tensor, others: Tensor) -> float:
    """Sliced Wasserstein-1 (Bonneel et al. 2015) of as many pictures, over 256 directions."""
    draw = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(some[0].numel(), 256, generator=draw), dim=0)
    along = [(each.flatten(1) @ directions).sort(0).values for each in (some, others)]
    return float((along[0] - along[1]).abs().mean())


def against_a_discriminator(module: nn.Module, seed: int, steps: int) -> float:
    """How far 512 generated pictures are from 512 that were held back, after so many steps."""
    judge, draw = discriminator(seed), torch.Generator().manual_seed(seed + 1)
    of_module, of_judge = (
        torch.optim.Adam(each.parameters(), 1e-3, betas=(0.5, 0.999)) for each in (module, judge)
    )
    real, made = torch.ones(64, 1), torch.zeros(64, 1)
    for _ in range(steps):
        pictures = module(torch.randn(64, NOISE, generator=draw))
        told = taken_for(judge, blobs(64, draw), real) + taken_for(judge, pictures.detach(), made)
        step(of_judge, told)
        step(of_module, taken_for(judge, pictures, real))
    module.eval()
    held = torch.Generator().manual_seed(10**6 + seed)
    with torch.no_grad():
        return distance(module(torch.randn(512, NOISE, generator=held)), blobs(512, held))


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def names_given(seed: int) -> tuple[Any, ...]:
    inputs, targets = some_names()
    return inputs[-64:], targets[-64:], "cross_entropy"


def patterns_given(seed: int) -> tuple[Any, ...]:
    return (*patterns(32, torch.Generator().manual_seed(seed)), "cross_entropy")


def noise_given(seed: int) -> tuple[Any, ...]:
    noise = torch.randn(64, NOISE, generator=torch.Generator().manual_seed(seed))
    return noise, torch.ones(64, 1), partial(taken_for, discriminator(seed))


SUBJECTS = (
    Subject(
        "a GPT of 4 blocks",
        lambda: GPT(27, 64, 4, 4, 16),
        names_given,
        (
            Fault(
                "queries and keys of block 1 × 60",
                scaled("blocks.1.attention.weight", 60.0, slice(128)),
                "attention",
                "blocks.1.attention",
            ),
            Fault(
                "last layer of block 2 × 100",
                scaled("blocks.2.narrow.weight", 100.0),
                "stream",
                "blocks.2.narrow",
            ),
            Fault("head × 100", scaled("head.weight", 100.0), "logits", "head"),
        ),
        on_names,
        150,
        "held-back loss",
    ),
    Subject(
        "ResNet-18",
        lambda: resnet18(CLASSES),
        patterns_given,
        (
            Fault(
                "bias −10 in 56 of the first normalisation's 64 channels",
                lowered("1.bias", slice(56)),
                "dead units",
                "0",
            ),
            Fault("head × 50", scaled("14.weight", 50.0), "logits", "14"),
        ),
        on_patterns,
        50,
        "held-back loss",
    ),
    Subject(
        "a GAN's generator",
        generator,
        noise_given,
        (
            Fault(
                "bias −10 in 26 of the second normalisation's 32 channels",
                lowered("5.bias", slice(26)),
                "dead units",
                "4",
            ),
            Fault("layer before tanh × 100", scaled("7.weight", 100.0), "saturation", "7"),
        ),
        against_a_discriminator,
        150,
        "sliced Wasserstein distance",
    ),
)


def mend(subject: Subject, seed: int) -> tuple[tuple[nn.Module, ...], Report, Report]:
    """A start untouched, spoilt, and mended, with the reports before and after mending."""
    torch.manual_seed(seed)
    untouched = subject.make()
    spoilt = copy.deepcopy(untouched)
    with torch.no_grad():
        for fault in subject.faults:
            fault.plant(spoilt)
    mended = copy.deepcopy(spoilt)
    before = diagnose(mended, *subject.given(seed))
    after = before.fix_()
    return (untouched, spoilt, mended), before, after


def outcome(subject: Subject, seed: int, steps: int) -> Outcome:
    """Spoil, diagnose, mend and train one start."""
    modules, before, after = mend(subject, seed)
    return Outcome(before, after, *(subject.trained(each, seed, steps) for each in modules))


def found(subject: Subject, fault: Fault, report: Report) -> bool:
    """Whether the fault's check names its layer, and no check a layer that is none's."""
    flagged = {check.name: check.layers for check in report.checks if check.verdict != "good"}
    named = {layer for layers in flagged.values() for layer in layers}
    spoilt = {each.layer for each in subject.faults}
    return fault.layer in flagged.get(fault.check, ()) and named <= spoilt


def difference(some: list[float], others: list[float]) -> str:
    """Mean, half of the 95 % t interval, and what that decides of the first."""
    by_seed = [a - b for a, b in zip(some, others, strict=True)]
    interval = stats.ttest_1samp(by_seed, 0.0).confidence_interval(0.95)
    mean, half = statistics.mean(by_seed), (interval.high - interval.low) / 2
    said = "undecided" if interval.low <= 0 <= interval.high else "worse" if mean > 0 else "better"
    return f"{mean:+.3f} ± {half:.3f}, {said}"


def tables(subjects: tuple[Subject, ...] = SUBJECTS, seeds: int = 5, steps: int = 0) -> str:
    """What was found of each fault, and how the three copies trained; `steps` for all, or 0 for
    each subject's own."""
    faults = [
        "| module | fault | found by | layer named | in | verdict before | after |",
        "|---|---|---|---|---:|---|---|",
    ]
    trainings = [
        (
            "| module, judged by | steps | untouched | spoilt | mended | mended − spoilt "
            "| mended − untouched |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for subject in subjects:
        taken = steps or subject.steps
        seen = [outcome(subject, seed, taken) for seed in range(seeds)]
        before, after = (
            ", ".join(sorted({each.verdict for each in reports}))
            for reports in ([each.before for each in seen], [each.after for each in seen])
        )
        for fault in subject.faults:
            right = sum(found(subject, fault, each.before) for each in seen)
            faults.append(
                f"| {subject.name} | {fault.words} | {fault.check} | `{fault.layer}` "
                f"| {right} of {seeds} | {before} | {after} |"
            )
        untouched = [each.untouched for each in seen]
        spoilt, mended = [each.spoilt for each in seen], [each.mended for each in seen]
        means = (f"{statistics.mean(each):.3f}" for each in (untouched, spoilt, mended))
        trainings.append(
            f"| {subject.name}, {subject.judged_by} | {taken} | {' | '.join(means)} "
            f"| {difference(mended, spoilt)} | {difference(mended, untouched)} |"
        )
        print(faults[-1], trainings[-1], sep="\n", flush=True)
    floor = distance(*(blobs(512, torch.Generator().manual_seed(seed)) for seed in (1, 2)))
    note = (
        f"Means over {seeds} seeds; differences are paired by seed, with 95 % t intervals, and "
        "*undecided* where that holds 0. Two sets of 512 real pictures are "
        f"{floor:.3f} apart in that distance."
    )
    return "\n".join([*faults, "", *trainings, "", note])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--steps", type=int, default=0, help="(default: each module's own)")
    options.add_argument("--page", type=Path, help="write the tables into this page")
    asked = options.parse_args()
    torch.set_num_threads(1)
    text = tables(seeds=asked.seeds, steps=asked.steps)
    print(text)
    if asked.page:
        put_part(asked.page, "mended", text)


if __name__ == "__main__":
    main()
