"""What a diagnosis costs beside the plain forward and backward pass over the same examples.

`python -m benchmarks.diagnosis` prints a table: the best of some rounds each, the two in turns, on
one core; compilation is left out and shown apart. At most three times is what fanin is held to.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benchmarks.page import put_part

from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.of_network import diagnose
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.training import loss_and_gradient

NETWORKS: dict[str, dict[str, Any]] = {
    "200, tanh": {"hidden": (200,)},
    "5 × 200, tanh": {"hidden": (200,) * 5},
    "5 × 200, relu, batch": {"hidden": (200,) * 5, "activation": "relu", "normalisation": "batch"},
    "20 × 200, relu": {"hidden": (200,) * 20, "activation": "relu"},
    "5 × 512, gelu": {"hidden": (512,) * 5, "activation": "gelu"},
}


def best(calls: Sequence[Callable[[], Any]], rounds: int) -> list[tuple[float, float]]:
    """Of each call, taken in turns: seconds of its first, and of the quickest of its others."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, own in zip(calls, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(call())
            own.append(time.perf_counter() - began)
    return [(own[0], min(own[1:])) for own in times]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--examples", type=int, default=4096)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--page", type=Path, help="write the table into this page")
    asked = options.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before JAX makes its threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    corpus = Corpus.of(bundled_names())
    some = np.random.default_rng(0).permutation(len(corpus.train))[: asked.examples]
    contexts = corpus.train.contexts[some].astype(np.int32)
    targets = corpus.train.targets[some].astype(np.int32)
    lines = ["| hidden layers | plain pass | diagnosis | times | first diagnosis (compiles) |"]
    lines.append("|---|---|---|---|---|")
    for name, settings in NETWORKS.items():
        network = CharacterMLP(len(corpus.vocabulary), **settings)
        first, diagnosis, plain = times(network, contexts, targets, asked.rounds)
        lines.append(
            f"| {name} | {1e3 * plain:.1f} ms | {1e3 * diagnosis:.1f} ms | {diagnosis / plain:.2f} "
            f"| {first:.1f} s |"
        )
    print("\n".join(lines))
    if asked.page:
        put_part(asked.page, "cost", "\n".join(lines))


def times(
    network: CharacterMLP, contexts: np.ndarray, targets: np.ndarray, rounds: int
) -> tuple[float, float, float]:
    """Seconds of the first diagnosis, of a later one, and of the plain pass."""
    parameters = dict(find_start("fanin")(network, jax.random.key(0)))
    plain = jax.jit(lambda p, x, y: loss_and_gradient(network, p, x, y))
    (_, pass_time), (first, diagnosis) = best(
        (
            lambda: plain(parameters, contexts, targets),
            lambda: diagnose(network, parameters, contexts, targets).verdict,
        ),
        rounds,
    )
    return first, diagnosis, pass_time


if __name__ == "__main__":
    main()
