"""The processes of a sweep's tasks on one machine, and the memory that they use.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import os

MARK = "HOTDESK_TASK"  # in the environment of everything that a task runs: its folder


def processes_of(work: str, mark: str = MARK) -> list[int]:
    """Living processes whose environment has this mark."""
    wanted = (mark + "=" + work).encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if wanted in file.read().split(b"\0") and not is_zombie(int(entry)):
                    found.append(int(entry))
    return found


def leader(pids: list[int]) -> int:
    """The one that leads its session, else the first; -1 for none. Any may end meanwhile."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.getsid(pid) == pid:
                return pid
    return pids[0] if pids else -1


def mark_of(pid: int) -> str:
    with open(f"/proc/{pid}/environ", "rb") as file:
        for item in file.read().split(b"\0"):
            if item.startswith(MARK.encode() + b"="):
                return item.partition(b"=")[2].decode("utf-8", "surrogateescape")
    return ""


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def is_zombie(pid: int) -> bool:
    try:
        return _stat(pid)[0] == "Z"
    except (OSError, IndexError):
        return True


def children() -> set[int]:
    """The process ids of all children, those of every thread."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        below = f"/proc/self/task/{thread}/children"
        with contextlib.suppress(OSError), open(below, encoding="ascii") as file:
            found.update(map(int, file.read().split()))
    return found


def resident(sessions: set[int]) -> dict[int, int]:
    """Resident bytes of these sessions."""
    used = dict.fromkeys(sessions, 0)
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                told = _stat(int(entry))
                session = int(told[3])
                if session in used:
                    used[session] += int(told[21]) * page
    return used


def available_bytes() -> int:
    """Memory that can be had without swapping (proc(5), MemAvailable)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 60
