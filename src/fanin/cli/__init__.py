"""The command line: parses, calls what Python can call, prints. One file a command.

Results go to standard output, everything else to standard error. Exit codes: 0; 1 where --fail-on
says so or a process was lost; 2 for what the user can mend, after one message and with nothing
written; 70 for a fault of fanin's own; 130 after an interrupt.
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnknownOptionError, UnusedCliTokensError

from fanin.cli.output import printable
from fanin.cli.together import end
from fanin.errors import FaninError
from fanin.interrupts import INTERRUPTED
from fanin.program_cache import keep_programs

MENDABLE, FAULT = 2, 70
# What a write of results may meet that is no fault of fanin's.
_NARROWEST = 20  # columns
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
BROKEN_PIPE = 141  # what a shell reports of a program that nobody reads any more

# A lone "-" means standard input, and the parser would take it for an option without a name. No
# argument of a process can hold a NUL, so this stands for nothing else.
_DASH = "\0"

_EXAMPLE = """Example:

  fanin train                               train on the bundled names
  fanin sample names.safetensors -n 100     make a hundred more
  fanin diagnose --start normal             will it learn, and if not, why not?
  fanin race --start fanin --start normal   which start is better, and is it sure?
"""
_TRAIN_EXAMPLE = """Example:

  fanin train words.txt --hidden 100,100 --steps 50000 --out words.safetensors
  sort -u words.txt | fanin train - --plot losses.svg --json > run.json
"""
_SAMPLE_EXAMPLE = """Example:

  fanin sample names.safetensors -n 10 --prefix jo --temperature 0.8
"""
_FIND_LR_EXAMPLE = """Example:

  fanin find-lr words.txt --hidden 100,100 --plot rates.svg
  fanin train words.txt --hidden 100,100 --lr auto
"""
_GAIN_EXAMPLE = """Example:

  fanin gain tanh --bias-variance 0.05 --plot tanh.svg
  fanin gain jax.nn:mish --json
"""
_STARTS_EXAMPLE = """Example:

  fanin starts
  fanin train --start kaiming-normal:gain=1
"""
_RACE_EXAMPLE = """Example:

  fanin race --start fanin --start kaiming-normal:gain=1 --html race.html
  fanin race words.txt --axis lr=0.03,0.1,0.3 --seeds 16 --out folder
"""
_MAP_EXAMPLE = """Example:

  fanin map --x gain=0.2:4:20 --y depth=1:60:20 --plot map.svg --out folder
  fanin map --measure gradient-ratio --activation gelu --plot gradients.png
"""
_SEARCH_EXAMPLE = """Example:

  fanin search --budget 200 --out folder    writes found.json, and tells how to train with it
  fanin search words.txt --activation tanh --norm none --hidden 100,100 --plot search.svg
"""
_DIAGNOSE_EXAMPLE = """Example:

  fanin diagnose --start normal --html report.html
  fanin diagnose words.txt --start normal --fix --out mended.safetensors
  fanin train --start mended.safetensors
"""
_DIFF_EXAMPLE = """Example:

  fanin diagnose --json > before.json       and after a change: > after.json
  fanin diff before.json after.json
"""
_LAB_EXAMPLE = """Example:

  fanin lab                                 the lesson on initialisation, live in the browser
  fanin lab --edit                          the same as a notebook, its cells to be changed
"""
_EPILOGUE = (
    "Exit codes: 0; 1 where --fail-on says so or a process was lost; 2 for what you can mend (one "
    "message, nothing written); 70 for a fault of fanin's own; 130 after Ctrl-C."
)

_OTHER_NUMBERS = (
    "JAX_ENABLE_X64",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_THREEFRY_PARTITIONABLE",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_NUMPY_RANK_PROMOTION",
    "JAX_DEBUG_NANS",
    "JAX_DEBUG_INFS",
    "JAX_TRANSFER_GUARD",
    "JAX_DISABLE_JIT",
    "MPLBACKEND",
)
"""Settings under which a seed would give other numbers, or what is no fault would be one."""

_STANDARD_ERROR = 2
_SYNONYMS = {
    "--learning-rate": "--lr",
    "--rate": "--lr",
    "--iterations": "--steps",
    "--init": "--start",
    "--initialisation": "--start",
    "--initialization": "--start",
    "--scheme": "--start",
    "--nonlinearity": "--activation",
    "--units": "--hidden",
    "--context": "--block",
    "--context-length": "--block",
    "-o": "--out",
}
"""What other programs call our options, where the letters alone suggest nothing or another one."""

app = App(
    name="fanin",
    help="Gets neural networks started right.",
    help_prologue=_EXAMPLE,
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command("fanin.cli.train:train", name="train", help_prologue=_TRAIN_EXAMPLE)
app.command("fanin.cli.sample:sample", name="sample", help_prologue=_SAMPLE_EXAMPLE)
app.command("fanin.cli.find_lr:find_lr", name="find-lr", help_prologue=_FIND_LR_EXAMPLE)
app.command("fanin.cli.diagnose:diagnose", name="diagnose", help_prologue=_DIAGNOSE_EXAMPLE)
app.command("fanin.cli.diff:diff", name="diff", help_prologue=_DIFF_EXAMPLE)
app.command("fanin.cli.gain:gain", name="gain", help_prologue=_GAIN_EXAMPLE)
app.command("fanin.cli.starts:starts", name="starts", help_prologue=_STARTS_EXAMPLE)
app.command("fanin.cli.race:race", name="race", help_prologue=_RACE_EXAMPLE)
app.command("fanin.cli.map:map_", name="map", help_prologue=_MAP_EXAMPLE)
app.command("fanin.cli.search:search", name="search", help_prologue=_SEARCH_EXAMPLE)
app.command("fanin.cli.lab:lab", name="lab", help_prologue=_LAB_EXAMPLE)
app.register_install_completion_command(
    help="Install completion for the shell in use (bash, zsh, fish)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit code."""
    try:
        code = _main(sys.argv[1:] if arguments is None else arguments)
    finally:
        if arguments is None:  # the process ends now; another Ctrl-C has nothing left to stop
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments is None:
        end(code)
    return code


def _main(arguments: Sequence[str]) -> int:
    _prepare_streams()
    _prepare_environment()
    if "" not in sys.path:  # where module:callable looks, for the script as for python -m
        sys.path.append("")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except FaninError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("fanin: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            _drop_output()
            return _complain(f"the results cannot be written: {error.strerror}")
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return _complain(f"{str(error.filename)[:100]}…: no file can have so long a name")
        if (complaint := _about_jax(error)) is not None:
            return _complain(complaint)
        _report(error)
        return FAULT
    return code


def _about_jax(error: Exception) -> str | None:
    """What JAX says of a setting in the environment that it cannot use; None for other errors."""
    told = str(error).partition("\n")[0]
    settings = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
    for name, value in sorted(settings.items()):
        option = name.lower()
        if any(word in told for word in (name, option, option.replace("_", ".", 1))):
            return f"JAX cannot use {name}={value} of the environment: {told}"
    settings = {name: value for name, value in settings.items() if "_CACHE_" not in name}
    if settings and "jax" in sys.modules:
        try:
            sys.modules["jax"].devices()
        except Exception as reason:
            given = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
            why = str(reason).partition("\n")[0] or "it has no device"
            return f"JAX cannot begin with {given} of the environment: {why}"
    return None


def _prepare_environment() -> None:
    """What other programs' settings would break: help on a terminal of no width, float64."""
    with suppress(KeyError, ValueError):
        if int(os.environ["COLUMNS"]) < _NARROWEST:
            os.environ["COLUMNS"] = str(_NARROWEST)
    for name in _OTHER_NUMBERS:
        os.environ.pop(name, None)


class _Lossy(io.FileIO):
    """What cannot be written is lost: a log on a full disk is no reason to lose the work."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _prepare_streams() -> None:
    # Python has no stream where the shell closed it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if type(sys.stderr) is io.TextIOWrapper and sys.stderr.fileno() == _STANDARD_ERROR:
        lossy = io.BufferedWriter(_Lossy(_STANDARD_ERROR, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(lossy, sys.stderr.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        # A symbol that the terminal's encoding lacks is no reason to lose a result.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Python would flush standard output once more at its exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str]) -> int:
    try:
        command, bound, _ = app.parse_args(
            [_DASH if argument == "-" else argument for argument in arguments],
            print_error=False,
            exit_on_error=False,
        )
    except CycloptsError as error:
        return _complain(_usage_error(error))
    keep_programs()
    call: Callable[..., Any] = command
    values = {name: "-" if value == _DASH else value for name, value in bound.arguments.items()}
    bound.arguments.update(values)
    result = call(*bound.args, **bound.kwargs)
    return result if isinstance(result, int) else 0


def _complain(message: str) -> int:
    message = f"''{message}" if message.startswith(": ") else message  # of a file without a name
    # A message may show a name from the disk, or from a file.
    print(f"fanin: {printable(message)}", file=sys.stderr)
    return MENDABLE


def _usage_error(error: CycloptsError) -> str:
    error.verbose = False
    message = str(error)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        message = f"{error.unused_tokens[0]!r} is one argument too many."
    if isinstance(error, UnknownOptionError):
        given = error.token.keyword or error.token.value
        meant = _SYNONYMS.get(given.partition("=")[0])
        if any(meant in argument.names for argument in error.argument_collection):
            message = f"Unknown option: {given}. Did you mean {meant}?"
    chain = " ".join(("fanin", *(error.command_chain or ())))
    message = message.rstrip()
    message += "" if message.endswith((".", "?", "!")) else "."
    return f"{message} See {chain} -h.".replace(_DASH, "-")


def _report(error: Exception) -> None:
    import platform
    import traceback
    from importlib.metadata import version

    versions = ", ".join(f"{name} {version(name)}" for name in ("fanin", "jax", "numpy"))
    print(
        f"fanin: a fault of fanin's own: {type(error).__name__}: {error}\n"
        f"Please report it with the command and the lines below "
        f"({versions}, Python {platform.python_version()}, {platform.platform()}).\n",
        file=sys.stderr,
    )
    traceback.print_exception(error, file=sys.stderr)
