"""What happened in one pass, as it is noted down: one node for each operation that matters."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from fanin.diagnosis.measurements import Ends
from fanin.diagnosis.recording import LayerKind
from fanin.torch.operators import Applied
from fanin.torch.signals import Measured


@dataclass(frozen=True)
class Weight:
    """The weight of a node as it was used."""

    parameters: tuple[str, ...]
    """the parameters that it is, or was made of"""
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    arrange: Callable[[Tensor], Tensor | None]
    """makes (fan_in, units) of its parameter's gradient, where that can be told"""
    columns: Tensor
    """itself so arranged; a view, where there is one"""
    whole: bool
    """whether it is all of one parameter, and nothing else"""


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
    activation: Applied | None = None
    branch: bool = False
    given: Measured | None = None
    """what an activation, normalisation or weight was given, where that was measured"""
    output: Measured | None = None
    ends: Ends | None = None
    gradient: Measured | None = None
    entropy: float | None = None
    """of attention weights, over the largest possible; the mean over queries"""
    entries: int = 0
    size: int = 0
    """how many numbers it gave"""
    opaque: bool = False
    call: int = 1
    hooks: list[object] = field(default_factory=list)
