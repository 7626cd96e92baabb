"""The lesson on a port of this machine, behind the guard: as a page, or as a notebook to edit."""

import builtins
import logging
import os
import secrets
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from fanin.atomic_file import reason, write_atomically
from fanin.errors import OptionError
from fanin.lab.guard import Guard
from fanin.lab.presence import FOLDER_VARIABLE, Presence
from fanin.lab.tab import wait_for_threads

LESSON = Path(str(files("fanin.lab").joinpath("lesson.py")))
COPY = Path("fanin_lesson.py")
"""What `--edit` edits: a copy in the folder that one is in, kept from one time to the next."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@final
@dataclass(frozen=True)
class Place:
    """Where the page is to be found."""

    host: str
    port: int
    token: str

    @property
    def address(self) -> str:
        """With the token, which is a password: who has it has the page."""
        name = _reached_at(self.host)
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{self.port}/?access_token={self.token}"

    @property
    def is_open_to_others(self) -> bool:
        return self.host not in _LOOPBACK


def serve(
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    on_ready: Callable[[Place], object] = lambda place: None,
    lesson: Path = LESSON,
) -> None:
    """Serve the lesson as a page until interrupted; `on_ready` is told where it is.

    Raises OptionError for a host or port that cannot be listened on.
    """
    import marimo
    import uvicorn

    _compile_in_turns()
    with _listening(host, port) as sockets, _presence() as presence:
        place = Place(host, sockets.getsockname()[1], secrets.token_urlsafe(16))
        built = marimo.create_asgi_app(token=place.token, quiet=True, html_head=_HEAD)
        page: Any = built.with_app(path="", root=str(lesson)).build()
        _follow_the_system_theme(page)
        warming = threading.Thread(target=_warm_up, daemon=True)
        warming.start()
        config = uvicorn.Config(
            Guard(page, host=host, presence=presence),
            log_level="error",
            ws_ping_interval=1,
            ws_ping_timeout=60,
            timeout_graceful_shutdown=1,
        )
        sockets.listen()  # from here on a browser may come, and waits if it is early
        on_ready(place)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                # What works for a tab ends before its page does, and before Python.
                presence.end()
                wait_for_threads(5)
                warming.join(30)
                # Each tab has a thread, which would keep the process from ending.
                for route in page.routes:
                    await route.app.state.session_manager.shutdown()
                await super().shutdown(sockets)

        Server(config).run(sockets=[sockets])


def edit(
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    on_ready: Callable[[Place], object] = lambda place: None,
    notebook: Path = COPY,
) -> None:
    """Serve a copy of the lesson as a notebook to edit, until interrupted.

    Who may edit runs Python as this user. Raises OptionError as `serve`, and where the copy cannot
    be written.
    """
    from marimo._cli.cli import main
    from marimo._server import start

    with _listening(host, port) as sockets:
        place = Place(host, sockets.getsockname()[1], secrets.token_urlsafe(16))
    if copy_lesson(notebook):
        # marimo waits to be told before it runs a file; this one was written just now, by fanin.
        os.environ["_MARIMO_CONFIG_OVERLOAD_RUNTIME_AUTO_INSTANTIATE"] = "true"
    with _presence() as presence:
        # marimo has no setting for what stands before its editor.
        server: Any = start
        build = server.create_starlette_app

        def guarded(**settings: Any) -> Any:
            app = build(**settings)
            app.add_middleware(Guard, host=host, presence=presence)  # the last added is outermost
            return app

        server.create_starlette_app = guarded
        # Interrupted, marimo's server would print how it was.
        logging.getLogger("uvicorn.error").addFilter(
            lambda record: "CancelledError" not in record.getMessage()
        )
        threading.Thread(target=_when_it_answers, args=(place, on_ready), daemon=True).start()
        quietly = ["--headless", "--skip-update-check", "--no-sandbox"]
        there = ["--host", host, "--port", str(place.port)]
        token = ["--token", "--token-password", place.token]
        command = ["--quiet", "--yes", "edit", str(notebook), *quietly, *there, *token]
        main(command, standalone_mode=False)


def copy_lesson(notebook: Path) -> bool:
    """Make the copy that is edited, unless it is there; whether it was made.

    Raises OptionError, naming the path, where it cannot be.
    """
    if notebook.exists():
        return False
    text = LESSON.read_text(encoding="utf-8")
    style = str(LESSON.with_name("lesson.css"))
    try:
        write_atomically(notebook, text.replace('"lesson.css"', repr(style)).encode())
    except OSError as error:
        raise OptionError(
            f"{notebook}: the copy of the lesson to edit cannot be written: {reason(error)}; "
            "go to a folder of yours first"
        ) from None
    return True


def open_browser(place: Place) -> None:
    """Opens the page in the user's browser, once it answers."""
    threading.Thread(
        target=_when_it_answers,
        args=(place, lambda place: webbrowser.open(place.address)),
        daemon=True,
    ).start()


def _when_it_answers(place: Place, then: Callable[[Place], object]) -> None:
    while True:
        try:
            socket.create_connection((_reached_at(place.host), place.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            break
    then(place)


def _reached_at(host: str) -> str:
    """Where this machine finds what listens there: on every address, on its own too."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


@contextmanager
def _listening(host: str, port: int | None) -> Generator[socket.socket]:
    if port is not None and not 0 < port < 2**16:
        raise OptionError(f"--port is from 1 to 65535; found {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port or 0))
        except OSError as error:
            raise OptionError(
                f"{host}:{port or ''} cannot be listened on: {error.strerror}; leave --port out "
                "for one that is free, and --host for this machine alone"
            ) from None
        yield listening


@contextmanager
def _presence() -> Generator[Presence]:
    folder = tempfile.mkdtemp(prefix="fanin-lab-")
    os.environ[FOLDER_VARIABLE] = folder
    presence = Presence(Path(folder))
    try:
        yield presence
    finally:
        del os.environ[FOLDER_VARIABLE]
        presence.end()


_HEAD = (
    '<meta name="color-scheme" content="light dark">'
    f"<script>{LESSON.with_name('lesson.js').read_text(encoding='utf-8')}</script>"
)


def _follow_the_system_theme(page: Any) -> None:
    # marimo's own default is light, whatever the system says.
    for route in page.routes:
        state = route.app.state
        state.config_manager = state.config_manager.with_overrides({"display": {"theme": "system"}})


def _compile_in_turns() -> None:
    """Let one thread at a time make syntax trees.

    Each tab compiles the lesson in a thread of its own. Python 3.11 counts the depth of a tree for
    all threads together and gives up, with a SystemError, where two are at it; that tab would stay
    empty for ever.
    """
    compile_, turn = builtins.compile, threading.RLock()
    if compile_.__module__ == __name__:  # another lab in this process has seen to it
        return

    def in_turn(*arguments: Any, **named: Any) -> Any:
        with turn:
            return compile_(*arguments, **named)

    builtins.compile = in_turn


def _warm_up() -> None:
    """What every tab needs, loaded while the browser is still opening."""
    from fanin.lab.warming import warm_up

    warm_up()
