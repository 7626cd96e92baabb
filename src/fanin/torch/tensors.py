"""Tensors among arguments and results, and the storages that they lie in."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in arguments or results, inside lists, tuples, dictionaries and packed sequences
    too."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors(value)
    elif hasattr(values, "batch_sizes"):
        yield values.data
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors(value)


def dense(tensor: Tensor) -> bool:
    """Whether a tensor is a table of floating-point numbers, and not a sparse one."""
    return tensor.is_floating_point() and tensor.layout == torch.strided


def first(values: Any) -> Tensor:
    """The first of them."""
    return next(tensors(values))


def address(tensor: Tensor) -> int:
    """One number for each storage; −1 for a tensor that has none of its own, as sparse ones."""
    try:
        return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
    except (NotImplementedError, RuntimeError):
        return -1


def covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its storage."""
    return tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()
