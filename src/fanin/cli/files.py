"""The files that a command is to write, looked at before it computes anything."""

import os
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from fanin.errors import OptionError

PICTURES = ("--plot",)


def check_outputs(
    written: Iterable[tuple[str, str | None]],
    *,
    read: Iterable[str | None] = (),
    folder: str | None = None,
) -> None:
    """Raises OptionError for what could not be written, or would be written over another file.

    `written` are options and their paths, `read` the words, models and starts that are not to be
    lost; a scheme file may have options, as in `found.json:gain=1`. `folder` is that of a record,
    which is yet to be made.
    """
    if folder is not None and _exists(folder) and not Path(folder).is_dir():
        raise OptionError(f"--out {folder}: no folder for the record: a file has that name")
    given = [(option, path) for option, path in written if path is not None]
    for option, path in given:
        _check(option, path)
    for (one, path), (other, same) in combinations(given, 2):
        if os.path.realpath(path) == os.path.realpath(same):
            names = f"{one} and {other}" if one != other else f"two of {one}"
            raise OptionError(f"{names} are one file, {path}; give each its own name")
    for source in filter(None, read):
        kept = _file(source)
        for option, path in given:
            if _exists(kept) and os.path.realpath(kept) == os.path.realpath(path):
                raise OptionError(
                    f"{option} {path} would be written over what is read, {source}; give it "
                    "another name"
                )


def _check(option: str, path: str) -> None:
    if option in PICTURES:
        from fanin.pictures.figures import check_figure_path

        check_figure_path(path)
    elif option == "--scheme":
        from fanin.starts.scheme_file import check_scheme_path

        check_scheme_path(path)
    else:
        from fanin.atomic_file import check_writable, reason

        try:
            check_writable(path)
        except (OSError, ValueError) as error:
            raise OptionError(f"{option} {path}: cannot be written: {reason(error)}") from None


def _file(source: str) -> str:
    """The file that is read, without a scheme's options."""
    from fanin.starts.scheme_file import file_and_options

    found = file_and_options(source)
    return source if found is None or _exists(source) else found[0]


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that is too long, a folder that is closed
        return False
