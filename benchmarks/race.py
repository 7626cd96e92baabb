"""A race against the ways that PyTorch offers: how long one step of one of many runs takes.

`python benchmarks/race.py` times 64 runs of the networks 3/4/100/32 and 10/3/200/32 (embedding,
block, hidden, batch) on two cores: fanin's race; PyTorch eager, the runs one after the other; the
same in two processes; and PyTorch's own vectorised way, `torch.func.vmap` over `functional_call`.
Then the race alone from 2 runs to 512. Each contender lives in a process of its own and measures
when it is told to, in turns; given are medians over the rounds, and the median of each round's
ratio, since what else the machine does changes from round to round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

CORES = 2
NETWORKS = {"3/4/100/32": (3, 4, 100, 32), "10/3/200/32": (10, 3, 200, 32)}
RUNS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
MANY = 64
RATE = 0.1
SECONDS = 1.5  # of a measurement, about
FEW = 20  # steps: the fewest that a measurement holds
STEPS_AT_ONCE = 1024  # of a call of the race's program, as in fanin.training.step


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--worker", nargs=3, metavar=("KIND", "NETWORK", "RUNS"))
    options.add_argument("--only", choices=("contest", "widths"))
    options.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    asked = options.parse_args()
    if asked.worker:
        work(*asked.worker)
        return
    for network in asked.networks:
        if asked.only != "widths":
            contest(network, asked.rounds)
        if asked.only != "contest":
            widths(network, asked.rounds)


def contest(network: str, rounds: int) -> None:
    """Microseconds for a step of a run, of each contender, and how many times the race's."""
    kinds = ("fanin", "vmap", "vmap-one-thread")
    fanin, vmap, vmap_one_thread = (Worker(kind, network, MANY) for kind in kinds)
    eager = [Worker("eager", network, MANY) for _ in range(CORES)]
    workers = [fanin, vmap, vmap_one_thread, *eager]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        of_round = {
            "fanin race": measure([fanin]),
            "PyTorch eager, one after the other": measure(eager[:1]),
            "PyTorch eager, two processes": measure(eager) / CORES,
            "torch.func.vmap, two threads": measure([vmap]),
            "torch.func.vmap, one thread": measure([vmap_one_thread]),
        }
        for name, microseconds in of_round.items():
            found.setdefault(name, []).append(microseconds)
    for worker in workers:
        worker.close()
    print(f"{network}, {MANY} runs: microseconds for a step of a run; times the race's", flush=True)
    for name, times in found.items():
        ratios = [t / own for t, own in zip(times, found["fanin race"], strict=True)]
        print(f"  {name:36} {statistics.median(times):8.1f} {statistics.median(ratios):7.1f}")


def widths(network: str, rounds: int) -> None:
    """Microseconds for a step of a run, from few runs to many."""
    found: dict[int, list[float]] = {runs: [] for runs in RUNS}
    workers = {runs: Worker("fanin", network, runs) for runs in RUNS}
    for _ in range(rounds):
        for runs, worker in workers.items():
            found[runs].append(measure([worker]))
    for worker in workers.values():
        worker.close()
    print(f"{network}: the race by runs, microseconds; times that of {MANY} runs", flush=True)
    for runs, times in found.items():
        ratios = [t / many for t, many in zip(times, found[MANY], strict=True)]
        print(f"  {runs:4} {statistics.median(times):8.1f} {statistics.median(ratios):7.2f}")


class Worker:
    """A process that measures whenever it is told to."""

    def __init__(self, kind: str, network: str, runs: int) -> None:
        command = [sys.executable, __file__, "--worker", kind, network, str(runs)]
        threads = str(CORES if kind == "vmap" else 1)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": threads},
        )
        self.answer()  # it is ready

    def ask(self) -> None:
        print("measure", file=self.process.stdin, flush=True)

    def answer(self) -> float:
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(workers: list[Worker]) -> float:
    """The slowest answer of workers that measure at the same time."""
    for worker in workers:
        worker.ask()
    return max(worker.answer() for worker in workers)


def work(kind: str, network: str, runs: str) -> None:
    train = CONTENDERS[kind](NETWORKS[network], int(runs))
    train(10)  # compiles
    began = time.perf_counter()
    train(FEW)
    steps = max(FEW, int(FEW * SECONDS / (time.perf_counter() - began)))
    if kind == "fanin":  # as many as one call trains, or several times that
        steps = max(1, round(steps / STEPS_AT_ONCE)) * STEPS_AT_ONCE
    trained = 1 if kind == "eager" else int(runs)  # one after the other each takes as long
    print("0", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        train(steps)
        print(1e6 * (time.perf_counter() - began) / steps / trained, flush=True)


def fanin_race(sizes: tuple[int, int, int, int], runs: int) -> Callable[[int], None]:
    from fanin.corpus import Corpus, bundled_names
    from fanin.networks import CharacterMLP
    from fanin.race import Lane, Run
    from fanin.race.devices import use_all_cores
    from fanin.race.run import Heat
    from fanin.race.widths import choose_width
    from fanin.starts import find_start
    from fanin.training import TrainingOptions

    use_all_cores()
    embedding, block, hidden, batch = sizes
    corpus = Corpus.of(bundled_names(), block=block)
    network = CharacterMLP(
        len(corpus.vocabulary), block=block, embedding=embedding, hidden=(hidden,)
    )
    options = TrainingOptions(steps=10**9, batch=batch, lr=RATE)
    lanes = [Lane("fanin", network, find_start("fanin"), options)]
    racers = [Run(0, seed) for seed in range(runs)]
    heat = Heat(lanes, racers, corpus, tile=choose_width(lanes, racers, corpus).width)

    def train(steps: int) -> None:
        # The training alone: how often dev losses are measured is another choice.
        heat.train(heat.step + steps)

    return train


def data(block: int):
    import numpy as np
    import torch

    from fanin.corpus import Corpus, bundled_names

    corpus = Corpus.of(bundled_names(), block=block)
    contexts = torch.from_numpy(corpus.train.contexts.astype(np.int64))
    return contexts, torch.from_numpy(corpus.train.targets.astype(np.int64))


def module(sizes: tuple[int, int, int, int]):
    import torch

    embedding, block, hidden, _ = sizes
    return torch.nn.Sequential(
        torch.nn.Embedding(27, embedding),
        torch.nn.Flatten(),
        torch.nn.Linear(embedding * block, hidden),
        torch.nn.Tanh(),
        torch.nn.Linear(hidden, 27),
    )


def torch_eager(sizes: tuple[int, int, int, int], runs: int) -> Callable[[int], None]:
    """One run, by a plain loop with an optimiser."""
    import torch

    torch.set_num_threads(1)
    contexts, targets = data(sizes[1])
    network = module(sizes)
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE)

    def train(steps: int) -> None:
        for _ in range(steps):
            examples = torch.randint(0, len(targets), (sizes[3],))
            loss = torch.nn.functional.cross_entropy(network(contexts[examples]), targets[examples])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return train


def torch_vmap(
    sizes: tuple[int, int, int, int], runs: int, threads: int = CORES
) -> Callable[[int], None]:
    """All runs at once, each with its own batches, by an ensemble's stacked parameters."""
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap

    torch.set_num_threads(threads)
    contexts, targets = data(sizes[1])
    networks = [module(sizes) for _ in range(runs)]
    parameters, _ = stack_module_state(networks)
    parameters = {name: array.detach() for name, array in parameters.items()}

    def loss(parameters, x, y):
        return torch.nn.functional.cross_entropy(functional_call(networks[0], parameters, (x,)), y)

    gradient = vmap(grad(loss))

    def train(steps: int) -> None:
        for _ in range(steps):
            examples = torch.randint(0, len(targets), (runs, sizes[3]))
            found = gradient(parameters, contexts[examples], targets[examples])
            for name, array in parameters.items():
                array.add_(found[name], alpha=-RATE)

    return train


CONTENDERS = {
    "fanin": fanin_race,
    "eager": torch_eager,
    "vmap": torch_vmap,
    "vmap-one-thread": partial(torch_vmap, threads=1),
}

if __name__ == "__main__":
    main()
