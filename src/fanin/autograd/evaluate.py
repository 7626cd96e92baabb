"""The walk: data and gradient of every node of a graph, in topological order, by a loop.

The walk is pure. It reads a graph as a *program* (what is done, in which order) and its *inputs*
(arrays). Under a JAX transformation it runs as it stands and becomes part of the caller's program;
outside one it is compiled once for each program and used again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanin.autograd.operation import Operation, Static, is_array, static_key
from fanin.autograd.trace import AT_TOP, TraceError, current_trace
from fanin.autograd.value import Value
from fanin.errors import ShapeError

# Beyond this a program is walked operation by operation: XLA's compile time grows with the length
# of a program (0.8 s for 1,000 operations, 13 s for 10,000), a dispatched operation costs 10 µs.
LONGEST_COMPILED = 500


@dataclass(frozen=True, slots=True)
class Node:
    """An argument that is an earlier node of the program."""

    index: int


@dataclass(frozen=True, slots=True)
class Input:
    """An argument, or a leaf's data, that is an array from outside."""

    index: int


@dataclass(frozen=True, slots=True)
class Step:
    """One node: an operation on arguments, or a leaf (no operation, one `Input`)."""

    operation: Operation | None
    arguments: tuple[Node | Input | Static, ...]


Program: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True)
class Evaluation:
    """Data and gradient of every node below a root.

    `gradient[node]` is d(root)/d(node), of the node's shape; None for nodes of integers.
    """

    data: dict[Value, Array]
    gradient: dict[Value, Array | None]


def evaluate(
    root: Value, *, gradients: bool = True, upstream: Array | float | None = None
) -> Evaluation:
    """Evaluate every node below `root`; stores nothing.

    `upstream` is the gradient that comes from above, of the root's shape; a root of one number
    does without. `gradients=False` leaves the backward walk out. Raises ValueError where a leaf
    has no data (naming it) and where a root of many numbers lacks `upstream`; ShapeError where
    data assigned since the graph was built do not fit; TraceError where a leaf holds what is left
    of a trace that is over.
    """
    nodes = topological_order(root)
    program, inputs = _read(nodes)
    start: Array | np.ndarray | None = None
    if gradients:
        if upstream is None and root.size != 1:
            raise ValueError(
                f"{root.name} has the shape {root.shape}, and a gradient starts from one number: "
                "take its sum or mean, or give `upstream`, an array of that shape"
            )
        start = _one(root.dtype) if upstream is None else jnp.asarray(upstream, root.dtype)
    traced = any(isinstance(array, jax.core.Tracer) for array in (*inputs, start))
    if traced or len(program) > LONGEST_COMPILED:
        data, gradient = walk(program, inputs, start)
    else:
        data, gradient = _compiled(program)(inputs, start)
    return Evaluation(
        dict(zip(nodes, data, strict=True)),
        dict(zip(nodes, gradient, strict=True)) if gradients else {},
    )


def topological_order(root: Value) -> list[Value]:
    """Every node below `root`, parents before children, `root` last."""
    order: list[Value] = []
    seen = {root}
    stack: list[tuple[Value, Iterator[Value]]] = [(root, iter(root.parents))]
    while stack:
        node, parents = stack[-1]
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                stack.append((parent, iter(parent.parents)))
                break
        else:
            order.append(node)
            stack.pop()
    return order


def walk(
    program: Program, inputs: list[Array], upstream: Array | np.ndarray | None
) -> tuple[list[Array], list[Array | None]]:
    """Run a program forward and, given the gradient from above, backward."""
    data: list[Array] = []
    pullbacks: list[Any] = []
    for step in program:
        arguments = [_fetch(argument, data, inputs) for argument in step.arguments]
        if step.operation is None:
            result, pullback = jnp.asarray(arguments[0]), None
        else:
            result, pullback = _apply(step.operation, arguments)
        data.append(result)
        pullbacks.append(pullback)

    gradient: list[Array | None] = [None] * len(program)
    if upstream is None:
        return data, gradient
    gradient[-1] = jnp.broadcast_to(upstream, data[-1].shape)
    for index in reversed(range(len(program))):
        above, pullback = gradient[index], pullbacks[index]
        if above is None or pullback is None:
            continue
        parts = pullback(above)
        if not isinstance(parts, tuple):
            parts = (parts,)
        for argument, part in zip(program[index].arguments, parts, strict=False):
            if isinstance(argument, Node) and part is not None:
                _check_gradient(program[index], part, data[argument.index])
                sofar = gradient[argument.index]
                gradient[argument.index] = part if sofar is None else sofar + part
    for index, array in enumerate(data):
        if gradient[index] is None and jnp.issubdtype(array.dtype, jnp.inexact):
            gradient[index] = jnp.zeros_like(array)
    return data, gradient


@lru_cache
def _one(dtype: Any) -> np.ndarray:
    return np.ones((), dtype)


@lru_cache(maxsize=256)
def _compiled(program: Program) -> Any:
    def run(inputs: list[Array], upstream: Array | None) -> Any:
        return walk(program, inputs, upstream)

    return jax.jit(run)


def _fetch(argument: Node | Input | Static, data: list[Array], inputs: list[Array]) -> Any:
    if isinstance(argument, Node):
        return data[argument.index]
    if isinstance(argument, Input):
        return inputs[argument.index]
    return argument.setting


def _apply(operation: Operation, arguments: list[Any]) -> tuple[Array, Any]:
    try:
        return operation.rule(*arguments)
    except (TypeError, ValueError) as error:
        # Checked when the graph was built, so data of another shape were assigned since.
        raise operation.misfit([a for a in arguments if is_array(a)], error) from error


def _check_gradient(step: Step, part: Array, data: Array) -> None:
    if part.shape != data.shape:
        assert step.operation is not None
        raise ShapeError(
            f"{step.operation.name}: its pullback returned a gradient of shape "
            f"{list(part.shape)} for an argument of shape {list(data.shape)}"
        )


def _read(nodes: list[Value]) -> tuple[Program, list[Array]]:
    """Split a graph into what is done (hashable) and the arrays that it is done to."""
    place: dict[Value, Node] = {}
    inputs: list[Array] = []
    program: list[Step] = []
    for node in nodes:
        operation = node.made_by
        arguments: list[Node | Input | Static] = []
        for argument in _settled_arguments(node):
            if isinstance(argument, Value):
                arguments.append(place[argument])
            elif operation is None or is_array(argument):
                arguments.append(Input(len(inputs)))
                inputs.append(argument)
            else:
                arguments.append(static_key(operation.name, argument))
        place[node] = Node(len(program))
        program.append(Step(operation, tuple(arguments)))
    return tuple(program), inputs


def _settled_arguments(node: Value) -> tuple[Any, ...]:
    operation = node.made_by
    if operation is None:
        return (_leaf_data(node),)
    if operation.prepare is not None and any(p.is_index_leaf for p in node.parents):
        return operation.prepare(*node.arguments)  # indices may have been assigned since
    return node.arguments


def _leaf_data(leaf: Value) -> Array:
    if leaf.data is None:
        raise ValueError(f"the value {leaf.name} has no data; assign {leaf.name}.data first")
    if isinstance(leaf.data, jax.core.Tracer) and current_trace() == AT_TOP:
        raise TraceError(
            f"the value {leaf.name} was made inside a JAX transformation that is over; "
            "return its data from the transformed function and make a new Value of them"
        )
    return leaf.data
