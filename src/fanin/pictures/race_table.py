"""The standings of a race as a table of text."""

import io
import os
import shutil

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.race.table import StandingsDocument, table

_LEAST, _WITHOUT_TERMINAL = 60, 120  # columns


def race_table(document: StandingsDocument) -> str:
    """The table with its notes under it, as wide as the terminal; without colours."""
    heads, rows = table(document)
    drawn = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for head in heads:
        # A name or a number in two lines would be two; the verdict is a sentence.
        drawn.add_column(head, no_wrap=head not in ("verdict", "start"), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_printable(cell)) for cell in row))
    columns = shutil.get_terminal_size((_WITHOUT_TERMINAL, 24)).columns
    console = Console(
        file=io.StringIO(), width=max(_LEAST, columns), color_system=None, highlight=False
    )
    with console.capture() as capture:
        console.print(drawn)
        console.print()
        for note in document.notes:
            console.print(Text(_printable(note)))
    lines = capture.get().split("\n")
    return os.linesep.join(line.rstrip() for line in lines).rstrip()


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
