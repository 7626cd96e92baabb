"""What hangs on a module besides parameters, buffers and modules: found, and put back."""

import argparse
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

DEPTH = 5
"""So deep into objects within objects it is looked."""
LONG = 1_000
"""Longer lists are put back as they were, and not looked into."""

Generator: TypeAlias = torch.Generator | np.random.Generator | random.Random

NOTHING_INSIDE = frozenset({
    type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.FunctionType,
    types.MethodType, types.BuiltinFunctionType, torch.dtype, torch.device, torch.Size,
})  # fmt: skip
"""Types of things that nothing can be changed in."""
_DICTIONARIES = frozenset({dict, OrderedDict})
_OPEN = (types.SimpleNamespace, argparse.Namespace)
# Their objects have locks, threads and files in them, and are not what a forward pass is about.
_CLOSED = {*sys.stdlib_module_names, "torch", "numpy", "jax", "jaxlib", "lightning"}


@dataclass
class Holdings:
    """Things that can be changed in place, each with the name by which the module has it."""

    tensors: list[tuple[str, Tensor]] = field(default_factory=list[tuple[str, Tensor]])
    _generators: list[tuple[str, Generator, Any]] = field(default_factory=list[Any])
    _arrays: list[tuple[str, np.ndarray, np.ndarray]] = field(default_factory=list[Any])
    _containers: list[tuple[str, Any, Any]] = field(default_factory=list[Any])
    """dictionaries, those of objects among them, lists and sets, with what is in them"""
    _slotted: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=list[Any])
    """objects with __slots__"""
    _seen: dict[int, Any] = field(default_factory=dict[int, Any])

    def leave_out(self, things: Iterable[Any]) -> None:
        """Do not look into these."""
        self._seen.update((id(each), each) for each in things)

    def add(self, name: str, value: Any, depth: int = DEPTH) -> None:
        """Look into a thing and what is in it."""
        kind = type(value)
        if kind in NOTHING_INSIDE or id(value) in self._seen or not depth:
            return
        self._seen[id(value)] = value
        if kind in _DICTIONARIES and not value:
            self._containers.append((name, value, {}))
        elif isinstance(value, Tensor):
            self.tensors.append((name, value))
        elif isinstance(value, np.ndarray):
            self._arrays.append((name, value, value.copy()))
        elif isinstance(value, Generator):
            self._generators.append((name, value, _state(value)))
        elif isinstance(value, dict | list | set | deque | bytearray):
            self._containers.append((name, value, _content(value)))
            for key, each in _items(value):
                self.add(
                    f"{name}[{key!r}]" if isinstance(key, str | int) else name, each, depth - 1
                )
        elif isinstance(value, tuple):
            for key, each in enumerate(value):
                self.add(f"{name}[{key}]", each, depth - 1)
        elif _is_open(value):
            own = getattr(value, "__dict__", {})
            self._containers.append((name, own, dict(own)))
            slots = {key: getattr(value, key) for key in _slots(value) if hasattr(value, key)}
            if slots:
                self._slotted.append((name, value, slots))
            for key, each in {**own, **slots}.items():
                self.add(f"{name}.{key}", each, depth - 1)

    def put_back(self) -> Iterator[str]:
        """Put everything but tensors back as it was; the names of what had been changed."""
        for name, container, content in self._containers:
            if not (content or container):
                continue
            if not equal(content, _content(container)):
                container.clear()
                grow = container.update if isinstance(container, dict | set) else container.extend
                grow(content)
                yield name
        for name, thing, content in self._slotted:
            now = {key: getattr(thing, key, None) for key in content}
            if not equal(content, now):
                for key, each in content.items():
                    setattr(thing, key, each)
                yield name
        for name, array, content in self._arrays:
            if array.tobytes() != content.tobytes():
                array[...] = content
                yield name
        for name, generator, state in self._generators:
            if repr(_state(generator)) != repr(state):
                _set_state(generator, state)
                yield name


def equal(one: Any, other: Any) -> bool:
    """Whether two things say the same; not by `==`, which tensors make arrays of."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(one[key] is other[key] for key in one)
    if isinstance(one, list | tuple):
        same = len(one) == len(other)
        return same and all(a is b for a, b in zip(one, other, strict=True))
    if isinstance(one, set):
        return one == other
    if isinstance(one, int | float | str | bool | None):
        return one == other
    return one is other


def _content(value: Any) -> Any:
    """What is in a container, as a plain one."""
    plain = dict if isinstance(value, dict) else set if isinstance(value, set) else list
    return plain(value)


def _slots(value: Any) -> list[str]:
    """The names of an object's slots."""
    found: list[str] = []
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        found += [names] if isinstance(names, str) else [*names]
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if len(value) > LONG or isinstance(value, bytearray):
        return ()
    return value.items() if isinstance(value, dict) else enumerate(value)


def _is_open(value: Any) -> bool:
    """Whether a thing is an object of the user's own, or a module that is not registered."""
    if not hasattr(value, "__dict__") and not _slots(value):
        return False
    root = type(value).__module__.partition(".")[0]
    return root not in _CLOSED or isinstance(value, (nn.Module, *_OPEN))


def _state(generator: Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return bytes(generator.get_state().tolist())
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state


def _set_state(generator: Generator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(torch.tensor(list(state), dtype=torch.uint8))
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state
