"""Writes docs/report-schema.json and docs/report.md from the report's own declarations.

`python scripts/report_schema.py`; with --check it writes nothing and exits with 1 if a file is not
what it would write.
"""

import ast
import inspect
import json
import re
import sys
import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fanin.diagnosis.document import SCHEMA, ReportDocument, json_schema

DOCS = Path(__file__).parents[1] / "docs"
INTRODUCTION = f"""# The report as JSON

`fanin diagnose --json` prints one object, and `report.to_json()` gives the same bytes. Its `schema`
is `{SCHEMA}`: the number rises when a field changes its meaning or goes; new fields may come
without that. A number that was not measured, or is not finite, is null. The machine's version of
this page is [report-schema.json](report-schema.json); `fanin diff` compares two such objects.

This page is written by `python scripts/report_schema.py`.
"""


def main() -> int:
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    written = {DOCS / "report-schema.json": schema, DOCS / "report.md": page()}
    stale = [path for path, text in written.items() if not same(path, text)]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is not current; run python scripts/report_schema.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(written[path], encoding="utf-8")
    return 0


def same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def page() -> str:
    """The introduction, and a table of the fields of each object, the report's own first."""
    waiting, seen, parts = [ReportDocument], [ReportDocument], [INTRODUCTION]
    while waiting:
        kind = waiting.pop(0)
        parts.append(section(kind))
        for found in (each for hint in get_type_hints(kind).values() for each in objects(hint)):
            if found not in seen:
                seen.append(found)
                waiting.append(found)
    return "\n".join(parts)


def section(kind: type) -> str:
    hints, texts = get_type_hints(kind), field_texts(kind)
    rows = [f"## {title(kind)}\n", f"{paragraph(kind.__doc__ or '')}\n", "| field | type | |"]
    rows.append("|---|---|---|")
    rows += [
        f"| `{each.name}` | {type_text(hints[each.name])} | {texts.get(each.name, '')} |"
        for each in fields(kind)
    ]
    return "\n".join(rows) + "\n"


def field_texts(kind: type) -> dict[str, str]:
    """The strings that stand below the fields of a dataclass."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(declared, ast.ClassDef)
    found: dict[str, str] = {}
    last = ""
    for statement in declared.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            last = statement.target.id
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and last:
            text = paragraph(str(statement.value.value)).replace("None", "null")
            found[last] = text.replace("|", "\\|")
    return found


def paragraph(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def title(kind: type) -> str:
    """The name in words: NotFinite is "not finite"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__.removesuffix("Document")).lower()


def objects(hint: Any) -> list[type]:
    if is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    return [found for argument in get_args(hint) for found in objects(argument)]


def type_text(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is type(None):
        return "null"
    if origin in (Union, UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    if origin is Literal:
        return ", ".join(f"`{json.dumps(argument)}`" for argument in arguments)
    if origin is tuple:
        return f"list of {type_text(arguments[0])}"
    if is_dataclass(hint):
        return f"[{title(hint)}](#{title(hint).replace(' ', '-')})"
    return {str: "string", int: "whole number", float: "number", bool: "true or false"}[hint]


if __name__ == "__main__":
    sys.exit(main())
