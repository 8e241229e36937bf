"""Starting a worker process that outlives whoever started it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import hotdesk
from hotdesk.providers.local.runtime import locks

LOCK_FD = 3  # where a worker finds its lock

_started: set[int] = set()


def spawn(module: str, *args: str, lock_fd: int, log: Path) -> None:
    """Run `python -m module args` in a session of its own, holding the lock; returns at once.

    Nothing of the caller reaches it but its environment and the locked file: no terminal, no other open
    file, and no ignored signal (a shell's `&` ignores SIGINT, and Ctrl-C would be dead at the desk).
    """
    reap()
    root = str(Path(hotdesk.__file__).parents[1])
    kept = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(p).is_absolute()]
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", module, *args],
        {**os.environ, "PYTHONPATH": os.pathsep.join([root, *kept])},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, lock_fd, LOCK_FD),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[s for s in signal.valid_signals() if s not in {signal.SIGKILL, signal.SIGSTOP}],
    )
    _started.add(pid)
    locks.sign(lock_fd, pid)


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


def reap() -> None:
    """Let the dead rest: a long-lived caller would otherwise keep its ended workers as zombies."""
    for pid in list(_started):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = pid
        if done:
            _started.discard(pid)
