"""File systems that are mounted below a folder. What stands behind one by FUSE is kept elsewhere.

Nothing is saved from there, and above all nothing is deleted: it would be gone at its source, in a bucket or
at another computer. The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

LIST = "/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_SECONDS = 20.0


def mounted(below: bytes, list_: str = LIST) -> list[tuple[bytes, str]]:
    """(path, type) of each file system below a folder of this path, the deepest first; none outside Linux."""
    top = os.path.realpath(below) + b"/"
    return sorted(((path, kind) for path, kind, _ in _rows(list_) if path.startswith(top)), reverse=True)


def elsewhere(list_: str = LIST) -> dict[int, str]:
    """The file systems whose content is kept elsewhere: their types, by device number."""
    return {device: kind for _, kind, device in _rows(list_) if is_elsewhere(kind)}


def is_elsewhere(kind: str) -> bool:
    return kind == "fuse" or kind.startswith("fuse.")  # but for fuseblk, which is a disk


def free(below: bytes, list_: str = LIST) -> None:
    """Unmount all FUSE below a folder, also what no longer answers. Raises OSError if something else is."""
    for path, kind in mounted(below, list_):
        if is_elsewhere(kind):
            unmount(path)
    for path, kind in mounted(below, list_):
        raise OSError(16, "a file system (" + kind + ") is mounted there", os.fsdecode(path))


def unmount(path: bytes) -> bool:
    """Unmount one, also one that is in use or no longer answers; whether some tool said that it did."""
    for words in (
        ["fusermount3", "-u", "-z", "--"],
        ["fusermount", "-u", "-z", "--"],
        ["umount", "-l", "--"],
    ):
        if shutil.which(words[0]):
            try:
                done = subprocess.run(
                    [*words, path],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_SECONDS,
                )
            except (OSError, subprocess.SubprocessError):
                continue
            if done.returncode == 0:
                return True
    return False


def _rows(list_: str) -> list[tuple[bytes, str, int]]:
    """(path, type, device) of every mount that this process sees."""
    found = []
    try:
        with open(list_, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    for line in lines:
        before, dash, after = line.partition(b" - ")
        fields, kind = before.split(b" "), after.split(b" ")[0].decode("ascii", "replace")
        if dash and len(fields) > 4:
            major, _, minor = fields[2].partition(b":")
            path = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
            found.append((path, kind, os.makedev(int(major), int(minor))))
    return found
