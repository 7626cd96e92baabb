"""What the contestants of `step` and `growth` are given, in a file: a start, examples, batches."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

EXAMPLES = 182_000
RATE = 0.1
LOSSES_TO_COMPARE = 20


@dataclass(frozen=True)
class Sizes:
    """Embedding, block, hidden and batch, written 10/3/200/32; hidden layers and vocabulary."""

    embedding: int
    block: int
    hidden: int
    batch: int
    depth: int = 1
    vocabulary: int = 27

    def __str__(self) -> str:
        return f"{self.embedding}/{self.block}/{self.hidden}/{self.batch}"

    @property
    def flops(self) -> int:
        """Of the matrix products of a step: two for each multiplication and addition, three times
        (forward, and the gradients of weights and of inputs), all else left out."""
        inner = self.block * self.embedding + (self.depth - 1) * self.hidden
        return 2 * 3 * self.batch * (inner * self.hidden + self.hidden * self.vocabulary)


class Problem:
    """Random examples and one start, the same for every contestant, as `write_problems` left them.

    The arrays are NumPy's and their reader needs nothing else, so that a contestant's memory is its
    own.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.sizes = Sizes(*json.loads(str(arrays["sizes"])))
            self.contexts, self.targets = arrays["contexts"], arrays["targets"]
            self.first_batches = arrays["first_batches"]
            self.start = [arrays[f"parameter {i}"] for i in range(2 * self.sizes.depth + 3)]
            """The parameters in order of execution: table, weight, bias, weight, bias."""


def write_problems(every: Sequence[tuple[Sequence[int], str]]) -> None:
    """A file for each of these sizes."""
    import jax
    import jax.numpy as jnp

    from fanin.starts import find_start
    from fanin.training.step import draw_examples

    for numbers, path in every:
        sizes = Sizes(*numbers)
        network = network_of(sizes)
        parameters = find_start("fanin")(network, jax.random.key(1))
        dtype = np.uint8 if sizes.vocabulary <= 256 else np.uint16
        random = np.random.default_rng(2)
        shape = (EXAMPLES, sizes.block)
        steps = jnp.arange(LOSSES_TO_COMPARE)
        drawn = jax.vmap(lambda t: draw_examples(batch_key(), t, sizes.batch, EXAMPLES))  # noqa: B023
        np.savez(
            path,
            sizes=json.dumps(astuple(sizes)),
            contexts=random.integers(0, sizes.vocabulary, shape, dtype),
            targets=random.integers(0, sizes.vocabulary, EXAMPLES, dtype),
            first_batches=np.asarray(drawn(steps)),
            **{
                f"parameter {i}": np.asarray(parameters[declared.name])
                for i, declared in enumerate(network.parameters)
            },
        )


def network_of(sizes: Sizes):
    from fanin.networks import CharacterMLP

    hidden = (sizes.hidden,) * sizes.depth
    return CharacterMLP(sizes.vocabulary, sizes.block, sizes.embedding, hidden)


def batch_key():
    """What the batches are drawn from, where JAX draws them."""
    import jax

    return jax.random.key(4)


class Writer:
    """A process that writes problems, and so spares the one that asks the weight of JAX."""

    def __init__(self, every: Sequence[tuple[Sequence[int], str]]) -> None:
        write_problems(every)

    def run(self, count: int) -> None:
        del count


def problem_files(every: Sequence[Sizes], folder: Path, place) -> list[str]:
    """Files with the problems of these sizes, in the folder, in order."""
    from benchmarks.contest import Contestant

    paths = [str(folder / f"problem-{number}.npz") for number in range(len(every))]
    named = [(astuple(sizes), path) for sizes, path in zip(every, paths, strict=True)]
    Contestant("benchmarks.step_problem:Writer", named, at=place).close()
    return paths
