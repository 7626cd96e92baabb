"""The non-linearities that a network is named by, each an operation with its derivative."""

import jax.numpy as jnp
from jax.nn import sigmoid as sigmoid_of
from jax.scipy.special import erf

from fanin.autograd.operation import WithPullback
from fanin.autograd.operations import Numbers
from fanin.autograd.value import Value

SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017, equation 14: zero mean, unit variance
SELU_ALPHA = 1.6732632423543772


@Value.operation
def identity(x: Numbers) -> WithPullback:
    """x itself: a linear network."""
    return x, lambda above: above


@Value.operation
def tanh(x: Numbers) -> WithPullback:
    """The hyperbolic tangent; its derivative is 1 - tanh²."""
    y = jnp.tanh(x)
    return y, lambda above: above * (1 - y * y)


@Value.operation
def relu(x: Numbers) -> WithPullback:
    """max(x, 0); the derivative at 0 is taken as 0."""
    return jnp.maximum(x, 0), lambda above: jnp.where(x > 0, above, 0)


@Value.operation
def gelu(x: Numbers) -> WithPullback:
    """x Φ(x) with the exact normal distribution function Φ (Hendrycks and Gimpel 2016)."""
    cumulative = 0.5 * (1 + erf(x * 0.5**0.5))
    density = jnp.exp(-0.5 * x * x) * 0.3989422804014327  # 1/√(2π)
    return x * cumulative, lambda above: above * (cumulative + x * density)


@Value.operation
def silu(x: Numbers) -> WithPullback:
    """x σ(x), also called swish."""
    gate = sigmoid_of(x)
    return x * gate, lambda above: above * gate * (1 + x * (1 - gate))


@Value.operation
def sigmoid(x: Numbers) -> WithPullback:
    """1/(1 + e⁻ˣ)."""
    y = sigmoid_of(x)
    return y, lambda above: above * y * (1 - y)


@Value.operation
def selu(x: Numbers) -> WithPullback:
    """The self-normalising unit of Klambauer et al. 2017."""
    curve = SELU_ALPHA * jnp.exp(jnp.minimum(x, 0))
    y = SELU_SCALE * jnp.where(x > 0, x, curve - SELU_ALPHA)
    return y, lambda above: above * SELU_SCALE * jnp.where(x > 0, 1, curve)
