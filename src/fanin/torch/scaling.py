"""Layer-sequential unit variance: weights scaled in one pass, each as its turn comes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fanin.errors import OptionError
from fanin.torch.capture import Capture
from fanin.torch.naming import Names
from fanin.torch.nodes import Node
from fanin.torch.passing import Inputs, forward
from fanin.torch.preserve import Keeper
from fanin.torch.tensors import tensors


def scale_to_unit(
    module: nn.Module, sample: Inputs, target: Callable[[Node], float | None]
) -> dict[str, float | None]:
    """Scale weights until what each gives has the second moment that `target` says.

    In the order of execution: what comes later reads what came of the scaled weight. A weight that
    is called several times is scaled at the first call that gives anything: hidden states begin
    with zeros, and so do branches. Returns the factors by parameter, None for one that never gives
    anything; raises OptionError, naming the layer, where what it gives is not finite.
    """
    names = Names(module)
    keeper = Keeper(module, names)
    factors: dict[str, float | None] = {}

    def scale(node: Node, result: Tensor, bias: Tensor | None) -> None:
        weight = node.weight
        if weight is None or not weight.whole:
            return
        name, spread = weight.parameters[0], None
        if bias is not None:
            spread = _along(bias.detach(), result, node.axis)
        by = factors.get(name)
        if by is None:
            wanted = target(node)
            if wanted is None:
                return
            by = factors[name] = factor(node, result, spread, wanted)
        if by is None:
            return
        result.mul_(by)
        if spread is not None:
            result.add_(spread * (1.0 - by))

    def factor(node: Node, result: Tensor, spread: Tensor | None, wanted: float) -> float | None:
        sums = result.detach() if spread is None else result.detach() - spread
        found = float(sums.double().square().mean())
        if not found < float("inf"):
            raise OptionError(
                f"{node.name} gives a second moment of {found:.3g} on the sample, which no factor "
                f"brings to {wanted:.3g}; what is before it is not finite"
            )
        if found == 0.0:
            return None
        # Of biases that stay there is some room made, as far as there is any.
        taken = 0.0 if spread is None else float(spread.double().square().mean())
        return (max(wanted - taken, 0.1 * wanted) / found) ** 0.5

    capture = Capture(names, keeper, list(tensors(sample)), on_weight=scale)
    try:
        forward(module, sample, capture)
    finally:
        keeper.put_back()
    with torch.no_grad():
        for name, each in factors.items():
            if each is not None:
                names.parameters[name].mul_(each)
    return factors


def _along(bias: Tensor, like: Tensor, axis: int) -> Tensor:
    if bias.ndim > 1:
        return bias  # laid out as what it was added to
    shape = [1] * like.ndim
    shape[axis] = bias.numel()
    return bias.reshape(shape)
