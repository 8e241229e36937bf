"""Liveness locks: the kernel frees them when the worker that holds one dies, however it dies.

A worker inherits its locked file from the process that starts it, so that a machine never looks dead while it
is being started. The file holds the worker's process id, which is valid only while the file is locked.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hotdesk.system import flock, is_locked


def take(path: Path) -> int | None:
    """Lock a file to be handed to a worker; `None` if a worker holds it already.

    Call it under the order lock: then nobody else takes it, and waiting for the exclusive lock means waiting
    only for processes that test it.
    """
    if is_locked(path):
        return None
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Not the number it has in the worker: a dup2 onto the same number would not clear close-on-exec on
        # every system.
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
    finally:
        os.close(fd)
    flock(high)
    os.ftruncate(high, 0)
    return high


def worker_pid(path: Path) -> int | None:
    """The process that holds the lock; `None` if it is free or its holder has not signed yet."""
    if not is_locked(path):
        return None
    try:
        return int(path.read_text("ascii"))
    except (ValueError, FileNotFoundError):
        return None


def sign(fd: int, pid: int) -> None:
    """Write the holder's process id into a locked file."""
    os.pwrite(fd, b"%d" % pid, 0)
