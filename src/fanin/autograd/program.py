"""A graph as a program: what is done and in which order, apart from the numbers it is done to."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax import Array
from jax.core import Tracer

from fanin.autograd.arrays import is_array
from fanin.autograd.operation import Operation, Static, static_key
from fanin.autograd.trace import AT_TOP, TraceError, current_trace
from fanin.autograd.value import Value

Argument: TypeAlias = int | Static | None
"""The place of an earlier step; a setting; or None, the next of the arrays from outside."""


class Step(NamedTuple):
    """One node: an operation and its arguments; for a leaf no operation and one array."""

    operation: Operation | None
    arguments: tuple[Argument, ...]


# Tuples through and through: a program is hashed at each evaluation.
Program: TypeAlias = tuple[Step, ...]


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


def read_program(nodes: list[Value]) -> tuple[Program, list[Array | np.ndarray]]:
    """Split a graph, its nodes in topological order, into a program and the arrays it works on.

    Raises ValueError where a leaf has no data, naming it; TraceError where an array is what is
    left of a trace that is over.
    """
    place: dict[Value, int] = {}
    inputs: list[Array | np.ndarray] = []
    program: list[Step] = []
    at_top = current_trace() == AT_TOP

    def take(array: Any, node: Value) -> None:
        if at_top and isinstance(array, Tracer):
            raise TraceError(
                f"the value {node.name} was made inside a JAX transformation that is over; "
                "return its data from the transformed function and make a new Value of them"
            )
        inputs.append(array)

    for node in nodes:
        place[node] = len(program)
        if node.made_by is None:
            take(node.known_data(), node)
            program.append(LEAF)
            continue
        arguments: list[Argument] = []
        for argument in node.arguments:
            if isinstance(argument, Value):
                arguments.append(place[argument])
            elif is_array(argument):
                take(argument, node)
                arguments.append(None)
            else:
                arguments.append(static_key(node.made_by.name, argument))
        program.append(Step(node.made_by, tuple(arguments)))
    return tuple(program), inputs


LEAF = Step(None, (None,))
