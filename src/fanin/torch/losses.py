"""The loss of a pass: by name or callable, checked before it is computed, with its own facts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.diagnosis import assembly, measurements, summaries
from fanin.diagnosis.measurements import Output
from fanin.diagnosis.recording import Loss, Moments
from fanin.errors import OptionError, ShapeError
from fanin.torch import sums
from fanin.torch.signals import FEWEST, LARGEST, on_host
from fanin.torch.tensors import tensors

NAMES = ("cross_entropy", "binary_cross_entropy", "mse")

# So many rows of logits tell how wide they are.
ROWS = 4_096

LossFunction = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Lost:
    """A loss that was computed."""

    kind: str
    value: Tensor | None
    output: Tensor
    """what it reads: logits, classes last, for cross entropy"""
    targets: Tensor | None
    """class indices that count; for others, the targets"""
    examples: int
    """over how many examples it is a mean: 1 where that is not known"""


_OF_TORCH = {
    "MSELoss": "mse",
    "mse_loss": "mse",
    "BCEWithLogitsLoss": "binary_cross_entropy",
    "binary_cross_entropy_with_logits": "binary_cross_entropy",
}
"""PyTorch's own losses that are known by name."""

MASKED = -1e4
"""Logits below this rule a class out."""


def main_output(result: Any) -> Tensor:
    """The tensor that a loss reads: the result itself, its `logits`, or its first tensor."""
    if isinstance(result, Tensor):
        return result
    for name in ("logits", "sample", "prediction", "last_hidden_state", "out"):
        found = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
        if isinstance(found, Tensor):
            return found
    values = result.values() if isinstance(result, dict) else result
    if isinstance(values, list | tuple) or isinstance(result, dict):
        for value in values:
            if isinstance(value, Tensor | list | tuple | dict):
                return main_output(value)
    raise ShapeError(
        f"the module returned a {type(result).__name__} with no tensor in it; give `loss` as a "
        "callable that takes it and the targets"
    )


def outputs(result: Any) -> list[Tensor]:
    """All tensors that a module returned."""
    if not isinstance(result, Mapping | Tensor | list | tuple) and hasattr(result, "__dict__"):
        result = vars(result)
    return list(tensors(result))


def compute(loss: str | LossFunction | None, result: Any, targets: Any, ignore_index: int) -> Lost:
    """The loss of what a module returned; ShapeError for what does not fit."""
    if callable(loss):
        return _own(loss, result, targets)
    output = main_output(result)
    if loss is None or (targets is None and loss in NAMES):
        own = getattr(result, "loss", None)
        if isinstance(own, Tensor) and own.ndim == 0 and own.requires_grad:
            return Lost("the module's own", own, output, None, 1)
        return Lost("none", None, output, None, output.shape[0] if output.ndim else 1)
    if not isinstance(targets, Tensor):
        targets = torch.as_tensor(targets, device=output.device)
    if loss == "cross_entropy":
        return _cross_entropy(output, targets, ignore_index)
    if loss == "binary_cross_entropy":
        return _binary(output, targets)
    if loss == "mse":
        _same_shape("mse", output, targets)
        value = F.mse_loss(output.float(), targets.float())
        return Lost("mse", value, output, targets, output.shape[0] if output.ndim else 1)
    raise OptionError(
        f"loss {loss!r} is not known; there are {', '.join(NAMES)}, a callable of output and "
        "targets, or None"
    )


def _own(loss: LossFunction, result: Any, targets: Any) -> Lost:
    name = getattr(loss, "__name__", type(loss).__name__)
    value: Any = loss(result, targets)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else value
        raise ShapeError(f"the loss {name} should return one number; it returned {found}")
    try:
        output = main_output(result)
    except ShapeError:
        output = value.reshape(1, 1)
    targets = targets if isinstance(targets, Tensor) else None
    examples = output.shape[0] if output.ndim else 1
    if getattr(loss, "reduction", "mean") == "sum":
        return Lost(f"the sum of {name}", value.reshape(()), output, targets, 1)
    kind = {"CrossEntropyLoss": "cross_entropy", "cross_entropy": "cross_entropy"}.get(name)
    if kind and targets is not None and _classes_axis(output, targets) is not None:
        logits, labels = _flat(output, targets, getattr(loss, "ignore_index", -100))
        return Lost(kind, value.reshape(()), logits, labels, labels.numel())
    same = _OF_TORCH.get(name) if getattr(loss, "pos_weight", None) is None else None
    if same and targets is not None and output.shape == targets.shape:
        return Lost(same, value.reshape(()), output, targets, examples)
    return Lost(name, value.reshape(()), output, targets, examples)


def _cross_entropy(output: Tensor, targets: Tensor, ignore_index: int) -> Lost:
    if targets.is_floating_point():
        _same_shape("cross_entropy with probabilities", output, targets)
        logits = output if output.ndim == 2 else output.movedim(1, -1)
        shares = targets if targets.ndim == 2 else targets.movedim(1, -1)
        value = F.cross_entropy(logits.flatten(0, -2).float(), shares.flatten(0, -2).float())
        labels = shares.flatten(0, -2).argmax(-1)
        return Lost("cross_entropy", value, logits.flatten(0, -2), labels, labels.numel())
    if _classes_axis(output, targets) is None:
        raise ShapeError(
            f"logits of shape {list(output.shape)} and targets of shape {list(targets.shape)} do "
            "not fit: cross_entropy takes targets of the logits' shape without the axis of "
            "classes, the last or the second one"
        )
    logits, labels = _flat(output, targets, ignore_index)
    if not targets.numel():
        raise ShapeError("the batch is empty: no example to diagnose on")
    if not labels.numel():
        raise ShapeError(f"all targets are {ignore_index}, ignore_index: no example is left")
    low, high, classes = int(labels.min()), int(labels.max()), logits.shape[-1]
    if low < 0 or high >= classes:
        raise ShapeError(
            f"targets are the classes 0 to {classes - 1} (or {ignore_index}, which is left out); "
            f"found {low if low < 0 else high}"
        )
    value = F.cross_entropy(logits.float(), labels)
    return Lost("cross_entropy", value, logits, labels, labels.numel())


def _classes_axis(output: Tensor, targets: Tensor) -> int | None:
    """The last axis or the second; of three axes the last, where both fit."""
    shape, wanted = tuple(output.shape), tuple(targets.shape)
    if len(shape) != len(wanted) + 1 or not shape:
        return None
    fitting = [
        axis
        for axis in ((-1, 1) if len(shape) <= 3 else (1, -1))
        if len(shape) > 1 and shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :] == wanted
    ]
    return fitting[0] if fitting else None


def _flat(output: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    axis = _classes_axis(output, targets)
    assert axis is not None
    logits = output.movedim(axis, -1).reshape(-1, output.shape[axis])
    labels = targets.reshape(-1).long()
    counted = labels != ignore_index
    if bool(counted.all()):
        return logits, labels
    return logits[counted], labels[counted]


def _binary(output: Tensor, targets: Tensor) -> Lost:
    if output.ndim == targets.ndim + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    _same_shape("binary_cross_entropy", output, targets)
    numbers = targets.float()
    if bool(((numbers < 0) | (numbers > 1)).any()):
        raise ShapeError("binary_cross_entropy takes targets from 0 to 1, and logits as outputs")
    value = F.binary_cross_entropy_with_logits(output.float(), numbers)
    return Lost("binary_cross_entropy", value, output, numbers, output.shape[0])


def _same_shape(what: str, output: Tensor, targets: Tensor) -> None:
    if output.shape != targets.shape:
        raise ShapeError(
            f"{what} takes targets of the output's shape, {list(output.shape)}; found "
            f"{list(targets.shape)}"
        )


def unmasked(lost: Lost) -> Tensor:
    """What a loss reads; of logits those of classes that were ruled out stand at their row's mean.

    A mask of −∞, or −1e9, is no opinion: moves that are not allowed, an example's own copy.
    """
    output = lost.output.detach()
    if lost.kind != "cross_entropy":
        return output
    masked = output < MASKED
    if not bool(masked.any()):
        return output
    count = (~masked).sum(-1, keepdim=True).clamp(min=1)
    mean = output.masked_fill(masked, 0.0).sum(-1, keepdim=True) / count
    return torch.where(masked, mean, output)


def recorded(lost: Lost, outputs: Moments) -> Loss:
    """What a recording says of a loss."""
    value = None if lost.value is None else summaries.finite_number(lost.value.detach())
    if lost.kind == "cross_entropy" and lost.targets is not None:
        logits = unmasked(lost)
        step = max(1, logits.shape[0] // max(FEWEST, min(ROWS, LARGEST // logits.shape[1])))
        some = logits[::step]
        on_this = sums.on_host(some) if some.device.type == "cpu" else some
        with np.errstate(all="ignore"):
            measured: Output = on_host(measurements.output(on_this))
        labels = lost.targets.cpu().numpy()
        return assembly.loss(
            "cross_entropy", math.nan if value is None else value, outputs, measured, labels
        )
    return Loss(
        kind=lost.kind,
        value=value,
        classes=None,
        target_entropy=_baseline(lost),
        output=outputs,
        output_variance=None,
        class_offset=None,
        largest_probability=None,
    )


def _baseline(lost: Lost) -> float | None:
    """The entropy of binary targets, the variance of others: the loss of the best constant."""
    if lost.targets is None or not lost.targets.numel():
        return None
    targets = lost.targets.detach().double().cpu().numpy()
    if lost.kind == "mse" and targets.ndim:
        return summaries.finite_number(targets.var(axis=0).mean())
    if lost.kind != "binary_cross_entropy":
        return None
    share = np.clip(targets.reshape(len(targets), -1).mean(axis=0), 1e-12, 1 - 1e-12)
    return summaries.finite_number(-(share * np.log(share) + (1 - share) * np.log1p(-share)).mean())
