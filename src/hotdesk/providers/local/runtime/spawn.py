"""Start a worker process that outlives its parent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hotdesk import system
from hotdesk.providers.local.runtime import locks

LOCK_FD = 3  # where a worker finds its lock


def spawn(module: str, *args: str, lock_fd: int, log: Path) -> None:
    """Run `python -m module args` in its own session, holding the lock; return at once."""
    locks.sign(lock_fd, system.spawn(module, *args, log=log, lend={lock_fd: LOCK_FD}))


def settle() -> None:
    """Close inherited files and sign the lock; a worker's first call.

    The umask stays the owner's, for files made at the desk; the desk's own folder is private anyway.
    """
    os.closerange(LOCK_FD + 1, 65536)
    os.set_inheritable(LOCK_FD, False)
    locks.sign(LOCK_FD, os.getpid())
    os.chdir("/")


def say(words: str) -> None:
    """Write a line to the worker's log."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
