"""A figure as an SVG element inside a page: short, with the page's own type and colours."""

import re
from html import escape

from matplotlib.figure import Figure

from fanin.pictures.figures import figure_bytes

_PROLOGUE = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>", re.DOTALL)
# matplotlib's rule is for every element, and in a page it would be for the whole page's.
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_SIZE = re.compile(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"')
_FONT = re.compile(r" font-family: [^;]*;")
_NO_TURN = re.compile(r' transform="rotate\(-0 [^"]*\)"')
_IDENTIFIER = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'url\(#([^)]*)\)|href="#([^"]*)"')
# A hundredth of a point is less than any screen shows.
_COORDINATES = re.compile(r' (?:d|x|y)="[^"]*"')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def inline_svg(figure: Figure, label: str, *, salt: str) -> str:
    """The figure's element, with `label` for those who cannot see it.

    Two figures on one page need two salts: what is drawn twice in one is referred to by names that
    come from the salt.
    """
    text = figure_bytes(figure, ".svg", salt=salt).decode()
    text = _STYLE.sub("", _PROLOGUE.sub("", text))
    text = _NO_TURN.sub("", _FONT.sub("", text))
    text = _SIZE.sub(rf'\1 role="img" aria-label="{escape(label)}"', text, count=1)
    used = {one or other for one, other in _REFERENCE.findall(text)}
    text = _IDENTIFIER.sub(lambda found: found[0] if found[1] in used else "", text)
    text = _COORDINATES.sub(lambda found: _LONG_NUMBER.sub(_rounded, found[0]), text)
    return re.sub(r"\s*\n\s*", " ", text).replace("> <", "><").strip()


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}"
