"""Leaving a module as it was, bit for bit: parameters, buffers, flags, modes, random states."""

import random
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fanin.torch.holdings import NOTHING_INSIDE, Holdings, equal
from fanin.torch.naming import Names
from fanin.torch.operators import operator
from fanin.torch.tensors import address


class Keeper:
    """What a pass may change of a module, held so that it can be put back.

    Buffers are copied beforehand. A parameter, its gradient, an input and a tensor that is a plain
    attribute are copied when an operation is about to write to them, so that nothing is held of
    those, as good as all, that no operation writes to.
    """

    def __init__(self, module: nn.Module, names: Names, inputs: Iterable[Tensor] = ()) -> None:
        self._modules = list(module.modules())
        self._own = [_attributes(each) for each in self._modules]
        self._names = names
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}
        for each in self._modules:
            for buffer in each.__dict__["_buffers"].values():
                if buffer is not None:
                    self._buffers.setdefault(id(buffer), (buffer, buffer.detach().clone()))
        parameters = [*names.parameters.values()]
        self._holdings = Holdings()
        self._holdings.leave_out((*self._modules, *parameters))
        for each, own in zip(self._modules, self._own, strict=True):
            path = names.modules.get(id(each), "")
            for name, value in own.items():
                if type(value) not in NOTHING_INSIDE:
                    self._holdings.add(_dotted(path, name), value)
        self._plain = {id(value): name for name, value in self._holdings.tensors}
        plain = [value for _, value in self._holdings.tensors]
        gradients = [each.grad for each in parameters if each.grad is not None]
        self._storages: dict[int, list[Tensor]] = {}
        for each in (*parameters, *gradients, *inputs, *plain):
            if (place := address(each)) != -1:
                self._storages.setdefault(place, []).append(each)
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}
        self._flags = [
            (parameter, parameter.requires_grad, parameter.grad, parameter.data)
            for parameter in names.parameters.values()
        ]
        self._slots = [
            {slot: dict(each.__dict__[slot]) for slot in _SLOTS} for each in self._modules
        ]

    def before_write(self, tensor: Tensor) -> None:
        """Copy what is to be kept of the storage in which this tensor lies."""
        for held in self._storages.get(address(tensor), ()):
            if id(held) not in self._copies:
                self._copies[id(held)] = (held, held.detach().clone())

    def put_back(self) -> tuple[str, ...]:
        """Put everything back; returns, in words, what was no parameter, buffer or flag."""
        changed: list[str] = []
        with torch.no_grad():
            for each, own, slots in zip(self._modules, self._own, self._slots, strict=True):
                changed.extend(self._put_back(each, own))
                for name, slot in slots.items():
                    held: dict[str, Any] = each.__dict__[name]
                    moved = [key for key in {**slot, **held} if held.get(key) is not slot.get(key)]
                    if moved or list(held) != list(slot):
                        held.clear()
                        held.update(slot)
                        path = self._names.modules.get(id(each), "")
                        changed.extend(_dotted(path, key) for key in moved)
            for parameter, flag, gradient, data in self._flags:
                if parameter.data_ptr() != data.data_ptr():
                    parameter.data = data
                parameter.requires_grad_(flag)
                if parameter.grad is not gradient:
                    parameter.grad = gradient
            for tensor, copy in (*self._buffers.values(), *self._copies.values()):
                if tensor.shape != copy.shape:
                    tensor.data = copy
                elif not _same(tensor, copy):
                    tensor.data.copy_(copy)
                    changed.extend([self._plain[id(tensor)]] if id(tensor) in self._plain else [])
        changed.extend(self._holdings.put_back())
        return tuple(dict.fromkeys(changed))

    def _put_back(self, module: nn.Module, own: dict[str, Any]) -> Iterator[str]:
        """Attributes that `forward` set: put back where they were rebound, or hold plain things."""
        path = self._names.modules.get(id(module), "")
        now = module.__dict__
        for name in [*now]:
            if name in _OWN:
                continue
            if name not in own:
                del now[name]
                yield _dotted(path, name)
            elif own[name] is not now[name]:
                if not equal(own[name], now[name]):
                    yield _dotted(path, name)
                now[name] = own[name]
        for name in [each for each in own if each not in now]:
            now[name] = own[name]
            yield _dotted(path, name)


# These are looked after one by one, or are no affair of a pass.
_SLOTS = ("_parameters", "_buffers", "_modules")
_OWN = frozenset(_SLOTS)


class Watch(TorchDispatchMode):
    """Sees to it that what writes to a parameter finds it copied, where nothing else is watched."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__()
        self._keeper = keeper

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `Capture`

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for place in operator(func).writes:
            if place < len(args) and isinstance(args[place], Tensor):
                self._keeper.before_write(args[place])
        return func(*args, **(kwargs or {}))


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module that are not looked after one by one."""
    return {name: value for name, value in module.__dict__.items() if name not in _OWN}


def _same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit: NaN where there was NaN."""
    if one.dtype.is_floating_point:
        both = torch.isnan(one) & torch.isnan(other)
        same = torch.equal(one.masked_fill(both, 0), other.masked_fill(both, 0))
        return same and torch.equal(torch.signbit(one), torch.signbit(other))
    return torch.equal(one, other)


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@contextmanager
def undisturbed() -> Generator[None]:
    """Random states, of CPU, GPUs, Python and NumPy, as they were, whatever happens inside."""
    on_cpu = torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(on_cpu)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
