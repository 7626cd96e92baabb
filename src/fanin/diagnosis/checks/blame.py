"""Which of several layers is at fault for what adds up over them."""

import math
from collections.abc import Mapping

# A layer whose own share of a fault is a factor of two in standard deviation is at fault itself.
OWN_FAULT = 2 * math.log(2.0)


def blame(shares: Mapping[str, float]) -> list[str]:
    """The layers at fault, given by how much (in ln second moment) each added in the bad direction.

    Those that did much on their own, and at least a third of what the worst did, if together they
    make up half of it all. If not, it is a fault of depth: all that added as much as a third of
    the worst, or of the mean where the worst few are not half of it.
    """
    most = max(shares.values(), default=0.0)
    if most <= 0.0:
        return list(shares)
    # Layers that are alike are named alike, though chance takes some of them past a fixed share.
    alone = min(OWN_FAULT, most / 2) if most >= OWN_FAULT else OWN_FAULT
    added = {name: share for name, share in shares.items() if share > 0.0}
    total = sum(added.values())
    for least in (max(alone, most / 3), most / 3, total / len(added) / 3):
        named = [name for name, share in shares.items() if share >= least]
        if sum(shares[name] for name in named) >= 0.5 * total:
            break
    return named
