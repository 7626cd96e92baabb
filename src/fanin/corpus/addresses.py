"""What an http(s) address holds, fetched once and then kept in the user's cache folder."""

import hashlib
import http.client
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from urllib import error, parse, request

from fanin.atomic_file import write_atomically
from fanin.errors import WordsError

SCHEMES = ("http", "https")
LARGEST_DOWNLOAD = 2**26
SILENCE = 20.0
"""Seconds that a server may say nothing."""
LONGEST_WAIT = 120.0
"""Seconds for the whole content."""

_BEGINNING = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CHUNK = 2**16


@final
@dataclass(frozen=True)
class Download:
    """The bytes at an address; `cached` tells a copy kept from an earlier time."""

    address: str
    content: bytes
    cached: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def keep(self) -> None:
        """Put the bytes into the cache folder, in the place of an earlier copy.

        Where that folder cannot be written nothing is kept, and the next time fetches again.
        """
        copy = cache_folder() / f"{_address_hash(self.address)}-{self.sha256}.txt"
        with suppress(OSError):
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, self.content)
            for other in _copies(self.address):
                if other.name != copy.name:
                    other.unlink(missing_ok=True)


def is_address(source: str) -> bool:
    """Whether this is written as an address (of any protocol) and not as a file's name."""
    return _BEGINNING.match(source) is not None


def cache_folder() -> Path:
    """Where copies are kept: in `words` of fanin's own folder among the user's caches."""
    from platformdirs import user_cache_path

    return user_cache_path("fanin", appauthor=False) / "words"


def download(address: str, *, refresh: bool = False) -> Download:
    """The copy in the cache where there is a sound one; else, or with `refresh`, from the network.

    What was fetched is not kept yet: that is `Download.keep`, for those who have seen that it is
    what they want. Raises WordsError, naming the address, for anything that is not text of at most
    `LARGEST_DOWNLOAD` bytes, fetched by http or https in `LONGEST_WAIT` seconds.
    """
    if not refresh:
        for copy in _copies(address):
            with suppress(OSError):
                kept = Download(address, copy.read_bytes(), cached=True)
                if copy.stem.endswith(kept.sha256):
                    return kept
    return Download(address, _fetch(address))


def _address_hash(address: str) -> str:
    return hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:16]


def _copies(address: str) -> list[Path]:
    return sorted(cache_folder().glob(f"{_address_hash(address)}-*.txt"))


def _fetch(address: str) -> bytes:
    deadline = time.monotonic() + LONGEST_WAIT
    try:
        _check(address)
        # Characters that stand for themselves in an address; the others are escaped.
        escaped = parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")
        asked = request.Request(escaped, headers={"User-Agent": "fanin"})
        with _opener().open(asked, timeout=SILENCE) as response:
            _check_type(address, response.headers)
            return _read(address, response, deadline)
    except WordsError:
        raise
    except error.HTTPError as answer:
        with answer:
            raise WordsError(f"{address}: {_refusal(answer)}") from None
    except TimeoutError:
        raise WordsError(_too_slow(address)) from None
    except error.URLError as failure:
        if isinstance(failure.reason, TimeoutError):
            raise WordsError(_too_slow(address)) from None
        raise WordsError(
            f"{address}: cannot be reached ({failure.reason}); look at the address and the network"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as failure:
        raise WordsError(
            f"{address}: cannot be read ({type(failure).__name__}: {failure}); a file that you "
            "fetch yourself would do"
        ) from None


def _check(address: str) -> None:
    parts = parse.urlsplit(address)
    if parts.scheme.lower() not in SCHEMES:
        raise WordsError(
            f"{address}: is an address by {parts.scheme}; only http and https are read, or a file"
        )
    if "@" in parts.netloc:
        # The address is written into the model file.
        raise WordsError(
            f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}: holds a user name or password, "
            "which fanin does not use; fetch the file yourself and give its name"
        )


class _RedirectsToWeb(request.HTTPRedirectHandler):
    """Follows redirects, but only to http and https."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        if parse.urlsplit(newurl).scheme not in SCHEMES:
            raise error.HTTPError(newurl, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    # By hand, since `build_opener` puts handlers of ftp:, file: and data: in.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
        _RedirectsToWeb(),
    ):
        opener.add_handler(handler)
    return opener


def _refusal(answer: error.HTTPError) -> str:
    scheme = parse.urlsplit(answer.url).scheme
    if answer.code // 100 == 3 and scheme not in SCHEMES:
        return f"redirects to {answer.url}; only redirects to http and https are followed"
    reason = answer.reason.splitlines()[0] if answer.reason else ""
    return f"the server answers {answer.code} {reason}".rstrip() + "; look at the address"


def _too_slow(address: str) -> str:
    return (
        f"{address}: the server is silent for {SILENCE:g} s, or takes more than {LONGEST_WAIT:g} s "
        "for all; try later, or fetch the file yourself and give its name"
    )


def _check_type(address: str, headers: http.client.HTTPMessage) -> None:
    found = headers.get_content_type() if headers["Content-Type"] else "application/octet-stream"
    text = found.startswith("text/") and found != "text/html"
    if not (text or found == "application/octet-stream"):
        kind = "a web page" if found == "text/html" else "not text"
        raise WordsError(
            f"{address}: is {kind} ({found}); give the address of a text file of one word a line"
        )


def _read(address: str, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole content, within the limits."""
    expected = response.length
    if expected is not None and expected > LARGEST_DOWNLOAD:
        raise WordsError(_too_large(address))
    content = bytearray()
    # `read1` comes back with what there is, so that the clock is looked at.
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > LARGEST_DOWNLOAD:
            raise WordsError(_too_large(address))
        if time.monotonic() > deadline:
            raise TimeoutError
    if expected is not None and len(content) < expected:
        raise WordsError(
            f"{address}: breaks off after {len(content):,} of {expected:,} bytes; try again"
        )
    return bytes(content)


def _too_large(address: str) -> str:
    return f"{address}: is longer than {LARGEST_DOWNLOAD:,} bytes; a file may be longer"
