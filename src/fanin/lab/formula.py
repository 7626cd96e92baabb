"""An activation that somebody writes into the page, read as a formula and never as a program."""

import ast
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fanin.errors import OptionError

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "exp": jnp.exp,
    "log": jnp.log,
    "sqrt": jnp.sqrt,
    "abs": jnp.abs,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "erf": jax.scipy.special.erf,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "sign": jnp.sign,
}
_CONSTANTS = {"pi": jnp.pi, "e": jnp.e}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
LONGEST = 200
_KNOWN = f"z, numbers, + − * / **, {', '.join(_CONSTANTS)} and {', '.join(_FUNCTIONS)}"


def activation_of_formula(text: str) -> Callable[[Any], Any]:
    """The function of one array that a formula in z says: "z * sigmoid(1.702 * z)".

    Raises OptionError for what is no such formula.
    """
    if len(text) > LONGEST:
        raise OptionError(f"the formula has {len(text)} characters; {LONGEST} are the most")
    try:
        tree = ast.parse(text.replace("^", "**").replace("−", "-").strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise OptionError(
            f"{text!r} is no formula; write one in z, such as z * sigmoid(1.702 * z)"
        ) from None
    if not any(isinstance(node, ast.Name) and node.id == "z" for node in ast.walk(tree)):
        raise OptionError(f"{text!r} has no z in it; write a formula in z, such as max(z, 0.1 * z)")
    body = tree.body
    _computed(body, 1.0)  # says at once what is not known

    def activation(z: Any) -> Any:
        return jnp.broadcast_to(_computed(body, z), jnp.shape(z))

    return activation


def _computed(node: ast.expr, z: Any) -> Any:
    match node:
        case ast.Name(id="z"):
            return z
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Constant(value=bool()):
            raise _not_known(node)
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _applied(_OPERATORS[type(sign)], _computed(left, z), _computed(right, z))
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_computed(operand, z))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _applied(_FUNCTIONS[name], *(_computed(each, z) for each in arguments))
        case _:
            raise _not_known(node)


def _applied(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        # In JAX's numbers throughout: Python's own would raise where these give infinity.
        return function(*(jnp.asarray(each, jnp.result_type(float)) for each in arguments))
    except TypeError:
        name = getattr(function, "__name__", "this")
        count = len(arguments)
        raise OptionError(f"{name} does not take {count} argument{'s' * (count > 1)}") from None


def _not_known(node: ast.expr) -> OptionError:
    return OptionError(f"{ast.unparse(node)!r} is not known in a formula; there are {_KNOWN}")
