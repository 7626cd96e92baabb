"""How long each operation of a graph takes, forward and backward, each measured alone."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import eval_jaxpr

from fanin.autograd.arrays import is_array, is_differentiable
from fanin.autograd.evaluate import LONGEST_COMPILED, evaluate, walk
from fanin.autograd.operation import Operation, Shape, static_key
from fanin.autograd.program import read_program, topological_order
from fanin.autograd.trace import AT_TOP, TraceError, current_trace
from fanin.autograd.value import Value
from fanin.errors import OptionError

ROWS_SHOWN = 40


@dataclass(frozen=True)
class Timing:
    """Median seconds of one node's rule (`forward`) and of its pullback (`backward`)."""

    name: str
    operation: str
    result: Shape
    forward: float
    backward: float

    @property
    def total(self) -> float:
        return self.forward + self.backward

    def __str__(self) -> str:
        return f"time {_readable(self.forward)} + {_readable(self.backward)}"


@dataclass(frozen=True, repr=False)
class Profile:
    """The times of every operation below a node, in order of execution.

    `empty_call` is what a compiled call costs that does nothing, and is contained in each time;
    `together` is the whole graph, forward and backward, as the one program that `backward` runs
    (None for a graph too long to be compiled as one). All in seconds.
    """

    timings: tuple[Timing, ...]
    empty_call: float
    together: float | None

    @property
    def forward(self) -> float:
        return math.fsum(timing.forward for timing in self.timings)

    @property
    def backward(self) -> float:
        return math.fsum(timing.backward for timing in self.timings)

    @property
    def slowest(self) -> Timing | None:
        return max(self.timings, key=lambda timing: timing.total, default=None)

    def __repr__(self) -> str:
        places = range(len(self.timings))
        by_time = sorted(places, key=lambda place: self.timings[place].total, reverse=True)
        shown = [self.timings[place] for place in sorted(by_time[:ROWS_SHOWN])]
        rows = [("operation", "name", "result", "forward", "backward", "")]
        rows += [
            (
                timing.operation,
                timing.name if timing.name != timing.operation else "",
                f"{timing.result.dtype}{list(timing.result.shape)}",
                _readable(timing.forward),
                _readable(timing.backward),
                "← slowest" if timing is self.slowest else "",
            )
            for timing in shown
        ]
        hidden = len(self.timings) - len(shown)
        if hidden:
            rows.append((f"… {hidden} faster ones", "", "", "", "", ""))
        rows.append(("total", "", "", _readable(self.forward), _readable(self.backward), ""))
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = [
            "  ".join(
                cell.rjust(width) if column in (3, 4) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.append(
            f"A compiled call that does nothing takes {_readable(self.empty_call)} of each."
        )
        if self.together is not None:
            lines.append(f"As one program all of it takes {_readable(self.together)}.")
        return "\n".join(lines)


def profile(root: Value, rounds: int = 20) -> Profile:
    """Time every operation below `root`, each compiled alone, on its real inputs.

    Medians of so many rounds. Nodes of one operation, shapes and settings are measured once.
    Raises TraceError inside a JAX transformation, where nothing is computed yet.
    """
    if rounds < 1:
        raise OptionError(f"profile: rounds must be at least 1; found {rounds}")
    if current_trace() != AT_TOP:
        raise TraceError("profile measures real time: call it outside JAX transformations")
    nodes = topological_order(root)
    gradients = is_differentiable(root.dtype)
    upstream = 1.0 if gradients else None
    data = evaluate(root, gradients=False).data
    measured: dict[Any, tuple[float, float]] = {}
    timings: list[Timing] = []
    for node in nodes:
        operation = node.made_by
        if operation is None:
            continue
        arguments = [_argument(a, data) for a in node.arguments]
        key = operation, tuple(_kind(operation, a) for a in arguments)
        if key not in measured:
            measured[key] = (
                _seconds(_forward(operation, arguments), rounds),
                _seconds(_backward(node, operation, arguments), rounds) if gradients else 0.0,
            )
        result = Shape(data[node].shape, data[node].dtype)
        timings.append(Timing(node.name, operation.name, result, *measured[key]))

    together = None
    if len(nodes) <= LONGEST_COMPILED:
        program, inputs = read_program(nodes)
        whole = jax.jit(lambda inputs: walk(program, inputs, gradients, upstream))
        together = _seconds(lambda: whole(inputs), rounds)
    nothing = jax.jit(lambda array: array)
    return Profile(tuple(timings), _seconds(lambda: nothing(data[root]), rounds), together)


def _argument(argument: Any, data: dict[Value, Array]) -> Any:
    if isinstance(argument, Value):
        return data[argument]
    return jnp.asarray(argument) if is_array(argument) else argument


def _kind(operation: Operation, argument: Any) -> Any:
    if is_array(argument):
        return Shape(argument.shape, argument.dtype)
    return static_key(operation.name, argument)


def _forward(operation: Operation, arguments: list[Any]) -> Callable[[], Any]:
    arrays = [a for a in arguments if is_array(a)]

    def result(arrays: list[Array]) -> Array:
        rest = iter(arrays)
        return operation.apply([next(rest) if is_array(a) else a for a in arguments])[0]

    compiled = jax.jit(result)
    return lambda: compiled(arrays)


def _backward(node: Value, operation: Operation, arguments: list[Any]) -> Callable[[], Any]:
    result, pullback = operation.apply(arguments)
    if not is_differentiable(result.dtype):
        return lambda: None

    def gradients(above: Array) -> list[Array]:
        parts = operation.pull(pullback, above, arguments)
        wanted = [isinstance(argument, Value) for argument in node.arguments]
        return [p for p, want in zip(parts, wanted, strict=True) if want and p is not None]

    # What the rule left for its pullback goes in as arrays: as constants XLA would fold it away.
    jaxpr = jax.make_jaxpr(gradients)(result)
    compiled = jax.jit(lambda kept, above: eval_jaxpr(jaxpr.jaxpr, kept, above))
    return lambda: compiled(jaxpr.consts, result)


def _seconds(call: Callable[[], Any], rounds: int) -> float:
    jax.block_until_ready(call())  # compiles
    times: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _readable(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
