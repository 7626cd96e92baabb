"""An operation: a forward rule with its gradient beside it, and the shape that it gives."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanin.autograd.arrays import is_array, is_differentiable, strengthen
from fanin.errors import ShapeError

Pullback: TypeAlias = Callable[[Array], Any]
"""Takes the gradient of a result and returns one gradient (or None) for each argument, in order;
one alone may stand without a tuple, and those of trailing settings and indices may lack."""

WithPullback: TypeAlias = tuple[Array, Pullback]

Rule: TypeAlias = Callable[..., WithPullback]
"""Takes arrays and settings; returns the result and its pullback."""


class Shape(NamedTuple):
    """Shape and type of an array that need not be there yet."""

    shape: tuple[int, ...]
    dtype: Any


class Static(NamedTuple):
    """A setting that is no array. Its type belongs to the key, since 1 == True == 1.0."""

    type: type
    setting: Hashable


@dataclass(frozen=True, eq=False)
class Operation:
    """One registered operation.

    `rule` holds the mathematics. `prepare`, where there is one, sees all arguments in order and
    returns them checked (indices in range) and settled (a shape worked out): when the graph is
    built, where of a `Value` it may use the shape and, if it is a leaf, the data; and again with
    the arrays themselves after an evaluation in which indices were nodes.
    """

    name: str
    rule: Rule
    prepare: Callable[..., tuple[Any, ...]] | None = None
    signature: inspect.Signature = field(init=False)
    keywords: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        signature = inspect.signature(self.rule)
        # Without annotations, since it is shown in errors.
        parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise TypeError(f"{self.name}: name each setting; **settings cannot be recorded")
        object.__setattr__(self, "signature", inspect.Signature(parameters))
        keywords = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        object.__setattr__(self, "keywords", keywords)

    def bind(self, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments in the order of the rule's parameters, defaults filled in."""
        if named:
            arguments = self.in_order(positional, named)
        else:
            arguments = positional + _defaults_after(self, len(positional))
        return self.prepare(*arguments) if self.prepare else arguments

    def in_order(self, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        try:
            bound = self.signature.bind(*positional, **named)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; it takes {self.signature}") from None
        bound.apply_defaults()
        return (*bound.args, *(bound.kwargs[name] for name in self.keywords))

    def apply(self, arguments: Sequence[Any]) -> WithPullback:
        """The result for arrays and settings, with its pullback.

        Raises ShapeError, which names the operation and every shape, where they do not fit.
        """
        places = len(arguments) - len(self.keywords)
        named = dict(zip(self.keywords, arguments[places:], strict=True))
        try:
            returned: Any = self.rule(*arguments[:places], **named)
        except (TypeError, ValueError) as error:
            raise self.misfit([a for a in arguments if is_array(a)], error) from error
        if not (
            isinstance(returned, tuple | list) and len(returned) == 2 and callable(returned[1])
        ):
            found = "one array" if isinstance(returned, Array) else type(returned).__name__
            raise TypeError(
                f"{self.name}: a rule returns its result and its pullback, a function from the "
                f"result's gradient to those of the arguments; found {found}"
            )
        result, pullback = returned
        result = result if isinstance(result, Array) else jnp.asarray(result)
        return strengthen(result), pullback

    def pull(self, pullback: Pullback, above: Array, arguments: Sequence[Any]) -> list[Any]:
        """The gradient for each argument, None where there is none to have."""
        parts = pullback(above)
        parts = list(parts) if isinstance(parts, tuple | list) else [parts]
        if len(parts) > len(arguments):
            raise ShapeError(
                f"{self.name}: its pullback returned {len(parts)} gradients for "
                f"{len(arguments)} arguments"
            )
        forgotten = arguments[len(parts) :]
        if any(is_array(argument) and is_differentiable(argument.dtype) for argument in forgotten):
            raise ShapeError(
                f"{self.name}: its pullback returned {len(parts)} gradients for {len(arguments)} "
                "arguments; return one for each, None where there is none"
            )
        parts += [None] * len(forgotten)
        return [
            self._fitted(part, argument) if part is not None and is_array(argument) else None
            for part, argument in zip(parts, arguments, strict=True)
        ]

    def _fitted(self, part: Any, argument: Array) -> Array | None:
        if not is_differentiable(argument.dtype):
            return None
        if np.shape(part) != argument.shape:
            raise ShapeError(
                f"{self.name}: its pullback returned a gradient of shape {list(np.shape(part))} "
                f"for an argument of shape {list(argument.shape)}"
            )
        return jnp.asarray(part, argument.dtype)

    def result_of(self, arguments: Sequence[Any]) -> Shape:
        """Shape and type of the result; a `Shape` stands for each array.

        Raises ShapeError, which names the operation and every shape, where they do not fit.
        """
        key = tuple(a if isinstance(a, Shape) else static_key(self.name, a) for a in arguments)
        return _abstract_result(self, key)

    def misfit(self, arrays: Sequence[Any], cause: Exception) -> ShapeError:
        """The error for arrays (or their shapes) that the rule cannot take together."""
        found = " and ".join(f"{array.dtype}{list(array.shape)}" for array in arrays)
        reason = str(cause).strip().split("\n")[0]
        return ShapeError(f"{self.name}: cannot take {found}: {reason}")


@lru_cache
def _defaults_after(operation: Operation, count: int) -> tuple[Any, ...]:
    # Worked out once for each number of arguments, as `Signature.bind` takes 5 µs.
    return operation.in_order((None,) * count, {})[count:]


def static_key(operation: str, setting: Any) -> Static:
    try:
        hash(setting)
    except TypeError:
        raise TypeError(
            f"{operation}: found a setting of type {type(setting).__name__}, which cannot be "
            "hashed; give numbers that change as an array or a Value, other settings as a tuple"
        ) from None
    return Static(type(setting), setting)


@lru_cache(maxsize=4096)
def _abstract_result(operation: Operation, signature: tuple[Shape | Static, ...]) -> Shape:
    # `jax.eval_shape` costs some 10 ms for a small network, hence the memory.
    shapes = [a for a in signature if isinstance(a, Shape)]

    def result(*arrays: Array) -> Array:
        rest = iter(arrays)
        return operation.apply(
            [a.setting if isinstance(a, Static) else next(rest) for a in signature]
        )[0]

    abstract = jax.eval_shape(result, *(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    return Shape(abstract.shape, abstract.dtype)
