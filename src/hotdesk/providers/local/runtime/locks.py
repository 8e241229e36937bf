"""Locks that say who is alive: the kernel frees them when their holder dies, however it dies.

A worker inherits its locked file from whoever starts it, so there is no moment at which a machine that is
being started looks dead. The file holds the worker's process id, which is believed only while it is locked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def ordered(path: Path, *, shared: bool = False) -> Iterator[None]:
    """One at a time among all processes and threads; waits. Held for milliseconds, except by workers."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def ordered_now(path: Path) -> Iterator[bool]:
    """The same without waiting: whether it could be had at once."""
    fd = _open(path)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def alive(path: Path) -> bool:
    """Whether a worker holds this lock. Looking never disturbs anybody who wants to take it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        return True
    finally:
        os.close(fd)
    return False


def take(path: Path) -> int | None:
    """The locked file, to be handed to a worker; `None` when a worker holds it already.

    To be called under the order lock: then nobody else can be taking it, and an exclusive lock that is
    asked for after the look waits only for those who look.
    """
    if alive(path):
        return None
    fd = _open(path)
    try:
        # A number that is surely not the worker's own: moving a file to its own number would not open it
        # for the worker everywhere.
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
    finally:
        os.close(fd)
    fcntl.flock(high, fcntl.LOCK_EX)
    os.ftruncate(high, 0)
    return high


def worker_pid(path: Path) -> int | None:
    """The process that holds the lock, or `None` when nobody does or it has not said so yet."""
    if not alive(path):
        return None
    try:
        return int(path.read_text("ascii"))
    except (ValueError, FileNotFoundError):
        return None


def sign(fd: int, pid: int) -> None:
    """Write into a locked file who holds it."""
    os.pwrite(fd, b"%d" % pid, 0)
