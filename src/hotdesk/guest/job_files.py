"""Paths of a job's files at a desk, and how to read and write them atomically.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from typing import Any

HOME = os.path.expanduser("~")
JOBS = os.path.join(HOME, ".hotdesk", "jobs")
TELL_SECONDS = 5.0  # between two times that a running attempt writes down how long it has worked
SHELL = [shutil.which("bash") or "/bin/sh", "-lc"]  # whatever the user's shell is (core/shell.py)


def path(id_: str, *names: str) -> str:
    return os.path.join(JOBS, id_, *names)


def read(file: str) -> dict[str, Any]:
    """The object in a JSON file; {} if it is absent or damaged."""
    try:
        with open(file, encoding="utf-8") as source:
            value = json.load(source)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(file: str, value: dict[str, Any]) -> None:
    """Replace a JSON file atomically and durably."""
    with open(file + ".new", "w", encoding="utf-8") as target:
        json.dump(value, target, sort_keys=True)
        target.flush()
        os.fsync(target.fileno())
    os.replace(file + ".new", file)


def place() -> str:
    """An identity of the machine since its start, different for the next one with the same disk."""
    local = [os.environ.get(name, "") for name in ("HOTDESK_MACHINE", "HOTDESK_STARTED_AT")]
    return " ".join(filter(None, [*local, boot(), _line("/var/lib/cloud/data/instance-id")]))


def boot() -> str:
    """The boot id, different at each start of the system (Linux)."""
    return _line("/proc/sys/kernel/random/boot_id")


def _line(file: str) -> str:
    with contextlib.suppress(OSError), open(file, encoding="ascii") as source:
        return source.read().strip()
    return ""


def locked(file: str) -> bool:
    """Whether this lock is held."""
    try:
        with open(file, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
