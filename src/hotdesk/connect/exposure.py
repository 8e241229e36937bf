"""Serve a desk's Jupyter on its public address with TLS (guest/tls_proxy.py), and check that it answers."""

from __future__ import annotations

import socket
import ssl as tls
import subprocess
from pathlib import Path

import msgspec

import hotdesk
from hotdesk.connect import ssh
from hotdesk.core import wire
from hotdesk.core.errors import Unreachable
from hotdesk.core.ports import Access

_SECONDS = 60.0
_PROBE_SECONDS = 10.0
_FILE = "/opt/hotdesk/public.py"
_PUT = f"sudo -n sh -c 'cat > {_FILE}.new && mv {_FILE}.new {_FILE}' && exec sudo -n python3 {_FILE} "


class Shown(msgspec.Struct, frozen=True):
    """The certificate that a browser will see, read over the desk's own ssh connection."""

    certificate: str
    fingerprint: str  # SHA-256, as browsers show it


def open_at(access: Access) -> Shown:
    """Make the machine serve its Jupyter with TLS; idempotent. Raises `Unreachable`."""
    source = (Path(hotdesk.__file__).parent / "guest" / "tls_proxy.py").read_bytes()
    said = _run(access, _PUT + f"on {access.alias} {access.notebook_port}", source)
    try:
        return wire.json(said, Shown)
    except msgspec.DecodeError as error:
        raise _trouble(access, str(error)) from error


def close_at(access: Access) -> None:
    """Stop serving Jupyter with TLS; idempotent. Raises `Unreachable`."""
    _run(access, f"test ! -e {_FILE} || exec sudo -n python3 {_FILE} off")


def probe(access: Access, certificate: str) -> None:
    """Return when Jupyter answers from here, with exactly this certificate. Raises `Unreachable`."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the machine's address changes; the exact certificate is pinned
    context.load_verify_locations(cadata=certificate)
    port = access.notebook_port
    try:
        with (
            socket.create_connection((access.host, port), timeout=_PROBE_SECONDS) as plain,
            context.wrap_socket(plain) as wire,
        ):
            wire.sendall(b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n")
            said = wire.recv(64)
        if not said.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise OSError(f"it says {said[:40]!r}")
    except OSError as error:
        raise Unreachable(
            f"{access.desk}'s Jupyter cannot be reached at {access.host}:{port} from here.",
            f"{error}. A firewall on the way may let only usual ports out.",
            f"hotdesk notebook {access.desk} --private   # through the ssh tunnel, as before",
        ) from error


def _run(access: Access, line: str, given: bytes = b"") -> bytes:
    argv = ssh.question(access, line)
    try:
        done = subprocess.run(argv, input=given, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _trouble(access, f"no answer within {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _trouble(access, words[-1] if words else f"it ended with {done.returncode}")
    return done.stdout


def _trouble(access: Access, why: str) -> Unreachable:
    return Unreachable(
        f"{access.desk} could not change how its Jupyter is reached.", why, f"hotdesk doctor {access.desk}"
    )
