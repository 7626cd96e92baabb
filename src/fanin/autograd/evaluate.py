"""The walk: data and gradient of every node of a graph, in topological order, by a loop.

The walk is pure. It reads a graph as a *program* (what is done, in which order) and its *inputs*
(arrays). Under a JAX transformation it runs as it stands and becomes part of the caller's program;
outside one it is compiled once for each program and used again.
"""

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Evaluation:
    """Data and gradient of every node below a root.

    `gradient[node]` is d(root)/d(node), of the node's shape; None for nodes of integers.
    """

    data: dict[Value, Array]
    gradient: dict[Value, Array | None]


def evaluate(root: Value, *, gradients: bool = True, upstream: Any = None) -> Evaluation:
    """Evaluate every node below `root`; stores nothing.

    `upstream` is the gradient that comes from above, of the root's shape; a root of one number
    does without. `gradients=False` leaves the backward walk out. Raises ValueError where a leaf
    has no data (naming it); ShapeError where a root of many numbers lacks `upstream` and where
    data assigned since the graph was built do not fit; IndexRangeError where such indices point
    outside their range; TraceError where a node holds what is left of a trace that is over.
    """
    upstream = None if upstream is None else as_array("upstream", upstream)
    nodes = topological_order(root)
    program, inputs = read_program(nodes)
    at_top = current_trace() == AT_TOP
    if at_top and len(program) <= LONGEST_COMPILED:
        computed, gradient = _compiled(program, gradients)(inputs, upstream)
    else:
        computed, gradient = walk(program, inputs, gradients, upstream)
    rest = iter(computed)
    data = {node: node.known_data() if node.made_by is None else next(rest) for node in nodes}
    if at_top:
        _check_indices(nodes, data)
    return Evaluation(data, dict(zip(nodes, gradient, strict=True)) if gradients else {})


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


def _check_indices(nodes: Sequence[Value], data: dict[Value, Array]) -> None:
    # Indices that are nodes may have been assigned or computed since the graph was built.
    for node in nodes:
        prepare = node.made_by.prepare if node.made_by else None
        if prepare and not all(is_differentiable(data[p].dtype) for p in node.parents):
            prepare(*(data[a] if isinstance(a, Value) else a for a in node.arguments))


@lru_cache(maxsize=256)
def _compiled(program: Program, gradients: bool) -> Any:
    def run(inputs: list[Array], upstream: Any) -> Any:
        return walk(program, inputs, gradients, upstream)

    return jax.jit(run)
