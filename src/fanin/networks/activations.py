"""An activation by name or as a callable: applied to values, and handed to the theory."""

import difflib
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fanin.autograd import Value, activations
from fanin.errors import OptionError
from fanin.theory.activations import find_nonlinearity
from fanin.theory.nonlinearity import Nonlinearity

ACTIVATIONS = ("identity", "tanh", "relu", "gelu", "silu", "sigmoid", "selu")
"""The activations with an operation of their own."""

ActivationLike: TypeAlias = str | Callable[[Any], Any]
"""A name of ACTIVATIONS, the address of a callable as "module:callable", or a callable of one
array that JAX can trace."""


def activation_name(activation: ActivationLike) -> str:
    """The name that stands for an activation in a parameter's declaration and in a file."""
    if isinstance(activation, str):
        return activation
    return f"{activation.__module__}:{getattr(activation, '__qualname__', 'callable')}"


def apply_activation(activation: ActivationLike, x: Value) -> Value:
    """The node that the activation makes of x."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return getattr(x, activation)()
    node = x.elementwise(find_activation(activation))
    node.name = activation_name(activation)
    return node


def find_activation(activation: ActivationLike) -> Callable[[Any], Any]:
    """The function of one array that is meant.

    Raises OptionError for a name that is neither an activation nor an importable callable.
    """
    if not isinstance(activation, str):
        if not callable(activation):
            raise OptionError(f"an activation is a name or a callable; found {activation!r}")
        return activation
    if activation in ACTIVATIONS:
        rule = getattr(activations, activation)
        return lambda x: rule(x)[0]
    module, _, attribute = activation.partition(":")
    if not attribute:
        near = difflib.get_close_matches(activation.lower(), ACTIVATIONS, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise OptionError(
            f"activation {activation!r} is not known{hint} Choose one of "
            f"{', '.join(ACTIVATIONS)}, or give module:callable"
        )
    home: Any = None
    try:
        home = import_module(module)
        function = attrgetter(attribute)(home)
    except AttributeError as error:
        near = difflib.get_close_matches(attribute, dir(home), 1)
        hint = f"; did you mean {module}:{near[0]}?" if near else ""
        raise OptionError(f"activation {activation!r} cannot be imported: {error}{hint}") from error
    except Exception as error:  # whatever the user's own module does when it is imported
        raise OptionError(
            f"activation {activation!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise OptionError(f"activation {activation!r} is {type(function).__name__}, no callable")
    return function


def check_activation(activation: ActivationLike) -> None:
    """Raises OptionError, naming the activation, where it is no function of one array by element.

    That is tried on a shape alone, so the function is traced and computes nothing.
    """
    asked = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    try:
        given = _result_of(find_activation(activation), asked.shape)
    except OptionError:
        raise
    except Exception as error:  # whatever the user's own function does to a tracer
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise OptionError(
            f"activation {activation_name(activation)!r} cannot be traced by JAX ({reason}); write "
            "it with jax.numpy, of one array"
        ) from error
    if getattr(given, "shape", None) != asked.shape or given.dtype.kind != "f":
        found = f"{given.dtype}{list(given.shape)}" if hasattr(given, "shape") else repr(given)
        raise OptionError(
            f"activation {activation_name(activation)!r} makes {found} of float32[2, 3]; it should "
            "give the same shape, by element"
        )


@lru_cache(maxsize=64)
def _result_of(function: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    return jax.eval_shape(function, jax.ShapeDtypeStruct(shape, jnp.float32))


@lru_cache(maxsize=64)  # theory remembers its integrals by the nonlinearity's identity
def nonlinearity_of(activation: ActivationLike) -> Nonlinearity:
    """The activation as theory takes it; a callable is differentiated by JAX, in float64.

    Using it raises OptionError for a callable that JAX cannot trace, as one of NumPy or PyTorch.
    """
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return find_nonlinearity(activation)
    function = find_activation(activation)
    compiled = jax.jit(function), jax.jit(jax.grad(lambda x: function(x).sum()))

    def at(which: int) -> Callable[[Any], Any]:
        def values(x: Any) -> Any:
            # At compile time, so that a start may be drawn inside `jax.jit`.
            with jax.ensure_compile_time_eval(), jax.enable_x64(True):
                try:
                    return np.asarray(compiled[which](jnp.asarray(x)))
                except Exception as error:  # whatever the user's own function does to a tracer
                    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                    raise OptionError(
                        f"activation {activation_name(activation)!r} cannot be traced and "
                        f"differentiated by JAX ({reason}); write it with jax.numpy, of one array"
                    ) from error

        return values

    return Nonlinearity(activation_name(activation), at(0), at(1))
