"""Names of modules and parameters as their owner writes them, and the line that is running."""

import inspect
from functools import lru_cache
from pathlib import Path

import jaxtyping
import torch
from torch import nn

from fanin.torch.tensors import address

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
# Checks fanin's annotations, and so wraps its functions, where that is asked for.
_CHECKER = str(Path(jaxtyping.__file__).parent)

# What wrappers add to the names of what they wrap.
_WRAPPED = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")


def plain(name: str) -> str:
    """A name without what `torch.compile` and checkpoint wrappers put into it."""
    for wrapped in _WRAPPED:
        name = name.replace(wrapped, "").removesuffix("." + wrapped[:-1])
        name = "" if name == wrapped[:-1] else name
    return name


class Names:
    """The modules and parameters of a module, by identity."""

    def __init__(self, module: nn.Module) -> None:
        self.modules: dict[int, str] = {}
        all_modules = list(module.named_modules(remove_duplicate=False))
        for name, each in all_modules:
            self.modules.setdefault(id(each), plain(name))
        self.buffers = {address(each): plain(name) for name, each in module.named_buffers()}
        """the names of buffers by their storage"""
        self.parameters: dict[str, nn.Parameter] = {}
        """each under its first name"""
        self.first: dict[int, str] = {}
        self.tied: dict[str, str] = {}
        """further names of a parameter, with its first one"""
        own = (
            (f"{path}.{name}" if path else name, each)
            for path, of in all_modules
            for name, each in of.__dict__["_parameters"].items()
            if each is not None
        )
        for name, each in own:
            name = plain(name)
            if id(each) in self.first:
                if name != self.first[id(each)]:
                    self.tied[name] = self.first[id(each)]
            else:
                self.first[id(each)] = name
                self.parameters[name] = each

    def owned(self, module: nn.Module, parameter: str) -> str | None:
        """The name under which this very module has that parameter, if it has."""
        held: dict[str, nn.Parameter | None] = module.__dict__["_parameters"]
        for own, tensor in held.items():
            if tensor is not None and self.first.get(id(tensor)) == parameter:
                path = self.modules.get(id(module), "")
                return f"{path}.{own}" if path else own
        return None


def layer_of(parameter: str) -> str:
    """The name of the layer that a parameter is the weight of: "attn.in_proj" of its weight."""
    path, _, own = parameter.rpartition(".")
    owner, parametrised, _ = path.partition("parametrizations.")
    if parametrised:
        return owner.removesuffix(".")
    if own in ("weight", "weight_v", "weight_g", "weight_orig"):
        return path
    stem = own.removesuffix("_weight")
    return f"{path}.{stem}" if path else stem


def calling_line() -> str:
    """The file and line of the user's that called PyTorch: "model.py:31"; "" where none did."""
    frame = inspect.currentframe()
    # First come the diagnosis's own frames, which PyTorch called.
    while frame is not None and _whose(frame.f_code.co_filename) in ("fanin", "made"):
        frame = frame.f_back
    while frame is not None and _whose(frame.f_code.co_filename) in ("torch", "made"):
        frame = frame.f_back
    if frame is None or _whose(frame.f_code.co_filename) == "fanin":
        return ""  # the diagnosis itself called the module
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


@lru_cache(maxsize=1024)
def _whose(file: str) -> str:
    """Whose code a file has; "made" by PyTorch or by a checker of types, where it is none's."""
    if file.startswith(_TORCH):
        return "torch"
    if file.startswith(("<", _CHECKER)):
        return "made"
    return "fanin" if file.startswith(_HERE) else "the user's"
