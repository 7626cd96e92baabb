"""A step-0 report on a terminal: verdicts first, then the layers, then what to do."""

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanin.diagnosis.naming import layer_list
from fanin.diagnosis.remaining import remaining
from fanin.diagnosis.report import Check, Choice, Prescription, Report, Verdict
from fanin.pictures import report_rows
from fanin.pictures.report_rows import COLUMNS, Row
from fanin.pictures.report_text import (
    PLAIN_SIGNS,
    SIGNS,
    bounds,
    headline,
    number,
)

WIDTH = 100
STYLES: dict[Verdict, str] = {"good": "green", "suspect": "yellow", "bad": "bold red"}
_SHORTEST_NAME, _LONGEST_NAME = 12, 24
_WHOLE = 12  # prescriptions that are shown with reason and code
# What a narrow table goes without, in this order.
_DROPPED = (
    report_rows.FAN_IN,
    report_rows.UPDATE,
    report_rows.PREDICTED,
    report_rows.GAIN,
    report_rows.ALIKE,
    report_rows.GRADIENT,
    report_rows.DEAD,
    report_rows.AT_ENDS,
)


def print_report(report: Report, stream: TextIO | None = None, *, width: int | None = None) -> None:
    """Writes the report to a stream (standard output), in at most a hundred columns."""
    _print(new_console(stream, width), report)


def in_words(report: Report) -> str:
    """What `print_report` would write to a file."""
    console = Console(force_terminal=False, highlight=False, markup=False, emoji=False, width=WIDTH)
    with console.capture() as captured:
        _print(console, report)
    return captured.get()


def _print(console: Console, report: Report) -> None:
    order = [layer.name for layer in report.recording.layers]
    console.print(Text(report.recording.subject, style="dim"))
    console.print(verdict_text(console, report.verdict) + Text(": " + headline(report)))
    console.print()
    console.print(_checks(console, report.checks, order))
    console.print()
    console.print(_layers(console, report))
    if report.prescriptions:
        console.print("\nPrescriptions", style="bold")
        _print_prescriptions(console, report.prescriptions)
    if report.choices:
        console.print(
            "\nOver the depth the gradients grow or shrink more than tenfold. Choices:",
            style="bold",
        )
        for choice in report.choices:
            _print_choice(console, choice)
    for unseen in report.recording.not_seen:
        console.print(f"not looked into: {unseen}", style="dim")
    if report.after is not None:
        _print_after(console, report, report.after)


def new_console(stream: TextIO | None, width: int | None) -> Console:
    """A console of at most a hundred columns that takes text as it is."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    natural = console.width if console.is_terminal else WIDTH
    console.width = min(width or natural, WIDTH)
    return console


def new_table(*, show_footer: bool = False) -> Table:
    """Columns one space apart, a rule under the titles."""
    return Table(
        box=box.SIMPLE, padding=0, show_edge=False, pad_edge=False, show_footer=show_footer
    )


def signs(console: Console) -> dict[Verdict, str]:
    """The signs that the terminal's encoding can write."""
    try:
        "".join(SIGNS.values()).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return PLAIN_SIGNS
    return SIGNS


def verdict_text(console: Console, verdict: Verdict) -> Text:
    return Text(f"{signs(console)[verdict]} {verdict}", style=STYLES[verdict])


def _checks(console: Console, checks: Sequence[Check], order: Sequence[str]) -> Table:
    """What is wrong in words, then the names of what is not."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for check in checks:
        if check.verdict == "good":
            continue
        text = Text.assemble((check.name, "bold"), f": {check.text}")
        details = (bounds(check), layer_list(check.layers, order), check.source)
        text.append("\n" + " · ".join(filter(None, details)), style="dim")
        grid.add_row(verdict_text(console, check.verdict), text)
    if well := [check.name for check in checks if check.verdict == "good"]:
        grid.add_row(verdict_text(console, "good"), ", ".join(well))
    return grid


def _layers(console: Console, report: Report) -> Table:
    found = report_rows.folded(report_rows.rows(report))
    last = report_rows.totals(report)
    shown, name_width = _fitting(found, last, console.width)
    table = new_table(show_footer=True)
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    name = "\n".join(broken_to(last.name, name_width))
    table.add_column("parameter", name, width=name_width, vertical="bottom")
    for place in shown:
        title = COLUMNS[place].title.replace(" ", "\n", 1)
        # The footer's first line, beside the name's.
        table.add_column(title, last.cells[place], justify="right", no_wrap=True)
    for row in found:
        table.add_row(*_cells(console, row, shown, name_width))
    return table


def _cells(console: Console, row: Row, shown: Sequence[int], name_width: int) -> list[Text]:
    place = str(row.place) if row.place else ""
    name = Text("\n".join(broken_to(row.name, name_width)))
    cells = [Text(signs(console)[row.verdict], STYLES[row.verdict]), Text(place, "dim"), name]
    return cells + [Text(row.cells[place]) for place in shown]


def broken_to(name: str, width: int) -> list[str]:
    """A name in lines of at most so many characters, broken after dots and spaces if it can be."""
    lines: list[str] = []
    while len(name) > width:
        end = 1 + max(name.rfind(".", 0, width), name.rfind(" ", 0, width))
        end = end or width
        lines.append(name[:end])
        name = name[end:]
    return [*lines, name]


def _fitting(found: Sequence[Row], last: Row, width: int) -> tuple[list[int], int]:
    """The places of the columns that there is room for, and the width left to the names."""
    longest = max(len(row.name) for row in [*found, last])
    wanted = min(max(len(row.name) for row in found), _LONGEST_NAME)
    # The sign, the place and each column with the gap before it.
    fixed = 2 + 1 + max(len(str(row.place)) for row in found)
    widths = [1 + _column_width([*found, last], place) for place in range(len(COLUMNS))]
    shown = list(range(len(COLUMNS)))
    for column in _DROPPED:
        if width - fixed - sum(widths[place] for place in shown) >= wanted:
            break
        shown.remove(COLUMNS.index(column))
    room = width - fixed - sum(widths[place] for place in shown)
    return shown, max(_SHORTEST_NAME, min(longest, room))


def _column_width(found: Sequence[Row], place: int) -> int:
    title = max(map(len, COLUMNS[place].title.split(" ", 1)))
    return max(title, *(len(row.cells[place]) for row in found))


def _print_prescriptions(console: Console, prescriptions: Sequence[Prescription]) -> None:
    """The first ones with reason and code; where there are many, a line for each of the others."""
    for index, prescription in enumerate(prescriptions, 1):
        head = (f"{index}. {prescription.parameter}", "bold"), f": {prescription.change}"
        if index == _WHOLE + 1:
            console.print("The others in short; their reasons and code are in --json and --html:")
        console.print(Text.assemble(*head))
        if index <= _WHOLE:
            console.print(Padding(Text(prescription.reason), (0, 0, 0, 3)))
            _print_code(console, prescription.code)


def _print_choice(console: Console, choice: Choice) -> None:
    console.print(
        Text.assemble(("- " + choice.name, "bold"), f": {choice.options or choice.change}")
    )
    gives = (
        f"by theory: activations' second moment {number(choice.activation_second_moment)}, "
        f"gradients × {number(choice.gradient_product)} over the depth, "
        f"alike {number(choice.correlation)}"
    )
    console.print(Padding(Text(f"{choice.text}\n{gives}"), (0, 0, 0, 2)))
    _print_code(console, choice.code)


def _print_code(console: Console, code: str) -> None:
    """Never wrapped by us: it is there to be pasted."""
    for line in code.splitlines():
        console.print(Text("      " + line, style="cyan"), soft_wrap=True)


def _print_after(console: Console, report: Report, after: Report) -> None:
    console.print("\nAfter the prescriptions", style="bold")
    was, now = verdict_text(console, report.verdict), verdict_text(console, after.verdict)
    losses = f"; loss {number(report.loss)} → {number(after.loss)}" if after.loss else ""
    console.print(Text.assemble(was, " → ", now, losses))
    console.print(_before_and_after(report, after, console.width))
    console.print(_checks(console, after.checks, [each.name for each in after.recording.layers]))
    if told := remaining(after):
        console.print("\nWhat remains", style="bold")
        for sentence in told:
            console.print(sentence)


def _before_and_after(report: Report, after: Report, width: int) -> Table:
    """What moved in the layers that were not well, or that are not now."""
    table = new_table()
    shown = (report_rows.PREACTIVATION, report_rows.ACTIVATION, report_rows.AT_ENDS)
    shown = (*shown, report_rows.GRADIENT)
    before = {row.place: row for row in report_rows.rows(report)}
    now = {row.place: row for row in report_rows.rows(after)}
    places = [p for p in sorted(now) if {before[p].verdict, now[p].verdict} != {"good"}]
    table.add_column("parameter", width=_LONGEST_NAME)
    for column in shown:
        table.add_column(column.title, justify="right", no_wrap=True)
    for place in places:
        was, is_now = before[place].cells, now[place].cells
        indices = [COLUMNS.index(column) for column in shown]
        cells = [f"{was[i]} → {is_now[i]}" for i in indices]
        table.add_row("\n".join(broken_to(now[place].name, _LONGEST_NAME)), *cells)
    return table
