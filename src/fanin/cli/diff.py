"""`fanin diff`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fanin.cli.output import print_json
from fanin.errors import OptionError

if TYPE_CHECKING:
    from fanin.diagnosis.document import ReportDocument

SCHEMA = "fanin.diff/1"
FAILED = 1


def diff(
    before: str,
    after: str,
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    fail_on: Literal["moved", "worse"] | None = None,
) -> int:
    """Compare two reports of fanin diagnose --json: what moved beyond the seeds' spread.

    Parameters
    ----------
    before
        The earlier report; - for standard input.
    after
        The later report; - for standard input.
    json
        One JSON object on standard output, and nothing else there.
    fail_on
        Exit with 1 where anything moved, or where the verdict got worse.
    """
    if before == after == "-":
        raise OptionError("both reports cannot come from standard input; give a file for one")
    from fanin.diagnosis.comparison import compare

    comparison = compare(_read(before), _read(after))
    if json:
        print_json(SCHEMA, {**asdict(comparison), "moved": comparison.moved})
    else:
        from fanin.pictures.comparison_terminal import print_comparison

        print_comparison(comparison)
    fail = {"moved": comparison.moved, "worse": comparison.worse, None: False}[fail_on]
    return FAILED if fail else 0


def _read(source: str) -> "ReportDocument":
    from fanin.diagnosis.document import ReportFileError, read_document

    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReportFileError(f"{source}: cannot be read: {reason.lower()}") from None
    return read_document(content, "<stdin>" if source == "-" else source)
