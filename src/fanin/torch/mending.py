"""Applying prescriptions to a module, and writing them as code: one meaning, twice."""

import zlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from fanin.diagnosis.report import Prescription, ReportError
from fanin.torch.naming import Names, plain
from fanin.torch.passing import Inputs, call, stars
from fanin.torch.preserve import Keeper, Watch, undisturbed
from fanin.torch.tensors import tensors

SEED = 1_729


def seed_of(name: str) -> int:
    """Of the generator for a parameter: its own, so that what is drawn again shares no stream."""
    return SEED + zlib.crc32(name.encode())


def apply(
    module: nn.Module,
    prescriptions: Iterable[Prescription],
    axes: Mapping[str, int],
    inputs: Inputs = (),
) -> None:
    """Make the changes in place; `.grad` and the optimisers that hold the parameters stay.

    `axes` has the axis of a parameter's units, where that is not the first.
    """
    held = {plain(name): each for name, each in module.named_parameters(remove_duplicate=False)}
    buffers = {plain(name): each for name, each in module.named_buffers()}
    with torch.no_grad():
        for each in prescriptions:
            if each.parameter in buffers:
                _measure(module, buffers[each.parameter], each.parameter, inputs)
                continue
            if each.parameter not in held:
                raise ReportError(
                    f"the module has no parameter {each.parameter}; it is not the one diagnosed"
                )
            _change(held[each.parameter], each, axes.get(each.parameter, 0))


def _measure(module: nn.Module, buffer: Tensor, name: str, inputs: Inputs) -> None:
    """Make a running statistic that of what its normalisation is given, in a pass over `inputs`."""
    norm, what = _norm(module, name)
    if norm is None:
        buffer.fill_(_START.get(what, 0.0))
        return
    seen: list[Tensor] = []

    def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows = given[0].transpose(0, 1).flatten(1).float()
        seen.append(rows.var(1) if what == "running_var" else rows.mean(1))

    keeper = Keeper(module, Names(module), tensors(inputs))
    handle = norm.register_forward_pre_hook(look)
    try:
        with undisturbed(), Watch(keeper):
            call(module, inputs)
    finally:
        handle.remove()
        keeper.put_back()
    buffer.copy_(seen[0])


_START = {"running_mean": 0.0, "running_var": 1.0}
_MEASURED = {"running_mean": "mean(1)", "running_var": "var(1)"}


def _norm(module: nn.Module, buffer: str) -> tuple[nn.Module | None, str]:
    """The normalisation that a running statistic belongs to, if it is PyTorch's, and which it is.

    Of a statistic that another module uses in its own way, what it is given is not known.
    """
    path, _, what = buffer.rpartition(".")
    held = {plain(name): each for name, each in module.named_modules()}
    of_torch = isinstance(held.get(path), _BatchNorm) and what in _START
    return (held[path] if of_torch else None), what


def _change(tensor: Tensor, prescription: Prescription, axis: int) -> None:
    units = list(prescription.units)
    seed = seed_of(prescription.parameter)
    if prescription.action == "scale" and prescription.number is not None:
        rows = tensor.movedim(axis, 0)
        if units:
            rows[units] = rows[units] * prescription.number
        else:
            tensor.mul_(prescription.number)
    elif prescription.action == "zero":
        if units:
            tensor[units] = 0.0
        else:
            tensor.zero_()
    elif prescription.action == "shuffle":
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        tensor.copy_(tensor.flatten()[order].reshape(tensor.shape))
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(tensor.shape, generator=generator)
        drawn = drawn.to(tensor.device, tensor.dtype)
        if units:
            # By the size of those that stay: what is right for them is right for these.
            rows, new = tensor.movedim(axis, 0), drawn.movedim(axis, 0)
            stay = [unit for unit in range(len(rows)) if unit not in units]
            rows[units] = new[units] * rows[stay].float().std()
        else:
            gain = _is_gain(prescription, tensor)
            by = _std(tensor, axis) * (prescription.number or 1.0)
            tensor.copy_(torch.ones_like(tensor) if gain else drawn * by)


def _is_gain(prescription: Prescription, tensor: Tensor) -> bool:
    """Whether a parameter is the gain of a normalisation, which begins with ones."""
    return tensor.ndim == 1 and prescription.parameter.endswith("weight")


def _std(tensor: Tensor, axis: int) -> float:
    """1/√fan-in for weights of two axes and more, 0.02 for what has no fan-in."""
    if tensor.ndim < 2:
        return 0.02
    return (tensor.numel() / tensor.shape[axis]) ** -0.5


def code(
    prescription: Prescription, module: nn.Module, axes: Mapping[str, int], inputs: Inputs = ()
) -> str:
    """Python for the same change, given `module`, and `inputs` where they are named."""
    name, units = prescription.parameter, list(prescription.units)
    this = f'module.get_parameter("{name}")'
    head = "import torch\nwith torch.no_grad():\n"
    if name not in {plain(own) for own, _ in module.named_parameters(remove_duplicate=False)}:
        return _anew(module, name, inputs)
    if prescription.action == "scale":
        if not units:
            return f"{head}    {this}.mul_({prescription.number!r})"
        return (
            f"{head}    rows, units = {this}.movedim({axes.get(name, 0)}, 0), {units}\n"
            f"    rows[units] = rows[units] * {prescription.number!r}"
        )
    if prescription.action == "zero":
        return f"{head}    {this}[{units}] = 0.0" if units else f"{head}    {this}.zero_()"
    head += f"    weight = {this}\n"
    generator = f"generator=torch.Generator().manual_seed({seed_of(name)})"
    if prescription.action == "shuffle":
        return (
            f"{head}    order = torch.randperm(weight.numel(), {generator})\n"
            "    weight.copy_(weight.flatten()[order.to(weight.device)].reshape(weight.shape))"
        )
    head += (
        f"    drawn = torch.randn(weight.shape, {generator})\n"
        "    drawn = drawn.to(weight.device, weight.dtype)\n"
    )
    axis = axes.get(name, 0)
    if not units:
        std = f"((weight.numel() / weight.shape[{axis}]) ** -0.5 * {prescription.number or 1.0!r})"
        few = "torch.ones_like(weight)" if name.endswith("weight") else "0.02 * drawn"
        return f"{head}    weight.copy_(drawn * {std} if weight.ndim > 1 else {few})"
    return (
        f"{head}    units = {units}\n"
        f"    rows, new = weight.movedim({axis}, 0), drawn.movedim({axis}, 0)\n"
        "    stay = [unit for unit in range(len(rows)) if unit not in units]\n"
        "    rows[units] = new[units] * rows[stay].float().std()"
    )


def _anew(module: nn.Module, name: str, inputs: Inputs) -> str:
    norm, what = _norm(module, name)
    path = name.rpartition(".")[0]
    if norm is None:
        return (
            "import torch\nwith torch.no_grad():\n"
            f'    module.get_buffer("{name}").fill_({_START.get(what, 0.0)})'
        )
    return (
        "import copy, torch\ntrial, seen = copy.deepcopy(module), []\n"
        f'trial.get_submodule("{path}").register_forward_pre_hook(\n'
        "    lambda _, given: seen.append(given[0].transpose(0, 1).flatten(1).float())\n"
        ")\n"
        f"with torch.no_grad():\n    trial({stars(inputs)}inputs)\n"
        f'    module.get_buffer("{name}").copy_(seen[0].{_MEASURED[what]})'
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
