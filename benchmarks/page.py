"""Parts of a page that commands write, each from a comment with its name to one that ends it."""

import re
from pathlib import Path


def put_part(page: Path, name: str, text: str) -> None:
    """Replace the part of that name; ValueError where the page has none."""
    before = page.read_text(encoding="utf-8")
    _find(page, name, before)
    after = _pattern(name).sub(lambda found: f"{found[1]}{text.strip()}\n{found[3]}", before)
    page.write_text(after, encoding="utf-8")


def read_part(page: Path, name: str) -> str:
    """What stands in the part of that name; ValueError where the page has none."""
    return _find(page, name, page.read_text(encoding="utf-8"))


def _find(page: Path, name: str, text: str) -> str:
    found = _pattern(name).findall(text)
    if len(found) != 1:
        raise ValueError(f"{page} has {len(found)} parts with the name {name}")
    return found[0][1].strip()


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {re.escape(name)} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
