"""The operations that every `Value` has: arithmetic, products, shapes, sums.

Each rule returns its result and its pullback, side by side. Activations stand in `activations.py`,
what needs indices, the loss and the normalisations in modules of their own.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from fanin.autograd.value import Value

Axes: TypeAlias = int | tuple[int, ...] | None


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an argument of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    repeated = tuple(
        axis for axis, size in enumerate(gradient.shape) if axis < added or shape[axis - added] == 1
    )
    return gradient.sum(repeated).reshape(shape)


@Value.operation
def add(a: Array, b: Array):
    """a + b, with broadcasting."""
    return a + b, lambda above: (unbroadcast(above, a.shape), unbroadcast(above, b.shape))


@Value.operation
def subtract(a: Array, b: Array):
    """a - b, with broadcasting."""
    return a - b, lambda above: (unbroadcast(above, a.shape), unbroadcast(-above, b.shape))


@Value.operation
def multiply(a: Array, b: Array):
    """a * b by element, with broadcasting."""
    return a * b, lambda above: (unbroadcast(above * b, a.shape), unbroadcast(above * a, b.shape))


@Value.operation
def divide(a: Array, b: Array):
    """a / b by element, with broadcasting."""
    quotient = a / b
    return quotient, lambda above: (
        unbroadcast(above / b, a.shape),
        unbroadcast(-above * quotient / b, b.shape),
    )


@Value.operation
def matmul(a: Array, b: Array):
    """The matrix product over the last axis of a and the first of b's last two."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError("a matrix product takes arrays of two or more axes")

    def pullback(above: Array):
        if b.ndim == 2:  # one product instead of one for each leading index
            rows = a.reshape(-1, a.shape[-1])
            return above @ b.T, rows.T @ above.reshape(-1, above.shape[-1])
        return (
            unbroadcast(above @ jnp.swapaxes(b, -1, -2), a.shape),
            unbroadcast(jnp.swapaxes(a, -1, -2) @ above, b.shape),
        )

    return a @ b, pullback


@Value.operation
def matmul_bias(x: Array, weight: Array, bias: Array | None = None):
    """x @ weight + bias: a linear layer; without a bias where none is given."""
    product, pullback = matmul(x, weight)
    if bias is None:
        return product, pullback
    return product + bias, lambda above: (*pullback(above), unbroadcast(above, bias.shape))


def _settle_shape(x: Value, shape: Any, *rest: int) -> tuple[Any, ...]:
    shape = shape(x.shape) if callable(shape) else shape
    sizes = (shape, *rest) if isinstance(shape, int) else tuple(int(size) for size in shape)
    return x, sizes


@Value.operation(prepare=_settle_shape)
def reshape(x: Array, shape: tuple[int, ...] | Callable[[tuple[int, ...]], tuple[int, ...]]):
    """The same numbers in another shape; one size may be -1.

    `shape` may also be a function of x's shape, called once, when the graph is built.
    """
    return x.reshape(shape), lambda above: above.reshape(x.shape)


@Value.operation
def sum(x: Array, axis: Axes = None, keepdims: bool = False):  # noqa: A001
    """The sum over the axes given, or over all."""
    return x.sum(axis, keepdims=keepdims), lambda above: _spread(above, x, axis, keepdims)


@Value.operation
def mean(x: Array, axis: Axes = None, keepdims: bool = False):
    """The mean over the axes given, or over all."""
    result = x.mean(axis, keepdims=keepdims)
    share = result.size / x.size
    return result, lambda above: _spread(above * share, x, axis, keepdims)


def _spread(above: Array, x: Array, axis: Axes, keepdims: bool) -> Array:
    if axis is not None and not keepdims:
        above = jnp.expand_dims(above, axis)
    return jnp.broadcast_to(above, x.shape)


@Value.operation
def exp(x: Array):
    """e to the power of x."""
    result = jnp.exp(x)
    return result, lambda above: above * result


@Value.operation
def log(x: Array):
    """The natural logarithm."""
    return jnp.log(x), lambda above: above / x


@Value.operation
def elementwise(x: Array, function: Callable[[Array], Array]):
    """Any function of one number, by element: a user's own activation, differentiated by JAX."""
    result, pullback = jax.vjp(function, x)
    if result.shape != x.shape:
        raise ValueError(f"{function} gave the shape {result.shape} for {x.shape}")
    return result, lambda above: pullback(above)
