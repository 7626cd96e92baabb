"""The same start with something changed: another run of the same corpus, batches and numbers."""

from collections.abc import Mapping
from dataclasses import replace

import jax.numpy as jnp
from jax import Array

from fanin.trainer import Run


def scaled(parameters: Mapping[str, Array], factors: Mapping[str, float]) -> dict[str, Array]:
    """The same parameters, those named times their factors; KeyError for a name there is not."""
    changed = {name: parameters[name] * jnp.float32(by) for name, by in factors.items()}
    return {**parameters, **changed}


def with_equal_units(parameters: Mapping[str, Array]) -> dict[str, Array]:
    """The same parameters with every unit of the only hidden layer a copy of the first."""

    def copied(name: str, axis: int) -> Array:
        array = parameters[name]
        return jnp.repeat(array.take(jnp.array([0]), axis=axis), array.shape[axis], axis=axis)

    equal = {
        "hidden.0.weight": copied("hidden.0.weight", 1),
        "hidden.0.bias": copied("hidden.0.bias", 0),
        "output.weight": copied("output.weight", 0),
    }
    return {**parameters, **equal}


def started(run: Run, parameters: Mapping[str, Array]) -> Run:
    """The same run from other parameters."""
    return replace(run, state=replace(run.state, parameters=dict(parameters)))
