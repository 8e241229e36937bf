"""Starting a worker process that outlives whoever started it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hotdesk import system
from hotdesk.providers.local.runtime import locks

LOCK_FD = 3  # where a worker finds its lock


def spawn(module: str, *args: str, lock_fd: int, log: Path) -> None:
    """Run `python -m module args` in a session of its own, holding the lock; returns at once."""
    locks.sign(lock_fd, system.spawn(module, *args, log=log, lend={lock_fd: LOCK_FD}))


def settle() -> None:
    """What a worker does first: let go of every file that it did not ask for, and sign its lock.

    The umask stays the owner's, for what is made at a desk; a desk's own folder is closed to others.
    """
    os.closerange(LOCK_FD + 1, 65536)
    os.set_inheritable(LOCK_FD, False)
    locks.sign(LOCK_FD, os.getpid())
    os.chdir("/")


def say(words: str) -> None:
    """A line in the worker's own log."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
