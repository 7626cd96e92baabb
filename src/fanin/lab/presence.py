"""Which tabs are open, so that what works for a tab can end when it is closed.

marimo keeps a closed tab's session for some minutes, and its threads with it. The server notes
each tab's websocket in a folder, and the page's own process or another one asks.
"""

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

FOLDER_VARIABLE = "FANIN_LAB_PRESENCE"
GRACE = 2.5
"""Seconds that a tab may be away: a reload, or a moment without network, is no farewell."""


@final
class Presence:
    """The open tabs, noted as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: Counter[str] = Counter()

    @contextmanager
    def of(self, session: str) -> Generator[None]:
        """Notes a tab as open as long as the context is."""
        place = _place(self.folder, session)
        self._open[session] += 1
        with suppress(FileNotFoundError):  # the server is ending
            place.touch()
        try:
            yield
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]
                place.unlink(missing_ok=True)

    def end(self) -> None:
        """Everyone who watches finds that nobody is there, at once."""
        shutil.rmtree(self.folder, ignore_errors=True)


@final
class Watch:
    """Asks whether a tab is still there; without a session whether any is.

    `gone` is True once it has been away for longer than the grace. Where no server notes tabs, as
    in a notebook of one's own, everyone is there.
    """

    def __init__(
        self, session: str | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        folder = environment.get(FOLDER_VARIABLE)
        self._folder = None if folder is None else Path(folder)
        self._session = session
        self._seen = time.monotonic()

    @property
    def gone(self) -> bool:
        if self._folder is None:
            return False
        if not self._folder.is_dir():  # the server itself has ended
            return True
        now = time.monotonic()
        if self._there(self._folder):
            self._seen = now
        return now - self._seen > GRACE

    def _there(self, folder: Path) -> bool:
        if self._session is not None:
            return _place(folder, self._session).exists()
        return any(folder.iterdir())


def _place(folder: Path, session: str) -> Path:
    # Whoever opens a websocket chooses the name, so it is no part of a path.
    return folder / hashlib.sha256(session.encode()).hexdigest()[:32]
