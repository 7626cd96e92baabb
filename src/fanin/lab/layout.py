"""How the lesson's pieces stand on the page."""

from html import escape
from typing import Any

import marimo


def stack(*pieces: Any) -> marimo.Html:
    """Pieces under one another, as paragraphs follow paragraphs."""
    inside = "".join(marimo.as_html(each).text for each in pieces)
    return marimo.Html(f'<div class="stack">{inside}</div>')


def controls(*elements: Any, legend: str) -> marimo.Html:
    """Controls side by side, under one another where there is no room, as a group with a name."""
    inside = "".join(f'<div class="control">{marimo.as_html(each).text}</div>' for each in elements)
    return marimo.Html(
        f'<fieldset class="controls"><legend>{escape(legend)}</legend>{inside}</fieldset>'
    )


def figure(*pictures: Any, caption: str = "") -> marimo.Html:
    """Pictures side by side where there is room, and a caption in Markdown."""
    inside = "".join(f'<div class="panel">{marimo.as_html(each).text}</div>' for each in pictures)
    below = f"<figcaption>{marimo.md(caption).text}</figcaption>" if caption else ""
    return marimo.Html(f'<figure class="pictures of-{len(pictures)}">{inside}{below}</figure>')


def wide(markup: str) -> marimo.Html:
    """Markup that may be wider than the page, and scrolls in its own place then."""
    return marimo.Html(f'<div class="wide" tabindex="0">{markup}</div>')


def table(rows: list[tuple[Any, ...]], heads: tuple[str, ...]) -> marimo.Html:
    """A table; the first column names its row, the others are right-aligned."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return wide(
        f'<table class="lesson"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def complaint(error: Exception) -> marimo.Html:
    """What is wrong with a setting, to stand beside its control."""
    return marimo.Html(f'<p class="complaint" role="alert">{escape(str(error))}</p>')


def columns(*pieces: Any) -> marimo.Html:
    """Pieces side by side where there is room."""
    inside = "".join(f"<div>{marimo.as_html(each).text}</div>" for each in pieces)
    return marimo.Html(f'<div class="columns">{inside}</div>')
