"""Which of several layers is at fault for what adds up over them."""

import math
from collections.abc import Mapping

# A layer whose own share of a fault is a factor of two in standard deviation is at fault itself.
OWN_FAULT = 2 * math.log(2.0)


def blame(shares: Mapping[str, float]) -> list[str]:
    """The layers at fault, given by how much (in ln second moment) each added in the bad direction.

    Those that did much on their own, and at least a third of what the worst did, if together they
    make up half of it all; if not, all that added as much as a third: a fault of depth.
    """
    most = max(shares.values(), default=0.0)
    if most <= 0.0:
        return list(shares)
    strong = [name for name, share in shares.items() if share >= max(OWN_FAULT, most / 3)]
    total = sum(share for share in shares.values() if share > 0.0)
    if strong and sum(shares[name] for name in strong) >= 0.5 * total:
        return strong
    return [name for name, share in shares.items() if share >= most / 3]
