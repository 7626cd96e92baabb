"""`Value`: a lazy node of a computation graph, with data and gradient."""

import keyword
import math
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, overload

import jax
import jax.numpy as jnp
from jax import Array

from fanin.autograd.arrays import as_array, is_array
from fanin.autograd.operation import Operation, Rule, Shape
from fanin.autograd.trace import TraceError, current_trace

if TYPE_CHECKING:
    from fanin.autograd.drawing import Graph
    from fanin.autograd.profile import Profile

OPERATIONS: dict[str, Operation] = {}
"""Every registered operation by name."""


class Value:
    """A node: data, gradient, parents, and the operation that joins them.

    `Value(data)` makes a leaf; methods make further nodes and compute nothing. `loss.forward()`
    then stores the data of every node below `loss`, `loss.backward()` the gradients as well:

    >>> w = Value([1.0, 2.0], name="w")
    >>> loss = (w * w).sum()
    >>> loss.backward()
    Value(sum = sum(…): float32[])
    >>> w.grad
    Array([2., 4.], dtype=float32)

    The pure form, which stores nothing, is `evaluate(loss)`. Both work in a notebook and under
    `jax.jit`, `vmap` and `scan`, as long as the graph is built in the same trace that stores.
    """

    __slots__ = (
        "__weakref__",
        "_data",
        "_shape",
        "_trace",
        "arguments",
        "grad",
        "made_by",
        "name",
        "parents",
    )

    def __init__(self, data: Any = None, *, name: str | None = None) -> None:
        self.name = name or "leaf"
        self.made_by: Operation | None = None
        self.arguments: tuple[Any, ...] = ()
        self.parents: tuple[Value, ...] = ()
        self.grad: Array | None = None
        self._trace = current_trace()
        self._shape: Shape | None = None
        self._data: Array | None = None if data is None else _as_data(self.name, data)

    @classmethod
    def _of(cls, operation: Operation, /, *positional: Any, **named: Any) -> "Value":
        arguments = operation.bind(positional, named)
        node = cls(name=operation.name)
        node.made_by = operation
        node.arguments = tuple(_settle(operation.name, a) for a in arguments)
        node.parents = tuple(a for a in arguments if isinstance(a, Value))
        node._shape = operation.result_of([_shape_of(a) for a in node.arguments])
        return node

    @property
    def data(self) -> Array | None:
        """The array, once there is one: given to a leaf, computed for the others by `forward`."""
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        if self.made_by is not None:
            raise ValueError(
                f"{self.name} is computed from {' and '.join(p.name for p in self.parents)}; "
                "assign the data of those and call forward()"
            )
        self._check_trace(current_trace())
        self._data = _as_data(self.name, data)

    def known_data(self) -> Array:
        """The data; raises ValueError, naming this value, where there are none."""
        if self._data is None:
            raise self._no_data()
        return self._data

    @property
    def shape(self) -> tuple[int, ...]:
        return self._known_shape().shape

    @property
    def dtype(self) -> Any:
        return self._known_shape().dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def _known_shape(self) -> Array | Shape:
        known = self._shape if self._data is None else self._data
        if known is None:
            raise self._no_data()
        return known

    def _no_data(self) -> ValueError:
        if self.made_by is not None:
            return ValueError(f"{self.name} has no data yet; call forward() on it or above it")
        return ValueError(f"the value {self.name} has no data; assign {self.name}.data first")

    def _check_trace(self, trace: object) -> None:
        if self._trace != trace:
            raise TraceError(
                f"the value {self.name} was made in another JAX trace than the one that stores "
                "into it now; build the graph inside the transformed function, or use "
                "evaluate(loss), which stores nothing"
            )

    def forward(self) -> "Value":
        """Store the data of every node below this one; returns this node."""
        return self._evaluate(gradients=False)

    def backward(self, upstream: Any = None) -> "Value":
        """Store data and gradient of every node below this one; returns this node.

        Gradients are replaced, not added to those of an earlier call. `upstream` is the gradient
        from above, needed where this node is not one number.
        """
        return self._evaluate(gradients=True, upstream=upstream)

    def _evaluate(self, *, gradients: bool, upstream: Any = None) -> "Value":
        from fanin.autograd.evaluate import evaluate

        evaluation = evaluate(self, gradients=gradients, upstream=upstream)
        trace = current_trace()
        for node in evaluation.data:  # all of them before the first is written
            if gradients or node.made_by is not None:
                node._check_trace(trace)
        for node, data in evaluation.data.items():
            if node.made_by is not None:
                node._data = data
        for node, gradient in evaluation.gradient.items():
            node.grad = gradient
        return self

    def profile(self, rounds: int = 20) -> "Profile":
        """The time of each operation below this node, forward and backward."""
        from fanin.autograd.profile import profile

        return profile(self, rounds)

    def graph(self, profile: "Profile | None" = None) -> "Graph":
        """The nodes below this one with their shapes: `str()` for text, `.svg()` for a picture.

        With a `profile()` of this node the boxes of the picture have their times, too.
        """
        from fanin.autograd.drawing import Graph

        return Graph.of(self, profile)

    @overload
    @staticmethod
    def operation(rule: Rule, /) -> Rule: ...
    @overload
    @staticmethod
    def operation(*, prepare: Callable[..., tuple[Any, ...]]) -> Callable[[Rule], Rule]: ...
    @staticmethod
    def operation(
        rule: Rule | None = None, /, *, prepare: Callable[..., tuple[Any, ...]] | None = None
    ) -> Any:
        """Make a rule a method of `Value`, of the rule's own name.

        A rule takes arrays, and settings that are no arrays, and returns its result with the
        pullback: a function from the result's gradient to one gradient for each argument.

        >>> @Value.operation
        ... def square(x):
        ...     return x * x, lambda above: 2 * x * above

        Raises ValueError where `Value` has that name already.
        """

        def register(rule: Rule) -> Rule:
            name = rule.__name__
            if hasattr(Value, name):
                taken = OPERATIONS.get(name)
                own = taken is not None and taken.rule.__module__ == rule.__module__
                raise ValueError(
                    f"Value has a method or attribute {name} already; give your operation "
                    f"another name{f', or say del Value.{name} first' if own else ''}"
                )
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(f"an operation needs a name to be called by; found {name}")
            registered = OPERATIONS[name] = Operation(name, rule, prepare)

            def method(self: Value, *positional: Any, **named: Any) -> Value:
                return Value._of(registered, self, *positional, **named)

            setattr(Value, name, update_wrapper(method, rule))
            return rule

        return register if rule is None else register(rule)

    if TYPE_CHECKING:
        # Registered operations become methods at run time.
        def __getattr__(self, name: str) -> "Callable[..., Value]": ...

    def __add__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["add"], self, other)

    def __radd__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["add"], other, self)

    def __sub__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["subtract"], self, other)

    def __rsub__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["subtract"], other, self)

    def __mul__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["multiply"], self, other)

    def __rmul__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["multiply"], other, self)

    def __truediv__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["divide"], self, other)

    def __rtruediv__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["divide"], other, self)

    def __matmul__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["matmul"], self, other)

    def __rmatmul__(self, other: Any) -> "Value":
        return Value._of(OPERATIONS["matmul"], other, self)

    def __pow__(self, exponent: Any) -> "Value":
        return Value._of(OPERATIONS["power"], self, exponent)

    def __neg__(self) -> "Value":
        return Value._of(OPERATIONS["multiply"], self, -1)

    # NumPy arrays leave `array + value` to the value.
    __array_ufunc__ = None

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(f"{self.name} is a Value, no array; after forward() its .data is one")

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self.name} is a node of a graph, which is not copied or stored; take its .data"
        )

    def __repr__(self) -> str:
        empty = self._shape is None and self._data is None
        shape = "no data" if empty else f"{self.dtype}{list(self.shape)}"
        made = f" = {self.made_by.name}(…)" if self.made_by else ""
        return f"Value({self.name}{made}: {shape})"


def _as_data(name: str, data: Any) -> Array:
    if isinstance(data, Value):
        raise TypeError(f"{name}: a Value was given as data; use it as it is, or its .data")
    data = as_array(name, data)
    if isinstance(data, Array):
        return data
    with jax.ensure_compile_time_eval():  # concrete inside a trace as well, for the checks of it
        return jnp.asarray(data)


def _settle(operation: str, argument: Any) -> Any:
    """An argument as a node keeps it."""
    if isinstance(argument, Value):
        return argument
    if is_array(argument):
        return as_array(operation, argument)
    if isinstance(argument, tuple | list) and any(isinstance(a, Value) for a in argument):
        raise TypeError(
            f"{operation}: found Values inside a {type(argument).__name__}; give them one by one, "
            "to a rule with *arrays"
        )
    return argument


def _shape_of(argument: Any) -> Any:
    """What stands for an argument where only shapes count."""
    if isinstance(argument, Value) or is_array(argument):
        return Shape(argument.shape, argument.dtype)
    return argument
