"""Records the losses that tests/test_standings.py plants its differences in; about a minute.

    python scripts/record_losses.py > tests/recorded_losses.csv

Test losses of the 3/4/100 network after 2,000 steps on the bundled names: 32 orders of mini-batches
(seeds), each with eight keys for two starts that share their draws.
"""

import csv
import sys

import jax

from fanin.corpus import Corpus, bundled_names
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.training import TrainingOptions
from fanin.training.evaluation import mean_loss
from fanin.training.loop import train

STEPS = 2_000
STARTS = ("fanin", "kaiming-normal")


def main() -> None:
    corpus = Corpus.of(bundled_names())
    network = CharacterMLP(vocabulary=len(corpus.vocabulary), embedding=4, hidden=(100,))
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["seed", "key", *STARTS])
    for seed in range(32):
        options = TrainingOptions(steps=STEPS, seed=seed, eval_every=STEPS)
        for key in range(8):
            losses: list[str] = []
            for start in STARTS:
                parameters = find_start(start)(network, jax.random.key(1_000 * seed + key))
                *_, last = train(network, parameters, corpus, options)
                losses.append(f"{mean_loss(network, last.state.parameters, corpus.test):.6f}")
            table.writerow([seed, key, *losses])


if __name__ == "__main__":
    main()
