"""Parts of a page that commands write, each from a comment with its name to one that ends it."""

import re
from pathlib import Path


def put_part(page: Path, name: str, text: str) -> None:
    """Replace the part of that name; ValueError where the page has none."""
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    after, count = pattern.subn(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", before)
    if count != 1:
        raise ValueError(f"{page} has {count} parts with the name {name}")
    page.write_text(after, encoding="utf-8")
