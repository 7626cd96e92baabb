"""Numbers from outside as arrays of the types that JAX computes in."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.dtypes import canonicalize_dtype

_ARRAYS = (Array, np.ndarray, np.generic)


def is_array(argument: object) -> bool:
    return isinstance(argument, _ARRAYS)


@lru_cache
def is_differentiable(dtype: Any) -> bool:
    """Whether numbers of this type have gradients: floating ones do, indices do not."""
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def strengthen(array: Any) -> Any:
    """The array without a weak type: that of a bare 1.0, say, which gives way to other types.

    A shape that is worked out ahead says what type comes of two others only for firm ones.
    """
    return array.astype(array.dtype) if getattr(array, "weak_type", False) else array


def as_array(name: str, data: Any) -> Array | np.ndarray:
    """What was given as an array: JAX's as it is, NumPy's and lists as a copy.

    Lists that hold JAX's arrays are left to JAX.

    Raises TypeError, with `name` in it, for what are no numbers in a rectangular array, and for
    whole numbers that JAX's type has no room for (it would change them and say nothing).
    """
    if isinstance(data, Array):
        return strengthen(data)
    try:
        if isinstance(data, str | bytes):
            raise TypeError("text")
        if isinstance(data, np.ndarray | np.generic):
            return _copy(data)
        if any(isinstance(leaf, Array) for leaf in jax.tree.leaves(data)):
            return strengthen(jnp.asarray(data))
        return _copy(np.asarray(data))
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"{name}: data must be numbers in a rectangular array; found "
            f"{type(data).__name__} ({error})"
        ) from None


def as_number(number: int | float, dtype: Any) -> np.ndarray:
    """A bare number beside an array of `dtype`: it takes that type where it can, as in JAX."""
    return np.asarray(number, jnp.result_type(dtype, number))


def _copy(array: np.ndarray | np.generic) -> np.ndarray:
    if array.dtype.kind not in "biufcV":  # V: bfloat16 and its like
        raise TypeError(f"of type {array.dtype}")
    dtype = canonicalize_dtype(array.dtype)
    if dtype == array.dtype:
        return np.array(array)  # a copy, since the owner may fill his array anew
    with np.errstate(over="ignore"):
        copy = np.array(array, dtype)
    if dtype.kind in "iu" and (copy != array).any():
        raise OverflowError(f"whole numbers that {dtype} has no room for")
    return copy
