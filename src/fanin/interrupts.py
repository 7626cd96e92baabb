"""Ctrl-C: what has nothing to lose yet ends at once, and what has is told for certain.

Python's own way, an exception wherever the program is, gets lost: while modules load it becomes
another error, and where it meets a callback (JAX has one in the garbage collection) it is ignored.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_before_leaving: list[Callable[[], object]] = []
_noticed = False


def leave_at_once() -> None:
    """From now on an interrupt ends the process, until something is `worth_keeping`."""
    signal.signal(signal.SIGINT, _leave)


def before_leaving(call: Callable[[], object]) -> None:
    """What to do before an interrupt ends the process."""
    _before_leaving.append(call)


def worth_keeping() -> None:
    """For loops, each time round: from now on an interrupt raises KeyboardInterrupt.

    Raises it where one came and was lost on its way. Where the process is not the command line's,
    nothing is changed.
    """
    global _noticed
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, _raise)
    elif _noticed:
        _noticed = False
        raise KeyboardInterrupt


def leave() -> NoReturn:
    """End the process now, as after an interrupt, whatever its threads are at."""
    for call in _before_leaving:
        call()
    show_cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress display may have hidden it
    os.write(2, show_cursor + b"fanin: interrupted\n")
    os._exit(INTERRUPTED)


def _leave(number: int, frame: FrameType | None) -> None:
    leave()


def _raise(number: int, frame: FrameType | None) -> None:
    global _noticed
    _noticed = True
    raise KeyboardInterrupt
