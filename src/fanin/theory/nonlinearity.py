"""What theory has to know of an activation: its values and those of its derivative."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from fanin.errors import FaninError


class TheoryError(FaninError, ValueError):
    """An activation, a variance or a correlation that theory can say nothing about."""


@dataclass(frozen=True)
class NoTheory:
    """In the place of a number: theory gives none here, and why."""

    reason: str

    def __str__(self) -> str:
        return f"no theory: {self.reason}"


# A framework that compiles for each shape has two shapes to compile for.
_FEW, _MANY = 512, 16_384


@dataclass(frozen=True, eq=False)
class Nonlinearity:
    """An activation f as theory sees it: two functions, and a name for messages.

    Both take a one-dimensional float64 array (of 512 or 16,384 numbers, always) and return an array
    of the same length, each entry from the entry at its place. They may come from NumPy or from any
    framework. What they return in float32 is used, and the results are then good to about five
    digits instead of ten. The derivative is taken as given: it is what a backward pass multiplies
    by, also where f has a step, or the derivative is a stand-in.
    """

    name: str
    function: Callable[[Any], Any]
    derivative: Callable[[Any], Any]

    def values(self, x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        """f at x; TheoryError where it is not finite, or no array entry by entry."""
        return _evaluate(self.function, x, f"{self.name}: the activation")

    def slopes(self, x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        """f' at x; TheoryError as for `values`."""
        return _evaluate(self.derivative, x, f"{self.name}: the derivative")

    @cached_property
    def precision(self) -> float:
        """The spacing of floating-point numbers at 1 in what the two functions return."""
        x = np.linspace(-1.0, 1.0, _FEW)
        returned = (
            _call(self.function, x, f"{self.name}: the activation"),
            _call(self.derivative, x, f"{self.name}: the derivative"),
        )
        return max(float(np.finfo(values.dtype).eps) for values in returned)


def _evaluate(
    function: Callable[[Any], Any], x: Float64[np.ndarray, "..."], what: str
) -> Float64[np.ndarray, "..."]:
    flat = x.ravel()
    length = _FEW if flat.size <= _FEW else _MANY
    padded = np.concatenate([flat, np.repeat(flat[-1:], -flat.size % length)])
    blocks = [_call(function, padded[k : k + length], what) for k in range(0, padded.size, length)]
    return np.concatenate(blocks)[: flat.size].reshape(x.shape).astype(np.float64, copy=False)


def _call(
    function: Callable[[Any], Any], x: Float64[np.ndarray, "nodes"], what: str
) -> Float[np.ndarray, "nodes"]:
    # An overflow inside that comes out finite, as in log1p(exp(x)) under tanh, is no fault.
    with np.errstate(all="ignore"):
        returned: Any = function(x)
        try:
            values = np.asarray(returned)
        except Exception as error:
            raise TheoryError(
                f"{what} returned a {type(returned).__name__}, which NumPy cannot read as an array "
                f"({error})."
            ) from error
    if values.dtype.kind in "bui":
        values = values.astype(np.float64)
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        raise TheoryError(
            f"{what} returned a {type(returned).__name__} of type {values.dtype}; it should return "
            "real numbers, float64 for float64."
        )
    if values.shape != (x.size,):
        raise TheoryError(
            f"{what} returned shape {values.shape} for {x.size} numbers; "
            "it should return one number for each."
        )
    if not np.isfinite(values).all():
        worst = int(np.argmin(np.isfinite(values)))
        raise TheoryError(
            f"{what} is {values[worst]} at {x[worst]:.6g}; "
            "theory needs it finite wherever a Gaussian pre-activation can fall."
        )
    return values
