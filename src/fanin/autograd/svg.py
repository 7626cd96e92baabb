"""Boxes and the edges between them as an SVG picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from fanin.autograd.layout import Layout, layered_layout

# Pixels. The width of a letter is that of a monospaced font, which the picture asks for.
FONT_SIZE, LETTER, LINE, PADDING = 12.0, 7.3, 16.0, 10.0
GAP, LAYER_GAP, ARROW = 24.0, 34.0, 7.0
LONGEST_LINE = 44
BOLD = ' font-weight="bold"'

# XML has no way to write these.
NOT_IN_XML = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff]"
)


@dataclass(frozen=True)
class Box:
    """Lines of text, the first one in bold; `parents` are the places of the boxes above."""

    lines: tuple[str, ...]
    parents: tuple[int, ...]

    @property
    def width(self) -> float:
        return max(len(_shorten(line)) for line in self.lines) * LETTER + 2 * PADDING

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + PADDING


def draw_boxes(boxes: Sequence[Box], title: str) -> str:
    """Boxes in topological order, drawn in layers, each below its parents.

    Everything is drawn in `currentColor`, so that a page's light or dark text colour holds here.
    """
    layout = layered_layout([box.parents for box in boxes], [box.width for box in boxes], GAP)
    depth = [0.0] * (max(layout.layers) + 1)
    for box, layer in zip(boxes, layout.layers, strict=True):
        depth[layer] = max(depth[layer], box.height)
    tops = list(accumulate((height + LAYER_GAP for height in depth), initial=1.0))

    edges = [
        _edge(boxes, layout, tops, depth, parent, child)
        for child, box in enumerate(boxes)
        for parent in dict.fromkeys(box.parents)
    ]
    drawn = [
        _box(box, x, tops[layer])
        for box, x, layer in zip(boxes, layout.x, layout.layers, strict=True)
    ]
    sides = [
        x + side * box.width / 2 for box, x in zip(boxes, layout.x, strict=True) for side in (-1, 1)
    ] + [x for bends in layout.bends for x in bends]
    left, width = min(sides) - 1, max(sides) - min(sides) + 2
    height = tops[-1] - LAYER_GAP + 1
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="{left:.1f} 0 {width:.1f} {height:.1f}" '
        'fill="none" stroke="currentColor" '
        f'font-family="ui-monospace, monospace" font-size="{FONT_SIZE:.0f}">'
    )
    return "\n".join([opening, f"<title>{_text(title)}</title>", *edges, *drawn, "</svg>"])


def _box(box: Box, x: float, top: float) -> str:
    # Leaves have round ends, what is computed has corners.
    round_by = 3.0 if box.parents else LINE
    lines = "".join(
        f'<text x="{x:.1f}" y="{top + PADDING / 2 + LINE * (place + 0.75):.1f}"'
        f"{'' if place else BOLD}>{_text(_shorten(line))}</text>"
        for place, line in enumerate(box.lines)
    )
    return (
        f"<g><title>{_text(chr(10).join(box.lines))}</title>"
        f'<rect x="{x - box.width / 2:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{round_by:.0f}" fill="currentColor" fill-opacity="0.06"/>'
        f'<g fill="currentColor" stroke="none" text-anchor="middle">{lines}</g></g>'
    )


def _edge(
    boxes: Sequence[Box],
    layout: Layout,
    tops: Sequence[float],
    depth: Sequence[float],
    parent: int,
    child: int,
) -> str:
    upper, lower = layout.layers[parent], layout.layers[child]
    x, y = layout.x[parent], tops[upper] + boxes[parent].height
    path = [f"M{x:.1f} {y:.1f}"]
    for layer in range(upper + 1, lower + 1):
        bend = layer < lower
        next_x = layout.bends[parent][layer - upper - 1] if bend else layout.x[child]
        # The tip of an edge is the tip of its arrow.
        next_y = tops[layer] if bend else tops[layer] - ARROW
        middle = (y + next_y) / 2
        path.append(f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
        if bend:
            y += depth[layer]
            path.append(f"V{y:.1f}")
    arrow = f"M{x:.1f} {y + ARROW:.1f}l{-ARROW / 2} {-ARROW}h{ARROW}z"
    return (
        f'<path d="{"".join(path)}" stroke-opacity="0.6"/>'
        f'<path d="{arrow}" fill="currentColor" stroke="none"/>'
    )


def _shorten(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"


def _text(text: str) -> str:
    return escape(NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text))
