"""Fan-in and fan-out of a weight by what is done with it, and the weight as (fan_in, units)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Fans:
    """How a weight is used."""

    fan_in: int
    """how many of its numbers make up one output"""
    fan_out: int
    """how many outputs one input goes to"""
    arrange: Callable[[Tensor], Tensor]
    """makes (fan_in, units) of an array of the weight's shape"""
    groups: int = 1
    """units come in so many groups, one after another, that look at other inputs"""


def of_product(weight: Tensor, first: bool) -> Fans:
    """Of a factor of a matrix product; `first` where it is the left one.

    Of a batch of matrices each is a weight, and their units stand beside each other.
    """

    def arrange(w: Tensor) -> Tensor:
        matrix = w.mT if first and w.ndim > 1 else w
        if matrix.ndim == 1:
            return matrix.reshape(-1, 1)
        if matrix.ndim == 2:
            return matrix
        return matrix.movedim(-2, 0).reshape(matrix.shape[-2], -1)

    if weight.ndim == 1:
        return Fans(weight.numel(), 1, arrange)
    fans = weight.shape[-2:]
    return Fans(fans[first], fans[not first], arrange)


def of_convolution(weight: Tensor, stride: tuple[int, ...], transposed: bool, groups: int) -> Fans:
    """Of a convolution of any dimension.

    A stride thins out one of the two: of a convolution the outputs that an input goes to, of a
    transposed one the inputs that an output is made of.
    """
    kernel = math.prod(weight.shape[2:])
    thinned = max(1, round(kernel / math.prod(stride)))
    if not transposed:
        return Fans(
            weight.shape[1] * kernel,
            weight.shape[0] // groups * thinned,
            lambda w: w.reshape(w.shape[0], -1).mT,
            groups,
        )

    def arrange(w: Tensor) -> Tensor:
        grouped = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
        return grouped.permute(1, 3, 0, 2).reshape(-1, groups * w.shape[1])

    fan_in = weight.shape[0] // groups * thinned
    return Fans(fan_in, weight.shape[1] * kernel, arrange, groups)


def of_embedding(weight: Tensor) -> Fans:
    """Of a table of rows: one row makes up an output, and each row is a unit."""
    return Fans(1, weight.shape[1], lambda w: w.mT)


def of_bilinear(weight: Tensor) -> Fans:
    """Of (units, inputs, other inputs): every pair of inputs has a weight."""
    return Fans(weight[0].numel(), weight.shape[0], lambda w: w.reshape(weight.shape[0], -1).mT)


def laid_out(array: Tensor, like: Tensor) -> Tensor | None:
    """A parameter's gradient in the shape in which the parameter was used; None if that is lost."""
    if array.shape == like.shape and array.ndim != 2:
        return array
    if like.is_contiguous():
        return array.contiguous().reshape(like.shape)
    if like.ndim > 1 and like.mT.is_contiguous():
        return array.contiguous().reshape(like.mT.shape).mT
    return None
