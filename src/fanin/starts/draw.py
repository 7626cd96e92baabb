"""Filling parameters by a scheme, with the initialisers and keys of JAX."""

import zlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.nn import initializers

from fanin.networks.activations import nonlinearity_of

if TYPE_CHECKING:
    from fanin.networks import Network
    from fanin.starts.schemes import Scheme


def draw(scheme: "Scheme", network: "Network", key: Array) -> dict[str, Array]:
    """Parameters for a network by a scheme, from a random key.

    Each parameter's key comes from its name, so one key gives two schemes the same underlying
    draws, each scaled in its own way, and two networks the same where their names agree.
    """
    # One for each activation: quadrature remembers what it did by the nonlinearity's identity.
    befores = {parameter.nonlinearity for parameter in network.parameters}
    known = {before: None if before is None else nonlinearity_of(before) for before in befores}
    parameters: dict[str, Array] = {}
    for parameter in network.parameters:
        scale = scheme.scale(parameter, known[parameter.nonlinearity])
        own_key = jax.random.fold_in(key, zlib.crc32(parameter.name.encode()))
        initialise = {
            "normal": _normal(scale),
            "uniform": _centred_uniform(scale),
            "orthogonal": initializers.orthogonal(scale),
            "constant": initializers.constant(scale),
        }[scheme.rule(parameter).distribution]
        parameters[parameter.name] = initialise(own_key, parameter.shape, jnp.float32)
    return parameters


# With less optimisation: XLA takes 1.6 s to compile the draw of a table of 27 × 10 otherwise, and
# the same bits come of it.
_standard_normal = jax.jit(
    jax.random.normal,
    static_argnames=("shape", "dtype"),
    compiler_options={"xla_backend_optimization_level": 1},
)


def _normal(scale: float) -> Any:
    # What `initializers.normal` does; in the middle of a transformation no options can be given.
    def initialise(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        draw = jax.random.normal if isinstance(key, Tracer) else _standard_normal
        return draw(key, shape, dtype) * jnp.asarray(scale, dtype)

    return initialise


def _centred_uniform(scale: float) -> Any:
    # `initializers.uniform` begins at 0; twice the half-width, shifted, is centred.
    half = scale * 3**0.5
    begin_at_zero = initializers.uniform(2 * half)
    return lambda key, shape, dtype: begin_at_zero(key, shape, dtype) - half
