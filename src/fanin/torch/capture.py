"""Watching one forward pass: every operation that matters, in order, measured as it happens."""

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks_for_all
from torch.utils._python_dispatch import TorchDispatchMode

from fanin.torch import operators, signals
from fanin.torch.closing import RECURRENT, Closing
from fanin.torch.naming import Names, calling_line
from fanin.torch.nodes import Node, Term
from fanin.torch.operators import Operator
from fanin.torch.preserve import Keeper
from fanin.torch.provenance import Provenance, Source, together
from fanin.torch.steps import Step
from fanin.torch.tensors import address, covers, first, tensors

CALLS = 64
"""So many calls of one operation of one module are told apart; later ones are not measured."""


@dataclass(eq=False)
class Frame:
    """One module while its forward runs."""

    module: nn.Module
    path: str
    given: tuple[Any, ...]
    first: int
    """the number of the next node when it began"""
    operators: set[str] = field(default_factory=set)
    opaque: bool = False


class Capture(TorchDispatchMode):
    """The nodes of one pass. Use it around the call of the module, and only there."""

    def __init__(
        self,
        names: Names,
        keeper: Keeper,
        inputs: Iterable[Tensor],
        on_weight: Callable[[Node, Tensor, Tensor | None], None] | None = None,
    ) -> None:
        """`on_weight` is told of each new node with a weight: with what it gave, which it may
        change in place, and the bias that is already added."""
        super().__init__()
        self.on_weight = on_weight
        self.names = names
        self.keeper = keeper
        self.sources = Provenance()
        self.tables = signals.Tables()
        self.nodes: list[Node] = [Node(0, "other", "", "", (), None, 0, 0)]
        """in order of execution; the first stands for the batch"""
        self.failed: tuple[str, nn.Module | None, tuple[Any, ...]] | None = None
        """the innermost module that an exception left, with what it was given"""
        self.unseen: dict[str, None] = {}
        self.scales: set[str] = set()
        """parameters that multiply, unit by unit, what branches give"""
        self.multiplied: dict[int, tuple[str, Tensor]] = {}
        """by the address of what was multiplied by a parameter, or what is made of it, both"""
        self.placed: dict[int, list[tuple[str, Term, Term]]] = {}
        """by the address of a sum: the parameters of which a table is made, as of positions, with
        what they add to what"""
        self.frames: list[Frame] = []
        self._calls: dict[tuple[str, str], int] = {}
        self._pending: list[tuple[Node, Tensor]] = []
        self._handles: list[Any] = []
        self._exception: Any = None
        self._measuring = False
        self._runs_backward = False
        for name, parameter in names.parameters.items():
            self.sources.mark(parameter, Source(weights=(name,)))
        for tensor in inputs:
            self.sources.mark(tensor, Source((0,)))

    def __enter__(self) -> "Capture":
        self._exception = sys.exc_info()[1]
        self._handles = [
            hooks_for_all.register_module_forward_pre_hook(self._enter_module),
            hooks_for_all.register_module_forward_hook(self._leave_module, always_call=True),
        ]
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._settle()
        for handle in self._handles:
            handle.remove()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # PyTorch would wrap every dispatch to keep the compiler out, which `_openly` does for all.
        return False

    def node_of(self, tensor: Tensor) -> Source:
        """Where a tensor comes from."""
        return self.sources.of(tensor)

    # Modules

    def _enter_module(self, module: nn.Module, arguments: Any) -> None:
        inside = self.frames[-1] if self.frames else None
        path = self.names.modules.get(id(module), inside.path if inside else "")
        opaque = isinstance(module, RECURRENT) or bool(inside and inside.opaque)
        self.frames.append(Frame(module, path, arguments, len(self.nodes), opaque=opaque))

    def _leave_module(self, module: nn.Module, arguments: Any, result: Any) -> None:
        frame = self.frames.pop()
        exception = sys.exc_info()[1]
        if exception is not None and exception is not self._exception:
            if self.failed is None:
                self.failed = (frame.path, module, tuple(arguments))
            return
        inside = self.frames[-1] if self.frames else None
        if inside is not None:
            inside.operators |= frame.operators
        if inside is None or not inside.opaque:
            self._settle()
            self._measuring = True
            try:
                with exactly():
                    Closing(self, frame, result).close()
            finally:
                self._measuring = False

    # Operations

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named: dict[str, Any] = kwargs or {}
        if self._measuring:
            return func(*args, **named)
        self._settle()
        operator = operators.operator(func)
        frame = self.frames[-1] if self.frames else None
        if frame is not None:
            frame.operators.add(operator.name)
        for place in operator.writes:
            if place < len(args) and isinstance(args[place], Tensor):
                self.keeper.before_write(args[place])
        given = list(tensors((args, named)))
        sources = [self.sources.of(each) for each in given]
        step = None
        # A backward pass within the forward one, for forces or penalties, is no layer.
        backward = torch._C._current_graph_task_id() != -1  # pyright: ignore[reportPrivateUsage]
        if backward and frame is not None and not self._runs_backward:
            self._leave_gradients()
        if any(source.data for source in sources) and not (backward or (frame and frame.opaque)):
            step = Step(self, operator, args, named)
            step.before()
        result = func(*args, **named)
        node = None if step is None else step.after(result)
        if node is not None:
            made = Source((node.number,))
            if step is not None and step.beside.nodes:
                made = together((made, step.beside), False)
            self.sources.mark(first(result), made)
            self._pending.append((node, first(result)))
        else:
            factor = None if given[1:] else operators.constant(operator.name, args)
            self._propagate(operator, given, sources, result, factor)
        return result

    def _propagate(
        self,
        operator: Operator,
        given: list[Tensor],
        sources: list[Source],
        result: Any,
        factor: float | None,
    ) -> None:
        """What is not a node hands the sources of its arguments on."""
        if operator.in_place and operator.name == "copy" and covers(given[0]):
            given, sources = given[1:], sources[1:]
        if not any(source.nodes or source.weights for source in sources):
            return
        if operator.name == "pixel_shuffle" and sources[0].node:
            self.nodes[sources[0].node].subpixels = True
        unchanged = operator.name in operators.UNCHANGED or factor is not None
        scaled = len(given) == 2 and (
            (operator.name in ("mul", "div") and not sources[1].weights)
            or (operator.name == "mul" and not sources[0].weights)
        )
        source = together(sources, unchanged, 1.0 if factor is None else factor, scaled)
        known = {address(each) for each in given}
        for each in tensors(result):
            if operator.in_place or address(each) not in known:
                self.sources.mark(each, source)

    def _settle(self) -> None:
        """Ask for the gradients of what was made last: its place in the graph is known now."""
        for node, tensor in self._pending:
            function = tensor.grad_fn
            if function is not None and not self._runs_backward:
                ask = partial(_gradient, self.tables, node, tensor.output_nr)
                node.hooks.append(function.register_prehook(ask))
        self._pending.clear()

    def _leave_gradients(self) -> None:
        """Gradients that reach layers twice, by two passes, are not those that are judged."""
        self._runs_backward = True
        self._pending.clear()
        for node in self.nodes:
            for handle in node.hooks:
                handle.remove()  # type: ignore[attr-defined]
            node.hooks.clear()
        self.unseen["the layers' gradients, since forward runs a backward pass of its own"] = None

    def drop(self, first: int) -> None:
        """Forget the nodes from this number on: they are parts of another one."""
        for node in self.nodes[first:]:
            for handle in node.hooks:
                handle.remove()  # type: ignore[attr-defined]
        del self.nodes[first:]
        self._pending = [each for each in self._pending if each[0].number < first]

    def add(
        self,
        kind: Any,
        what: str,
        source: Source,
        tensor: Tensor,
        axis: int,
        *,
        name: str | None = None,
        more: Iterable[Source] = (),
        size: int | None = None,
    ) -> Node | None:
        """A new node, of which `tensor` has the shape; None beyond so many calls."""
        frame = self.frames[-1] if self.frames else None
        path = frame.path if frame else ""
        if name is None:
            leaf = frame is not None and path and not any(frame.module.children())
            name = path if leaf else f"{path}:{what}" if path else what
        call = self._calls[name, kind] = self._calls.get((name, kind), 0) + 1
        if call > CALLS:
            self.unseen[f"calls of {name} after the first {CALLS}"] = None
            return None
        read = source.node
        size = tensor.numel() if size is None else size
        if read is not None and self.nodes[read].size != size:
            read = None
        reads = together((source, *more), False).nodes
        node = Node(
            len(self.nodes), kind, path, name, reads, read, axis, tensor.shape[axis], call=call
        )
        node.place = calling_line()
        self.nodes.append(node)
        return node

    def wait_for_gradient(self, node: Node, tensor: Tensor) -> None:
        """Have the gradient of a tensor measured as the node's."""
        self.sources.mark(tensor, Source((node.number,)))
        self._pending.append((node, tensor))

    def axis_of(self, tensor: Tensor, source: Source) -> int:
        """The axis of a tensor along which its units lie, by what they are where it comes from."""
        if tensor.ndim <= 2 or not source.nodes:
            return tensor.ndim - 1 if tensor.ndim < 4 else 1
        node = self.nodes[source.nodes[0]]
        fits = [axis for axis, size in enumerate(tensor.shape) if axis and size == node.units]
        if not fits:
            return 1 if node.kind == "convolution" else tensor.ndim - 1
        # The node's own axis where the shape is still that one; else convolutions' come first.
        if node.axis in fits and node.size == tensor.numel() and node.kind != "linear":
            return node.axis
        return fits[0] if node.kind == "convolution" else fits[-1]


@contextmanager
def exactly() -> Generator[None]:
    """Measurements are made in the precision that they ask for, whatever the pass runs in."""
    if not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
        yield
        return
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def _gradient(
    tables: signals.Tables, node: Node, place: int, gradients: tuple[Tensor | None, ...]
) -> None:
    gradient = gradients[place]
    if gradient is not None and not gradient.is_sparse:
        # Weights of attention may have an axis less than what they mix.
        node.gradient = tables.measured(gradient, min(node.axis, gradient.ndim - 1))
