"""Who may speak to the page, and how it is known who is there."""

import asyncio
import importlib.util
import subprocess
import sys
import time

import pytest

if importlib.util.find_spec("marimo") is None or importlib.util.find_spec("anywidget") is None:
    pytest.skip("marimo is not installed: pip install 'fanin[lab]'", allow_module_level=True)

from fanin.errors import OptionError
from fanin.lab.guard import Guard
from fanin.lab.presence import FOLDER_VARIABLE, Presence, Watch
from fanin.lab.server import Place, copy_lesson, serve


def scope(kind="http", path="/", **headers):
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    scheme = "http" if kind == "http" else "ws"
    asked = {"type": kind, "scheme": scheme, "headers": named, "query_string": b"session_id=s_1"}
    return asked | {"path": path}


def answered(guard, asked):
    """What goes out for a request, and whether it came through to the application."""
    sent = []

    async def receive():
        return {"type": f"{asked['type']}.connect"}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(asked, receive, send))
    return sent


async def application(scope, receive, send):
    await send({"type": "through"})


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", scope(host="127.0.0.1:2718")),
        ("127.0.0.1", scope(host="localhost:2718")),
        ("127.0.0.1", scope(host="127.0.0.1:2718", origin="http://127.0.0.1:2718")),
        ("127.0.0.1", scope("websocket", host="localhost:2", origin="http://localhost:2")),
        ("::1", scope(host="[::1]:2718", origin="http://[::1]:2718")),
        ("0.0.0.0", scope(host="192.0.2.7:2718", origin="http://192.0.2.7:2718")),
    ],
)
def test_the_page_itself_gets_through(host, asked):
    assert answered(Guard(application, host=host), asked) == [{"type": "through"}]


@pytest.mark.parametrize(
    ("name", "through"),
    [
        ("1234-5678-aB3xyZ09.png", True),
        ("0-empty.txt", True),
        ("25-another_programs_memory", False),
        ("11-../../etc/passwd", False),
        ("5-x.png", False),
        ("", False),
    ],
)
def test_of_shared_memory_only_the_pages_own_files_are_read(name, through):
    asked = scope(path=f"/@file/{name}", host="127.0.0.1:2718")
    sent = answered(Guard(application, host="127.0.0.1"), asked)
    assert sent[0] == ({"type": "through"} if through else sent[0] | {"status": 404})


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", scope()),
        ("127.0.0.1", scope(host="evil.example")),
        ("127.0.0.1", scope(host="127.0.0.1.evil.example:2718")),
        ("127.0.0.1", scope(host="192.0.2.7:2718")),
        ("127.0.0.1", scope(host="[")),
        ("127.0.0.1", scope(host="127.0.0.1:2718", origin="http://evil.example")),
        ("127.0.0.1", scope(host="127.0.0.1:2718", origin="http://127.0.0.1:9999")),
        ("127.0.0.1", scope(host="127.0.0.1:2718", origin="null")),
        ("127.0.0.1", scope("websocket", host="127.0.0.1:2718", origin="http://evil.example")),
        ("127.0.0.1", scope("websocket", host="127.0.0.1:2718")),
        ("0.0.0.0", scope(host="evil.example:2718")),
    ],
)
def test_others_are_refused_before_the_application_sees_them(host, asked):
    sent = answered(Guard(application, host=host), asked)
    assert sent[0]["type"] in ("http.response.start", "websocket.close")
    assert sent[0].get("status", 403) == 403
    assert {"type": "through"} not in sent


def test_two_hosts_at_once_are_refused():
    asked = scope(host="127.0.0.1")
    asked["headers"].append((b"host", b"evil.example"))
    assert answered(Guard(application, host="127.0.0.1"), asked)[0]["status"] == 403


def test_a_tab_is_there_as_long_as_its_websocket(tmp_path):
    presence = Presence(tmp_path)
    watch = Watch("s_1", {FOLDER_VARIABLE: str(tmp_path)})
    other = Watch("s_2", {FOLDER_VARIABLE: str(tmp_path)})
    seen = []

    async def look(scope, receive, send):
        seen.append((watch._there(tmp_path), other._there(tmp_path)))

    guard = Guard(look, host="127.0.0.1", presence=presence)
    answered(guard, scope("websocket", host="localhost:1", origin="http://localhost:1"))
    assert seen == [(True, False)]
    assert not watch._there(tmp_path)


def test_a_tab_is_gone_only_after_some_grace(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    presence = Presence(tmp_path)
    watch = Watch("s_1", {FOLDER_VARIABLE: str(tmp_path)})
    anyone = Watch(None, {FOLDER_VARIABLE: str(tmp_path)})
    with presence.of("s_1"), presence.of("s_1"):
        now[0] += 60
        assert not watch.gone
        assert not anyone.gone
    assert not watch.gone  # a reload would be back by now
    now[0] += 3
    assert watch.gone
    assert anyone.gone
    with presence.of("s_1"):
        assert not watch.gone


def test_where_no_server_notes_tabs_everyone_is_there():
    assert not Watch("s_1", {}).gone


def test_the_address_has_the_token_and_names_this_machine():
    assert Place("::1", 80, "secret").address == "http://[::1]:80/?access_token=secret"
    assert Place("0.0.0.0", 80, "x").address.startswith("http://127.0.0.1:80/")
    assert Place("0.0.0.0", 80, "x").is_open_to_others
    assert not Place("127.0.0.1", 80, "x").is_open_to_others


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"port": 70_000}, "--port is from 1 to 65535"), ({"host": "192.0.2.1"}, "192.0.2.1:")],
)
def test_what_cannot_be_listened_on_is_said(settings, message):
    with pytest.raises(OptionError, match=message):
        serve(**settings)


def test_the_copy_to_edit_is_made_once(tmp_path):
    path = tmp_path / "lesson.py"
    assert copy_lesson(path)
    assert "lesson.css" in path.read_text()
    path.write_text("mine")
    assert not copy_lesson(path)
    assert path.read_text() == "mine"
    with pytest.raises(OptionError, match="cannot be written"):
        copy_lesson(tmp_path / "nowhere" / "lesson.py")


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    from fanin.cli import lab, main

    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    assert main(["lab"]) == 2
    assert 'pip install "fanin[lab]"' in capsys.readouterr().err


def test_what_excludes_each_other_is_refused(capsys):
    from fanin.cli import main

    assert main(["lab", "--edit", "--export", "x.html"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert main(["lab", "--export", "no/such/folder/x.html"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_threads_of_two_tabs_may_compile_at_once():
    # Python 3.11 counts the depth of syntax trees for all threads together, and the garbage
    # collector's callbacks, of which JAX has one, let another thread in.
    program = """
import ast, gc, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from fanin.lab.server import _compile_in_turns
_compile_in_turns()
text = Path(ast.__file__).read_text()
sys.setswitchinterval(1e-6)
gc.callbacks.append(lambda *_: sum(range(50)))
gc.set_threshold(50)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(ast.parse, [text] * 8))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
