"""Two reports side by side on a terminal: what moved, the furthest first."""

from typing import TextIO

from rich.text import Text

from fanin.diagnosis.comparison import Comparison, Move
from fanin.pictures.report_terminal import (
    broken_to,
    new_console,
    new_table,
    verdict_text,
)
from fanin.pictures.report_text import number

_NAME = 32


def print_comparison(
    comparison: Comparison, stream: TextIO | None = None, *, width: int | None = None
) -> None:
    """Writes the comparison to a stream (standard output), in at most a hundred columns."""
    console = new_console(stream, width)
    before, after = (verdict_text(console, v) for v in (comparison.before, comparison.after))
    console.print(Text.assemble(before, " → ", after, f". {_summary(comparison)}"))
    for change in comparison.checks:
        was, now = change.before or "not made", change.after or "not made"
        console.print(f"check {change.name}: {was} → {now}")
    for change in comparison.structure:
        console.print(change)
    if comparison.moves:
        console.print()
        table = new_table()
        table.add_column("layer", width=_NAME)
        table.add_column("number", no_wrap=True)
        for title in ("before", "after", "spreads"):
            table.add_column(title, justify="right", no_wrap=True)
        for move in comparison.moves:
            table.add_row(*_cells(move))
        console.print(table)
        console.print("spreads: standard deviations over seeds between the two", style="dim")


def _summary(comparison: Comparison) -> str:
    if comparison.identical:
        return f"Nothing moved: all {comparison.compared} numbers are equal but for rounding."
    count = len(comparison.moves)
    moved = f"{count or 'None'} of {comparison.compared} numbers moved beyond the seeds' spread"
    return f"{moved}; {comparison.same} are equal but for rounding."


def _cells(move: Move) -> tuple[str, ...]:
    name = "\n".join(broken_to(move.layer or "the network", _NAME))
    moved = (number(move.before), number(move.after), f"{move.deviations:.1f}")
    return (name, move.name.replace("_", " "), *moved)
