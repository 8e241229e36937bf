"""What of a desk's files came from elsewhere and is unchanged since: it is not saved, and does not travel.

~/.hotdesk/data/NAME.json    a data folder: {"from", "to", "state", "why", …}, see guest/data.py
~/.hotdesk/data/NAME.files   its files as they had come, a line each: "SIZE MTIME-NS JSON-STRING"

A file counts as data only while it has that size and time. One that was changed or added since is the
desk's own work, wherever it lies. What cannot be read lists nothing, so that everything is saved. The
standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

FOLDER = (".hotdesk", "data")
ARRIVING = ".hotdesk-arriving"  # behind a data folder's name: what is on its way to it, which nobody needs
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def records(home: int) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The data folders of a home folder (a descriptor): what is known of each, and the lines of its files."""
    with contextlib.ExitStack() as opened:
        at = home
        try:
            for name in FOLDER:
                at = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=at)
                opened.callback(os.close, at)
        except OSError:
            return
        for name in sorted(os.listdir(at)):
            if name.endswith(".json"):
                record = parsed(_read(at, name))
                if record:
                    yield record, _read(at, name[:-5] + ".files")


def parsed(data: bytes) -> dict[str, Any]:
    """A record, if these bytes are one of a folder below the home folder; else {}."""
    try:
        record = json.loads(data.decode("utf-8", "surrogateescape"))
        parts = record["to"].split("/")
        usable = len(parts) > 1 and parts[0] == "~" and not {"", ".", ".."} & set(parts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return record if usable else {}


def listed(lines: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """The files in such a list: each one's path below the data folder, its size and its time."""
    for line in lines.split(b"\n"):
        size, _, rest = line.partition(b" ")
        time, _, name = rest.partition(b" ")
        try:
            path = json.loads(name)
            looks = (int(size), int(time))
        except (ValueError, RecursionError):
            continue
        if isinstance(path, str) and not {"", ".", ".."} & set(path.split("/")):
            yield path, looks


def listing(files: dict[str, tuple[int, int]]) -> bytes:
    """Such a list, of files by their path."""
    rows = (f"{size} {time} {json.dumps(path)}\n" for path, (size, time) in sorted(files.items()))
    return "".join(rows).encode("ascii")


def left_out(home: int) -> dict[bytes, Any]:
    """The files that need not be saved, as nested folders of names below a home folder (a descriptor)."""
    tree: dict[bytes, Any] = {}
    for record, lines in records(home):
        *above, last = record["to"].split("/")[1:]
        top = below(tree, [*above, last])
        with contextlib.suppress(UnicodeEncodeError):
            below(tree, above)[os.fsencode(last + ARRIVING)] = True
        for path, looks in listed(lines):
            *folders, name = path.split("/")
            at = below(top, folders)
            with contextlib.suppress(UnicodeEncodeError):
                at.setdefault(os.fsencode(name), looks)
    return tree


def below(tree: dict[bytes, Any], names: list[str]) -> dict[bytes, Any]:
    """The part of a tree below these folders; one that no file is in if it cannot be."""
    for name in names:
        try:
            found = tree.setdefault(os.fsencode(name), {})
        except UnicodeEncodeError:
            return {}
        if not isinstance(found, dict):
            return {}
        tree = found
    return tree


def is_data(known: Any, told: os.stat_result) -> bool:
    """Whether a file, or a folder as a whole, is one that a tree lists, by its place there and its status."""
    if known is True:
        return True
    plain = stat.S_ISREG(told.st_mode) and told.st_nlink == 1
    return plain and isinstance(known, tuple) and known == (told.st_size, told.st_mtime_ns)


def _read(folder: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        fd = os.open(name, _OPEN, dir_fd=folder)
        with open(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return file.read()
    return b""
