"""What happened in one pass, as it is noted down: one node for each operation that matters."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fanin.diagnosis.measurements import Ends
from fanin.diagnosis.recording import LayerKind
from fanin.torch.attention import Look
from fanin.torch.operators import Applied
from fanin.torch.signals import Measured


@dataclass(frozen=True)
class Weight:
    """The weight of a node as it was used."""

    parameters: tuple[str, ...]
    """the parameters that it is, or was made of"""
    parameter_shape: tuple[int, ...]
    """of the first of them"""
    shape: tuple[int, ...]
    """as it was used"""
    fan_in: int
    fan_out: int
    arrange: Callable[[Tensor], Tensor | None]
    """makes (fan_in, units) of its parameter's gradient, where that can be told"""
    columns: Tensor
    """itself so arranged; a view, where there is one"""
    whole: bool
    """whether it is all of one parameter, and nothing else"""
    magnitude: str | None = None
    """a parameter that it is a multiple of, where it is not whole: weight norm's, or one that is
    multiplied by a constant"""
    first_unit: int | None = None
    """where it is some units of a parameter, and nothing else: the first of them"""
    groups: int = 1
    """its units come in so many groups that look at other inputs"""

    def places(self) -> Tensor | None:
        """Where each entry of (fan_in, units) stands in the parameter, counted in its order."""
        count = math.prod(self.shape)
        return self.arrange(torch.arange(count).reshape(self.parameter_shape))

    @property
    def units_axis(self) -> int:
        """The axis of the parameter along which its units lie; 0 where there is no one axis."""
        whole = torch.empty(self.parameter_shape, device="meta")
        columns = self.arrange(whole)
        if columns is None or columns.ndim < 2 or columns.shape[1] < 2:
            return 0
        step = columns.stride(1)
        if columns is not whole and not columns._is_view():
            places = self.places()  # as many numbers as there are weights: only where needed
            step = 0 if places is None else int(places[0, 1] - places[0, 0])
        strides = torch.empty(self.parameter_shape, device="meta").stride()
        fitting = [
            axis
            for axis, stride in enumerate(strides)
            if stride == step and self.parameter_shape[axis] == columns.shape[1]
        ]
        return fitting[0] if fitting else 0


@dataclass(frozen=True)
class Term:
    """One of the two of a sum."""

    nodes: tuple[int, ...]
    length: Tensor
    """the Euclidean one, not fetched yet"""
    size: int
    scale: str | None
    """the parameter by which it was multiplied as the last step"""

    @property
    def size_of_one(self) -> float:
        """The root mean square of its numbers."""
        return float(self.length) / math.sqrt(self.size)


@dataclass(eq=False)
class Node:
    """One operation, with what was measured of it."""

    number: int
    kind: LayerKind
    path: str
    """the module in whose forward it ran"""
    name: str
    reads: tuple[int, ...]
    read: int | None
    """the one node of whose output the operation was given every number, if there is one"""
    axis: int
    units: int
    place: str = ""
    weight: Weight | None = None
    bias: str | None = None
    parameters: tuple[str, ...] = ()
    """all that are its own, weight and bias among them"""
    normalisation: str | None = None
    running: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """the mean, and what the variance makes, that a normalisation uses where they are not this
    batch's"""
    activation: Applied | None = None
    subpixels: bool = False
    """whether its units become the pixels of finer pictures"""
    factor: float = 1.0
    """a constant between what it reads and itself"""
    first_unit: int = 0
    """which unit of the node that it reads is its first, where it was given a part of it"""
    given: Measured | None = None
    """what an activation, normalisation or weight was given, where that was measured"""
    output: Measured | None = None
    ends: Ends | None = None
    gradient: Measured | None = None
    look: Look | None = None
    """of attention"""
    terms: tuple[Term, ...] = ()
    """of a sum"""
    values: tuple[int, ...] = ()
    """of attention: the nodes that it only mixes"""
    size: int = 0
    """how many numbers it gave"""
    call: int = 1
    hooks: list[object] = field(default_factory=list)
