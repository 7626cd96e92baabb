"""Many small arrays brought to the host as one: each transfer costs as much as a measurement."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class Packed:
    """A tree of arrays in one vector of float32: counts up to 2²⁴ keep their value."""

    vector: Array
    leaves: tuple["Leaf", ...]
    structure: Any

    def unpack(self, vector: np.ndarray) -> Any:
        """The tree, its arrays of float32 parts of the vector."""
        arrays = [
            vector[leaf.begin : leaf.end].reshape(leaf.shape).astype(leaf.dtype, copy=False)
            for leaf in self.leaves
        ]
        return jax.tree.unflatten(self.structure, arrays)


class Leaf(NamedTuple):
    """Where an array of the tree stands in the vector, and what it is."""

    begin: int
    end: int
    shape: tuple[int, ...]
    dtype: Any


_Compiled = tuple[Callable[..., Array], tuple[Leaf, ...], Any]


def packed(measure: Callable[P, Any]) -> Callable[P, Packed]:
    """Compile a function of arrays, and of settings that are no arrays, to give its result packed.

    `fetch` makes of a `Packed` what `measure` would have given, on the host.
    """
    known: dict[Any, _Compiled] = {}

    def call(*arguments: P.args, **named: P.kwargs) -> Packed:
        assert not named, "packed functions take their arguments by position"
        arrays = [each for each in arguments if isinstance(each, Array)]
        key = tuple(
            (each.shape, each.dtype) if isinstance(each, Array) else each for each in arguments
        )
        if key not in known:
            known[key] = _compiled(measure, arguments, arrays)
        run, leaves, structure = known[key]
        return Packed(run(*arrays), leaves, structure)

    return call


def fetch(tree: Any) -> Any:
    """The tree with everything in it on the host, what is packed unpacked."""
    leaves, structure = jax.tree.flatten(tree)
    vectors = [np.asarray(each.vector if isinstance(each, Packed) else each) for each in leaves]
    return jax.tree.unflatten(
        structure,
        [
            each.unpack(vector) if isinstance(each, Packed) else vector
            for each, vector in zip(leaves, vectors, strict=True)
        ],
    )


def _compiled(
    measure: Callable[..., Any], arguments: tuple[Any, ...], arrays: list[Array]
) -> _Compiled:
    def whole(*given: Array) -> Any:
        rest = iter(given)
        return measure(*(next(rest) if isinstance(each, Array) else each for each in arguments))

    def vector(*given: Array) -> Array:
        leaves = jax.tree.leaves(whole(*given))
        return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves])

    shapes, structure = jax.tree.flatten(jax.eval_shape(whole, *arrays))
    ends = list(accumulate((each.size for each in shapes), initial=0))
    leaves = (
        Leaf(begin, end, each.shape, each.dtype)
        for (begin, end), each in zip(pairwise(ends), shapes, strict=True)
    )
    return jax.jit(vector), tuple(leaves), structure
