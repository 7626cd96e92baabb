"""What a diagnosis costs beside the plain forward and backward pass over the same examples.

fanin's own networks on 4,096 examples of the bundled names, and PyTorch modules; one core. Memory
is the highest that processes of its own reached, less what they had with everything imported, with
an allocator that gives back what is freed, so that it is of what is held at once; for the times it
is as the system has it.
"""

import importlib.util
from dataclasses import replace
from typing import Any

from benchmarks.contest import Contestant, Place, closing_all, peak_memory, take_turns
from benchmarks.setting import NO_GPU, Setting, duration, megabytes, table

EXAMPLES = 4_096
# glibc's own settings keep holes between small and large arrays.
GIVING_BACK = (("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536"))


class OfNetwork:
    """A plain pass or a diagnosis of one of fanin's networks."""

    def __init__(self, name: str, what: str, count: int) -> None:
        import jax
        import numpy as np
        from benchmarks.diagnosis import NETWORKS

        from fanin.corpus import Corpus, bundled_names
        from fanin.diagnosis.of_network import diagnose
        from fanin.networks import CharacterMLP
        from fanin.starts import find_start
        from fanin.training import loss_and_gradient

        corpus = Corpus.of(bundled_names())
        some = np.random.default_rng(0).permutation(len(corpus.train))[:count]
        contexts = corpus.train.contexts[some].astype(np.int32)
        targets = corpus.train.targets[some].astype(np.int32)
        network = CharacterMLP(len(corpus.vocabulary), **NETWORKS[name])
        parameters = dict(find_start("fanin")(network, jax.random.key(0)))
        plain = jax.jit(lambda p, x, y: loss_and_gradient(network, p, x, y))
        self.call: Any = (
            (lambda: jax.block_until_ready(plain(parameters, contexts, targets)))
            if what == "plain"
            else (lambda: diagnose(network, parameters, contexts, targets).verdict)
        )
        self.facts = {"before": peak_memory()}

    def run(self, count: int) -> None:
        for _ in range(count):
            self.call()


class OfModule:
    """A plain pass or a diagnosis of a PyTorch module."""

    def __init__(self, name: str, what: str, device: str = "cpu") -> None:
        import torch
        from benchmarks.diagnosis_torch import CASES, mlp, plain

        from fanin.torch import diagnose

        torch.set_num_threads(1)
        torch.manual_seed(0)
        small: Any = mlp()
        diagnose(small, torch.randn(64, 16), torch.randint(10, (64,)))
        self.facts = {"before": peak_memory()}
        module, batch = CASES[name][0](), CASES[name][1]()
        self.module, self.batch = module.to(device), tuple(part.to(device) for part in batch)
        self.call = plain if what == "plain" else diagnose
        self.device = device

    def run(self, count: int) -> None:
        for _ in range(count):
            self.module.zero_grad()
            self.call(self.module, *self.batch)
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()


class Names:
    """Of the networks and modules, by a process that can load what they are made of."""

    def __init__(self) -> None:
        from benchmarks.diagnosis import NETWORKS

        self.facts = {"networks": list(NETWORKS), "modules": []}
        if importlib.util.find_spec("torch") is not None:
            from benchmarks.diagnosis_torch import CASES

            self.facts["modules"] = list(CASES)

    def run(self, count: int) -> None:
        del count


def measure(setting: Setting) -> str:
    there = Contestant("benchmarks.costs:Names", at=setting.one)
    there.close()
    names, modules = (
        there.facts[kind][-1 if setting.quick else 0 :] for kind in ("networks", "modules")
    )
    count = 64 if setting.quick else EXAMPLES
    rows = [
        row(setting, name, "OfNetwork", [count], place)
        for name in names
        for place in _places(setting, "jax")
    ]
    for name in modules:
        for place in _places(setting, "torch"):
            device = [] if place.platform == "cpu" else ["cuda"]
            rows.append(row(setting, name, "OfModule", device, place))
    if not modules:
        rows.append(["PyTorch modules: not measured: PyTorch is not installed", *[None] * 7])
    if not setting.gpus:
        rows.append([f"on a GPU: {NO_GPU}", *[None] * 7])
    header = ["network or module", "plain pass", "diagnosis", "÷", "the first, which compiles"]
    return table([*header, "plain memory", "diagnosis", "÷"], rows)


def _places(setting: Setting, framework: str) -> list[Place]:
    places = [setting.one]
    if framework in setting.gpus:
        places.append(Place(setting.cores, platform="gpu"))
    return places


def row(setting: Setting, name: str, maker: str, given: list[Any], at: Place) -> list[Any]:
    def both(at: Place) -> dict[str, list[Contestant]]:
        return {
            what: [Contestant(f"benchmarks.costs:{maker}", name, what, *given, at=at)]
            for what in ("plain", "diagnosis")
        }

    group = both(at)
    with closing_all(group):
        times = take_turns(group, setting.rounds, setting.seconds(3.0))
        first = group["diagnosis"][0].first
    gpu, memory = at.platform == "gpu", dict[str, int]()
    if not gpu:
        group = both(replace(at, settings=GIVING_BACK))
        with closing_all(group):
            take_turns(group, 2, setting.seconds(0.5))
            memory = {what: each.peak - each.facts["before"] for what, (each,) in group.items()}
    return [
        f"{name}, GPU" if gpu else name,
        *(duration(times.median(what)) for what in group),
        f"{times.ratio('diagnosis', 'plain'):.2f}",
        duration(first),
        # What the processor's memory holds says nothing of what the GPU's does.
        *([None] * 3 if gpu else [*map(megabytes, memory.values()), _ratio(memory)]),
    ]


def _ratio(memory: dict[str, int]) -> str | None:
    if memory["plain"] < 2**20:
        return None
    return f"{memory['diagnosis'] / memory['plain']:.2f}"
