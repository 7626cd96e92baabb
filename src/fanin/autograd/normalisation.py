"""Batch and layer normalisation as operations."""

from typing import TypeAlias

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fanin.autograd.operation import WithPullback
from fanin.autograd.operations import unbroadcast
from fanin.autograd.value import Value

EPSILON = 1e-5

Units: TypeAlias = Float[Array, " units"]


def _normalise(
    x: Array, axes: tuple[int, ...], gain: Array, bias: Array, epsilon: float
) -> WithPullback:
    if gain.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(f"gain and bias must have the shape {list(x.shape[-1:])}")
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / jnp.sqrt((centred * centred).mean(axes, keepdims=True) + epsilon)
    standard = centred * inverse

    def pullback(above: Array) -> tuple[Array, Array, Array]:
        inner = above * gain
        along_mean = inner.mean(axes, keepdims=True)
        along_scale = standard * (inner * standard).mean(axes, keepdims=True)
        return (
            inverse * (inner - along_mean - along_scale),
            unbroadcast(above * standard, gain.shape),
            unbroadcast(above, bias.shape),
        )

    return standard * gain + bias, pullback


@Value.operation
def batch_normalise(
    x: Float[Array, "... units"], gain: Units, bias: Units, epsilon: float = EPSILON
) -> WithPullback:
    """Each unit to mean 0 and variance 1 over the batch, then gain and bias (Ioffe, Szegedy 2015).

    Units are the last axis; the mean and the (population) variance are those of this batch.
    """
    return _normalise(x, tuple(range(x.ndim - 1)), gain, bias, epsilon)


@Value.operation
def layer_normalise(
    x: Float[Array, "... units"], gain: Units, bias: Units, epsilon: float = EPSILON
) -> WithPullback:
    """Each example to mean 0 and variance 1 over its units, then gain and bias (Ba et al. 2016)."""
    return _normalise(x, (-1,), gain, bias, epsilon)
