"""A step-0 report as one HTML file that loads nothing, and as a fragment for a notebook."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import get_args

from fanin.atomic_file import check_writable, reason, write_atomically
from fanin.diagnosis.naming import layer_list
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.remaining import remaining
from fanin.diagnosis.report import Check, Choice, Prescription, Report, Verdict
from fanin.errors import OptionError
from fanin.pictures import report_rows
from fanin.pictures.inline_svg import inline_svg
from fanin.pictures.report_figures import FigureName, report_figure
from fanin.pictures.report_rows import COLUMNS, Row
from fanin.pictures.report_text import SIGNS, bounds, headline, number
from fanin.pictures.saturation_map import MOST_UNITS, data_uri, saturation_png

__all__ = ["check_page_path", "fragment", "page", "report_figure", "write_page"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
body {{ margin: 0 }}
@page {{ margin: 14mm }}
@media print {{ :root {{ color-scheme: only light }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
_MOST_MAPS = 20
_LEGEND = "; ".join(f"<b>{each.title}</b> {escape(each.text)}" for each in COLUMNS) + "."


def page(report: Report) -> str:
    """The whole file."""
    title = f"{SIGNS[report.verdict]} {report.verdict} · {report.recording.subject}"
    return _PAGE.format(title=escape(title), body=fragment(report))


def check_page_path(path: str | Path) -> None:
    """Raises OptionError where a page could not be written there."""
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: the report cannot be written: {reason(error)}") from None


def write_page(report: Report, path: str | Path) -> None:
    """Writes the file, whole or not at all. Raises OptionError, naming the path."""
    check_page_path(path)
    try:
        write_atomically(path, page(report).encode())
    except OSError as error:
        raise OptionError(f"{path}: the report cannot be written: {reason(error)}") from error


def fragment(report: Report) -> str:
    """The report as one element that brings its own style and touches nothing else on a page."""
    style = files("fanin.pictures").joinpath("report.css").read_text(encoding="utf-8")
    recording = report.recording
    parts = [
        f"<style>\n{style}</style>",
        f'<p class="subject">{escape(recording.subject)}</p>',
        f"<h1>{_verdict(report.verdict)}</h1>",
        f"<p>{escape(headline(report))}</p>",
        _section("Verdicts", _checks(report)),
        _section("Prescriptions", map(_prescription, report.prescriptions), "ol"),
        _section("Choices for the depth", map(_choice, report.choices), "ul"),
        *_measured(report),
        f"<p><small>{_LEGEND}</small></p>",
        _section(
            "Not looked into", (f"<li>{escape(each)}</li>" for each in recording.not_seen), "ul"
        ),
        "" if report.after is None else _after(report, report.after),
    ]
    return f'<div class="fanin-report">\n{"".join(parts)}</div>'


def _measured(report: Report) -> list[str]:
    """Pictures and numbers, of a report before a change as after it."""
    digest = sha256(report.to_json()).hexdigest()[:8]
    figures = "".join(_figure(report, name, digest) for name in get_args(FigureName))
    return [
        _section("Pictures", [f'<div class="figures">{figures}</div>']),
        _section("Saturation", _maps(report)),
        _section("Layers", [_table(report)]),
    ]


def _section(title: str, parts: Iterable[str], kind: str = "") -> str:
    content = "".join(parts)
    if not content:
        return ""
    content = f"<{kind}>{content}</{kind}>" if kind else content
    return f"<section><h2>{title}</h2>{content}</section>\n"


def _verdict(verdict: Verdict) -> str:
    return f'<span class="{verdict}">{SIGNS[verdict]} {verdict}</span>'


def _checks(report: Report) -> list[str]:
    """What is wrong at length, the rest to be unfolded."""
    checks, order = report.checks, [layer.name for layer in report.recording.layers]
    flagged = [_check(check, order) for check in checks if check.verdict != "good"]
    well = [check for check in checks if check.verdict == "good"]
    if well:
        names = ", ".join(escape(check.name) for check in well)
        content = "".join(_check(check, order) for check in well)
        summary = f"<summary>{_verdict('good')} {names}</summary>"
        flagged.append(f"<details>{summary}{content}</details>")
    return flagged


def _check(check: Check, order: Sequence[str]) -> str:
    details = (bounds(check), layer_list(check.layers, order), check.source)
    return (
        f'<div class="check">{_verdict(check.verdict)} <b>{escape(check.name)}</b>'
        f"<p>{escape(check.text)}</p>"
        f"<p><small>{escape(' · '.join(filter(None, details)))}</small></p></div>"
    )


def _table(report: Report) -> str:
    titles = "".join(
        f'<th title="{escape(column.text)}">{escape(column.title)}</th>' for column in COLUMNS
    )
    body = "".join(map(_row, report_rows.rows(report)))
    return (
        f'<div class="scroll"><table class="layers"><thead><tr><th></th><th></th>'
        f"<th>parameter</th>{titles}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot>{_row(report_rows.totals(report), total=True)}</tfoot></table></div>"
    )


def _row(row: Row, total: bool = False) -> str:
    sign = "" if total else f'<span class="{row.verdict}">{SIGNS[row.verdict]}</span>'
    cells = "".join(
        f'<td data-title="{escape(column.title)}">{escape(cell)}</td>' if cell else "<td></td>"
        for column, cell in zip(COLUMNS, row.cells, strict=True)
    )
    place = str(row.place) if row.place else ""
    # A long name may be broken after its dots.
    name = escape(row.name).replace(".", ".<wbr>")
    return f"<tr><td>{sign}</td><td>{place}</td><th>{name}</th>{cells}</tr>"


def _figure(report: Report, name: FigureName, digest: str) -> str:
    return (
        f"<figure>{inline_svg(report_figure(report, name), name, salt=f'{name} {digest}')}</figure>"
    )


def _maps(report: Report) -> list[str]:
    """The maps of flagged layers, and what their colours mean."""
    flagged = [
        layer
        for layer in report.recording.layers
        if layer.map and report.verdict_of(layer.name) != "good"
    ]
    if not flagged:
        return []
    legend = (
        "<p><small>A row for each of the first examples, a column for each unit: "
        '<span class="high">■</span> at the upper flat end, <span class="low">■</span> at the '
        'lower one, <span class="zero">■</span> exactly zero.</small></p>'
    )
    return [legend, f'<div class="maps">{"".join(map(_map, flagged[:_MOST_MAPS]))}</div>']


def _map(layer: Layer) -> str:
    units = len(layer.map[0])
    some = f", the first {MOST_UNITS:,} of {units:,} units" if units > MOST_UNITS else ""
    label = f"{layer.name}: {len(layer.map)} examples × {units:,} units{some}"
    uri = data_uri(saturation_png(layer.map))
    return (
        f'<figure><img class="map" src="{uri}" alt="{escape(label)}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def _prescription(prescription: Prescription) -> str:
    return (
        f"<li><b>{escape(prescription.parameter)}</b>: {escape(prescription.change)}"
        f"<p>{escape(prescription.reason)}</p><pre><code>{escape(prescription.code)}</code></pre></li>"
    )


def _choice(choice: Choice) -> str:
    change = f"<code>{escape(choice.options)}</code>" if choice.options else escape(choice.change)
    return (
        f"<li><b>{escape(choice.name)}</b>: {change}"
        f"<p>{escape(choice.text)}</p>"
        f"<p><small>By theory: activations' second moment "
        f"{number(choice.activation_second_moment)}, gradients × {number(choice.gradient_product)} "
        f"over the depth, examples alike {number(choice.correlation)}.</small></p>"
        f"<pre><code>{escape(choice.code)}</code></pre></li>"
    )


def _after(report: Report, after: Report) -> str:
    """The same again, of the network as prescribed."""
    losses = f"; loss {number(report.loss)} → {number(after.loss)}" if after.loss else ""
    head = f"<p>{_verdict(report.verdict)} → {_verdict(after.verdict)}{losses}</p>"
    told = (f"<p>{escape(sentence)}</p>" for sentence in remaining(after))
    parts = [
        _section("Verdicts", _checks(after)),
        _section("What remains", told),
        *_measured(after),
    ]
    return f"<hr><h1>After the prescriptions</h1>{head}{''.join(parts)}"
