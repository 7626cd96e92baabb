"""Who may speak to the page: only a browser that is on it, and under a name that is this machine's.

A page of another site can make a browser send requests here, with the cookie of a page that is
open. Such a request names the other site in `Origin`; a name that its owner points at this machine
(DNS rebinding) stands in `Host`. Both are refused before marimo sees them.
"""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, final
from urllib.parse import parse_qs, urlsplit

from fanin.lab.presence import Presence

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

_ANOTHERS = b"This page answers only to itself: open the address that fanin lab printed.\n"
_FILE_NAME = re.compile(r"(\d+-\d+-[A-Za-z0-9]{8}|0-empty)\.[A-Za-z0-9]{1,8}")
_EVERYWHERE = ("0.0.0.0", "::")


@final
class Guard:
    """An ASGI application before another: refuses what is not the page's own, notes who is there.

    `host` is what the server listens on. Loopback names always do; with "0.0.0.0" or "::" so does
    this machine's name and every address in figures, which no other site can have for a name.
    """

    def __init__(self, app: App, *, host: str, presence: Presence | None = None) -> None:
        self._app = app
        self._presence = presence
        self._any_address = host in _EVERYWHERE
        self._names = {"localhost", "127.0.0.1", "::1", host.lower()}
        if self._any_address:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif not self.allows(scope):
            await _refuse(scope, receive, send, 403, _ANOTHERS)
        elif scope["type"] == "http" and not _is_own_file(scope["path"]):
            await _refuse(scope, receive, send, 404, b"The page has no such file.\n")
        elif scope["type"] == "http" or self._presence is None:
            await self._app(scope, receive, send)
        else:
            with self._presence.of(_session(scope)):
                await self._app(scope, receive, send)

    def allows(self, scope: Message) -> bool:
        """Whether a request names this machine, and no other site as where it is from."""
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        if len(hosts) != 1 or len(origins) > 1 or not self._is_here(hosts[0]):
            return False
        if not origins:
            # Browsers name it with every websocket, and with every request that changes anything.
            return scope["type"] == "http"
        scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
        return origins[0] == f"{scheme}://{hosts[0]}"

    def _is_here(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None or name in self._names:
            return name is not None
        return self._any_address and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _session(scope: Message) -> str:
    """marimo's name for one tab, in the address of its websocket."""
    return parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0]


def _is_own_file(path: str) -> bool:
    """Whether a path is no file of the page's memory, or one with a name as marimo gives them.

    marimo opens any shared memory of the user's under the name that it is asked for.
    """
    _, found, name = path.partition("/@file/")
    return not found or _FILE_NAME.fullmatch(name) is not None


async def _refuse(scope: Message, receive: Any, send: Any, status: int, body: bytes) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})  # before accepting: an HTTP 403
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
