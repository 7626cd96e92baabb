"""One operation of a pass: whether it is a node of its own, and what is measured of it."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fanin.diagnosis import measurements
from fanin.errors import ShapeError
from fanin.torch import attention, fans, operators, signals
from fanin.torch.naming import layer_of
from fanin.torch.nodes import Node, Term, Weight
from fanin.torch.operators import Applied, Operator
from fanin.torch.provenance import NOTHING, Source, together
from fanin.torch.tensors import address, dense, first, tensors

if TYPE_CHECKING:
    from fanin.torch.capture import Capture


class Step:
    """One operation that has something of the batch among its arguments."""

    def __init__(
        self, capture: "Capture", operator: Operator, arguments: tuple[Any, ...], named: Any
    ) -> None:
        self.capture = capture
        self.operator = operator
        self.arguments = arguments
        self.named = named
        self.applied: Applied | None = None
        self.sample: Tensor | None = None
        self.given: signals.Measured | None = None
        self.axis = 0
        self.first_unit = 0
        self.source = NOTHING
        self.beside = NOTHING
        """what else than its own node the result comes from"""
        self.terms: tuple[Term, ...] = ()

    def before(self) -> None:
        """What must be measured before the operation, which may write over it."""
        name, arguments = self.operator.name, self.arguments
        if name in operators.EMBEDDINGS:
            self._check_indices()
            return
        if name in operators.SUMS:
            self.terms = self._terms()
            return
        x = arguments[0] if arguments else None
        if not isinstance(x, Tensor) or not dense(x):
            return
        self.source = self.capture.sources.of(x)
        if not self.source.data or self.source.choice or x.ndim == 0:
            return
        self.applied = operators.applied(name, arguments, self.named)
        if name == "glu":
            self._gate(x)
            return
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
            self.given = self.capture.tables.measured(x, self.axis, self.sample)
            self.first_unit = self._first_unit(x)
        if self.operator.in_place and address(self.sample) == address(x):
            self.sample = self.sample.clone()

    def _terms(self) -> tuple[Term, ...]:
        """The two that are added, of which one may be written over; none where one is a bias."""
        found: list[Term] = []
        if not self._adds_tables():
            return ()
        for each in self.arguments[:2]:
            if not isinstance(each, Tensor) or not dense(each) or not each.numel():
                return ()
            source = self.capture.sources.of(each)
            length = torch.linalg.vector_norm(each.detach(), dtype=torch.float32)
            scale = self.capture.multiplied.get(address(each))
            found.append(Term(source.nodes, length, each.numel(), scale and scale[0]))
        return tuple(found)

    def _adds_tables(self) -> bool:
        """Whether two tensors of the batch are added, or a table of parameters, as positions."""
        pair = [each for each in self.arguments[:2] if isinstance(each, Tensor)]
        known = [self.capture.sources.of(each) for each in pair]
        if len(pair) < 2 or not (known[0].data or known[1].data):
            return False
        if known[0].choice or known[1].choice:
            return False
        if known[0].data and known[1].data:
            return pair[0].numel() == pair[1].numel()
        table, given = pair if known[1].data else pair[::-1]
        # What has a row for each example is a stream of its own, as of queries that are learned.
        return table.numel() < given.numel() and sum(size > 1 for size in table.shape) > 1

    def _gate(self, x: Tensor) -> None:
        """A gated unit: the second half of what it is given, squashed, multiplies the first."""
        along = (self.arguments[1] if len(self.arguments) > 1 else -1) % x.ndim
        gate = x.chunk(2, along)[1]
        self.axis = along
        self.sample = signals.table(gate, along)
        self.given = self.capture.tables.measured(gate, along, self.sample)
        self.first_unit = self._first_unit(gate)

    def _first_unit(self, x: Tensor) -> int:
        """Which unit of the node that x is a part of comes first in it, where it is a view."""
        node = self.capture.nodes[self.source.node or 0]
        whole = x.untyped_storage().nbytes() // x.element_size()
        if not node.number or node.size != whole or x.ndim <= node.axis:
            return 0
        step = max(1, int(x.stride(node.axis)))
        return int(x.storage_offset()) // step % node.units

    def after(self, result: Any) -> Node | None:
        """The node of this operation; None where it is none of its own."""
        name = self.operator.name
        if name == "glu" and self.applied is not None:
            return self._gated(first(result), self.applied)
        if self.applied is not None:
            return self._activation(first(result), self.applied)
        if name in operators.PRODUCTS:
            return self._product(first(result))
        if name in operators.CONVOLUTIONS:
            return self._convolution(first(result))
        if name in operators.EMBEDDINGS:
            return self._embedding(first(result))
        if name in operators.NORMALISATIONS:
            return self._normalisation(first(result))
        if name in operators.ATTENTIONS:
            return self._attention(first(result))
        if name in ("_softmax", "_safe_softmax"):
            return self._softmax(first(result))
        if name in operators.SUMS:
            return self._sum(first(result))
        if name == "_trilinear":
            return self._bilinear(first(result))
        if name in ("mul", "div"):
            self._scale(first(result))
        return None

    def _scale(self, output: Tensor) -> None:
        """A scale of its own on a branch is told from a weight, and one number from many."""
        divides = self.operator.name == "div"
        for each in self.arguments[1 if divides else 0 : 2]:
            source = self.capture.sources.of(each) if isinstance(each, Tensor) else NOTHING
            if len(source.weights) != 1:
                continue
            if not divides:
                self.capture.scales.add(source.weights[0])
            by = each.detach()
            if each.numel() == 1:  # it may be changed later on
                by = by.reciprocal() if divides else by.clone()
            self.capture.multiplied[address(output)] = (source.weights[0], by)

    def _activation(self, output: Tensor, applied: Applied) -> Node | None:
        node = self.capture.add("activation", applied.name, self.source, output, self.axis)
        if node is None or self.sample is None:
            return node
        node.activation, node.given = applied, self.given
        if node.read is None:
            node.first_unit = self.first_unit
        scaled = self.source.multiplied
        if scaled is not None and self.source.factor != 1.0:
            of = self.capture.nodes[scaled]
            if of.weight is not None and of.size == output.numel():
                node.read, node.factor = scaled, self.source.factor
        after = signals.table(output, self.axis)
        node.output = self.capture.tables.measured(output, self.axis, after)
        node.ends = measurements.ends(self.sample, after, *operators.ends_of(applied))
        node.size = output.numel()
        return node

    def _gated(self, output: Tensor, applied: Applied) -> Node | None:
        """The gate of a gated unit; what it hands on is the product with the other half."""
        node = self.capture.add("activation", "glu", self.source, output, self.axis, size=-1)
        if node is None or self.sample is None:
            return node
        self.beside = self.source
        node.activation, node.given, node.first_unit = applied, self.given, self.first_unit
        gate = applied.function(self.sample)
        node.output = self.capture.tables.measured(gate, 1)
        node.ends = measurements.ends(self.sample, gate, *operators.ends_of(applied))
        return node

    def _normalisation(self, output: Tensor) -> Node | None:
        kind = operators.NORMALISATIONS[self.operator.name]
        node = self.capture.add("normalisation", f"{kind} norm", self.source, output, self.axis)
        if node is None:
            return node
        node.normalisation, node.given = kind, self.given
        node.output = self.capture.tables.measured(output, self.axis)
        node.size = output.numel()
        node.parameters = self._parameters(self.arguments[1:])
        # Of this batch where it is one to be learnt from; then it is only kept up to date.
        if not any(each is True for each in self.arguments[1:]):
            buffers = self.capture.names.buffers
            given = ((buffers.get(address(each), ""), each) for each in tensors(self.arguments[1:]))
            added = next((each for each in self.arguments[::-1] if isinstance(each, float)), 0.0)
            node.running = {
                name: each.detach() + (added if name.endswith("var") else 0.0)
                for name, each in given
                if name.endswith(("running_mean", "running_var"))
            }
        return node

    def _parameters(self, values: Iterable[Any]) -> tuple[str, ...]:
        found = (self.capture.sources.of(each) for each in tensors(tuple(values)))
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
        parameter = capture.names.parameters[made_of.weights[0]]
        whole = made_of.pure and made_of.factor == 1.0 and len(made_of.weights) == 1
        whole = whole and parameter.numel() == columns.numel()
        node.weight = Weight(
            made_of.weights,
            tuple(parameter.shape),
            tuple(tensor.shape),
            used.fan_in,
            used.fan_out,
            partial(_arranged, used, tensor.detach()),
            columns,
            whole,
            None if whole else _magnitude(made_of, parameter.numel() == columns.numel()),
            None if whole else _first_row(made_of, parameter, tensor),
            used.groups,
        )
        if capture.on_weight is not None:
            capture.on_weight(node, output, bias if isinstance(bias, Tensor) else None)
        node.output = self.capture.tables.measured(output, axis)
        node.size = output.numel()
        if dense(x) and (node.read is None or node.read == 0):
            node.given = self.capture.tables.measured(x, capture.axis_of(x, source))
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
        frames = self.capture.frames
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
        node.values = tuple({*third.nodes} - {*source.nodes, *more.nodes})
        name = self.operator.name
        settings = operators.attention_settings(name, self.arguments, self.named)
        logits = attention.scaled_dot_product(query, key, *settings)
        node.look = attention.look(logits)
        node.output = self.capture.tables.measured(output, output.ndim - 1)
        node.size = output.numel()
        return node

    def _softmax(self, output: Tensor) -> Node | None:
        x, dim = self.arguments[:2]
        self.source = self.capture.sources.of(x)
        self.capture.placed.pop(address(x), None)  # a bias of scores, with a mask maybe
        dim %= x.ndim
        if x.shape[dim] < 2:
            return None
        node = self.capture.add("attention", "softmax", self.source, output, output.ndim - 1)
        if node is not None:
            node.look = attention.look(x.movedim(dim, -1))
            node.size = output.numel()
        return node

    def _mixing(self, output: Tensor, left: Source, right: Source) -> Node | None:
        """Attention weights times values: what the attention gives."""
        for one, other in ((left, right), (right, left)):
            if one.node is None or self.capture.nodes[one.node].kind != "attention":
                continue
            node = self.capture.nodes[one.node]
            if node.output is None and not self._made_of(other, node):
                node.values = tuple({*other.nodes} - {*node.reads})
                node.reads = together((Source(node.reads), other), False).nodes
                node.axis, node.units = output.ndim - 1, output.shape[-1]
                node.output = self.capture.tables.measured(output, node.axis)
                node.size = output.numel()
                return node
        return None

    def _made_of(self, source: Source, node: Node) -> bool:
        """Whether a node went into what a tensor comes from."""
        waiting, seen = [*source.nodes], set[int]()
        while waiting:
            number = waiting.pop()
            if number == node.number:
                return True
            if number > node.number and number not in seen:
                seen.add(number)
                waiting += self.capture.nodes[number].reads
        return False

    def _sum(self, output: Tensor) -> Node | None:
        one, other = self.arguments[:2]
        if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
            return None
        of_one, of_other = self.capture.sources.of(one), self.capture.sources.of(other)
        if not output.is_floating_point() or output.ndim < 2 or of_one.choice != of_other.choice:
            return None
        if of_one.data and of_other.data and one.numel() == other.numel() == output.numel():
            axis = self.capture.axis_of(output, of_one)
            node = self.capture.add("sum", "sum", of_one, output, axis, more=(of_other,), size=-1)
            if node is not None:
                node.terms = self.terms
                node.output = self.capture.tables.measured(output, axis)
                node.size = output.numel()
            return node
        data, weights = (one, other) if of_one.data else (other, one)
        if self.terms:
            given, table = self.terms if of_one.data else self.terms[::-1]
            names = (of_other if of_one.data else of_one).weights
            self.capture.placed[address(output)] = [(name, table, given) for name in names]
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
        node.output = self.capture.tables.measured(output, node.axis)
        for handle in node.hooks:
            handle.remove()  # type: ignore[attr-defined]
        node.hooks.clear()
        return node


def _first_row(made_of: Source, parameter: Tensor, tensor: Tensor) -> int | None:
    """Of a weight that is some of a parameter's rows, as a projection of several: the first."""
    alone = made_of.pure and made_of.factor == 1.0 and len(made_of.weights) == 1
    whole = parameter.ndim == 2 and parameter.is_contiguous() and tensor.ndim == 2
    if not (alone and whole and address(parameter) == address(tensor)):
        return None
    rows = tensor if tensor.stride() == parameter.stride() else tensor.mT
    if rows.stride() != parameter.stride() or rows.shape[1] != parameter.shape[1]:
        return None
    return int(rows.storage_offset() - parameter.storage_offset()) // int(parameter.shape[1])


def _magnitude(made_of: Source, all_of_it: bool) -> str | None:
    """The parameter of which a weight is a multiple, among those that it was made of."""
    if len(made_of.weights) == 1:
        return made_of.weights[0] if made_of.multiple and all_of_it else None
    ends = ("weight_g", "parametrizations.weight.original0")
    found = [name for name in made_of.weights if name.endswith(ends)]
    return found[0] if len(found) == 1 and len(made_of.weights) == 2 else None


def _arranged(used: fans.Fans, tensor: Tensor, gradient: Tensor) -> Tensor | None:
    array = fans.laid_out(gradient, tensor)
    return None if array is None else used.arrange(array)
