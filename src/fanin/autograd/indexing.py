"""Operations that take indices: the embedding look-up and the loss of a classifier."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float, Integer, Shaped

from fanin.autograd.arrays import as_array, is_array
from fanin.autograd.operation import WithPullback
from fanin.autograd.value import Value
from fanin.errors import FaninError, ShapeError


class IndexRangeError(FaninError, IndexError):
    """An index outside the rows or classes that there are."""


def check_indices(operation: str, indices: Any, size: int) -> Any:
    """Return indices that lie in 0 … size - 1, as an array or a Value.

    JAX clamps an index that is out of range and says nothing, so concrete ones are checked here;
    what is still being traced, or has yet to be computed, cannot be. Raises IndexRangeError,
    naming the index, and TypeError for what are not whole numbers.
    """
    if isinstance(indices, Value):
        known = indices.data if indices.made_by is None else None
    else:
        # A list stays concrete inside a trace as NumPy's array, and is checked there too.
        indices = known = indices if is_array(indices) else as_array(operation, indices)
    if indices.size == 0 and indices.dtype.kind == "f":  # an empty list says no type
        raise TypeError(f"{operation}: found no index; give at least one")
    dtype = indices.dtype
    if dtype.kind not in "iu":
        raise TypeError(f"{operation}: indices must be whole numbers; found {dtype}")
    if known is not None and not isinstance(known, Tracer) and known.size:
        concrete = np.asarray(known)
        low, high = int(concrete.min()), int(concrete.max())
        if low < 0 or high >= size:
            raise IndexRangeError(
                f"{operation}: the index {low if low < 0 else high} is outside 0 to {size - 1}"
            )
    return indices


def _check_rows(table: Any, indices: Any) -> tuple[Any, ...]:
    if not table.shape:
        raise ShapeError("gather: the table must have rows; found a single number")
    return table, check_indices("gather", indices, table.shape[0])


@Value.operation(prepare=_check_rows)
def gather(table: Shaped[Array, "vocab ..."], indices: Integer[Array, "..."]) -> WithPullback:
    """The rows of a table: `table[indices]`, an embedding look-up.

    A table of shape (vocab, …) and indices of any shape give indices.shape + (…); the gradients
    of a row that was taken several times add up.
    """
    rows = table[indices]
    return rows, lambda above: (jnp.zeros_like(table).at[indices].add(above), None)


def _check_labels(logits: Any, labels: Any) -> tuple[Any, ...]:
    if not logits.shape:
        raise ShapeError("softmax_cross_entropy: the logits must be vectors; found a single number")
    return logits, check_indices("softmax_cross_entropy", labels, logits.shape[-1])


@Value.operation(prepare=_check_labels)
def softmax_cross_entropy(
    logits: Float[Array, "... vocab"], labels: Integer[Array, "..."]
) -> WithPullback:
    """The mean of -log softmax(logits)[label], in nats; labels have the shape logits.shape[:-1].

    By log-sum-exp: finite for any finite logits, at most the largest number of their type.
    """
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have the shape {list(logits.shape[:-1])}; found {list(labels.shape)}"
        )
    vocab = logits.shape[-1]
    largest = jnp.finfo(logits.dtype).max
    chosen = jnp.asarray(labels, jnp.int32)[..., None] == jnp.arange(vocab)
    shifted = logits - logits.max(-1, keepdims=True)
    powers = jnp.exp(shifted)
    total = powers.sum(-1, keepdims=True)
    losses = jnp.log(total[..., 0]) - jnp.where(chosen, shifted, 0).sum(-1)
    loss = jnp.minimum(jnp.sum(jnp.minimum(losses, largest) / losses.size), largest)
    return loss, lambda above: ((powers / total - chosen) * (above / losses.size), None)
