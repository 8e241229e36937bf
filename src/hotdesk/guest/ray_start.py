"""See a node of Ray 2.60 through its start on a computer that is slow or busy.

Its raylet waits 15 seconds for each of the files in which its agents say where they listen, and ends if one
does not come; no setting changes that, and `ray start` goes on waiting for the raylet that has ended. Nobody
asks a sweep's agents for anything. So their files are written here before they come, with the -1 of an agent
that does not listen.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket

_PORT_FILES = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")


class Start:
    """The start of the node whose `ray start` has this process id. `quiet`: nobody asks its agents."""

    def __init__(self, pid: int, *, quiet: bool) -> None:
        self.pid, self.quiet = pid, quiet
        self.raylet = 0

    def go_on(self) -> bool:
        """Do what can be done by now; False where nothing will come of it. To be asked again and again."""
        if self.raylet:
            return _lives(self.raylet)
        with contextlib.suppress(OSError):
            self.raylet = _child(self.pid, "raylet")
            if self.raylet and self.quiet:
                _write_ports(self.raylet)
        return True


def free_port(address: str) -> int:
    """A port where nothing listens now. For the one agent whose port is used, and so must not be awaited."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _write_ports(raylet: int) -> None:
    with open(f"/proc/{raylet}/cmdline", "rb") as file:
        words = [os.fsdecode(word).partition("=") for word in file.read().split(b"\0")]
    told = {name: value for name, _, value in words}
    for name in _PORT_FILES:
        path = os.path.join(told.get("--session_dir", ""), f"{name}_{told.get('--node_id', '')}")
        with open(path + ".early", "w", encoding="ascii") as file:
            file.write("-1")
        with contextlib.suppress(FileExistsError):
            os.link(path + ".early", path)  # unless the agent was faster
        os.remove(path + ".early")


def _child(pid: int, name: str) -> int:
    """The child of a process that has this name; 0 where there is none."""
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            for child in file.read().split():
                with contextlib.suppress(OSError), open(f"/proc/{child}/comm", encoding="utf-8") as comm:
                    if comm.read().strip() == name:
                        return int(child)
    return 0


def _lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (OSError, IndexError):
        return False
