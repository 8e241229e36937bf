"""Send requests over connections that are kept open, through this person's proxy, with their certificates."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import select
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # RunInstances may take longer than the official clients' ten
KEPT_SECONDS = 20.0  # a connection that was idle for longer is not used again

#: Files of certificates, as the field's tools name them; OpenSSL itself reads SSL_CERT_FILE.
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


_Idle = dict[str, list[tuple[float, http.client.HTTPConnection]]]


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes


class Unsent(Exception):
    """No connection was made, so nothing was sent."""


class Connections:
    """Idle connections by address. Safe to use from several threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._idle: _Idle = {}
        self._lock = threading.Lock()
        # Not __del__: where a cycle is collected, the sockets in it may come first, and complain.
        weakref.finalize(self, _close, self._idle, self._lock)
        self._context: ssl.SSLContext | None = None

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send once. Raises `Unsent` without a connection; any other `OSError` or `HTTPException` means that
        the request may have been received."""
        connection = self._take(url)
        try:
            connection.request("POST", "/", body=body, headers={**headers, "accept-encoding": "identity"})
            answer = connection.getresponse()
            told = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.setdefault(url, []).append((self._now(), connection))
        return told

    def close(self) -> None:
        """End the idle connections; others end with their request."""
        _close(self._idle, self._lock)

    def _take(self, url: str) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                kept = self._idle.get(url)
                since, connection = kept.pop() if kept else (0.0, None)
            if connection is None:
                return self._connect(url)
            if 0 <= self._now() - since < KEPT_SECONDS and not _has_ended(connection):
                return connection
            connection.close()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        place = urlsplit(url)
        host, secure = place.hostname or "", place.scheme == "https"
        port = place.port or (443 if secure else 80)
        proxy = None if proxy_bypass(f"{host}:{port}") else getproxies().get(place.scheme)
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
        first = (through.hostname or "", through.port or 80) if through else (host, port)
        connection: http.client.HTTPConnection
        try:
            if secure:
                connection = http.client.HTTPSConnection(
                    *first, timeout=CONNECT_SECONDS, context=self._certificates()
                )
            else:
                connection = _Plain(*first, timeout=CONNECT_SECONDS, absolute=url if through else "")
            if through and secure:
                connection.set_tunnel(host, port, _proxy_login(through.username, through.password))
            connection.connect()
            connection.sock.settimeout(READ_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unsent(_reason(error, place.netloc, through.netloc if through else "")) from error
        return connection

    def _certificates(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                own = next((value for name in _CERTIFICATES if (value := os.environ.get(name))), None)
                self._context = ssl.create_default_context(
                    cafile=own if own and os.path.isfile(own) else None,  # noqa: PTH113
                    capath=own if own and os.path.isdir(own) else None,  # noqa: PTH112
                )
            return self._context


def _close(idle: _Idle, lock: threading.Lock) -> None:
    with lock:
        ended = [connection for kept in idle.values() for _, connection in kept]
        idle.clear()
    for connection in ended:
        connection.close()


class _Plain(http.client.HTTPConnection):
    """HTTP; a proxy is asked with the whole address."""

    def __init__(self, host: str, port: int, *, timeout: float, absolute: str = "") -> None:
        super().__init__(host, port, timeout=timeout)
        self._absolute = absolute

    def putrequest(self, method: str, url: str, *more: bool, **named: bool) -> None:
        super().putrequest(method, self._absolute + url, *more, **named)


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed an idle connection, or said something unasked."""
    with contextlib.suppress(OSError, ValueError):
        return bool(select.select([connection.sock], [], [], 0)[0])
    return True


def _proxy_login(name: str | None, word: str | None) -> dict[str, str]:
    if not name:
        return {}
    both = f"{unquote(name)}:{unquote(word or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(both).decode()}"}


def _reason(error: Exception, place: str, proxy: str) -> str:
    via = f" through the proxy {proxy.rpartition('@')[2]}" if proxy else ""
    return f"{place}{via}: {error or type(error).__name__}"
