"""One forward and backward pass of a module: what may be passed, and what goes wrong."""

import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fanin.errors import FaninError, ShapeError
from fanin.torch import losses
from fanin.torch.capture import Capture, exactly
from fanin.torch.losses import LossFunction, Lost
from fanin.torch.naming import Names
from fanin.torch.preserve import Keeper, Watch
from fanin.torch.provenance import NOTHING, Source
from fanin.torch.signals import Measured
from fanin.torch.tensors import address, tensors

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


class PassError(FaninError):
    """A module whose forward or backward pass does not run."""


@dataclass
class Passed:
    capture: Capture
    lost: Lost
    gradients: dict[str, Tensor]
    made: Source
    """of which nodes what the module returns first is made"""
    others: tuple[int, ...]
    """the nodes that further tensors which it returns are made of"""
    output: Measured
    """what the loss reads"""
    multiplier: tuple[str, Tensor] | None
    """a parameter, and the one number made of it by which the output was multiplied last"""


def check(module: nn.Module) -> None:
    """Raises PassError for what cannot be looked into, with what to do."""
    if not isinstance(module, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PassError(f"a torch.nn.Module is diagnosed; found a {type(module).__name__}")
    for name, each in module.named_modules():
        if isinstance(each, torch.jit.ScriptModule):
            raise PassError(
                f"{name or 'the module'} is TorchScript, which cannot be looked into; diagnose the "
                "module that it was made of"
            )
        own: dict[str, Any] = {**each.__dict__["_parameters"], **each.__dict__["_buffers"]}
        for leaf, tensor in own.items():
            if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
                raise PassError(
                    f"{name}{'.' * bool(name)}{leaf} is lazy and has no shape yet; run the module "
                    "once on a batch, and start it as you would, before it is diagnosed"
                )
            if tensor is not None and tensor.is_meta:
                raise PassError(
                    f"{name}{'.' * bool(name)}{leaf} is on the meta device and has no numbers; "
                    "move the module with to_empty, and start it as you would"
                )
            if tensor is not None and tensor.is_inference():
                raise PassError(
                    f"{name}{'.' * bool(name)}{leaf} was made under inference_mode, and can have "
                    "no gradient; make the module outside of it"
                )


def run(
    module: nn.Module,
    names: Names,
    keeper: Keeper,
    inputs: Inputs,
    given: list[Tensor],
    targets: Any,
    loss: str | LossFunction | None,
    ignore_index: int,
) -> Passed:
    capture = Capture(names, keeper, given)
    with _openly():
        result = _called(module, inputs, capture)
        try:
            with Watch(keeper) if callable(loss) else nullcontext():
                lost = losses.compute(loss, result, targets, ignore_index)
        except FaninError:
            raise
        except Exception as error:
            raise PassError(f"the loss could not be computed: {error}") from error
        made = capture.node_of(losses.main_output(result)) if _has(result) else NOTHING
        last = capture.multiplied.get(address(losses.main_output(result))) if made.data else None
        last = last if last and last[1].numel() == 1 else None
        others = {n for each in losses.outputs(result) for n in capture.node_of(each).nodes}
        del result
        with exactly():
            read = losses.unmasked(lost)
            read = read if read.ndim else read.reshape(1, 1)
            output = capture.tables.measured(read, read.ndim - 1)
            try:
                gradients = _backward(lost, names, keeper)
            except FaninError:
                raise
            except Exception as error:
                raise PassError(f"the backward pass failed: {error}") from error
    return Passed(capture, lost, gradients, made, tuple(sorted(others)), output, last)


def forward(module: nn.Module, inputs: Inputs, capture: Capture) -> None:
    """The forward pass alone, watched."""
    with _openly():
        _called(module, inputs, capture)


@contextmanager
def _openly() -> Generator[None]:
    """With gradients, and without kernels and programs that hide what they do."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if "torch._dynamo" in sys.modules:  # if not, nothing is compiled, and it takes a second
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Using `torch.compile.module.` when there are")
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            stack.callback(torch.clear_autocast_cache)
        yield


def _called(module: nn.Module, inputs: Inputs, capture: Capture) -> Any:
    try:
        with capture:
            return call(module, inputs)
    except FaninError:
        raise
    except Exception as error:
        raise _explained(capture, module, error) from error


def _has(result: Any) -> bool:
    try:
        losses.main_output(result)
    except ShapeError:
        return False
    return True


def call(module: nn.Module, inputs: Inputs) -> Any:
    """What the module makes of a tensor, of arguments, or of arguments by name."""
    given: Any = inputs
    match stars(inputs):
        case "**":
            return module(**given)
        case "*":
            return module(*given)
        case _:
            return module(given)


def stars(inputs: Inputs) -> str:
    """What stands before inputs in a call: packed sequences are tuples, and one argument."""
    if isinstance(inputs, Mapping):
        return "**"
    several = isinstance(inputs, tuple | list) and not hasattr(inputs, "batch_sizes")
    return "*" if several else ""


def _explained(capture: Capture, module: nn.Module, error: Exception) -> FaninError:
    """Where the pass failed, and on what."""
    if capture.failed is None:
        return PassError(f"the pass failed: {type(error).__name__}: {error}")
    path, inner, given = capture.failed
    shapes = ", ".join(str(list(each.shape)) for each in tensors(given)) or "no tensor"
    where = f"{path or 'the module'} ({type(inner).__name__})"
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            message += f" ({name} has values that are not finite)"
            break
    kind = ShapeError if isinstance(error, RuntimeError | IndexError) else PassError
    return kind(f"the forward pass failed in {where}, given {shapes}: {message}")


def _backward(lost: Lost, names: Names, keeper: Keeper) -> dict[str, Tensor]:
    """Gradients by parameter; nothing accumulates."""
    wanted = {name: each for name, each in names.parameters.items() if each.requires_grad}
    value, cotangent = lost.value, None
    if value is None:
        value = lost.output
        generator = torch.Generator(device="cpu").manual_seed(0)
        examples = value.shape[0] if value.ndim else 1
        noise = torch.randn(value.shape, generator=generator) / max(1, examples)
        cotangent = noise.to(value.device, value.dtype)
    if not value.requires_grad or not wanted:
        if wanted and cotangent is None:
            raise PassError(
                "the loss does not depend on any parameter of the module that is to learn; was its "
                "output detached, or made without gradients?"
            )
        return {}
    if _reentrant(value):
        with Watch(keeper):
            return _accumulated(value, cotangent, wanted)
    found = torch.autograd.grad(value, list(wanted.values()), cotangent, allow_unused=True)
    given: list[Tensor | None] = list(found)
    return {name: each for name, each in zip(wanted, given, strict=True) if each is not None}


def _reentrant(value: Tensor) -> bool:
    """Whether a part of the graph is a checkpoint that only `backward` goes through."""
    waiting, seen = [value.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if "CheckpointFunction" in type(node).__name__:
            return True
        waiting.extend(following for following, _ in node.next_functions)
    return False


def _accumulated(
    value: Tensor, cotangent: Tensor | None, wanted: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    kept = {name: each.grad for name, each in wanted.items()}
    try:
        for each in wanted.values():
            each.grad = None
        torch.autograd.backward(value, cotangent)
        return {name: each.grad for name, each in wanted.items() if each.grad is not None}
    finally:
        for name, each in wanted.items():
            each.grad = kept[name]
