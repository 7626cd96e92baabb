"""The mean loss over a whole set of examples, in blocks of one size."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer

from fanin.autograd.indexing import check_indices
from fanin.corpus import Examples
from fanin.errors import ShapeError
from fanin.networks import Network, Parameters, Statistics

# The activations of a block stay in the cache at the usual widths, and in memory at any.
BLOCK = 4096


@dataclass(frozen=True)
class Blocks:
    """Examples on the device, cut into blocks of one size, the last one padded."""

    contexts: Integer[Array, "blocks examples block"]
    targets: Integer[Array, "blocks examples"]
    count: int

    @classmethod
    def of(cls, examples: Examples) -> "Blocks":
        count = len(examples)
        size = min(BLOCK, max(1, count))
        blocks = max(1, -(-count // size))
        padding = (0, blocks * size - count)
        contexts = np.pad(examples.contexts, (padding, (0, 0)))
        return cls(
            jnp.asarray(contexts.reshape(blocks, size, -1)),
            jnp.asarray(np.pad(examples.targets, padding).reshape(blocks, size)),
            count,
        )


def mean_loss(
    network: Network,
    parameters: Parameters,
    examples: Examples | Blocks,
    statistics: Statistics | None = None,
) -> float:
    """The mean cross-entropy over all examples, in nats per symbol; NaN where there are none.

    Raises ShapeError and IndexRangeError for examples that are not of the network's block and
    vocabulary; `Blocks` are taken as they are. A network with batch normalisation takes the
    `statistics` that training has gathered.
    """
    if isinstance(examples, Blocks):
        blocks = examples
    else:
        if examples.contexts.shape[1] != network.block:
            raise ShapeError(
                f"the examples have contexts of {examples.contexts.shape[1]} symbols; the network "
                f"reads {network.block}"
            )
        for indices in (examples.contexts, examples.targets):
            check_indices("mean_loss", indices, network.vocabulary)
        blocks = Blocks.of(examples)
    if blocks.count == 0:
        return float("nan")
    totals = _compiled(
        network,
        dict(parameters),
        dict(statistics or {}),
        blocks.contexts,
        blocks.targets,
        blocks.count,
    )
    return float(np.asarray(totals, np.float64).sum() / blocks.count)


def losses_by_block(
    network: Network,
    parameters: Parameters,
    statistics: Statistics,
    contexts: Integer[Array, "blocks examples block"],
    targets: Integer[Array, "blocks examples"],
    count: int | Array,
) -> Float[Array, " blocks"]:
    """The summed loss of each block, its first `count` examples of all blocks counted."""
    size = targets.shape[1]

    def total(block: tuple[Array, Array, Array]) -> Array:
        contexts, targets, first = block
        logits = network.logits_of(parameters, contexts, statistics)
        chosen = jnp.take_along_axis(logits, targets[:, None].astype(jnp.int32), 1)[:, 0]
        losses = jax.nn.logsumexp(logits, axis=-1) - chosen
        return jnp.where(first + jnp.arange(size) < count, losses, 0).sum()

    firsts = jnp.arange(targets.shape[0]) * size
    return jax.lax.map(total, (contexts, targets, firsts))


_compiled = jax.jit(losses_by_block, static_argnums=0)
