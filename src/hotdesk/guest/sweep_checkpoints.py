"""Keep a copy of what a task has saved, from where it is brought off the machine; lay one out elsewhere.

A checkpoint is a file or a folder that the task writes. When nothing in it has changed for a second, it is
packed into one file, `saved/000012-3.tar` for attempt 3 of task 12, which takes the place of the one before
in one step. So a copy is always whole: this one or the older one.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_SECONDS = 0.25  # between two looks at what a task has saved
STILL_SECONDS = 1.0  # a checkpoint is complete when nothing has changed for so long
KEEP_SECONDS = 20.0  # between two copies
SHARE = 10.0  # … and so many times as long as the last one took, so that tasks keep the disk
REST = 20.0  # times as long as a look at many files took, until the next
RESTLESS_SECONDS = 120.0  # without a copy, as long as something changes: then it is said
HEADER_BYTES = 1024  # of each file in a copy, about
SPARE_BYTES = 1 << 28  # left free, beside three times the checkpoint: the task's own files come first
ROOT = "checkpoint"  # its name within a copy
_COPY = re.compile(r"(\d{1,9})-(\d{1,9})\.tar(\.new)?", re.ASCII)


class Keeper:
    """What one attempt has saved. Its methods may be called from any thread."""

    def __init__(self, folder: str, name: str, attempt: int, place: str, *, limit: int, new: bool) -> None:
        """`folder`: the sweep's. `name`: the task's. `place`: of the checkpoint, in the task's folder.

        `limit`: bytes; a greater one is not kept; 0: no limit. `new`: the attempt begins now.
        """
        self.folder, self.name, self.attempt, self.limit_bytes = folder, name, attempt, limit
        self.source = os.path.join(folder, "work", name, place)
        self.at = 0.0  # when the copy was made, by this machine's clock; 0: there is none
        self.why = ""  # why there is no newer one
        self.hurried_until = float("-inf")  # the machine is about to go
        self.lock = threading.Lock()
        self.seen = survey(self.source, folder)
        self.kept = self.seen if new else {}  # what it began with has a copy where it came from
        self.changed_at = time.monotonic()
        self.new_since = float("inf")  # there is something of which there is no copy
        self.look_at = self.next_at = float("-inf")
        with contextlib.suppress(OSError):  # made by a runner that was killed
            self.at = os.stat(self.file).st_mtime

    @property
    def file(self) -> str:
        return os.path.join(self.folder, "saved", f"{self.name}-{self.attempt}.tar")

    def look(self) -> None:
        """Make a copy where there is something new, it is complete, and the last copy is old enough."""
        with self.lock, self._complaining():
            now = time.monotonic()
            if now < self.look_at and now >= self.hurried_until:
                return
            self.look_at = now + KEEP_SECONDS  # where the look fails
            found = survey(self.source, self.folder)
            self.look_at = now + REST * (time.monotonic() - now)
            self.new_since = min(self.new_since, now) if found != self.kept else float("inf")
            if found != self.seen:
                self.seen, self.changed_at = found, now
                if now - self.new_since > RESTLESS_SECONDS:
                    self.why = "something in it changes all the time, and it is copied once nothing does"
                return
            due = now < self.hurried_until or now >= self.next_at
            if due and found != self.kept and now - self.changed_at >= STILL_SECONDS:
                self._keep(found)

    def close(self, killed: bool) -> None:
        """The attempt has ended: a copy of what it has saved last, unless that may be half a file.

        It may be where the attempt was killed within a second of its last change.
        """
        with self.lock, self._complaining():
            found = survey(self.source, self.folder)
            newest = max((changed for _, changed, _ in found.values()), default=0) / 1e9
            still = found == self.seen and time.monotonic() - self.changed_at >= STILL_SECONDS
            if found != self.kept and (not killed or still or time.time() - newest >= STILL_SECONDS):
                self._keep(found)

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        """Whatever a task has put there, it is no reason to keep nothing of the others."""
        try:
            yield
        except Exception as error:
            told = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
            self.why = f"it cannot be copied: {told}"

    def _keep(self, found: dict[str, tuple[int, int, int]]) -> None:
        began = time.monotonic()
        size = sum(size + HEADER_BYTES for size, _, _ in found.values())
        self.next_at = began + KEEP_SECONDS
        if not found:  # it was deleted: the copy is all that is left
            return
        if self.limit_bytes and size > self.limit_bytes:
            self.why = f"it has {_gib(size)}, and at most {_gib(self.limit_bytes)} are kept"
            return
        saved, new = os.path.dirname(self.file), self.file + ".new"
        os.makedirs(saved, mode=0o700, exist_ok=True)
        free = shutil.disk_usage(saved).free
        if free < 3 * size + SPARE_BYTES:
            self.why = f"only {_gib(free)} are free on its machine"
            return
        try:
            pack(self.source, new, self.folder)
            whole = survey(self.source, self.folder) == found
            if whole:
                os.replace(new, self.file)
        finally:
            with contextlib.suppress(FileNotFoundError):  # half a copy would fill the disk
                os.remove(new)
        took = time.monotonic() - began
        self.next_at = began + max(KEEP_SECONDS, SHARE * took)
        if not whole:
            self.why = "it was written to while it was copied"
            self.next_at = time.monotonic() + SHARE * took
            return
        self.at, self.kept, self.why = os.stat(self.file).st_mtime, found, ""
        self.new_since = float("inf")
        forget(self.folder, self.name, before=self.attempt)


def survey(source: str, folder: str) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of a file, or of every file and link in a folder.

    Of a link that `pack` makes a file, they are those of the file.
    """
    found = {}
    files = [source]
    if os.path.isdir(source):
        files = []
        for at, folders, names in os.walk(source):
            inside = [*names, *(name for name in folders if os.path.islink(os.path.join(at, name)))]
            files += [os.path.join(at, name) for name in inside]
    for file in files:
        with contextlib.suppress(OSError):
            info = os.stat(file) if file == source or _is_own(file, folder) else os.lstat(file)
            found[file] = (info.st_size, info.st_mtime_ns, info.st_ino)
    return found


def _is_own(path: str, folder: str) -> bool:
    """Whether it is a link to what is in the sweep's folder, by its full name."""
    return os.path.islink(path) and os.readlink(path).startswith(folder + os.sep)


def pack(source: str, target: str, folder: str) -> None:
    """Pack a file or a folder.

    Links to what is in the sweep's folder by its full name become files: it has another name elsewhere.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w") as file:

        def add(path: str, name: str) -> None:
            real = os.path.realpath(path) if name == ROOT or _is_own(path, folder) else path
            info = file.gettarinfo(real, name)
            if info is None:  # a socket
                return
            if info.islnk():  # a second name of a file: whole, so that none needs the other
                info.type, info.size = tarfile.REGTYPE, os.lstat(real).st_size
            if info.isreg():
                with open(path, "rb") as content:
                    file.addfile(info, content)
                return
            file.addfile(info)
            if info.isdir():
                for inside in sorted(os.listdir(path)):
                    add(os.path.join(path, inside), f"{name}/{inside}")

        add(source, ROOT)


def lay_out(copy: str, work: str, place: str) -> None:
    """Put a copy where the task looks for it, in place of what is there. Raises `OSError`."""
    new, target = work + ".checkpoint", os.path.join(work, place)
    shutil.rmtree(new, ignore_errors=True)
    try:
        _unpack(copy, new)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.remove(target)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.move(os.path.join(new, ROOT), target)  # a link above it may lead to another disk
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _unpack(copy: str, new: str) -> None:
    """Raises `OSError` for what `pack` does not write, too: nothing is written beside `new`."""
    try:
        with tarfile.open(copy, "r:") as file:
            links = set[str]()
            for info in file:
                parts = info.name.split("/")
                above = {"/".join(parts[:n]) for n in range(1, len(parts))}
                known = info.isreg() or info.isdir() or info.isfifo() or (info.issym() and len(parts) > 1)
                if parts[0] != ROOT or not known or {"", ".", ".."} & {*parts} or above & links:
                    raise ValueError(f"{info.name!r} is not of a checkpoint")
                info.mode &= 0o755
                if info.issym():
                    links.add(info.name)
            if hasattr(tarfile, "tar_filter"):  # Python 3.12, and later ones of those before
                file.extraction_filter = tarfile.tar_filter
            file.extractall(new)
    except OSError:
        raise
    except Exception as error:  # damaged in whichever way
        raise OSError(f"its checkpoint cannot be unpacked: {error}") from error


def forget(folder: str, name: str, before: int = 1 << 31) -> None:
    """Delete the copies of a task's attempts, or of those before this one."""
    for file, (task, attempt, _) in _files(folder).items():
        if task == int(name) and attempt < before:
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, "saved", file))


def copies(folder: str) -> dict[str, dict[str, Any]]:
    """The copies that a machine has, by file."""
    found = {}
    for file, (task, attempt, whole) in _files(folder).items():
        with contextlib.suppress(OSError):
            info = os.lstat(os.path.join(folder, "saved", file))
            if whole and stat.S_ISREG(info.st_mode):
                named = {"task": task, "attempt": attempt}
                found[file] = {**named, "at": info.st_mtime, "bytes": info.st_size}
    return found


def _files(folder: str) -> dict[str, tuple[int, int, bool]]:
    """Task and attempt of each, and whether it is a copy, not the beginning of one."""
    saved = os.path.join(folder, "saved")
    names = os.listdir(saved) if os.path.isdir(saved) else []
    named = {name: _COPY.fullmatch(name) for name in names}
    return {name: (int(is_[1]), int(is_[2]), not is_[3]) for name, is_ in named.items() if is_}


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
