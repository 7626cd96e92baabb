"""The tab that a notebook runs for: its name, and threads that may write to it."""

import threading
from collections.abc import Callable


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
    thread.start()
    return thread
