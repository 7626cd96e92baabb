"""Short trainings of every cell start × activation × normalisation × depth: which starts hinder.

They decide what the thresholds of the diagnosis call bad, suspect and good
(docs/diagnosis-reliability.md). One JSON line a run: `python benchmarks/short_trainings.py OUT`,
which goes on where an earlier run of the same command stopped; about an hour on one core.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import jax
import numpy as np

from fanin.corpus import Corpus, bundled_names
from fanin.errors import FaninError
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.training import TrainingOptions, mean_loss, train

STARTS = (
    "fanin",
    "torch-default",
    "orthogonal:gain=forward,output=0.1",
    "lsuv",
    "fan-in",
    "kaiming-normal",
    "glorot-normal",
    "published",
    "critical",
    "normal",
    "constant",
)
ACTIVATIONS = ("tanh", "relu", "gelu", "silu", "selu", "sigmoid", "identity")
NORMALISATIONS = (None, "batch", "layer")
DEPTHS = (1, 2, 5, 10, 20)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("out", type=Path)
    options.add_argument("--width", type=int, default=100)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--starts", nargs="*", default=STARTS)
    options.add_argument("--activations", nargs="*", default=ACTIVATIONS)
    options.add_argument("--depths", nargs="*", type=int, default=DEPTHS)
    asked = options.parse_args()
    known = [json.loads(line) for line in asked.out.open()] if asked.out.exists() else []
    names = ("activation", "depth", "normalisation", "start", "seed")
    done = {tuple(result[name] for name in names) for result in known}
    corpus = Corpus.of(bundled_names())
    cells = itertools.product(asked.depths, asked.activations, NORMALISATIONS)
    with asked.out.open("a") as out:
        for depth, activation, normalisation in cells:
            network = CharacterMLP(
                len(corpus.vocabulary),
                hidden=(asked.width,) * depth,
                activation=activation,
                normalisation=normalisation,
            )
            for start, seed in itertools.product(asked.starts, range(asked.seeds)):
                cell = (activation, depth, normalisation, start, seed)
                if cell in done:
                    continue
                result = run(network, corpus, start, seed, asked.steps)
                out.write(json.dumps(dict(zip(names, cell, strict=True)) | result) + "\n")
                out.flush()
            jax.clear_caches()  # each network has programs of its own, and there are a hundred


def run(network: CharacterMLP, corpus: Corpus, start: str, seed: int, steps: int) -> dict:
    """Dev loss before and after some steps of gradient descent at the usual rate."""
    began = time.perf_counter()
    options = TrainingOptions(steps=steps, seed=seed, eval_every=steps)
    first = last = None
    reason = ""
    try:
        contexts = corpus.train.contexts[:4096].astype(np.int32)
        parameters = find_start(start)(network, jax.random.key(seed), contexts)
        for progress in train(network, parameters, corpus, options):
            if progress.dev_loss is not None:
                first = progress.dev_loss if first is None else first
                last = progress.dev_loss
                state = progress.state
        last = mean_loss(network, state.parameters, corpus.dev, state.statistics)
    except FaninError as error:
        reason = str(error)
    return {
        "first": first,
        "dev": last if not reason else None,
        "reason": reason,
        "seconds": round(time.perf_counter() - began, 2),
    }


if __name__ == "__main__":
    main()
