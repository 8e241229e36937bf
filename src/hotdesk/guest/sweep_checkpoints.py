"""Keep a copy of what a task has saved, from where it is brought off the machine; lay one out elsewhere.

A checkpoint is a file or a folder that the task writes. When nothing in it has changed for a second, it is
packed into one file, `saved/000012-3.tar` for attempt 3 of task 12, which takes the place of the one before
in one step. So a copy is always whole: this one or the older one.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import threading
import time
from typing import Any

LOOK_SECONDS = 0.25  # between two looks at what a task has saved
STILL_SECONDS = 1.0  # a checkpoint is complete when nothing has changed for so long
KEEP_SECONDS = 20.0  # between two copies
SHARE = 10.0  # … and so many times as long as the last one took, so that tasks keep the disk
REST = 20.0  # times as long as a look at many files took, until the next
SPARE_BYTES = 1 << 28  # left free, beside three times the checkpoint: the task's own files come first
ROOT = "checkpoint"  # its name within a copy
_SIGNALLED = 128  # exit statuses above are of processes that a signal has ended


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
        self.seen = survey(self.source)
        self.kept = self.seen if new else {}  # what it began with has a copy where it came from
        self.changed_at = time.monotonic()
        self.look_at = self.next_at = float("-inf")
        with contextlib.suppress(OSError):  # made by a runner that was killed
            self.at = os.stat(self.file).st_mtime

    @property
    def file(self) -> str:
        return os.path.join(self.folder, "saved", f"{self.name}-{self.attempt}.tar")

    def look(self) -> None:
        """Make a copy where there is something new, it is complete, and the last copy is old enough."""
        with self.lock:
            now = time.monotonic()
            if now < self.look_at and now >= self.hurried_until:
                return
            found = survey(self.source)
            self.look_at = now + REST * (time.monotonic() - now)
            if found != self.seen:
                self.seen, self.changed_at = found, now
                return
            due = now < self.hurried_until or now >= self.next_at
            if due and found != self.kept and now - self.changed_at >= STILL_SECONDS:
                self._keep(found)

    def close(self, status: int) -> None:
        """The attempt has ended: a copy of what it has saved last, unless that may be half a file.

        It may be where a signal has ended it within a second of its last change.
        """
        with self.lock:
            found = survey(self.source)
            newest = max((changed for _, changed, _ in found.values()), default=0) / 1e9
            if found != self.kept and (status <= _SIGNALLED or time.time() - newest >= STILL_SECONDS):
                self._keep(found)

    def _keep(self, found: dict[str, tuple[int, int, int]]) -> None:
        began = time.monotonic()
        size = sum(size for size, _, _ in found.values())
        self.next_at = began + KEEP_SECONDS
        if not found:  # it was deleted: the copy is all that is left
            return
        if self.limit_bytes and size > self.limit_bytes:
            self.why = f"it has {_gib(size)}, and at most {_gib(self.limit_bytes)} are kept"
            return
        saved = os.path.dirname(self.file)
        try:
            os.makedirs(saved, mode=0o700, exist_ok=True)
            free = shutil.disk_usage(saved).free
            if free < 3 * size + SPARE_BYTES:
                self.why = f"only {_gib(free)} are free on its machine"
                return
            pack(self.source, self.file + ".new", self.folder)
            if survey(self.source) != found:  # it was written to meanwhile
                self.next_at = float("-inf")
                return
            os.replace(self.file + ".new", self.file)
            made = os.stat(self.file).st_mtime
        except OSError as error:
            self.why = f"it cannot be copied: {error.strerror or error}"
            return
        self.at, self.kept, self.why = made, found, ""
        forget(self.folder, self.name, before=self.attempt)
        self.next_at = began + max(KEEP_SECONDS, SHARE * (time.monotonic() - began))


def survey(source: str) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of a file, or of every file in a folder."""
    found = {}
    files = [source]
    if os.path.isdir(source):
        files = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    for file in files:
        with contextlib.suppress(OSError):
            stat = os.lstat(file)
            found[file] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def pack(source: str, target: str, folder: str) -> None:
    """Pack a file or a folder.

    Links to what is in the sweep's folder by its full name become files: it has another name elsewhere.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w") as file:

        def add(path: str, name: str) -> None:
            linked = os.path.islink(path) and os.readlink(path).startswith(folder + os.sep)
            info = file.gettarinfo(os.path.realpath(path) if linked or name == ROOT else path, name)
            if info is None:  # a socket
                return
            if info.islnk():  # a second name of a file: whole, so that none needs the other
                info.type, info.size = tarfile.REGTYPE, os.lstat(path).st_size
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
        with tarfile.open(copy) as file:
            if hasattr(tarfile, "tar_filter"):  # Python 3.12, and later ones of those before
                file.extraction_filter = tarfile.tar_filter
            file.extractall(new)
    except tarfile.TarError as error:
        raise OSError(f"its checkpoint cannot be unpacked: {error}") from error
    if os.path.isdir(target) and not os.path.islink(target):
        shutil.rmtree(target)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(os.path.join(new, ROOT), target)
    shutil.rmtree(new, ignore_errors=True)


def forget(folder: str, name: str, before: int = 1 << 31) -> None:
    """Delete the copies of a task's attempts, or of those before this one."""
    for file, found in copies(folder).items():
        if found["task"] == int(name) and found["attempt"] < before:
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, "saved", file))


def copies(folder: str) -> dict[str, dict[str, Any]]:
    """The copies that a machine has, by file."""
    found, saved = {}, os.path.join(folder, "saved")
    for file in os.listdir(saved) if os.path.isdir(saved) else ():
        stem, suffix = os.path.splitext(file)
        task, _, attempt = stem.partition("-")
        if suffix == ".tar" and task.isdigit() and attempt.isdigit():
            with contextlib.suppress(OSError):
                stat = os.stat(os.path.join(saved, file))
                named = {"task": int(task), "attempt": int(attempt)}
                found[file] = {**named, "at": stat.st_mtime, "bytes": stat.st_size}
    return found


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
