"""The page's server in this process, asked with bare HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.web import server


class Served:
    """A page that is served on a port of its own, asked with bare HTTP: no client hides a header."""

    def __init__(self, page: server.Page) -> None:
        self.page, self.port = page, page.links.port
        self.own = {
            "Host": f"127.0.0.1:{self.port}",
            "Cookie": f"{page.links.cookie_name}={page.links.cookie}",
        }
        self.posting = {
            **self.own,
            "Origin": f"http://127.0.0.1:{self.port}",
            "X-Hotdesk": "1",
            "Content-Type": "application/json",
        }

    def ask(
        self, path: str, headers: dict[str, str], method: str = "GET", body: object = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            data = b"" if body is None else msgspec.json.encode(body)
            for name, value in headers.items():
                connection.putheader(name, value)
            if method == "POST" and "Content-Length" not in headers:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()

    def post(self, path: str, body: object) -> tuple[int, Any]:
        status, _, said = self.ask(path, self.posting, "POST", body)
        return status, json.loads(said)


@contextlib.contextmanager
def serving(state: Path) -> Iterator[Served]:
    """It, on a port of its own, while this lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        page = server.Page(state, listening.getsockname()[1])
        running = server.Serving(server.config(page), page.board)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield Served(page)
        finally:
            running.should_exit = True
            thread.join(20)
        assert not thread.is_alive()
