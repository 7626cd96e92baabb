"""What the contenders of `step_time` are given: sizes, a start, examples, the first batches."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.training.step import draw_examples, steps_at_once

VOCABULARY = 27
EXAMPLES = 182_000
RATE = 0.1


@dataclass(frozen=True)
class Sizes:
    """Embedding, block, hidden and batch, written 10/3/200/32."""

    embedding: int
    block: int
    hidden: int
    batch: int

    @classmethod
    def of(cls, text: str) -> "Sizes":
        embedding, block, hidden, batch = map(int, text.split("/"))
        return cls(embedding, block, hidden, batch)

    def __str__(self) -> str:
        return f"{self.embedding}/{self.block}/{self.hidden}/{self.batch}"

    @property
    def flops(self) -> int:
        """Of the matrix products of a step: two for each multiplication and addition, three times
        (forward, and the gradients of weights and of inputs), all else left out."""
        row = self.block * self.embedding * self.hidden + self.hidden * VOCABULARY
        return 2 * 3 * self.batch * row


@dataclass(frozen=True)
class Problem:
    """Random examples and one start, the same for every contender."""

    sizes: Sizes

    @cached_property
    def network(self) -> CharacterMLP:
        sizes = self.sizes
        return CharacterMLP(VOCABULARY, sizes.block, sizes.embedding, (sizes.hidden,))

    @cached_property
    def parameters(self) -> dict[str, jax.Array]:
        return dict(find_start("fanin")(self.network, jax.random.key(1)))

    @cached_property
    def start(self) -> list[np.ndarray]:
        """The parameters in order of execution: table, weight, bias, weight, bias."""
        return [np.asarray(self.parameters[p.name]) for p in self.network.parameters]

    @cached_property
    def contexts(self) -> np.ndarray:
        shape = (EXAMPLES, self.sizes.block)
        return np.random.default_rng(2).integers(0, VOCABULARY, shape, np.uint8)

    @cached_property
    def targets(self) -> np.ndarray:
        return np.random.default_rng(3).integers(0, VOCABULARY, EXAMPLES, np.uint8)

    @cached_property
    def key(self) -> jax.Array:
        return jax.random.key(4)

    @property
    def at_once(self) -> int:
        """Steps in a call of the compiled programs, at most."""
        return steps_at_once(self.sizes.batch)

    def first_batches(self, count: int) -> np.ndarray:
        """The examples of the first steps, as the programs that draw for themselves draw them."""
        batch = self.sizes.batch
        drawn = jax.vmap(lambda t: draw_examples(self.key, t, batch, EXAMPLES))(jnp.arange(count))
        return np.asarray(drawn)
