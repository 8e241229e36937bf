"""The address that lets a browser in: it works once, and gives the browser a cookie.

    web.lock   held while a page is served from this state folder
    web.json   where it answers, and the key that links are made with; only its owner can read it

A second `hotdesk web` finds the first by these files, and makes another link to it: for another browser.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hotdesk.core import wire
from hotdesk.core.model import Value
from hotdesk.system import locked, write_atomically

ENTER = "/enter"
_FILE, _LOCK = "web.json", "web.lock"


class Serving(Value, frozen=True):
    """A page that is served: its port, its process, and the key of its links."""

    port: int
    pid: int
    key: str

    def link(self) -> str:
        """An address that lets one browser in."""
        nonce = secrets.token_urlsafe(18)
        return f"http://127.0.0.1:{self.port}{ENTER}?token={nonce}.{_seal(self.key, nonce)}"


def _seal(key: str, nonce: str) -> str:
    return hmac.new(key.encode(), nonce.encode(), "sha256").hexdigest()[:32]


class Links:
    """The links of a page that is being served: which are good, and what they give."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.serving = Serving(port=port, pid=os.getpid(), key=secrets.token_urlsafe(24))
        self.cookie = secrets.token_urlsafe(24)
        self.cookie_name = f"hotdesk-{port}"  # browsers do not keep cookies apart by port
        self._used: set[str] = set()

    def admits(self, token: str) -> bool:
        """Whether a token is one of ours, and was not used before; it is used by this."""
        nonce, _, seal = token.partition(".")
        ours = hmac.compare_digest(seal.encode(), _seal(self.serving.key, nonce).encode())
        if not ours or nonce in self._used:
            return False
        self._used.add(nonce)
        return True


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether this process is the one that serves a state folder's page, while the body runs."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / _LOCK, wait=False) as mine:
        try:
            yield mine
        finally:
            if mine:
                (folder / _FILE).unlink(missing_ok=True)


def announce(folder: Path, links: Links) -> None:
    """Let another `hotdesk web` find this page."""
    write_atomically(folder / _FILE, msgspec.json.encode(links.serving))


def found(folder: Path) -> Serving | None:
    """The page that is served from a state folder; None while it is starting or ending."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return wire.json((folder / _FILE).read_bytes(), Serving)
    return None
