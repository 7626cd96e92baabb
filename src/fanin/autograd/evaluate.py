"""The walk: data and gradient of every node of a graph, in topological order, by a loop.

The walk is pure. It reads a graph as a *program* (what is done, in which order) and its *inputs*
(arrays). Under a JAX transformation it runs as it stands and becomes part of the caller's program;
outside one it is compiled once for each program and used again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanin.autograd.arrays import as_array, is_differentiable
from fanin.autograd.operation import Pullback, Static
from fanin.autograd.program import Argument, Program, read_program, topological_order
from fanin.autograd.trace import AT_TOP, current_trace
from fanin.autograd.value import Value
from fanin.errors import ShapeError

# Beyond this a program is walked operation by operation: XLA's compile time grows with the length
# of a program (0.8 s for 1,000 operations, 13 s for 10,000), a dispatched operation costs 10 µs.
LONGEST_COMPILED = 500


Places = tuple[int, ...] | None
"""Steps of a program whose numbers are wanted; None for all."""


@dataclass(frozen=True)
class Evaluation:
    """Data and gradient of every node below a root, or of those that were asked for.

    `gradient[node]` is d(root)/d(node), of the node's shape; None for nodes of integers.
    """

    data: dict[Value, Array]
    gradient: dict[Value, Array | None]


def evaluate(
    root: Value,
    *,
    gradients: bool | Collection[Value] = True,
    upstream: Any = None,
    data: Collection[Value] | None = None,
) -> Evaluation:
    """Evaluate every node below `root`; stores nothing.

    `upstream` is the gradient that comes from above, of the root's shape; a root of one number
    does without. `gradients=False` leaves the backward walk out. `gradients` and `data` may be the
    nodes of which they are wanted: no memory is taken for those of the others. Raises ValueError
    where a leaf has no data (naming it), and for a node that is not below `root`; ShapeError where
    a root of many numbers lacks `upstream` and where data assigned since the graph was built do
    not fit; IndexRangeError where such indices point outside their range; TraceError where a node
    holds what is left of a trace that is over.
    """
    upstream = None if upstream is None else as_array("upstream", upstream)
    nodes = topological_order(root)
    program, inputs = read_program(nodes)
    at_top = current_trace() == AT_TOP
    checked = _with_indices(nodes) if at_top else []
    every = {node: place for place, node in enumerate(nodes)}
    data_at = None if data is None else _places(every, root, [*data, *_read_by(checked)])
    gradients_at = (
        (None if gradients else ())
        if isinstance(gradients, bool)
        else _places(every, root, gradients)
    )
    if at_top and len(program) <= LONGEST_COMPILED:
        computed, gradient = _compiled(program, data_at, gradients_at)(inputs, upstream)
    else:
        computed, gradient = _run(program, data_at, gradients_at, inputs, upstream)
    known = nodes if data_at is None else [nodes[place] for place in data_at]
    rest = iter(computed)
    found = {node: node.known_data() if node.made_by is None else next(rest) for node in known}
    _check_indices(checked, found)
    sloped = nodes if gradients_at is None else [nodes[place] for place in gradients_at]
    return Evaluation(found, dict(zip(sloped, gradient, strict=True)))


def walk(
    program: Program,
    inputs: Sequence[Array | np.ndarray],
    gradients: bool = True,
    upstream: Any = None,
) -> tuple[list[Array], list[Array | None]]:
    """Run a program forward and, if asked, backward.

    Returns the data of every step but the leaves, and the gradient of every step.
    """
    outside = iter(inputs)
    data: list[Array] = []
    arguments: list[list[Any]] = []
    pullbacks: list[Pullback] = []

    def fetch(argument: Argument) -> Any:
        if argument is None:
            return jnp.asarray(next(outside))
        return argument.setting if isinstance(argument, Static) else data[argument]

    for operation, places in program:
        arguments.append([fetch(place) for place in places])
        result, pullback = (
            operation.apply(arguments[-1]) if operation else (arguments[-1][0], _no_parents)
        )
        data.append(result)
        pullbacks.append(pullback)
    computed = [array for array, step in zip(data, program, strict=True) if step.operation]
    if not gradients:
        return computed, []

    gradient: list[Array | None] = [None] * len(program)
    gradient[-1] = _from_above(program, data[-1], upstream)
    for step in reversed(range(len(program))):
        above, (operation, places) = gradient[step], program[step]
        if above is None or operation is None:
            continue
        parts = operation.pull(pullbacks[step], above, arguments[step])
        for place, part in zip(places, parts, strict=True):
            if isinstance(place, int) and part is not None:
                sofar = gradient[place]
                gradient[place] = part if sofar is None else sofar + part
    for step, array in enumerate(data):
        if gradient[step] is None and is_differentiable(array.dtype):
            gradient[step] = jnp.zeros_like(array)
    return computed, gradient


def _no_parents(above: Array) -> tuple[()]:
    return ()


def _from_above(program: Program, result: Array, upstream: Any) -> Array:
    operation = program[-1].operation
    name = operation.name if operation else "the value"
    shape = list(result.shape)
    if not is_differentiable(result.dtype):
        raise TypeError(
            f"{name} is of type {result.dtype}, and only floating numbers have gradients"
        )
    if upstream is None:
        if result.size != 1:
            raise ShapeError(
                f"{name} has the shape {shape}, and a gradient starts from one number: take its "
                "sum or mean, or give `upstream`, an array of that shape"
            )
        return jnp.ones_like(result)
    found = np.shape(upstream)
    if found not in (result.shape, ()):
        raise ShapeError(
            f"{name} has the shape {shape}, and so must `upstream`; found {list(found)}"
        )
    return jnp.broadcast_to(jnp.asarray(upstream, result.dtype), result.shape)


def _places(every: dict[Value, int], root: Value, nodes: Collection[Value]) -> tuple[int, ...]:
    for node in nodes:
        if node not in every:
            raise ValueError(f"{node.name} is not below {root.name}, which is evaluated")
    return tuple(sorted({every[node] for node in nodes}))


def _with_indices(nodes: Sequence[Value]) -> list[Value]:
    """The nodes that take indices which are nodes: assigned or computed since it was built."""
    return [
        node
        for node in nodes
        if node.made_by is not None
        and node.made_by.prepare
        and not all(is_differentiable(parent.dtype) for parent in node.parents)
    ]


def _read_by(nodes: Sequence[Value]) -> list[Value]:
    return [parent for node in nodes for parent in node.parents]


def _check_indices(nodes: Sequence[Value], data: dict[Value, Array]) -> None:
    for node in nodes:
        assert node.made_by is not None
        assert node.made_by.prepare is not None
        node.made_by.prepare(*(data[a] if isinstance(a, Value) else a for a in node.arguments))


def _run(
    program: Program,
    data_at: Places,
    gradients_at: Places,
    inputs: Sequence[Array | np.ndarray],
    upstream: Any,
) -> tuple[list[Array], list[Array | None]]:
    """`walk`, of which only what is wanted is kept."""
    computed, gradient = walk(program, inputs, gradients_at != (), upstream)
    if data_at is not None:
        rest = iter(computed)
        every = [next(rest) if step.operation else None for step in program]
        computed = [array for place in data_at if (array := every[place]) is not None]
    if gradients_at:
        gradient = [gradient[place] for place in gradients_at]
    return computed, gradient


@lru_cache(maxsize=256)
def _compiled(program: Program, data_at: Places, gradients_at: Places) -> Any:
    def run(inputs: list[Array], upstream: Any) -> Any:
        return _run(program, data_at, gradients_at, inputs, upstream)

    return jax.jit(run)
