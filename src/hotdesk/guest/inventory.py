"""Say what a desk holds, before it moves: its files, its packages, and what cannot travel as a file.

    python3 - [FOLDER…]     the home folder, and these as well

prints one JSON object. Files are counted and not read. Runs at the desk, with the standard library only, for
Python 3.8 and later.
"""

from __future__ import annotations

import glob
import gzip
import importlib.metadata
import json
import os
import platform
import re
import stat
import sys
import sysconfig
import time
from typing import Any

from hotdesk.guest.data_record import is_data, left_out, records
from hotdesk.guest.mounts import is_elsewhere, mounted

LARGEST = 5  # folders that are named
_REQUESTED = re.compile(r"(?:^|/)apt(?:-get)?\s.*\binstall\b(.*)")
_NEEDED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_EVERY_DESK = ("jupyterlab", "ipykernel", "pip", "setuptools", "wheel")
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+\Z")


def files(tops: list[str]) -> dict[str, Any]:
    """What is below these folders: count and bytes (a file with several names once), what cannot go.

    Data that came from elsewhere are counted apart, since they are not carried. What is mounted and kept
    elsewhere is named.
    """
    found: dict[str, Any] = {"files": 0, "bytes": 0, "unreadable": [], "odd": [], "mounted": []}
    found.update(data_files=0, data_bytes=0)
    sizes: dict[str, int] = {}
    changes: dict[str, float] = {}  # the last one in each folder
    known: set[tuple[int, int]] = set()

    def failed(error: OSError) -> None:
        found["unreadable"].append(error.filename)

    for top in tops:
        trees, real = {top: data(top)}, os.path.realpath(top)
        away = {os.path.join(top, os.path.relpath(os.fsdecode(path), real))
                for path, kind in mounted(os.fsencode(top)) if is_elsewhere(kind)}  # fmt: skip
        found["mounted"] += sorted(away - marked(top))
        for at, folders, names in os.walk(top, onerror=failed):
            tree = trees.pop(at, {})
            folders[:] = [name for name in folders if tree.get(os.fsencode(name)) is not True
                          and os.path.join(at, name) not in away]  # fmt: skip
            for name in folders if tree else ():
                below = tree.get(os.fsencode(name))
                trees[os.path.join(at, name)] = below if isinstance(below, dict) else {}
            for name in names + [n for n in folders if os.path.islink(os.path.join(at, n))]:
                path = os.path.join(at, name)
                if path in away:  # what no longer answers is no folder
                    continue
                try:
                    told = os.lstat(path)
                except OSError:
                    continue  # it was deleted meanwhile
                if stat.S_ISSOCK(told.st_mode) or stat.S_ISBLK(told.st_mode) or stat.S_ISCHR(told.st_mode):
                    found["odd"].append(path)
                    continue
                if is_data(tree.get(os.fsencode(name)), told):
                    found["data_files"] += 1
                    found["data_bytes"] += told.st_size
                    continue
                found["files"] += 1
                if not stat.S_ISREG(told.st_mode) or (told.st_dev, told.st_ino) in known:
                    continue
                if told.st_nlink > 1:
                    known.add((told.st_dev, told.st_ino))
                if not os.access(path, os.R_OK):
                    found["unreadable"].append(path)
                found["bytes"] += told.st_size
                names_below = os.path.relpath(path, top).split(os.sep)
                first = os.path.join(top, names_below[0]) if len(names_below) > 1 else top
                sizes[first] = sizes.get(first, 0) + told.st_size
                changes[first] = max(changes.get(first, 0.0), told.st_mtime)
    largest = sorted(sizes.items(), key=lambda pair: -pair[1])[:LARGEST]
    found["largest"] = [(name, size, max(0.0, time.time() - changes[name])) for name, size in largest]
    return found


def data(top: str) -> dict[bytes, Any]:
    """What came from elsewhere to a home folder, as nested folders of names."""
    try:
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return {}
    try:
        return left_out(fd)
    finally:
        os.close(fd)


def marked(top: str) -> set[str]:
    """The data folders of a home folder, which come anew by themselves."""
    try:
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return set()
    try:
        return {os.path.join(top, record["to"][2:]) for record, _ in records(fd)}
    finally:
        os.close(fd)


def packages() -> dict[str, Any]:
    """What is installed into this Python's own environment; `apart`: not from an index.

    `jupyter`: of these, what every desk has for its Jupyter.
    """
    listed: set[str] = set()
    apart: set[str] = set()
    needs: dict[str, tuple[str, list[str]]] = {}
    paths = sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})
    for one in importlib.metadata.distributions(path=paths):
        name = one.metadata["Name"]
        if name:
            (apart if one.read_text("direct_url.json") else listed).add(name + "==" + one.version)
            found = (_NEEDED.match(line) for line in one.requires or () if "extra ==" not in line)
            needs[_key(name)] = name + "==" + one.version, [_key(line[0]) for line in found if line]
    jupyter, todo = set(), list(_OF_EVERY_DESK)
    while todo:
        version, more = needs.pop(todo.pop(), ("", []))
        jupyter.add(version)
        todo += more
    given = sorted(jupyter & listed)
    return {
        "packages": sorted(listed), "apart": sorted(apart), "jupyter": given,
        "python": platform.python_version(),
    }  # fmt: skip


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def system_packages(logs: str = "/var/log/apt/history.log*") -> list[str]:
    """The Debian packages that a person asked apt to install, by name."""
    found: set[str] = set()
    for path in sorted(glob.glob(logs)):
        try:
            with (gzip.open if path.endswith(".gz") else open)(path, "rt", errors="replace") as log:
                text = log.read()
        except OSError:
            continue
        for entry in text.split("\n\n"):
            if "Requested-By:" in entry:  # not what the machine's own set-up installed
                for line in re.findall(r"^Commandline: (.*)$", entry, re.M):
                    asked = _REQUESTED.search(line)
                    names = asked.group(1).split() if asked else ()
                    found.update(name for name in names if _NAME.match(name))
    return sorted(found)


def main(tops: list[str]) -> None:
    home = os.path.expanduser("~")
    told = dict(files([home] + [top for top in tops if os.path.isdir(top)]), **packages())
    told["system_packages"] = system_packages()
    told["machine"] = platform.machine()
    for key in ("unreadable", "odd", "mounted"):
        told[key] = [os.fsencode(name).decode("utf-8", "replace") for name in told[key]]
    rows = told["largest"]
    told["largest"] = [[os.fsencode(name).decode("utf-8", "replace"), *more] for name, *more in rows]
    told["home"] = home
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
