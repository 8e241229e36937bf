"""End what runs at a desk whose files are about to leave it, so that nothing writes any more.

    python3 -

prints a JSON list of what would not end. Jupyter, terminals, jobs and whatever else its user has started go:
first asked, then killed. Of a machine that shares its user with others, only what carries this desk's mark.

Runs at the desk, with the standard library only, for Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

MARK = "HOTDESK_MACHINE"  # in the environment of all that runs at a desk which shares its computer
UNITS = ("hotdesk-jupyter.service",)
#: What is the system's and not the desk's, by its command line.
_SYSTEMS = ("sshd", "(sd-pam)", "/lib/systemd/", "/usr/lib/systemd/")
ASKED_SECONDS = 10.0
KILLED_SECONDS = 5.0


def _parents() -> dict[int, int]:
    """The parent of each process of this machine."""
    found: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as stat:
            found[int(name)] = int(stat.read().rpartition(b")")[2].split()[1])
    return found


def _mine(pid: int, mark: str) -> bool:
    try:
        if mark:
            with open(f"/proc/{pid}/environ", "rb") as environment:
                return f"{MARK}={mark}".encode() in environment.read().split(b"\0")
        return os.getuid() != 0 and os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False


def _name(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as line:
        return line.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()[:80]
    return ""


def others(mark: str) -> list[int]:
    """The desk's processes, but for this one, what it was started by, and ssh's own."""
    parents, keep, pid = _parents(), set(), os.getpid()
    while pid and pid not in keep:
        keep.add(pid)
        pid = parents.get(pid, 0)
    found = []
    for pid in sorted(parents.keys() - keep):
        if _mine(pid, mark) and (name := _name(pid)) and not name.startswith(_SYSTEMS):
            found.append(pid)
    return found


def end(mark: str) -> list[str]:
    """End them; what is left, by its command line."""
    if shutil.which("systemctl") and shutil.which("sudo") and not mark:
        for unit in UNITS:
            words = ["sudo", "-n", "systemctl", "stop", unit]
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for number, seconds in ((signal.SIGTERM, ASKED_SECONDS), (signal.SIGKILL, KILLED_SECONDS)):
        until = time.monotonic() + seconds
        asked: set[int] = set()
        while (left := others(mark)) and time.monotonic() < until:
            for pid in left:
                if pid not in asked:
                    asked.add(pid)
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGHUP if number == signal.SIGTERM else number)
                        os.kill(pid, number)
            time.sleep(0.1)
    os.sync()
    return [f"{_name(pid)} ({pid})" for pid in others(mark)]


if __name__ == "__main__":
    json.dump(end(os.environ.get(MARK, "")), sys.stdout)
