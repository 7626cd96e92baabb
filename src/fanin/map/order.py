"""In which order a map's cells are computed: coarse first, each level halving the distances."""

import math
from collections.abc import Iterator


def levels(rows: int, columns: int, *, least: int = 1) -> Iterator[list[tuple[int, int]]]:
    """All cells once, (row, column), in lists of which each refines those before it.

    A list has `least` cells or more, but for the last: fewer would leave devices idle.
    """
    level = list[tuple[int, int]]()
    stride = 2 ** max(0, math.ceil(math.log2(max(rows, columns, 2))) - 2)
    seen: set[tuple[int, int]] = set()
    while stride >= 1:
        level += [
            (row, column)
            for row in range(0, rows, stride)
            for column in range(0, columns, stride)
            if (row, column) not in seen
        ]
        seen.update(level)
        if len(level) >= least:
            yield level
            level = []
        stride //= 2
    if level:
        yield level
