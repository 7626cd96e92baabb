"""The lesson with its results as one file, which needs neither server nor network to be read."""

import base64
import json
import re
from collections.abc import Sequence
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import anywidget

from fanin.atomic_file import check_writable, reason, write_atomically
from fanin.errors import OptionError

STEPS = 5_000

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:">
<title>How to start a neural network</title>
<style>{style}</style>
</head>
<body>
<main id="App"><div><div>
{body}
</div></div></main>
<script type="module">{script}</script>
</body>
</html>
"""
# marimo's page sets its mathematics with a program of its own; here the browser does.
_MATHEMATICS = re.compile(
    r"<marimo-tex[^>]*>\|\|(?P<kind>[(\[])(?P<latex>.*?)\|\|[)\]]</marimo-tex>", re.DOTALL
)
_CONTROL = re.compile(r'<span data-control="(\d+)"></span>')


def export_lesson(path: str | Path, *, steps: int = STEPS) -> None:
    """Run the lesson, its trainings for so many steps each, and write it.

    Raises OptionError, naming the path, where it cannot be written.
    """
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: the lesson cannot be written: {reason(error)}") from None
    content = page(steps).encode()
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OptionError(f"{path}: the lesson cannot be written: {reason(error)}") from error


def page(steps: int = STEPS) -> str:
    """The whole file, after running every cell of the lesson and each training for `steps`."""
    import marimo

    from fanin.lab.layout import collecting, setting
    from fanin.lab.lesson import app

    with collecting() as collected:
        outputs, _ = app.run(defs={"shown_steps": steps})
        pieces = [marimo.as_html(each).text for each in outputs if each is not None]
    body = "\n".join(f"<section>{each}</section>" for each in pieces)
    body = _CONTROL.sub(lambda found: setting(collected.controls[int(found[1])]), body)
    body = _MATHEMATICS.sub(_mathematics, body)
    return _PAGE.format(style=_style(), body=body, script=_script(collected.pictures))


def _mathematics(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    display = "block" if found["kind"] == "[" else "inline"
    return convert(unescape(found["latex"]).strip(), display=display)


def _style() -> str:
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=name) for name in ("default", "github-dark"))
    own = (files("fanin.lab").joinpath(name) for name in ("lesson.css", "export.css"))
    return "\n".join(
        [
            *(each.read_text(encoding="utf-8") for each in own),
            light.get_style_defs(".codehilite"),
            f"@media (prefers-color-scheme: dark) {{ {dark.get_style_defs('.codehilite')} }}",
        ]
    )


def _script(pictures: Sequence[Any]) -> str:
    """The pictures' own programs, each once, and their states."""
    kinds = list({type(each): each for each in pictures})
    programs = [str(next(p for p in pictures if type(p) is kind)._esm) for kind in kinds]
    states = [{"kind": kinds.index(type(each)), "state": state(each)} for each in pictures]
    shown = {"programs": programs, "style": str(pictures[0]._css), "pictures": states}
    data = json.dumps(shown, default=_encoded).replace("<", "\\u003c")
    program = files("fanin.lab").joinpath("export.js").read_text(encoding="utf-8")
    return f"const LESSON = {data};\n{program}"


def state(picture: Any) -> dict[str, Any]:
    """What a picture draws: the traits that it synchronises."""
    common = set(anywidget.AnyWidget.class_trait_names())
    names = (name for name in picture.trait_names(sync=True) if not name.startswith("_"))
    return {name: getattr(picture, name) for name in names if name not in common}


def _encoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise TypeError(f"a {type(value).__name__} has no place in a picture's state")
