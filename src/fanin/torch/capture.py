"""Watching one forward pass: every operation that matters, in order, measured as it happens."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks_for_all
from torch.utils._python_dispatch import TorchDispatchMode

from fanin.diagnosis import measurements
from fanin.errors import ShapeError
from fanin.torch import attention, fans, operators, signals
from fanin.torch.naming import Names, calling_line, layer_of
from fanin.torch.nodes import Node, Weight
from fanin.torch.operators import Applied, Operator
from fanin.torch.preserve import Keeper
from fanin.torch.provenance import NOTHING, Provenance, Source, together

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

    def __init__(self, names: Names, keeper: Keeper, inputs: Iterable[Tensor]) -> None:
        super().__init__()
        self.names = names
        self.keeper = keeper
        self.sources = Provenance()
        self.nodes: list[Node] = [Node(0, "other", "", "", (), None, 0, 0)]
        """in order of execution; the first stands for the batch"""
        self.failed: tuple[str, nn.Module | None, tuple[Any, ...]] | None = None
        """the innermost module that an exception left, with what it was given"""
        self.unseen: dict[str, None] = {}
        self.scales: set[str] = set()
        """parameters that multiply, unit by unit, what branches give"""
        self._frames: list[Frame] = []
        self._calls: dict[tuple[str, str], int] = {}
        self._pending: list[tuple[Node, Tensor]] = []
        self._handles: list[Any] = []
        self._exception: Any = None
        self._measuring = False
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

    def node_of(self, tensor: Tensor) -> Source:
        """Where a tensor comes from."""
        return self.sources.of(tensor)

    # Modules

    def _enter_module(self, module: nn.Module, arguments: Any) -> None:
        inside = self._frames[-1] if self._frames else None
        path = self.names.modules.get(id(module), inside.path if inside else "")
        opaque = isinstance(module, nn.RNNBase) or bool(inside and inside.opaque)
        self._frames.append(Frame(module, path, arguments, len(self.nodes), opaque=opaque))

    def _leave_module(self, module: nn.Module, arguments: Any, result: Any) -> None:
        frame = self._frames.pop()
        exception = sys.exc_info()[1]
        if exception is not None and exception is not self._exception:
            if self.failed is None:
                self.failed = (frame.path, module, tuple(arguments))
            return
        inside = self._frames[-1] if self._frames else None
        if inside is not None:
            inside.operators |= frame.operators
        if inside is None or not inside.opaque:
            self._settle()
            self._measuring = True
            try:
                _Closing(self, frame, result).close()
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
        frame = self._frames[-1] if self._frames else None
        if frame is not None:
            frame.operators.add(operator.name)
        for place in operator.writes:
            if place < len(args) and isinstance(args[place], Tensor):
                self.keeper.before_write(args[place])
        tensors = list(_tensors((*args, *named.values())))
        sources = [self.sources.of(each) for each in tensors]
        step = None
        if any(source.data for source in sources) and not (frame and frame.opaque):
            step = _Step(self, operator, args, named)
            step.before()
        result = func(*args, **named)
        node = None if step is None else step.after(result)
        if node is not None:
            self.sources.mark(_first(result), Source((node.number,)))
            self._pending.append((node, _first(result)))
        else:
            self._propagate(operator, tensors, sources, result)
        return result

    def _propagate(
        self, operator: Operator, tensors: list[Tensor], sources: list[Source], result: Any
    ) -> None:
        """What is not a node hands the sources of its arguments on."""
        if operator.in_place and operator.name == "copy" and _covers(tensors[0]):
            tensors, sources = tensors[1:], sources[1:]
        if not any(source.nodes or source.weights for source in sources):
            return
        source = together(sources, operator.name in operators.UNCHANGED)
        known = {_address(each) for each in tensors}
        for each in _tensors((result,)):
            if operator.in_place or _address(each) not in known:
                self.sources.mark(each, source)

    def _settle(self) -> None:
        """Ask for the gradients of what was made last: its place in the graph is known now."""
        for node, tensor in self._pending:
            function = tensor.grad_fn
            if function is not None:
                ask = partial(_gradient, node, tensor.output_nr)
                node.hooks.append(function.register_prehook(ask))
        self._pending.clear()

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
        frame = self._frames[-1] if self._frames else None
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
        return fits[0] if node.kind in ("convolution",) else fits[-1]


class _Step:
    """One operation that has something of the batch among its arguments."""

    def __init__(
        self, capture: Capture, operator: Operator, arguments: tuple[Any, ...], named: Any
    ) -> None:
        self.capture = capture
        self.operator = operator
        self.arguments = arguments
        self.named = named
        self.applied: Applied | None = None
        self.sample: Tensor | None = None
        self.given: signals.Measured | None = None
        self.axis = 0
        self.source = NOTHING

    def before(self) -> None:
        """What must be measured before the operation, which may write over it."""
        name, arguments = self.operator.name, self.arguments
        if name in operators.EMBEDDINGS:
            self._check_indices()
            return
        x = arguments[0] if arguments else None
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return
        self.source = self.capture.sources.of(x)
        if not self.source.data or x.ndim == 0:
            return
        self.applied = operators.applied(name, arguments, self.named)
        normalises = name in operators.NORMALISATIONS
        if self.applied is None and not normalises:
            return
        self.axis = self.capture.axis_of(x, self.source)
        if normalises:
            of_layer = operators.NORMALISATIONS[name] in ("layer", "rms")
            self.axis = x.ndim - 1 if of_layer else 1
        self.sample = signals.table(x, self.axis)
        read = self.source.node
        if read is None or self.capture.nodes[read].size != x.numel() or read == 0:
            self.given = signals.measured(x, self.axis, self.sample)
        if self.operator.in_place and self.sample.untyped_storage()._cdata == _address(x):
            self.sample = self.sample.clone()

    def after(self, result: Any) -> Node | None:
        """The node of this operation; None where it is none of its own."""
        name = self.operator.name
        if self.applied is not None:
            return self._activation(_first(result), self.applied)
        if name in operators.PRODUCTS:
            return self._product(_first(result))
        if name in operators.CONVOLUTIONS:
            return self._convolution(_first(result))
        if name in operators.EMBEDDINGS:
            return self._embedding(_first(result))
        if name in operators.NORMALISATIONS:
            return self._normalisation(_first(result))
        if name in operators.ATTENTIONS:
            return self._attention(_first(result))
        if name in ("_softmax", "_safe_softmax"):
            return self._softmax(_first(result))
        if name in operators.SUMS:
            return self._sum(_first(result))
        if name == "_trilinear":
            return self._bilinear(_first(result))
        if name == "mul":
            self._scale()
        return None

    def _scale(self) -> None:
        """A scale of its own on a branch is told from a weight."""
        for each in self.arguments[:2]:
            if isinstance(each, Tensor):
                source = self.capture.sources.of(each)
                if len(source.weights) == 1:
                    self.capture.scales.add(source.weights[0])

    def _activation(self, output: Tensor, applied: Applied) -> Node | None:
        node = self.capture.add("activation", applied.name, self.source, output, self.axis)
        if node is None or self.sample is None:
            return node
        node.activation, node.given = applied, self.given
        after = signals.table(output, self.axis)
        node.output = signals.measured(output, self.axis, after)
        node.ends = measurements.ends(self.sample, after, *operators.ends_of(applied))
        node.size = output.numel()
        return node

    def _normalisation(self, output: Tensor) -> Node | None:
        kind = operators.NORMALISATIONS[self.operator.name]
        node = self.capture.add("normalisation", f"{kind} norm", self.source, output, self.axis)
        if node is None:
            return node
        node.normalisation, node.given = kind, self.given
        node.output = signals.measured(output, self.axis)
        node.size = output.numel()
        node.parameters = self._parameters(self.arguments[1:])
        return node

    def _parameters(self, tensors: Iterable[Any]) -> tuple[str, ...]:
        found = (self.capture.sources.of(each) for each in _tensors(tuple(tensors)))
        return tuple(dict.fromkeys(name for source in found for name in source.weights))

    def _weighted(
        self,
        kind: Any,
        output: Tensor,
        axis: int,
        x: Tensor,
        tensor: Tensor,
        used: fans.Fans,
        bias: Any = None,
    ) -> Node | None:
        """A node with a weight; `x` is what the weight was applied to."""
        capture, made_of = self.capture, self.capture.sources.of(tensor)
        name = self._layer_name(made_of.weights)
        source = capture.sources.of(x)
        node = capture.add(kind, "", source, output, axis, name=name, size=x.numel())
        if node is None:
            return None
        columns = used.arrange(tensor.detach())
        whole = made_of.pure and len(made_of.weights) == 1
        if whole:
            parameter = capture.names.parameters[made_of.weights[0]]
            whole = parameter.numel() == columns.numel()
        node.weight = Weight(
            made_of.weights,
            tuple(tensor.shape),
            used.fan_in,
            used.fan_out,
            partial(_arranged, used, tensor.detach()),
            columns,
            whole,
        )
        node.output = signals.measured(output, axis)
        node.size = output.numel()
        if x.is_floating_point() and (node.read is None or node.read == 0):
            node.given = signals.measured(x, capture.axis_of(x, source))
        node.parameters = made_of.weights
        if isinstance(bias, Tensor):
            self._set_bias(node, bias)
        return node

    def _set_bias(self, node: Node, bias: Tensor) -> None:
        names = self.capture.sources.of(bias).weights
        node.parameters = tuple(dict.fromkeys((*node.parameters, *names)))
        if len(names) == 1 and self.capture.names.parameters[names[0]].numel() == node.units:
            node.bias = names[0]

    def _layer_name(self, weights: tuple[str, ...]) -> str:
        """The module that owns the weight, if it is running; what its name says, if not."""
        frames = self.capture._frames
        if frames:
            for weight in weights:
                if self.capture.names.owned(frames[-1].module, weight) is not None:
                    own = layer_of(self.capture.names.owned(frames[-1].module, weight) or "")
                    return own or type(frames[-1].module).__name__
        return layer_of(weights[0]) or (type(frames[0].module).__name__ if frames else "module")

    def _product(self, output: Tensor) -> Node | None:
        one, other = operators.PRODUCTS[self.operator.name]
        left, right = self.arguments[one], self.arguments[other]
        of_left, of_right = self.capture.sources.of(left), self.capture.sources.of(right)
        if of_left.data and of_right.data:
            return self._mixing(output, of_left, of_right)
        if of_left.data == of_right.data or not (of_left.weights or of_right.weights):
            return None
        first = not of_left.data
        x, weight = (right, left) if first else (left, right)
        if weight.ndim == 3 and weight.stride(0) == 0:
            weight = weight[0]
        if self.operator.name == "linear":
            used = fans.of_product(weight, True)
            bias = self.arguments[2] if len(self.arguments) > 2 else None
        else:
            used = fans.of_product(weight, first)
            bias = self.arguments[0] if one == 1 else None
        axis = output.ndim - (2 if first and output.ndim > 1 else 1)
        return self._weighted("linear", output, axis, x, weight, used, bias)

    def _convolution(self, output: Tensor) -> Node | None:
        x, weight, bias = self.arguments[:3]
        if not self.capture.sources.of(weight).weights:
            return None
        stride, transposed, groups = self.arguments[3], self.arguments[6], self.arguments[8]
        used = fans.of_convolution(weight, tuple(stride), bool(transposed), int(groups))
        return self._weighted("convolution", output, 1, x, weight, used, bias)

    def _embedding(self, output: Tensor) -> Node | None:
        weight, indices = self.arguments[:2]
        if not self.capture.sources.of(weight).weights:
            return None
        used = fans.of_embedding(weight)
        return self._weighted("embedding", output, output.ndim - 1, indices, weight, used)

    def _check_indices(self) -> None:
        weight, indices = self.arguments[:2]
        if not isinstance(indices, Tensor) or not indices.numel():
            return
        low, high = (int(each) for each in torch.aminmax(indices))
        if low < 0 or high >= weight.shape[0]:
            found = high if high >= weight.shape[0] else low
            name = self._layer_name(self.capture.sources.of(weight).weights or ("embedding",))
            raise ShapeError(
                f"{name}: the embedding has the rows 0 to {weight.shape[0] - 1:,}; the inputs ask "
                f"for row {found:,}. Are they symbols of another vocabulary?"
            )

    def _bilinear(self, output: Tensor) -> Node | None:
        x, weight, other = self.arguments[:3]
        if not self.capture.sources.of(weight).weights:
            return None
        weight = weight.squeeze(0)
        used = fans.of_bilinear(weight)
        node = self._weighted("linear", output, output.ndim - 1, x, weight, used)
        if node is not None:
            more = self.capture.sources.of(other)
            node.reads = together((Source(node.reads), more), False).nodes
            node.read = None
        return node

    def _attention(self, output: Tensor) -> Node | None:
        query, key, value = self.arguments[:3]
        source, more = (self.capture.sources.of(each) for each in (query, key))
        third = self.capture.sources.of(value)
        node = self.capture.add(
            "attention", "attention", source, output, output.ndim - 1, more=(more, third), size=-1
        )
        if node is None:
            return None
        name = self.operator.name
        settings = operators.attention_settings(name, self.arguments, self.named)
        logits = attention.scaled_dot_product(query, key, *settings)
        node.entropy = attention.entropy(logits)
        node.output = signals.measured(output, output.ndim - 1)
        node.size = output.numel()
        return node

    def _softmax(self, output: Tensor) -> Node | None:
        x, dim = self.arguments[:2]
        self.source = self.capture.sources.of(x)
        if dim % x.ndim != x.ndim - 1 or x.shape[-1] < 2:
            return None
        node = self.capture.add("attention", "softmax", self.source, output, output.ndim - 1)
        if node is not None:
            node.entropy = attention.entropy(x)
            node.size = output.numel()
        return node

    def _mixing(self, output: Tensor, left: Source, right: Source) -> Node | None:
        """Attention weights times values: what the attention gives."""
        for one, other in ((left, right), (right, left)):
            if one.node is None or self.capture.nodes[one.node].kind != "attention":
                continue
            node = self.capture.nodes[one.node]
            if node.output is None:
                node.reads = together((Source(node.reads), other), False).nodes
                node.axis, node.units = output.ndim - 1, output.shape[-1]
                node.output = signals.measured(output, node.axis)
                node.size = output.numel()
                return node
        return None

    def _sum(self, output: Tensor) -> Node | None:
        one, other = self.arguments[:2]
        if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
            return None
        of_one, of_other = self.capture.sources.of(one), self.capture.sources.of(other)
        if not output.is_floating_point() or output.ndim < 2:
            return None
        if of_one.data and of_other.data and one.numel() == other.numel() == output.numel():
            axis = self.capture.axis_of(output, of_one)
            node = self.capture.add("sum", "sum", of_one, output, axis, more=(of_other,), size=-1)
            if node is not None:
                node.output = signals.measured(output, axis)
                node.size = output.numel()
            return node
        data, weights = (one, other) if of_one.data else (other, one)
        return self._bias(output, data, weights)

    def _bias(self, output: Tensor, data: Tensor, bias: Tensor) -> Node | None:
        """A bias that is added by itself belongs to the weight before it."""
        read = self.capture.sources.of(data).node
        if not self.capture.sources.of(bias).weights or not read:
            return None
        node = self.capture.nodes[read]
        fits = bias.numel() == node.units and node.size == output.numel()
        if node.weight is None or node.bias is not None or not fits:
            return None
        self._set_bias(node, bias)
        node.axis = self.capture.axis_of(output, Source((read,)))
        node.output = signals.measured(output, node.axis)
        for handle in node.hooks:
            handle.remove()  # type: ignore[attr-defined]
        node.hooks.clear()
        return node


class _Closing:
    """A module whose forward is over, and may have been one operation as a whole."""

    def __init__(self, capture: Capture, frame: Frame, result: Any) -> None:
        self.capture = capture
        self.frame = frame
        self.result = result

    def close(self) -> None:
        frame = self.frame
        if any(frame.module.children()):
            return
        given = next(_tensors(frame.given), None)
        output = next((each for each in _tensors((self.result,)) if each.is_floating_point()), None)
        if given is None or output is None or not self.capture.sources.of(output).data:
            return
        if isinstance(frame.module, nn.RNNBase):
            self._recurrent(given, output)
            return
        inside = self.capture.nodes[frame.first :]
        if given.shape != output.shape or any(node.weight is not None for node in inside):
            return
        own = isinstance(frame.module, nn.modules.instancenorm._InstanceNorm)
        native = any(node.normalisation for node in inside)
        if own or (not native and operators.SCALES & frame.operators):
            self._normalisation(given, output, "instance" if own else "rms")
        elif self._is_activation(inside, self.capture.sources.of(output).node):
            self._activation(given, output)

    def _is_activation(self, inside: list[Node], last: int | None) -> bool:
        """Whether the module as a whole is one, and not just PyTorch's own of one operation."""
        if any(node.number == last for node in inside):
            return False
        module, seen = self.frame.module, self.frame.operators
        if next(module.parameters(recurse=False), None) is not None or len(seen) < 2:
            return False
        bends = any(node.activation is not None for node in inside) or "erf" in seen
        return bends and seen <= operators.ELEMENTWISE

    def _node(self, kind: Any, given: Tensor, output: Tensor) -> Node | None:
        capture, frame = self.capture, self.frame
        capture.drop(frame.first)
        # The module's own frame is gone; its name is to be its path all the same.
        source = capture.sources.of(given)
        axis = capture.axis_of(given, source)
        node = capture.add(
            kind, "", source, output, axis, name=frame.path or type(frame.module).__name__
        )
        if node is None:
            return None
        node.path = frame.path
        if node.read is None or node.read == 0:
            node.given = signals.measured(given, axis)
        node.output = signals.measured(output, axis)
        node.size = output.numel()
        names = (capture.names.first.get(id(p)) for p in frame.module.parameters())
        node.parameters = tuple(name for name in names if name is not None)
        capture.wait_for_gradient(node, output)
        return node

    def _normalisation(self, given: Tensor, output: Tensor, kind: str) -> None:
        node = self._node("normalisation", given, output)
        if node is not None:
            node.normalisation = kind

    def _activation(self, given: Tensor, output: Tensor) -> None:
        node = self._node("activation", given, output)
        if node is None:
            return
        node.activation = Applied(type(self.frame.module).__name__, self.frame.module, own=True)
        before, after = (signals.table(each, node.axis) for each in (given, output))
        node.ends = measurements.ends(before, after, *operators.ends_of(node.activation))

    def _recurrent(self, given: Tensor, output: Tensor) -> None:
        node = self._node("recurrent", given, output)
        if node is not None:
            node.axis, node.units = output.ndim - 1, output.shape[-1]
            node.output = signals.measured(output, node.axis)
            node.opaque = True
            node.place = ""
            self.capture.unseen[f"the gates inside {node.name}"] = None


def _arranged(used: fans.Fans, tensor: Tensor, gradient: Tensor) -> Tensor | None:
    array = fans.laid_out(gradient, tensor)
    return None if array is None else used.arrange(array)


def _gradient(node: Node, place: int, gradients: tuple[Tensor | None, ...]) -> None:
    gradient = gradients[place]
    if gradient is not None and not gradient.is_sparse:
        node.gradient = signals.measured(gradient, node.axis)


def _tensors(values: Any) -> Iterable[Tensor]:
    """All tensors in arguments or results, inside lists, tuples and dictionaries too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def _first(result: Any) -> Tensor:
    return next(iter(_tensors((result,))))


def _address(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return -1


def _covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its storage."""
    return tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()
