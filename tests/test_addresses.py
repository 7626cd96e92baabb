import hashlib
import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fanin.corpus import Words, addresses, read_words
from fanin.errors import WordsError

NAMES = "emma\nolivia\nzoë\nemma\n".encode()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "words"
    monkeypatch.setattr(addresses, "cache_folder", lambda: folder)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


@contextmanager
def served(answer):
    """A server on loopback that answers each request by `answer(handler)`; and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer(self)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def assert_refused(answer, message):
    with served(answer) as (site, _), pytest.raises(WordsError, match=rf"{site}/list\S* {message}"):
        read_words(f"{site}/list")


def giving(content, content_type="text/plain; charset=utf-8", length=None):
    def answer(handler):
        handler.send_response(200)
        if content_type:
            handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirecting(target, then=None):
    def answer(handler):
        if then is not None and handler.path == "/names":
            return then(handler)
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()
        return None

    return answer


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", None])
def test_words_from_an_address_with_the_hash_of_its_bytes(content_type):
    with served(giving(NAMES, content_type)) as (site, _):
        words = read_words(f"{site}/names.txt")
    assert words == Words(
        ("emma", "olivia", "zoë"),
        f"{site}/names.txt",
        duplicates=1,
        sha256=hashlib.sha256(NAMES).hexdigest(),
    )
    assert not words.cached


def test_a_copy_is_kept_and_used_even_where_nobody_answers():
    with served(giving(NAMES)) as (site, asked):
        first = read_words(f"{site}/names.txt")
        again = read_words(f"{site}/names.txt")
        assert asked == ["/names.txt"]
    later = read_words(f"{site}/names.txt")
    assert first == again == later
    assert (first.cached, again.cached, later.cached) == (False, True, True)


def test_refresh_fetches_anew_and_keeps_one_copy(cache):
    contents = [b"ava\n", b"mia\n"]
    with served(lambda handler: giving(contents.pop(0))(handler)) as (site, _):
        assert read_words(site).words == ("ava",)
        assert read_words(site, refresh=True).words == ("mia",)
        assert read_words(site).words == ("mia",)
    assert len(list(cache.iterdir())) == 1


def test_a_damaged_copy_is_fetched_again(cache):
    with served(giving(NAMES)) as (site, asked):
        read_words(site)
        (copy,) = cache.iterdir()
        copy.write_bytes(b"eve\n")
        assert read_words(site).words == ("emma", "olivia", "zoë")
        assert len(asked) == 2


def test_two_addresses_have_two_copies():
    with served(lambda handler: giving(handler.path.encode())(handler)) as (site, _):
        for name in ("a", "b", "a"):
            assert read_words(f"{site}/{name}").words == (f"/{name}",)


def test_what_is_no_list_of_words_is_not_kept(cache):
    with served(giving(b"\n\n")) as (site, _), pytest.raises(WordsError, match="is empty"):
        read_words(site)
    assert not cache.exists()


def test_without_a_folder_for_copies_the_words_are_read_all_the_same(cache):
    cache.parent.write_text("in the way")
    with served(giving(NAMES)) as (site, asked):
        assert read_words(site) == read_words(site)
        assert len(asked) == 2


def test_redirects_within_the_web_are_followed():
    with served(redirecting("/names", then=giving(NAMES))) as (site, asked):
        assert read_words(f"{site}/old").words == ("emma", "olivia", "zoë")
        assert asked == ["/old", "/names"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/names", "data:,emma"])
def test_redirects_elsewhere_are_refused(target):
    scheme = target.partition(":")[0]
    message = rf"redirects to {scheme}:.*; only redirects to http and https are followed"
    assert_refused(redirecting(target), message)


def test_redirects_in_a_circle_end():
    assert_refused(redirecting("/list"), "the server answers 302")


def test_an_error_of_the_server_is_told():
    assert_refused(lambda handler: handler.send_error(404), "the server answers 404 Not Found; loo")


def test_nobody_at_the_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port where nobody listens
        with pytest.raises(WordsError, match=r"cannot be reached .*refused"):
            read_words(f"http://127.0.0.1:{taken.getsockname()[1]}/names.txt")


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/names.txt", "file:///etc/hostname"])
def test_only_http_and_https(address):
    with pytest.raises(WordsError, match="only http and https are read"):
        read_words(address)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(WordsError, match="holds a user name or password") as caught:
        read_words("https://me:secret@127.0.0.1/names.txt")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://127.0.0.1:port/"])
def test_an_address_that_is_none(address):
    with pytest.raises(WordsError, match=r"cannot be read|cannot be reached"):
        read_words(address)


def test_a_web_page_is_no_list():
    assert_refused(giving(b"<html>", "text/html; charset=utf-8"), r"is a web page \(text/html\)")


def test_what_is_not_text():
    assert_refused(giving(b"%PDF", "application/pdf"), r"is not text \(application/pdf\)")
    assert_refused(giving(b"\x00\x01"), "line 1: is binary")


@pytest.mark.parametrize("length", [None, ""])
def test_too_large_with_or_without_a_length_announced(monkeypatch, length):
    monkeypatch.setattr(addresses, "LARGEST_DOWNLOAD", 10)
    assert_refused(giving(NAMES, length=length), "is longer than 10 bytes")


def test_content_that_breaks_off():
    assert_refused(giving(NAMES, length=1000), f"breaks off after {len(NAMES)} of 1,000 bytes")


def test_a_silent_server(monkeypatch):
    monkeypatch.setattr(addresses, "SILENCE", 0.1)
    assert_refused(lambda handler: time.sleep(0.3), r"the server is silent for 0\.1 s")


def test_a_server_that_trickles(monkeypatch):
    monkeypatch.setattr(addresses, "LONGEST_WAIT", 0.2)

    def trickle(handler):
        giving(b"", length=10_000)(handler)
        try:
            for _ in range(200):
                handler.wfile.write(b"a")
                time.sleep(0.02)
        except OSError:
            pass

    began = time.monotonic()
    assert_refused(trickle, r".*takes more than 0\.2 s for all")
    assert time.monotonic() - began < 3


def test_letters_beyond_ascii_are_escaped():
    with served(giving(NAMES)) as (site, asked):
        read_words(f"{site}/prénoms?année=2018")
        assert asked == ["/pr%C3%A9noms?ann%C3%A9e=2018"]


def test_the_folder_is_that_of_the_users_caches(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert addresses.cache_folder().is_relative_to(os.path.realpath(tmp_path))
