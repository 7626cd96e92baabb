"""The operations that every `Value` has: arithmetic, products, shapes, sums.

Each rule returns its result and its pullback, side by side. Activations stand in `activations.py`,
what needs indices, the loss and the normalisations in modules of their own.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Shaped

from fanin.autograd.arrays import as_array, as_number, is_array
from fanin.autograd.operation import WithPullback
from fanin.autograd.value import Value
from fanin.errors import ShapeError

Axes: TypeAlias = int | tuple[int, ...] | None
Numbers: TypeAlias = Shaped[Array, "..."]


def unbroadcast(gradient: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Sum a gradient over the axes along which an argument of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    repeated = tuple(
        axis for axis in range(gradient.ndim) if axis < added or shape[axis - added] == 1
    )
    return gradient.sum(repeated).reshape(shape)


def _as_operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands, of which one is a Value; a bare number takes the type of the other."""
    if not (isinstance(a, Value) or is_array(a)):
        return _as_operand(a, b.dtype), b
    return a, _as_operand(b, a.dtype)


def _as_operand(operand: Any, dtype: Any) -> Any:
    if isinstance(operand, Value) or is_array(operand):
        return operand
    if isinstance(operand, int | float):
        return as_number(operand, dtype)
    return as_array("an operand", operand)


@Value.operation(prepare=_as_operands)
def add(a: Numbers, b: Numbers) -> WithPullback:
    """a + b, with broadcasting."""
    return a + b, lambda above: (unbroadcast(above, a.shape), unbroadcast(above, b.shape))


@Value.operation(prepare=_as_operands)
def subtract(a: Numbers, b: Numbers) -> WithPullback:
    """a - b, with broadcasting."""
    return a - b, lambda above: (unbroadcast(above, a.shape), unbroadcast(-above, b.shape))


@Value.operation(prepare=_as_operands)
def multiply(a: Numbers, b: Numbers) -> WithPullback:
    """a * b by element, with broadcasting."""
    return a * b, lambda above: (unbroadcast(above * b, a.shape), unbroadcast(above * a, b.shape))


@Value.operation(prepare=_as_operands)
def divide(a: Numbers, b: Numbers) -> WithPullback:
    """a / b by element, with broadcasting."""
    quotient = a / b
    return quotient, lambda above: (
        unbroadcast(above / b, a.shape),
        unbroadcast(-above * quotient / b, b.shape),
    )


def _check_exponent(x: Any, exponent: Any) -> tuple[Any, Any]:
    if not isinstance(exponent, int | float):
        raise TypeError(
            f"power: the exponent must be a bare number; found {type(exponent).__name__}"
        )
    return x, exponent


@Value.operation(prepare=_check_exponent)
def power(x: Numbers, exponent: int | float) -> WithPullback:
    """x to a power that is a bare number."""

    def pullback(above: Array) -> Array:
        # x⁰ is constant, also at 0, where x⁻¹ is infinite.
        return above * exponent * x ** (exponent - 1) if exponent else jnp.zeros_like(above)

    return x**exponent, pullback


lay_out = jax.lax.optimization_barrier
"""Makes a transpose an array of its own: XLA's products on a CPU are an eighth faster on a small
operand laid out in their order than on one read across its rows (`benchmarks/step.py`)."""


@Value.operation(prepare=_as_operands)
def matmul(a: Shaped[Array, "... fan_in"], b: Shaped[Array, "... fan_in fan_out"]) -> WithPullback:
    """The matrix product over the last axis of a and the last but one of b."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError("a matrix product takes arrays of two or more axes")

    def pullback(above: Array) -> tuple[Array, Array]:
        if b.ndim == 2:  # one product instead of one for each leading index
            count = math.prod(a.shape[:-1])
            rows, above_rows = a.reshape(count, a.shape[-1]), above.reshape(count, b.shape[-1])
            if b.shape[0] <= b.shape[1]:
                return above @ b.T, lay_out(rows.T) @ above_rows
            return above @ lay_out(b.T), lay_out(lay_out(above_rows.T) @ rows).T
        return (
            unbroadcast(above @ jnp.swapaxes(b, -1, -2), a.shape),
            unbroadcast(jnp.swapaxes(a, -1, -2) @ above, b.shape),
        )

    return a @ b, pullback


@Value.operation
def matmul_bias(
    x: Shaped[Array, "... fan_in"],
    weight: Shaped[Array, "... fan_in fan_out"],
    bias: Shaped[Array, " fan_out"] | None = None,
) -> WithPullback:
    """x @ weight + bias: a linear layer; without a bias where none is given."""
    product, pullback = matmul(x, weight)
    if bias is None:
        return product, pullback
    if bias.shape != product.shape[-1:]:
        raise ValueError(f"the bias must have the shape {list(product.shape[-1:])}")
    return product + bias, lambda above: (*pullback(above), unbroadcast(above, bias.shape))


def _settle_sizes(x: Any, *sizes: Any) -> tuple[Any, ...]:
    given: Any = sizes
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        given = sizes[0](x.shape) if callable(sizes[0]) else sizes[0]
    try:
        settled = tuple(operator.index(size) for size in given)
    except TypeError:
        raise ShapeError(
            f"reshape: cannot take {list(x.shape)} to {given!r}; sizes are whole numbers, a tuple "
            "of them, or a function from the shape to one"
        ) from None
    rest = math.prod(size for size in settled if size != -1)
    if -1 in settled and rest == 0:
        raise ShapeError(
            f"reshape: cannot take {list(x.shape)} to {list(settled)}: beside a size of 0 any "
            "number would do for -1"
        )
    return x, *settled


@Value.operation(prepare=_settle_sizes)
def reshape(x: Numbers, *sizes: int) -> WithPullback:
    """The same numbers in another shape; one size may be -1.

    Instead of sizes there may be a tuple of them, or a function from x's shape to such a tuple,
    which is called once, when the graph is built.
    """
    return x.reshape(sizes), lambda above: above.reshape(x.shape)


@Value.operation
def sum(x: Numbers, axis: Axes = None, keepdims: bool = False) -> WithPullback:  # noqa: A001
    """The sum over the axes given, or over all."""
    return x.sum(axis, keepdims=keepdims), lambda above: _spread(above, x, axis, keepdims)


@Value.operation
def mean(x: Numbers, axis: Axes = None, keepdims: bool = False) -> WithPullback:
    """The mean over the axes given, or over all."""
    result = x.mean(axis, keepdims=keepdims)
    count = x.size // max(result.size, 1)
    return result, lambda above: _spread(above / count, x, axis, keepdims)


def _spread(above: Array, x: Array, axis: Axes, keepdims: bool) -> Array:
    if axis is not None and not keepdims:
        above = jnp.expand_dims(above, axis)
    return jnp.broadcast_to(above, x.shape)


@Value.operation
def exp(x: Numbers) -> WithPullback:
    """e to the power of x."""
    result = jnp.exp(x)
    return result, lambda above: above * result


@Value.operation
def log(x: Numbers) -> WithPullback:
    """The natural logarithm."""
    return jnp.log(x), lambda above: above / x


@Value.operation
def elementwise(x: Numbers, function: Callable[[Array], Array]) -> WithPullback:
    """Any function of one number, by element: a user's own activation, differentiated by JAX.

    Outside `jax.jit` give the same function each time: a lambda written inside a loop is a new one
    in each round, and is compiled anew.
    """
    result, pullback = jax.vjp(function, x)
    if result.shape != x.shape:
        raise ValueError(f"{function} gave the shape {list(result.shape)}")
    return result, pullback
