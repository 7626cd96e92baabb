"""Batch and layer normalisation as operations."""

import jax.numpy as jnp
from jax import Array

from fanin.autograd.operations import unbroadcast
from fanin.autograd.value import Value

EPSILON = 1e-5


def _normalise(x: Array, axes: tuple[int, ...], gain: Array, bias: Array, epsilon: float):
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / jnp.sqrt((centred * centred).mean(axes, keepdims=True) + epsilon)
    standard = centred * inverse

    def pullback(above: Array):
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
def batch_normalise(x: Array, gain: Array, bias: Array, epsilon: float = EPSILON):
    """Each unit to mean 0 and variance 1 over the batch, then gain and bias (Ioffe, Szegedy 2015).

    Units are the last axis; the mean and the (population) variance are those of this batch.
    """
    return _normalise(x, tuple(range(x.ndim - 1)), gain, bias, epsilon)


@Value.operation
def layer_normalise(x: Array, gain: Array, bias: Array, epsilon: float = EPSILON):
    """Each example to mean 0 and variance 1 over its units, then gain and bias (Ba et al. 2016)."""
    return _normalise(x, (-1,), gain, bias, epsilon)
