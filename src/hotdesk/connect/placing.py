"""Move files that have arrived completely into their folder, each atomically.

Uses only the standard library of Python 3.8: without rsync, this file itself is sent to the desk and run
there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Replace = Callable[[str, os.stat_result, os.stat_result], bool]


class Placed:
    """What was done with each file, by its name in the folder."""

    def __init__(self) -> None:
        self.came: dict[str, os.stat_result] = {}  # new here, or in place of what was here
        self.same = 0
        self.beside: dict[str, str] = {}  # kept as it was -> where the incoming one lies
        self.bytes = 0


def place(
    tree: Path, target: Path, suffix: str, may_replace: Replace, follow: Collection[str] | None = ()
) -> Placed:
    """Move everything in `tree` into `target`; both are on one file system, except where links lead off it.

    A file in `target` is replaced if `may_replace(name, existing, incoming)` agrees; nothing is deleted. If
    it does not agree, or only one of the two is a folder, the incoming one is put beside the other as `name`
    + `suffix`; without a suffix it stays in `tree`. Only links to folders in `follow` (None: all) are
    followed, because the other side could have sent any other.
    """
    placing = _Placing(suffix, may_replace, follow)
    placing.all_of(tree, target, "")
    return placing.placed


class _Placing:
    def __init__(self, suffix: str, may_replace: Replace, follow: Collection[str] | None) -> None:
        self.suffix, self.may_replace, self.follow = suffix, may_replace, follow
        self.placed = Placed()

    def all_of(self, tree: Path, target: Path, prefix: str) -> None:
        for entry in sorted(os.scandir(tree), key=lambda e: os.fsencode(e.name)):
            came = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(came.st_mode):
                self.folder(Path(entry.path), target / entry.name, prefix + entry.name, came)
            else:
                self.file(Path(entry.path), target / entry.name, prefix + entry.name, came)

    def folder(self, path: Path, here: Path, name: str, came: os.stat_result) -> None:
        old = _seen(here)
        link = old is not None and stat.S_ISLNK(old.st_mode) and (self.follow is None or name in self.follow)
        if old is not None and not stat.S_ISDIR(old.st_mode) and not (link and here.is_dir()):
            self.beside(path, came, here, name)
            return
        if old is None:
            here.mkdir(mode=0o700)
        if os.geteuid() != 0:  # it may have arrived without write permission
            path.chmod(0o700)
        self.all_of(path, here, name + "/")
        if old is None:
            here.chmod(stat.S_IMODE(came.st_mode))
            os.utime(here, ns=(came.st_atime_ns, came.st_mtime_ns))

    def file(self, path: Path, here: Path, name: str, came: os.stat_result) -> None:
        old = _seen(here)
        if old is None or (not stat.S_ISDIR(old.st_mode) and self.may_replace(name, old, came)):
            _move(path, here)
            self.placed.came[name] = came
            self.placed.bytes += came.st_size
        elif same(old, came) or _one_link(here, old, path, came):
            self.placed.same += 1
        else:
            self.beside(path, came, here, name)

    def beside(self, path: Path, came: os.stat_result, here: Path, name: str) -> None:
        number, lies = 1, here
        while self.suffix:
            lies = here.with_name(here.name + self.suffix + (f"-{number}" if number > 1 else ""))
            old = _seen(lies)
            if old is None or same(old, came):
                _move(path, lies)
                break
            number += 1
        self.placed.beside[name] = name[: len(name) - len(here.name)] + lies.name


def _move(path: Path, to: Path) -> None:
    """Move a file or folder into place atomically, even if a link leads to another file system."""
    try:
        path.replace(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = to.with_name(f".{to.name[:200]}.hotdesk-partial")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(path, beside, symlinks=True)
            beside.replace(to)
            shutil.rmtree(path)
            return
        if os.path.lexists(beside):
            beside.unlink()
        shutil.copy2(path, beside, follow_symlinks=False)
        beside.replace(to)
        path.unlink()


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two files count as equal by rsync's quick check: regular, same size, same second."""
    kinds = stat.S_IFMT(one.st_mode), stat.S_IFMT(other.st_mode)
    alike = one.st_size == other.st_size and int(one.st_mtime) == int(other.st_mtime)
    return kinds[0] == kinds[1] == stat.S_IFREG and alike


def _one_link(one: Path, old: os.stat_result, other: Path, came: os.stat_result) -> bool:
    links = stat.S_ISLNK(old.st_mode) and stat.S_ISLNK(came.st_mode)
    return links and os.readlink(one) == os.readlink(other)  # noqa: PTH115 -- Path's is of Python 3.9


def _seen(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


if __name__ == "__main__":  # at a desk: incoming files replace existing ones
    done = place(Path(sys.argv[1]), Path(sys.argv[2]), "", lambda name, old, came: True, None)
    sys.stdout.buffer.write(b"".join(os.fsencode(name) + b"\0" for name in done.beside))
