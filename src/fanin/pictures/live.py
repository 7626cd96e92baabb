"""What all displays do: a picture anew on a terminal; elsewhere a line now and then, and last."""

import math
import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TextIO, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live

REFRESH_SECONDS = 0.2  # on a terminal: at most five pictures a second
LINE_SECONDS = 10.0  # elsewhere: at most a line in so many seconds

Display = TypeVar("Display", bound="LiveDisplay")


class LiveDisplay(ABC):
    """Shows what a subclass has to show, on standard error unless told otherwise.

    A context manager, within which `show` is called whenever there is more.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._console = Console(file=self._stream)
        self._on_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._shown = time.monotonic()
        self._said = ""

    @property
    @abstractmethod
    def text(self) -> str:
        """How it stands, in one line."""

    @abstractmethod
    def picture(self) -> RenderableType:
        """How it stands, for a terminal."""

    def __enter__(self: Display) -> Display:
        if self._on_terminal:
            # Standard output is for results, so that one is left alone.
            self._live = Live(
                self.picture(), console=self._console, auto_refresh=False, redirect_stdout=False
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self.picture(), refresh=True)
            self._live.stop()
        elif kind is None and not self._on_terminal:
            self._say()

    def show(self, *, line: bool = False) -> None:
        """Shows it, if enough time has gone by since the last; a line at any rate with `line`."""
        now = time.monotonic()
        waiting = now - self._shown < (REFRESH_SECONDS if self._on_terminal else LINE_SECONDS)
        if waiting and (self._on_terminal or not line):
            return
        self._shown = now
        if self._live is not None:
            self._live.update(self.picture(), refresh=True)
        elif not self._on_terminal:
            self._say()

    def _say(self) -> None:
        if (text := self.text) != self._said:
            print(text, file=self._stream, flush=True)
        self._said = text


def duration(seconds: float) -> str:
    """The time as people say it: "2 min 5 s"."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
