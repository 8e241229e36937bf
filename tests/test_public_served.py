"""Jupyter without a tunnel: what is served there, to whom, and how it is known."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.connect import exposure as connecting
from hotdesk.core.errors import Unreachable
from hotdesk.core.ports import Access
from hotdesk.guest import tls_proxy
from tests.local_rig import tool


class Jupyter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"behind")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The real server on one loopback address, in front of a web server on another."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    tls_proxy.certificate("hotdesk-blue", str(tmp_path / "tls"))
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jupyter)
    number = behind.server_port
    threading.Thread(target=behind.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    code = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); import tls_proxy as p; "
        "p._become_nobody = lambda: None; "
        "asyncio.run(p.serve('127.0.0.2', int(sys.argv[2]), ('127.0.0.1', int(sys.argv[2])), sys.argv[3]))"
    )
    folder = str(Path(tls_proxy.__file__).parent)
    with subprocess.Popen([sys.executable, "-c", code, folder, str(number), str(tmp_path / "tls")]) as front:
        try:
            tls_proxy.wait_for_it("127.0.0.2", number)
            yield number
        finally:
            front.terminate()
            assert front.wait(10) == 0
            behind.shutdown()
            behind.server_close()


def access(port: int) -> Access:
    return Access(desk="blue", host="127.0.0.2", port=22, user="me", key_path="/k", known_hosts_path="/h",
                  alias="hotdesk-blue", notebook_port=port)  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of its own on Linux only")
def test_tls_with_the_pinned_certificate_and_no_other(port: int, tmp_path: Path) -> None:
    mine = tls_proxy.certificate("hotdesk-blue", str(tmp_path / "tls"))
    assert stat_mode(tmp_path / "tls" / "key.pem") == 0o600
    connecting.probe(access(port), mine)
    other = tls_proxy.certificate("hotdesk-blue", str(tmp_path / "other"))
    with pytest.raises(Unreachable, match="certificate"):
        connecting.probe(access(port), other)
    context = ssl.create_default_context(cadata=mine)
    context.check_hostname = False
    with socket.create_connection(("127.0.0.2", port)) as plain, context.wrap_socket(plain) as wire:
        der = wire.getpeercert(binary_form=True)
        assert der is not None
        assert tls_proxy.fingerprint(ssl.DER_cert_to_PEM_cert(der)) == tls_proxy.fingerprint(mine)
        assert wire.version() in {"TLSv1.2", "TLSv1.3"}
    with socket.create_connection(("127.0.0.2", port)) as plain:  # without TLS nothing is said
        plain.sendall(b"GET /api HTTP/1.0\r\n\r\n")
        plain.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(100)


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@tool("openssl")
def test_a_certificate_is_made_once_and_again_before_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tls_proxy.certificate("hotdesk-blue", str(tmp_path))
    assert tls_proxy.certificate("hotdesk-blue", str(tmp_path)) == first
    monkeypatch.setattr(tls_proxy, "DAYS", 20)
    (tmp_path / "key.pem").unlink()  # a half is worth nothing
    short = tls_proxy.certificate("hotdesk-blue", str(tmp_path))
    assert short != first
    assert tls_proxy.certificate("hotdesk-blue", str(tmp_path)) != short


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of its own on Linux only")
def test_many_connections_at_once_and_one_that_stalls(port: int, tmp_path: Path) -> None:
    """A connection that never says anything holds up nobody."""
    context = ssl.create_default_context(cadata=(tmp_path / "tls" / "certificate.pem").read_text())
    context.check_hostname = False

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.2", port, ssl=context)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        said = await reader.read()
        writer.close()
        return said

    async def all_of_them() -> list[bytes]:
        return await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(40))), 30)

    with socket.create_connection(("127.0.0.2", port)):
        assert all(said.endswith(b"behind") for said in asyncio.run(all_of_them()))
