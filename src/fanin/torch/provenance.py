"""Where a tensor's numbers come from: the batch, by way of which nodes, or parameters alone."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from fanin.torch.tensors import address


@dataclass(frozen=True)
class Source:
    """What went into a tensor."""

    nodes: tuple[int, ...] = ()
    """the nodes that it came from last, by number; 0 is the batch itself"""
    weights: tuple[str, ...] = ()
    """the parameters that it came from, where nothing of the batch went into it"""
    pure: bool = True
    """whether it is what its one node gave, but for shape, place, type, dropout and `factor`"""
    factor: float = 1.0
    """the constant by which what it came from was multiplied"""
    multiple: bool = True
    """whether it is its one parameter, each number times a constant, as where a mask is laid on"""

    choice: bool = False
    """whether it says where, and not how much: whole numbers, masks, and what is made of these"""

    @property
    def data(self) -> bool:
        """Whether anything of the batch went into it."""
        return bool(self.nodes)

    @property
    def node(self) -> int | None:
        """The one node that gave these very numbers, if there is one."""
        return self.multiplied if self.factor == 1.0 else None

    @property
    def multiplied(self) -> int | None:
        """The one node that gave these numbers, but for `factor`, if there is one."""
        return self.nodes[0] if self.pure and len(self.nodes) == 1 else None


NOTHING = Source()
"""A constant's."""


class Provenance:
    """The sources of all tensors, by the storage that they lie in.

    Views share their storage, and with it their source. The storages are held by weak references,
    which keep an address from being used again but not its memory.
    """

    def __init__(self) -> None:
        self._sources: dict[int, tuple[StorageWeakRef, Source]] = {}

    def of(self, tensor: Tensor) -> Source:
        """The source of a tensor; NOTHING for one that was not seen to be made."""
        found = self._sources.get(address(tensor))
        if found is None:
            return NOTHING
        if tensor.is_floating_point() or tensor.is_complex() or not found[1].nodes:
            return found[1]
        return replace(found[1], choice=True)

    def mark(self, tensor: Tensor, source: Source) -> None:
        """From now on the tensor, and what shares its storage, comes from `source`."""
        place = address(tensor)
        if place == -1:
            return
        known = self._sources.get(place)
        reference = StorageWeakRef(tensor.untyped_storage()) if known is None else known[0]
        self._sources[place] = (reference, source)


def together(
    sources: Iterable[Source], pure: bool, factor: float = 1.0, multiple: bool = False
) -> Source:
    """The source of what was made of several tensors, and multiplied by a constant; `multiple`
    where that is all that was done to the numbers of one of them."""
    nodes: dict[int, None] = {}
    weights: dict[str, None] = {}
    parts = 0
    multiple = multiple or pure
    sources = list(sources)
    choice = all(each.choice for each in sources if each.data)
    if not choice:  # what is chosen comes from elsewhere than the choice
        sources = [each for each in sources if not each.choice]
    for each in sources:
        multiple = multiple and each.multiple
        nodes.update(dict.fromkeys(each.nodes))
        weights.update(dict.fromkeys(each.weights))
        if each.data:
            parts += 1
            pure = pure and each.pure
        factor *= each.factor
    if nodes:
        pure = pure and parts == 1
        return Source(tuple(nodes), (), pure, factor if pure else 1.0, choice=choice)
    return Source((), tuple(weights), pure, factor if pure else 1.0, multiple)
