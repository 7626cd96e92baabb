"""Recurrent layers, looked at from outside: what they let through, and what their biases hold."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from fanin.diagnosis.assembly import root_mean_square
from fanin.diagnosis.recording import Layer
from fanin.torch.signals import Measured

SHUT = 1e-3
"""A recurrent layer starts with outputs of a hundredth of its input and more; shut gates hold them
below this part of it."""

STARVED = 1e-6
"""Of layers upon layers the first has a tenth of the last one's gradient, shut gates let 1e-9
through."""

HELD = 8.0
"""A bias of this size leaves a gate 0.03 % of its way. Those that are to remember a thousand steps
begin at 7 (Tallec and Ollivier 2018, *Can Recurrent Neural Networks Warp Time?*)."""

_GATES = {1: ("state",), 3: ("reset", "update", "new"), 4: ("input", "forget", "cell", "output")}
"""In PyTorch's order, by how many blocks the matrices have."""


def shut(layer: Layer, output: Measured) -> tuple[int, ...]:
    """The units of a recurrent layer that give next to nothing of what it is given."""
    given = root_mean_square(layer.input)
    sums = output.signal.sums
    largest = np.maximum(np.abs(sums.lowest), np.abs(sums.highest))
    return tuple(np.flatnonzero(largest < SHUT * min(1.0, given or 0.0)).tolist())


def starved(layer: Layer) -> tuple[str, ...]:
    """The input matrices whose gradient is as good as nothing beside the largest."""
    sizes = {
        own.name: own.gradient.largest or 0.0
        for own in layer.parameters
        if own.gradient is not None
    }
    least = STARVED * max(sizes.values(), default=0.0)
    return tuple(name for name, size in sizes.items() if "weight_ih" in name and size < least)


def held(parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The gates that biases hold, in words. A forget gate that is held open is a way to start."""
    found: list[str] = []
    for name, bias in parameters.items():
        recurrent = parameters.get(name.replace("bias_ih", "weight_hh"))
        other = parameters.get(name.replace("bias_ih", "bias_hh"))
        if "bias_ih" not in name or recurrent is None or other is None:
            continue
        blocks, rest = divmod(bias.numel(), recurrent.shape[1])
        if rest or blocks not in _GATES:
            continue
        both = (bias.detach() + other.detach()).float().reshape(blocks, -1)
        sizes = both.abs().median(1).values
        for gate, size, middle in zip(
            _GATES[blocks], sizes.tolist(), both.mean(1).tolist(), strict=True
        ):
            if size > HELD and not (gate == "forget" and middle > 0):
                found.append(f"{gate} gate ({name}, {middle:.3g})")
    return tuple(found)
