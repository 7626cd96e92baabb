"""An operation: a forward rule with its gradient beside it, and the shape that it gives."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax import Array

from fanin.errors import ShapeError

Rule: TypeAlias = Callable[..., tuple[Array, Callable[[Array], Any]]]
"""Takes arrays and settings; returns the result and the pullback, which takes the gradient of the
result and returns one gradient (or None) for each argument, in order; trailing ones may lack."""


class Shape(NamedTuple):
    """Shape and type of an array that need not be there yet."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True, eq=False)
class Operation:
    """One registered operation.

    `rule` holds the mathematics. `prepare`, where there is one, sees the arguments when the graph
    is built and returns them checked (indices in range) and settled (a shape worked out); of a
    `Value` it may use the shape and, if it is a leaf, the data.
    """

    name: str
    rule: Rule
    prepare: Callable[..., tuple[Any, ...]] | None = None
    signature: inspect.Signature = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", inspect.signature(self.rule))

    def bind(self, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments in the order of the rule's parameters, defaults filled in."""
        try:
            bound = self.signature.bind(*positional, **named)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; it takes {self.signature}") from None
        bound.apply_defaults()
        return self.prepare(*bound.args) if self.prepare else bound.args

    def result_of(self, arguments: Sequence[Any]) -> Shape:
        """Shape and type of the result; a `Shape` stands for each array.

        Raises ShapeError, which names the operation and every shape, where they do not fit.
        """
        return _abstract_result(
            self,
            tuple(a if isinstance(a, Shape) else static_key(self.name, a) for a in arguments),
        )

    def misfit(self, arrays: Sequence[Any], cause: Exception) -> ShapeError:
        """The error for arrays (or their shapes) that the rule cannot take together."""
        found = " and ".join(f"{array.dtype}{list(array.shape)}" for array in arrays)
        reason = str(cause).strip().split("\n")[0]
        return ShapeError(f"{self.name}: cannot take {found}: {reason}")


@dataclass(frozen=True, slots=True)
class Static:
    """A setting that is no array. Its type belongs to the key, since 1 == True == 1.0."""

    type: type
    setting: Hashable


def is_array(argument: object) -> bool:
    return isinstance(argument, Array | np.ndarray | np.generic)


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
        return operation.rule(
            *(a.setting if isinstance(a, Static) else next(rest) for a in signature)
        )[0]

    try:
        abstract = jax.eval_shape(result, *(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    except (TypeError, ValueError) as error:
        raise operation.misfit(shapes, error) from error
    return Shape(abstract.shape, abstract.dtype)
