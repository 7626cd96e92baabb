"""Applying prescriptions to a module, and writing them as code: one meaning, twice."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fanin.diagnosis.report import Prescription, ReportError
from fanin.torch.naming import plain

SEED = 1_729
"""What is drawn again comes from a generator of its own, so that it shares no stream."""


def apply(module: nn.Module, prescriptions: Iterable[Prescription]) -> None:
    """Make the changes in place; `.grad` and the optimisers that hold the parameters stay."""
    held = {plain(name): each for name, each in module.named_parameters(remove_duplicate=False)}
    buffers = {plain(name): each for name, each in module.named_buffers()}
    with torch.no_grad():
        for each in prescriptions:
            if each.parameter in buffers:
                buffers[each.parameter].fill_(1.0 if each.parameter.endswith("var") else 0.0)
                continue
            if each.parameter not in held:
                raise ReportError(
                    f"the module has no parameter {each.parameter}; it is not the one diagnosed"
                )
            _change(held[each.parameter], each)


def _change(tensor: Tensor, prescription: Prescription) -> None:
    units = list(prescription.units)
    if prescription.action == "scale" and prescription.number is not None:
        tensor.mul_(prescription.number)
    elif prescription.action == "zero":
        if units:
            tensor[units] = 0.0
        else:
            tensor.zero_()
    elif prescription.action == "shuffle":
        generator = torch.Generator().manual_seed(SEED)
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        tensor.copy_(tensor.flatten()[order].reshape(tensor.shape))
    else:
        std = _std(tensor)
        generator = torch.Generator().manual_seed(SEED)
        drawn = torch.randn(tensor.shape, generator=generator) * std
        drawn = drawn.to(tensor.device, tensor.dtype)
        if units:
            tensor[units] = drawn[units]
        else:
            tensor.copy_(drawn)


def _std(tensor: Tensor) -> float:
    """1/√fan-in for weights of two axes and more, 0.02 for what has no fan-in."""
    if tensor.ndim < 2:
        return 0.02
    return float(tensor[0].numel() ** -0.5)


def code(prescription: Prescription) -> str:
    """Python for the same change, given `module`."""
    name, units = prescription.parameter, list(prescription.units)
    this = f'module.get_parameter("{name}")'
    head = "import torch\nwith torch.no_grad():\n"
    if prescription.action == "scale":
        return f"{head}    {this}.mul_({prescription.number!r})"
    if prescription.action == "zero":
        return f"{head}    {this}[{units}] = 0.0" if units else f"{head}    {this}.zero_()"
    if prescription.action == "shuffle":
        return (
            f"{head}    weight = {this}\n"
            f"    order = torch.randperm(weight.numel(), "
            f"generator=torch.Generator().manual_seed({SEED}))\n"
            "    weight.copy_(weight.flatten()[order].reshape(weight.shape))"
        )
    place = f"[{units}]" if units else "[:]"
    return (
        f"{head}    weight = {this}\n"
        "    std = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.02\n"
        f"    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed({SEED}))\n"
        f"    weight{place} = (drawn * std).to(weight.device, weight.dtype){place}"
    )


def choice_code(name: str) -> str:
    """Python, or words, for one of the ways out of vanishing or exploding gradients."""
    schemes = {"orthogonal": "orthogonal:gain=critical,output=0.1", "critical": "critical"}
    if name in schemes:
        return (
            "from fanin.torch import initialise_\n"
            f'initialise_(module, "{schemes[name]}", sample=inputs)'
        )
    changes = {
        "batch normalisation": "nn.BatchNorm1d(width) (or 2d, of channels) before each activation",
        "layer normalisation": "nn.LayerNorm(width) before each activation",
        "residual": "x = x + branch(norm(x)) in forward, in the place of x = branch(x)",
    }
    return f"# in the module: {changes[name]}"
