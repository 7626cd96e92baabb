"""A scheme as a file: JSON that can be written by hand, strictly read."""

import codecs
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from fanin.atomic_file import check_writable, reason, write_atomically
from fanin.errors import OptionError
from fanin.starts.schemes import (
    STANDARD_NORMAL,
    ZERO,
    Distribution,
    Gain,
    MadeFor,
    Mode,
    Rule,
    Scheme,
)

FORMAT = "fanin.scheme/1"
SUFFIX = ".json"
# More than any scheme takes; what is larger is some other file.
_MOST_BYTES = 2**20


# Of words of which there are few: msgspec tells which one was found.
_WOULD_DO = {
    "distribution": ", ".join(get_args(Distribution)),
    "gain": "numbers from 0 up, forward, critical",
    "mode": ", ".join(get_args(Mode)),
    "normalisation": "batch, layer, null",
}


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    distribution: Distribution
    gain: Gain = 1.0
    mode: Mode = "none"


class _MadeFor(msgspec.Struct, forbid_unknown_fields=True):
    activation: str
    normalisation: Literal["batch", "layer"] | None = None


class _Format(msgspec.Struct):
    format: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The fields in the order in which they are written; those with a default may be left out."""

    format: str
    hidden: _Rule
    output: _Rule
    bias: _Rule | None = None
    output_bias: _Rule | None = None
    embedding: _Rule | None = None
    scale_residual: bool = False
    unit_preactivations: bool = False
    made_for: _MadeFor | None = None
    summary: str = ""
    source: str = ""


def is_scheme_file(name: str) -> bool:
    """Whether a start's name is that of a scheme file: one that ends in .json, before options."""
    return file_and_options(name) is not None


def file_and_options(name: str) -> tuple[str, str] | None:
    """The path and the options of `found.json:gain=1`; None for what names no file."""
    if name.endswith(SUFFIX):
        return name, ""
    path, colon, options = name.rpartition(f"{SUFFIX}:")
    return (path + SUFFIX, options) if colon else None


def save_scheme(scheme: Scheme, path: str | Path) -> None:
    """Writes the scheme's file, whole or not at all. `path` ends in .json.

    The scheme's name is not written: a scheme that is read is known by its file's name. Raises
    OptionError, naming the path.
    """
    check_scheme_path(path)
    rules = asdict(scheme)
    content = {name: rules[name] for name in _File.__struct_fields__ if name in rules}
    text = msgspec.json.format(msgspec.json.encode({"format": FORMAT, **content}), indent=2)
    try:
        write_atomically(path, text + b"\n")
    except OSError as error:
        raise OptionError(f"{path}: the scheme cannot be written: {reason(error)}") from None


def check_scheme_path(path: str | Path) -> None:
    """Raises OptionError where a scheme could not be written there."""
    if not str(path).endswith(SUFFIX):
        raise OptionError(f"{path}: a scheme is written as {SUFFIX}; end its name in that")
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: the scheme cannot be written: {reason(error)}") from None


def load_scheme(path: str | Path) -> Scheme:
    """Reads a scheme's file; the scheme is named by the path.

    Raises OptionError, naming the file and the field, for whatever in it is not as it should be.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise OptionError(f"{path}: is no plain file; fanin search writes one")
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise OptionError(f"{path}: there is no such file; fanin search writes one") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{path}: cannot be read: {reason(error)}") from None
    if len(content) > _MOST_BYTES:
        raise OptionError(f"{path}: is no scheme file: it has more than {_MOST_BYTES:,} bytes")
    try:
        return _scheme(content.removeprefix(codecs.BOM_UTF8), str(path))
    except (msgspec.DecodeError, OptionError, UnicodeDecodeError, RecursionError) as error:
        raise OptionError(f"{path}: {error}{_what_would_do(str(error))}") from None


def _what_would_do(text: str) -> str:
    if not text.startswith("Invalid enum value"):
        return ""
    return f"; there are {_WOULD_DO[text.rstrip('`').rpartition('.')[2]]}"


def _scheme(content: bytes, path: str) -> Scheme:
    try:
        found = msgspec.json.decode(content, type=_Format).format
    except msgspec.ValidationError as error:
        raise OptionError(f"is no scheme file, which says format: {FORMAT!r} ({error})") from None
    if found != FORMAT:
        raise OptionError(f"is of format {found!r}, and this fanin reads {FORMAT!r}")
    file = msgspec.json.decode(content, type=_File)
    made_for = file.made_for and MadeFor(file.made_for.activation, file.made_for.normalisation)
    return Scheme(
        path,
        file.summary,
        file.source,
        hidden=_rule("hidden", file.hidden),
        output=_rule("output", file.output),
        bias=_rule("bias", file.bias, ZERO),
        output_bias=_rule("output_bias", file.output_bias, ZERO),
        embedding=_rule("embedding", file.embedding, STANDARD_NORMAL),
        scale_residual=file.scale_residual,
        unit_preactivations=file.unit_preactivations,
        made_for=made_for,
    )


def _rule(role: str, rule: _Rule | None, otherwise: Rule | None = None) -> Rule:
    if rule is None:
        assert otherwise is not None
        return otherwise
    settings: dict[str, Any] = msgspec.structs.asdict(rule)
    try:
        return Rule(**settings)
    except OptionError as error:
        raise OptionError(f"$.{role}: {error}") from None
