"""The results of a search as text: rungs, the best of the last one, the verdicts of the check."""

import io
import os
import shutil
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.race.wording import nats
from fanin.search import SearchResults
from fanin.search.ranking import lost, mean_loss
from fanin.search.results import Compared
from fanin.search.wording import check_notes, search_notes

_LEAST, _WITHOUT_TERMINAL = 60, 120  # columns
_SHOWN = 10


def search_table(results: SearchResults, compared: Sequence[Compared]) -> str:
    """All that a search has shown, as wide as the terminal; without colours."""
    columns = shutil.get_terminal_size((_WITHOUT_TERMINAL, 24)).columns
    console = Console(
        file=io.StringIO(), width=max(_LEAST, columns), color_system=None, highlight=False
    )
    with console.capture() as capture:
        if results.rungs:
            console.print(_rungs(results))
            console.print()
            console.print(_last(results))
            console.print()
        for note in search_notes(results):
            console.print(_text(note))
        if compared:
            console.print()
            for line in _verdicts(compared):
                console.print(_text(line))
            console.print()
        for note in check_notes(results, compared):
            console.print(_text(note))
    lines = capture.get().split("\n")
    return os.linesep.join(line.rstrip() for line in lines).rstrip()


def _rungs(results: SearchResults) -> Table:
    heads = ("rung", "candidates", "seeds", "steps", "diverged", "best dev", "fanin", "go on")
    table = _table(heads)
    uniform = results.plan.uniform_loss
    for rung in results.rungs:
        runs = len(rung.candidates) * len(rung.seeds)
        diverged = sum(lost(losses, uniform) for losses in rung.dev_loss)
        best = mean_loss(rung.dev_loss[rung.candidates.index(rung.kept[0])], uniform)
        own = next((p for p in results.placed_reference() if p.rung == rung.number), None)
        table.add_row(
            str(rung.number),
            f"{len(rung.candidates):,}",
            str(len(rung.seeds)),
            f"{rung.steps:,}",
            f"{diverged:,} of {runs:,}" if diverged else "",
            "" if best is None else nats(best, 0.0005),
            "" if own is None else f"{_loss(own.mean)}, place {own.place:,}",
            f"{len(rung.kept):,}",
        )
    return table


def _last(results: SearchResults) -> Table:
    """The best of the last rung that is through."""
    rung = results.rungs[-1]
    table = _table((f"rung {rung.number}", "start", "dev loss", ""))
    placed = sorted(
        ((results.placed(place)[-1], place) for place in rung.candidates),
        key=lambda pair: pair[0].place,
    )
    for each, place in placed[:_SHOWN]:
        diverged = f"{each.diverged} of {len(rung.seeds)} diverged" if each.diverged else ""
        name = _text(results.plan.pool[place].name)
        table.add_row(f"{each.place}.", name, _loss(each.mean), diverged)
    more = len(placed) - _SHOWN
    if more > 0:
        table.add_row("", f"and {more:,} more", "", "")
    return table


def _verdicts(compared: Sequence[Compared]) -> list[str]:
    winner = compared[0].start
    return [f"winner: {winner}"] + [
        f"  {'' if each.start == winner else f'{each.start} '}against {each.reference}: {each.text}"
        for each in compared
    ]


def _table(heads: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=head not in ("start", "fanin"), overflow="fold")
    return table


def _loss(mean: float | None) -> str:
    return "none finished" if mean is None else nats(mean, 0.0005)


def _text(text: str) -> Text:
    return Text(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )
