"""An address on this computer at which a desk's Jupyter answers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path

from hotdesk.connect import ssh
from hotdesk.core.errors import Unreachable
from hotdesk.core.ports import Access


def notebook_url(access: Access, folder: Path) -> str:
    """Jupyter's address; through a background ssh tunnel unless the desk's loopback is ours.

    A tunnel that still answers is used again: its port is remembered in `folder`. Raises `Unreachable`.
    """
    if access.notebook_here:
        return _url(access.notebook_port)
    memory = folder / "tunnel"
    if is_open(folder):
        return _url(int(memory.read_text()))
    port = _free_port()
    made = subprocess.run(ssh.tunnel(access, port), capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Unreachable(
            f"No tunnel to {access.desk} could be opened.",
            made.stderr.strip().splitlines()[-1] if made.stderr.strip() else "ssh gives no reason.",
            f"hotdesk up {access.desk}",
        )
    memory.touch(0o600)  # as everything beside it: the doctor looks after that
    memory.write_text(str(port))
    return _url(port)


def is_open(folder: Path) -> bool:
    """Whether the tunnel that is remembered there still answers."""
    with contextlib.suppress(OSError, ValueError):
        return _listens(int((folder / "tunnel").read_text()))
    return False


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/lab"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
