"""A race as one HTML page: verdicts, curves, paired differences, and all numbers in a table."""

import re
from html import escape

from matplotlib.figure import Figure

from fanin.pictures.figures import figure_bytes
from fanin.pictures.race_figures import curves_figure, differences_figure
from fanin.race import Results, table
from fanin.race.table import StandingsDocument
from fanin.race.wording import counted

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0;
  border-bottom: 1px solid #8884; }
.scroll { overflow-x: auto; }
.note { opacity: 0.75; font-size: 0.9rem; }
.interim { border-left: 4px solid #d55e00; padding-left: 0.8rem; font-weight: 600; }
figure { margin: 1.5rem 0; overflow-x: auto; }
svg { width: 100%; min-width: 30rem; height: auto; }
/* On a telephone a start is a card: its name, its numbers, then the verdict. */
@media screen and (max-width: 700px) {
  .standings table, .standings tbody { display: block; }
  .standings tr { display: flex; flex-wrap: wrap; gap: 0 1.2rem; padding: 0.5rem 0;
    border-bottom: 1px solid #8884; }
  .standings tr:first-child, .standings td:empty { display: none; }
  .standings td { border: 0; padding: 0; }
  .standings td:first-child, .standings td:last-child { flex: 1 0 100%; }
  .standings td:first-child { font-weight: 600; overflow-wrap: anywhere; }
  .standings td:not(:first-child, :last-child)::before { content: attr(data-title) " ";
    opacity: 0.75; font-size: 0.85rem; }
}
"""


def race_page(results: Results, document: StandingsDocument) -> str:
    """The whole page, with nothing outside it; the same race gives the same bytes."""
    plan = results.plan
    title = "Interim standings of a race" if document.interim else "A race of starts"
    words = plan.corpus.words
    told = (
        f"{counted(len(document.starts), 'start')} × {counted(document.seeds, 'seed')}, "
        f"{document.steps:,} steps each, on {len(words.words):,} words ({words.source}), "
        f"{document.seconds:,.0f} s."
    )
    interim = (
        f'<p class="interim">Interim: judged on {document.judged_on} losses after step '
        f"{document.judged_at_step or 0:,} of {document.steps:,}.</p>"
        if document.interim
        else ""
    )
    differences = differences_figure(document)
    parts = [
        f"<h1>{title}</h1><p>{_text(told)}</p>{interim}",
        f'<div class="standings">{_table(*table(document))}</div>',
        "".join(f'<p class="note">{_text(note)}</p>' for note in document.notes),
        "<h2>On the way</h2>",
        _figure(
            curves_figure(results, document.uniform_loss),
            "curves",
            "Mean dev loss by step; the band holds the inner 80 % of the seeds.",
        ),
        "<h2>Differences, seed by seed</h2>",
        "<p>No pair of runs finished.</p>"
        if differences is None
        else _figure(
            differences,
            "differences",
            f"A point a seed; the mean with its interval at level {_level(document)}; the grey "
            f"band is the margin of ±{document.margin:g} nats.",
        ),
        "<h2>Losses by seed</h2>",
        _losses(document),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _figure(figure: Figure, salt: str, caption: str) -> str:
    svg = figure_bytes(figure, ".svg", salt=f"race {salt}").decode()
    svg = re.sub(r"^.*?(?=<svg)", "", svg, flags=re.DOTALL)
    return f'<figure>{svg}<figcaption class="note">{_text(caption)}</figcaption></figure>'


def _level(document: StandingsDocument) -> str:
    level = next((start.level for start in document.starts if start.level is not None), None)
    return f"{100 * (document.level if level is None else level):.5g} %"


def _losses(document: StandingsDocument) -> str:
    heads = ("start", *(str(seed) for seed in document.seed_numbers))
    rows = [
        (
            f"{start.name}, {kind}",
            *("" if loss is None else f"{loss:.4f}" for loss in losses),
        )
        for start in document.starts
        for kind, losses in (("test", start.test_loss), ("dev", start.dev_loss or ()))
    ]
    return _table(heads, rows)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-title="{_text(title)}">{_text(cell)}</td>'
            for title, cell in zip(heads, row, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _text(text: str) -> str:
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escape("".join(shown))
