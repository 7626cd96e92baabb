"""How the lesson's pieces stand on the page, live or in the file that `--export` writes."""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape, unescape
from typing import Any, final

import marimo

from fanin.errors import FaninError


@final
class Collected:
    """The pictures and controls of a page, by number: on the page itself are their places."""

    def __init__(self) -> None:
        self.pictures: list[Any] = []
        self.controls: list[Any] = []


_collected: ContextVar[Collected | None] = ContextVar("collected", default=None)
_LABEL = re.compile(r"""data-label='([^']*)'""")
_TAG = re.compile("<[^>]*>")


@contextmanager
def collecting() -> Generator[Collected]:
    """While it holds, pictures and controls leave their places only, and are gathered."""
    collected = Collected()
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


def setting(element: Any) -> str:
    """A control's label and what it is set to, in HTML; not for the cell that made it."""
    value, found = element.value, _LABEL.search(element.text)
    label = json.loads(unescape(found[1])) if found else None
    if isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = f"{value:g}" if isinstance(value, int | float) else str(value)
    return f"{label or ''} <b>{escape(text)}</b>" if text else ""


def stack(*pieces: Any) -> marimo.Html:
    """Pieces under one another, as paragraphs follow paragraphs; None is no piece."""
    inside = "".join(marimo.as_html(each).text for each in pieces if each is not None)
    return marimo.Html(f'<div class="stack">{inside}</div>')


def columns(*pieces: Any) -> marimo.Html:
    """Pieces side by side where there is room."""
    inside = "".join(f"<div>{marimo.as_html(each).text}</div>" for each in pieces)
    return marimo.Html(f'<div class="columns">{inside}</div>')


def controls(*elements: Any, legend: str) -> marimo.Html:
    """Controls side by side, under one another where there is no room, as a group with a name."""
    inside = "".join(
        f'<div class="control">{text}</div>' for text in map(_control, elements) if text
    )
    if not inside:
        return marimo.Html("")
    return marimo.Html(
        f'<fieldset class="controls"><legend>{escape(legend)}</legend>{inside}</fieldset>'
    )


def figure(*pictures: Any, caption: str = "") -> marimo.Html:
    """Pictures (widgets) side by side where there is room, and a caption in Markdown."""
    inside = "".join(f'<div class="panel">{_picture(each)}</div>' for each in pictures)
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


def result(markup: str) -> marimo.Html:
    """A line with the numbers that came out, in HTML."""
    return marimo.Html(f'<p class="number-line" aria-live="polite">{markup}</p>')


def complaint(error: Exception) -> marimo.Html:
    """What is wrong with a setting, to stand beside its control.

    An error that is not fanin's own, as somebody's own program may raise, is called by its kind.
    """
    text = str(error) if isinstance(error, FaninError) else f"{type(error).__name__}: {error}"
    return marimo.Html(f'<p class="complaint" role="alert">{escape(text)}</p>')


def say(what: str) -> None:
    """Say in the cell's own place what is being done, until there is what the cell gives."""
    if _collected.get() is None:
        marimo.output.replace(marimo.Html(f'<p class="working" role="status">{escape(what)}</p>'))


def _plain(found: re.Match[str]) -> str:
    label = _TAG.sub("", json.loads(unescape(found[1])))
    return f"data-label='{escape(json.dumps(label))}'"


def _picture(widget: Any) -> str:
    collected = _collected.get()
    if collected is None:
        return marimo.ui.anywidget(widget).text
    collected.pictures.append(widget)
    return f'<div class="live" data-picture="{len(collected.pictures) - 1}"></div>'


def _control(element: Any) -> str:
    collected = _collected.get()
    if collected is None:
        text = marimo.as_html(element).text
        # A number field is called by its label's very text, markup and all.
        return _LABEL.sub(_plain, text) if isinstance(element, marimo.ui.number) else text
    if isinstance(element, marimo.ui.run_button | marimo.ui.file):
        return ""  # nobody is there to do what it would
    collected.controls.append(element)
    return f'<span data-control="{len(collected.controls) - 1}"></span>'
