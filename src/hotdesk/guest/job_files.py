"""Where a job lies at a desk, and how its files are read and written there: whole, or not at all.

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
SHELL = [shutil.which("bash") or "/bin/sh", "-lc"]  # whatever the person's own is (core/shell.py)


def path(id_: str, *names: str) -> str:
    return os.path.join(JOBS, id_, *names)


def read(file: str) -> dict[str, Any]:
    """What a JSON file holds; {} when it is absent or torn."""
    try:
        with open(file, encoding="utf-8") as source:
            value = json.load(source)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(file: str, value: dict[str, Any]) -> None:
    """The whole new content or the whole old one, whatever happens meanwhile."""
    with open(file + ".new", "w", encoding="utf-8") as target:
        json.dump(value, target, sort_keys=True)
        target.flush()
        os.fsync(target.fileno())
    os.replace(file + ".new", file)


def place() -> str:
    """What tells one machine from the next that has the same disk."""
    instance = _line("/var/lib/cloud/data/instance-id")
    return " ".join([os.environ.get("HOTDESK_MACHINE", ""), *filter(None, [boot(), instance])])


def boot() -> str:
    """What tells one start of a system from the next (Linux)."""
    return _line("/proc/sys/kernel/random/boot_id")


def _line(file: str) -> str:
    with contextlib.suppress(OSError), open(file, encoding="ascii") as source:
        return source.read().strip()
    return ""


def locked(file: str) -> bool:
    """Whether somebody holds this lock."""
    try:
        with open(file, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
