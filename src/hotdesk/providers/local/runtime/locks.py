"""Locks that say who is alive: the kernel frees them when their holder dies, however it dies.

A worker inherits its locked file from whoever starts it, so there is no moment at which a machine that is
being started looks dead. The file holds the worker's process id, which is believed only while it is locked.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hotdesk.system import flock, is_locked


def take(path: Path) -> int | None:
    """The locked file, to be handed to a worker; `None` when a worker holds it already.

    To be called under the order lock: then nobody else can be taking it, and an exclusive lock that is
    asked for after the look waits only for those who look.
    """
    if is_locked(path):
        return None
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A number that is surely not the worker's own: moving a file to its own number would not open it
        # for the worker everywhere.
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
    finally:
        os.close(fd)
    flock(high)
    os.ftruncate(high, 0)
    return high


def worker_pid(path: Path) -> int | None:
    """The process that holds the lock, or `None` when nobody does or it has not said so yet."""
    if not is_locked(path):
        return None
    try:
        return int(path.read_text("ascii"))
    except (ValueError, FileNotFoundError):
        return None


def sign(fd: int, pid: int) -> None:
    """Write into a locked file who holds it."""
    os.pwrite(fd, b"%d" % pid, 0)
