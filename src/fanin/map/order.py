"""In which order a map's cells are computed: coarse first, each level halving the distances."""

import math
from collections.abc import Iterator


def levels(rows: int, columns: int) -> Iterator[list[tuple[int, int]]]:
    """All cells once, (row, column), in lists of which each refines those before it."""
    stride = 2 ** max(0, math.ceil(math.log2(max(rows, columns, 2))) - 2)
    seen: set[tuple[int, int]] = set()
    while stride >= 1:
        level = [
            (row, column)
            for row in range(0, rows, stride)
            for column in range(0, columns, stride)
            if (row, column) not in seen
        ]
        seen.update(level)
        if level:
            yield level
        stride //= 2
