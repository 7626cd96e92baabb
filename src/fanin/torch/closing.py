"""A module whose forward is over, and may have been one operation as a whole."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fanin.diagnosis import measurements
from fanin.torch import operators, signals
from fanin.torch.nodes import Node
from fanin.torch.operators import Applied
from fanin.torch.provenance import Source
from fanin.torch.tensors import tensors

if TYPE_CHECKING:
    from fanin.torch.capture import Capture, Frame

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
"""Looked at as a whole, by what they are given and what they give."""
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class Closing:
    """A module whose forward is over, and may have been one operation as a whole."""

    def __init__(self, capture: "Capture", frame: "Frame", result: Any) -> None:
        self.capture = capture
        self.frame = frame
        self.result = result

    def close(self) -> None:
        frame = self.frame
        if next(frame.module.children(), None) is not None:
            return
        given = next(tensors(frame.given), None)
        output = next((each for each in tensors(self.result) if each.is_floating_point()), None)
        if given is None or output is None or not self.capture.sources.of(output).data:
            return
        if isinstance(frame.module, RECURRENT):
            self._recurrent(given, output)
            return
        inside = self.capture.nodes[frame.first :]
        if given.shape != output.shape or any(node.weight is not None for node in inside):
            return
        own = isinstance(frame.module, _INSTANCE)
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

    def _node(
        self, kind: Any, given: Tensor, output: Tensor, more: Iterable[Source] = ()
    ) -> Node | None:
        capture, frame = self.capture, self.frame
        capture.drop(frame.first)
        # The module's own frame is gone; its name is to be its path all the same.
        source = capture.sources.of(given)
        axis = capture.axis_of(given, source)
        node = capture.add(
            kind,
            "",
            source,
            output,
            axis,
            name=frame.path or type(frame.module).__name__,
            more=more,
        )
        if node is None:
            return None
        node.path = frame.path
        if node.read is None or node.read == 0:
            node.given = capture.tables.measured(given, axis)
        node.output = capture.tables.measured(output, axis)
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
        # The states that it begins with come from elsewhere.
        states = [self.capture.sources.of(each) for each in tensors(self.frame.given)]
        node = self._node("recurrent", given, output, states)
        if node is not None:
            node.axis, node.units = output.ndim - 1, output.shape[-1]
            node.output = self.capture.tables.measured(output, node.axis)
            node.place = ""
            for state in tensors(self.result):  # the last hidden states are of it, too
                self.capture.sources.mark(state, Source((node.number,), pure=state is output))
            self.capture.unseen[f"the gates inside {node.name}"] = None
