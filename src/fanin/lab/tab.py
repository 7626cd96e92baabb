"""The tab that a notebook runs for: its name, and threads that may write to it."""

import threading
import time
import weakref
from collections.abc import Callable

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def session() -> str | None:
    """marimo's name for the tab this runs for; None where it serves one notebook to whoever edits.

    To be asked while a cell runs.
    """
    import marimo

    meta = marimo.app_meta()
    if meta.mode != "run" or meta.request is None:
        return None
    # That of the websocket where the page was opened, of the header where a control was moved.
    named = meta.request.query_params.get("session_id") or []
    headers = {name.lower(): value for name, value in dict(meta.request.headers).items()}
    return named[0] if named else headers.get("marimo-session-id")


def background(work: Callable[[], object]) -> threading.Thread:
    """Start a thread that may change what the page shows."""
    import marimo

    thread = marimo.Thread(target=work, daemon=True)
    _threads.add(thread)
    thread.start()
    return thread


def wait_for_threads(seconds: float) -> None:
    """Let what works in the background end: Python may not end in the middle of a computation."""
    until = time.monotonic() + seconds
    for thread in list(_threads):
        thread.join(max(0.0, until - time.monotonic()))
