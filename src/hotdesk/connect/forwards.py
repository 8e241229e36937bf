"""Ports of a desk at this computer's loopback, through one ssh that is kept connected (`loop/forwards.py`).

desks/<desk>/forwards.json        the ports that are wanted
desks/<desk>/forwards.state.json  why each is not open; "" where it is. Written by the process that keeps them
desks/<desk>/forwards.ssh         the control socket, while its ssh is connected
desks/<desk>/forwards.lock        held by the process that keeps them
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from hotdesk.connect import control_socket, ssh
from hotdesk.connect.ssh_options import Use
from hotdesk.core import wire
from hotdesk.core.loopback import usual_port
from hotdesk.core.ports import Access
from hotdesk.system import is_locked, write_atomically

WANTED, STATE, LOCK = "forwards.json", "forwards.state.json", "forwards.lock"
_SOCKET = "forwards.ssh"
CONNECTING = "its connection is being made"
_ROOT_PORTS = 1024  # below, only root may listen
_END_SECONDS = 5.0


class Ports(msgspec.Struct, frozen=True, order=True):
    """A port of this computer's loopback that leads to one of a desk's."""

    here: int
    there: int

    @property
    def word(self) -> str:
        return f"{self.here}:{self.there}"


def wanted(folder: Path) -> list[Ports]:
    """The ports of a desk that are wanted here, by the desk's folder."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return wire.json((folder / WANTED).read_bytes(), list[Ports])
    return []


def want(folder: Path, ports: list[Ports]) -> None:
    """Replace the ports that are wanted."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(folder / WANTED, msgspec.json.encode(sorted(ports)))


def kept(folder: Path) -> bool:
    """Whether a process keeps this desk's ports open."""
    with contextlib.suppress(OSError):
        return is_locked(folder / LOCK)
    return False


def states(folder: Path) -> dict[str, str]:
    """By "here:there": "" where it is open, else why it is not. Empty while nobody keeps them."""
    if kept(folder):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return wire.json((folder / STATE).read_bytes(), dict[str, str])
    return {}


def forget(folder: Path) -> None:
    """Remove the files of a desk that is gone; the process that keeps the ports then ends."""
    for name in (WANTED, STATE, LOCK):
        (folder / name).unlink(missing_ok=True)


# ---- choosing a port here --------------------------------------------------------------------------


def free(port: int) -> bool:
    """Whether this port of the loopback can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(there: int, taken: set[int], desk: str) -> int:
    """A free port here for one of the desk's: the same number if possible, 80 as 8080."""
    like = there if there >= _ROOT_PORTS else there + 8000
    near = (*range(like, min(like + 10, 65536)), usual_port(desk, str(there)))
    if found := next((port for port in near if port not in taken and free(port)), 0):
        return found
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, seconds: float = 1.0) -> bool:
    """Whether a server behind a forwarded port accepts connections: ssh closes at once where none does."""
    with socket.socket() as probe:
        probe.settimeout(seconds)
        try:
            probe.connect(("127.0.0.1", port))
            return probe.recv(1) != b""  # one that speaks first
        except TimeoutError:
            return True  # it waits for a request
        except OSError:
            return False


# ---- the connection ----------------------------------------------------------------------------------


class Connection:
    """One ssh to a desk, and the ports that it listens on for us. Use as a context manager."""

    def __init__(self, access: Access, folder: Path) -> None:
        self.folder = folder
        self.open: set[Ports] = set()
        self._connected = False
        (folder / _SOCKET).unlink(missing_ok=True)  # left by an ssh that was killed
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        argv = ssh.ssh(
            access,
            "-N",
            use=Use.TUNNEL,
            changed={
                "ControlPath": _SOCKET,
                "ForkAfterAuthentication": "no",
                "ServerAliveInterval": "5",  # a lost connection is noticed after 15 s
            },
        )
        self._client = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said
        )

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.terminate()
        try:
            self._client.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._client.kill()
            self._client.wait()
        self._said.close()

    @property
    def lost(self) -> bool:
        return self._client.poll() is not None

    @property
    def last_words(self) -> str:
        self._said.seek(0)
        words = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return words[-1].strip() if words else "ssh gives no reason"

    def turn(self, wanted: list[Ports]) -> dict[str, str]:
        """Open what is wanted and close what is not any more; the state of each, as `states` gives it."""
        self._connected = self._connected or self._answers()
        if not self._connected:
            return dict.fromkeys((ports.word for ports in wanted), CONNECTING)
        for ports in self.open - set(wanted):
            self._control("cancel", ports)
            self.open.discard(ports)
        found = {}
        for ports in wanted:
            why = "" if ports in self.open else self._control("forward", ports)
            if not why:
                self.open.add(ports)
            found[ports.word] = why
        return found

    def _answers(self) -> bool:
        there = (self.folder / _SOCKET).exists()
        return there and control_socket.control(self.folder, _SOCKET, "check").returncode == 0

    def _control(self, word: str, ports: Ports) -> str:
        # "localhost" is resolved at the desk: some servers listen on ::1 alone.
        way = f"127.0.0.1:{ports.here}:localhost:{ports.there}"
        done = control_socket.control(self.folder, _SOCKET, word, "-L", way)
        lines = done.stderr.strip().splitlines()
        return "" if done.returncode == 0 else lines[-1] if lines else "ssh gives no reason"
