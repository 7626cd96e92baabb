"""A graph as text and as a picture: its nodes, their shapes and, once evaluated, their moments."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax.core import Tracer

from fanin.autograd.arrays import is_array, is_differentiable
from fanin.autograd.operation import Shape
from fanin.autograd.program import topological_order
from fanin.autograd.svg import Box, draw_boxes
from fanin.autograd.value import Value
from fanin.errors import OptionError

if TYPE_CHECKING:
    from fanin.autograd.profile import Profile, Timing

MOST_DRAWN = 1000


class Moments(NamedTuple):
    """Mean and standard deviation of the numbers of an array; of a single one only itself."""

    mean: float
    std: float | None

    def __str__(self) -> str:
        return f"{self.mean:.3g}" if self.std is None else f"{self.mean:.3g} ± {self.std:.3g}"


@dataclass(frozen=True)
class GraphNode:
    """One node: `parents` are places in the graph; `settings` the arguments that are no nodes."""

    name: str
    operation: str | None
    parents: tuple[int, ...]
    settings: tuple[str, ...]
    shape: Shape
    data: Moments | None
    gradient: Moments | None
    timing: "Timing | None" = None

    @property
    def type_and_shape(self) -> str:
        return f"{self.shape.dtype}{list(self.shape.shape)}"

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands in the node's box."""
        made = f"{self.operation}({', '.join(self.settings)})" if self.settings else self.operation
        named = self.name if self.name != self.operation else None
        data = f"data {self.data}" if self.data else None
        gradient = f"grad {self.gradient}" if self.gradient else None
        time = str(self.timing) if self.timing else None
        lines = (named, made, self.type_and_shape, data, gradient, time)
        return tuple(line for line in lines if line)


@dataclass(frozen=True, repr=False)
class Graph:
    """The nodes below a value, in order of execution."""

    nodes: tuple[GraphNode, ...]

    @classmethod
    def of(cls, root: Value, profile: "Profile | None" = None) -> "Graph":
        order = topological_order(root)
        place = {node: index for index, node in enumerate(order)}
        made = [node for node in order if node.made_by]
        timings = profile.timings if profile else ()
        if profile and len(timings) != len(made):
            raise OptionError(
                f"the profile is of another graph: it times {len(timings)} operations, "
                f"and here are {len(made)}"
            )
        timed = dict(zip(made, timings, strict=False))
        return cls(
            tuple(
                GraphNode(
                    name=node.name,
                    operation=node.made_by.name if node.made_by else None,
                    parents=tuple(place[parent] for parent in node.parents),
                    settings=_settings(node),
                    shape=Shape(node.shape, node.dtype),
                    data=_moments(node.data),
                    gradient=_moments(node.grad),
                    timing=timed.get(node),
                )
                for node in order
            )
        )

    def __repr__(self) -> str:
        rows = [("", "name", "made by", "type and shape", "data", "gradient")]
        for place, node in enumerate(self.nodes):
            arguments = [*(f"#{parent}" for parent in node.parents), *node.settings]
            made = f"{node.operation}({', '.join(arguments)})" if node.operation else ""
            data, gradient = (str(m) if m else "" for m in (node.data, node.gradient))
            rows.append((f"#{place}", node.name, made, node.type_and_shape, data, gradient))
        used = [column for column in range(6) if any(row[column] for row in rows[1:])]
        width = {column: max(len(row[column]) for row in rows) for column in used}
        return "\n".join(
            "  ".join(row[column].ljust(width[column]) for column in used).rstrip() for row in rows
        )

    def svg(self) -> str:
        """The graph as an SVG picture, in the colour of the text around it.

        Raises OptionError for more nodes than a picture can show.
        """
        if len(self.nodes) > MOST_DRAWN:
            raise OptionError(
                f"a picture shows at most {MOST_DRAWN} nodes; this graph has {len(self.nodes)}, "
                "and str(graph) lists them"
            )
        boxes = [Box(node.lines, node.parents) for node in self.nodes]
        return draw_boxes(boxes, f"Graph of {self.nodes[-1].name}")

    def _repr_html_(self) -> str:
        # Inside the page, not as an image, so that the page's text colour holds.
        return self.svg() if len(self.nodes) <= MOST_DRAWN else f"<pre>{escape(str(self))}</pre>"


def _settings(node: Value) -> tuple[str, ...]:
    """The arguments that are no nodes and not as they would be without saying."""
    if node.made_by is None:
        return ()
    parameters = list(node.made_by.signature.parameters.values())
    shown = [a for a in node.arguments if not isinstance(a, Value)]
    if len(parameters) == len(node.arguments):
        pairs = zip(parameters, node.arguments, strict=True)
        shown = [a for p, a in pairs if not isinstance(a, Value) and a is not p.default]
    return tuple(_setting(argument) for argument in shown)


def _setting(argument: Any) -> str:
    if is_array(argument):
        return f"{argument.dtype}{list(argument.shape)}" if argument.shape else _number(argument)
    return getattr(argument, "__qualname__", None) or repr(argument)


def _number(array: Any) -> str:
    return "traced" if isinstance(array, Tracer) else f"{array.item():.6g}"


def _moments(array: Any) -> Moments | None:
    if array is None or isinstance(array, Tracer):
        return None
    if not is_differentiable(array.dtype) or not array.size:
        return None
    numbers = np.asarray(array, np.float64)
    with np.errstate(all="ignore"):  # what is not finite shows as such
        std = float(numbers.std()) if numbers.size > 1 else None
        return Moments(float(numbers.mean()), std)
