"""Give a desk's Jupyter an address on this computer, by a background ssh tunnel if the desk is elsewhere.

A listening port does not say who listens, so a tunnel is trusted for two reasons: its ssh answers on a
control socket in the desk's own folder, after a login with the desk's pinned host key; and the server behind
it accepts a token that only the desk's owner can read at the desk.

desks/<desk>/tunnel        the local port, kept for bookmarks and open tabs, and where the tunnel led
desks/<desk>/tunnel.ssh    the control socket, while the tunnel is open
desks/<desk>/tunnel.lock
"""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from hotdesk.connect import control_socket, ssh
from hotdesk.connect.ssh_options import Use
from hotdesk.core.errors import Unreachable
from hotdesk.core.loopback import usual_port
from hotdesk.core.ports import Access
from hotdesk.system import locked

_SOCKET = "tunnel.ssh"
_LOGIN_SECONDS = 90.0  # somebody may have to type a second factor for a jump host
_END_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
#: What each Jupyter server of the desk's owner writes about itself, its token included; mode 0600.
_SERVERS = (
    'for d in "$JUPYTER_RUNTIME_DIR" ~/.local/share/jupyter/runtime; do '
    'for f in "$d"/jpserver-*.json; do [ -r "$f" ] && cat "$f"; done; done; true'
)


def notebook_url(access: Access, folder: Path) -> str:
    """Jupyter's address; through a background ssh tunnel unless the desk is on this computer.

    An open tunnel to this desk is reused, and a new one takes the old one's port if that is free. Raises
    `Unreachable` if no tunnel can be opened, or if this desk's Jupyter does not answer through it.
    """
    if access.notebook_here:
        return _url(access.notebook_port)
    with _alone(folder):
        port, led_to = _remembered(folder)
        if led_to == _place(access) and _runs(folder) and not _stranger(access, folder, port):
            return _url(port)
        close(folder)
        port = _open(access, folder, port)
        if why := _stranger(access, folder, port):
            close(folder)
            raise Unreachable(
                f"{access.desk}'s Jupyter does not answer through the tunnel.",
                why,
                f"hotdesk doctor {access.desk}",
            )
    return _url(port)


def is_open(folder: Path) -> bool:
    """Whether the desk's tunnel is open and its ssh is still connected."""
    return _runs(folder)


def close(folder: Path) -> None:
    """Close the desk's tunnel, remembering its port; idempotent."""
    if not (folder / _SOCKET).exists():
        return
    with socket.socket() as held:
        held.settimeout(_END_SECONDS)
        with contextlib.suppress(OSError):
            held.connect(("127.0.0.1", _remembered(folder)[0]))
        if _control(folder, "exit").returncode == 0:
            with contextlib.suppress(OSError):
                held.recv(1)  # returns when its ssh has ended and its port is free
    (folder / _SOCKET).unlink(missing_ok=True)  # left by an ssh that was killed


def forget(folder: Path) -> None:
    """Close the tunnel and remove its files, for a desk that is gone."""
    close(folder)
    for name in ("tunnel", "tunnel.lock"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or not there
        folder.rmdir()


def _alone(folder: Path) -> AbstractContextManager[bool]:
    """A lock, so that one command at a time opens a desk's tunnel."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return locked(folder / "tunnel.lock")


def _remembered(folder: Path) -> tuple[int, str]:
    """The port of the desk's last tunnel, 0 for none, and where it led."""
    with contextlib.suppress(OSError, ValueError):
        port, _, led_to = (folder / "tunnel").read_text().partition(" ")
        return int(port), led_to
    return 0, ""


def _place(access: Access) -> str:
    return f"{access.host} {access.port} {access.notebook_port}"


# ---- the ssh in the background -----------------------------------------------------------------------


def _open(access: Access, folder: Path, remembered: int) -> int:
    """Open a new tunnel; return its local port, which is remembered."""
    argv = ssh.ssh(access, "-f", "-N", use=Use.TUNNEL, changed={"ControlPath": _SOCKET})
    # A file, not a pipe: older clients keep their standard error open in the background.
    with tempfile.TemporaryFile() as said:
        try:
            status = subprocess.run(
                argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                timeout=_LOGIN_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise _no_tunnel(access, f"the login took more than {_LOGIN_SECONDS:.0f} s") from None
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip().splitlines()
    if status != 0:
        raise _no_tunnel(access, words[-1] if words else "ssh gives no reason.")
    why = ""
    for port in dict.fromkeys((remembered, usual_port(str(folder)), _free_port(), _free_port())):
        if not port or _listens(port):
            continue
        forward = f"127.0.0.1:{port}:127.0.0.1:{access.notebook_port}"
        done = _control(folder, "forward", "-L", forward)
        if done.returncode == 0:
            memory = folder / "tunnel"
            memory.touch(0o600)  # private, like the files beside it; `doctor` checks that
            memory.write_text(f"{port} {_place(access)}")
            return port
        why = (done.stderr.strip().splitlines() or [""])[-1]
    close(folder)
    raise _no_tunnel(access, why or "no port of this computer's loopback is free.")


def _no_tunnel(access: Access, why: str) -> Unreachable:
    return Unreachable(f"No tunnel to {access.desk} could be opened.", why, f"hotdesk up {access.desk}")


def _runs(folder: Path) -> bool:
    return (folder / _SOCKET).exists() and _control(folder, "check").returncode == 0


def _control(folder: Path, word: str, *extra: str) -> subprocess.CompletedProcess[str]:
    return control_socket.control(folder, _SOCKET, word, *extra)


# ---- who answers -------------------------------------------------------------------------------------


def _stranger(access: Access, folder: Path, port: int) -> str:
    """Why the server on that port is not this desk's Jupyter; "" if it is."""
    said = control_socket.over(folder, _SOCKET, "desk", shlex.join(["sh", "-c", _SERVERS]))
    if said.returncode != 0:
        return (said.stderr.strip().splitlines() or ["The tunnel's connection to the desk is lost."])[-1]
    tokens = [s["token"] for s in _servers(said.stdout) if s.get("port") == access.notebook_port]
    if not tokens:
        return f"No Jupyter of the desk's user serves port {access.notebook_port} there."
    why = ""
    for token in tokens:
        try:
            status = _ask(port, str(token))
        except OSError as error:
            why = f"{error or type(error).__name__}"
            continue
        if status == 200:
            return ""
        why = f"what answers does not know the desk's own token: it says {status}"
    return f"{why[:1].upper()}{why[1:]}."


def _servers(text: str) -> Iterator[dict[str, object]]:
    """The JSON objects with a token in a text of several objects, one after another."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
        else:
            if isinstance(found, dict) and found.get("token"):
                yield found
        at = text.find("{", at)


def _ask(port: int, token: str) -> int:
    """The HTTP status of a request with this token. Raises `OSError` if no HTTP server answers."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        headers = {"Authorization": f"token {token}", "Connection": "close"}
        connection.request("GET", "/api/status", headers=headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


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
