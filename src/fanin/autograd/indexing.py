"""Operations that take indices: the embedding look-up and the loss of a classifier."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanin.autograd.operation import is_array
from fanin.autograd.value import Value
from fanin.errors import FaninError


class IndexRangeError(FaninError, IndexError):
    """An index outside the rows or classes that there are."""


def check_indices(operation: str, indices: Any, size: int) -> Any:
    """Return indices that lie in 0 … size - 1, as an array or a Value.

    JAX clamps an index that is out of range and says nothing, so concrete ones are checked here;
    what is still being traced cannot be. Raises IndexRangeError, naming the index, and TypeError
    for what are not whole numbers.
    """
    data = indices.data if isinstance(indices, Value) else indices
    if isinstance(data, jax.core.Tracer) or data is None:
        return indices
    concrete = np.asarray(data)
    if concrete.dtype.kind not in "iu":
        raise TypeError(f"{operation}: indices must be whole numbers; found {concrete.dtype}")
    if concrete.size:
        low, high = int(concrete.min()), int(concrete.max())
        if low < 0 or high >= size:
            raise IndexRangeError(
                f"{operation}: the index {low if low < 0 else high} is outside 0 to {size - 1}"
            )
    return indices if isinstance(indices, Value) or is_array(indices) else concrete


def _check_rows(table: Value, indices: Any) -> tuple[Any, ...]:
    return table, check_indices("gather", indices, table.shape[0])


@Value.operation(prepare=_check_rows)
def gather(table: Array, indices: Array):
    """The rows of a table: `table[indices]`, an embedding look-up.

    A table of shape (vocab, …) and indices of any shape give indices.shape + (…); the gradients
    of a row that was taken several times add up.
    """
    rows = table[indices]
    return rows, lambda above: (jnp.zeros_like(table).at[indices].add(above), None)


def _check_labels(logits: Value, labels: Any) -> tuple[Any, ...]:
    return logits, check_indices("softmax_cross_entropy", labels, logits.shape[-1])


@Value.operation(prepare=_check_labels)
def softmax_cross_entropy(logits: Array, labels: Array):
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
