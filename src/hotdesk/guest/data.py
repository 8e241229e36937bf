"""Bring folders of data to a desk from where they are kept, by the tool that the desk's owner has there.

`begin` takes the folders that are wanted, and starts a process that brings them, unless one runs; `told` says
how far each is. Nothing is ever written or deleted at a source. What was changed or added here stays, and
travels with the desk like any work: see guest/data_record.py. The standard library only, for Python 3.8 and
later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from hotdesk.guest import data_mount, data_record
from hotdesk.guest.data_source import Source, Told, failed, opened, walk
from hotdesk.guest.job_files import HOME, locked, place, read, write

FOLDER = os.path.join(HOME, *data_record.FOLDER)
LOCK = os.path.join(FOLDER, "lock")
WANTED = os.path.join(FOLDER, "wanted")
TELL_SECONDS = 2.0


# ---- what is asked for -------------------------------------------------------------------------------


def begin() -> int:
    """Note the folders on standard input, as a JSON list, and bring them in a process of its own."""
    wanted = json.load(sys.stdin)
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    write(WANTED, {"folders": wanted})
    if locked(LOCK):  # it looks again at its end
        return 0
    null = subprocess.DEVNULL
    argv = [sys.executable, os.path.abspath(sys.argv[0]), "data-bring"]
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
    return 0


def told() -> int:
    """Print how far each folder is, as a JSON list."""
    known = {record["to"]: record for record in _records()}
    folders = [one["to"] for one in read(WANTED).get("folders", [])]
    alive, found = locked(LOCK), []
    for to in [*folders, *(to for to in known if to not in folders)]:
        record = known.get(to) or {"to": to, "state": "waiting"}
        if record.get("place") != place() or (record["state"] == "coming" and not alive):
            record = dict(record, state="coming" if alive else "stopped", why="")
        found.append(record)
    print(json.dumps(found))
    return 0


def bring() -> int:
    """Bring every folder that is wanted; what is no longer, once more, so that its files can travel again."""
    with open(LOCK, "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        wanted = None
        while wanted != read(WANTED):
            wanted = read(WANTED)
            folders = wanted.get("folders", [])
            named = [one["to"] for one in folders]
            for one in folders:
                Folder(one["from"], one["to"], one.get("mount", False)).bring()
            for record in _records():
                if record["to"] not in named:
                    folder = Folder(record.get("from", ""), record["to"], record.get("mount", False))
                    if folder.let_go():
                        folder.forget()
    return 0


def _records() -> list[dict[str, Any]]:
    home = os.open(HOME, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [record for record, _ in data_record.records(home)]
    finally:
        os.close(home)


# ---- one folder --------------------------------------------------------------------------------------


class Folder:
    """A folder of data: where it comes from, and where it is here ("~/…")."""

    def __init__(self, origin: str, to: str, mount: bool) -> None:
        self.origin, self.to, self.mount = origin, to, mount
        self.path = os.path.join(HOME, to[2:])
        name = (
            re.sub(r"[^A-Za-z0-9.-]+", "-", to[2:])[:60] + "-" + hashlib.sha256(to.encode()).hexdigest()[:8]
        )
        self.record = os.path.join(FOLDER, name + ".json")
        self.files = os.path.join(FOLDER, name + ".files")
        self._said = 0.0

    def bring(self) -> bool:
        """Bring what is missing, and what is newer where it comes from. Whether all of it is here."""
        self.tell("coming")
        try:
            if self.mount and self.origin.startswith("/"):
                opened(self.origin)
                return self._linked()
            if self.mount:
                return self._mounted()
            data_mount.ended(self.path)
            return self._brought(opened(self.origin))
        except failed as no:
            self.tell("failed", str(no), getattr(no, "fix", ""))
        except OSError as error:
            self.tell("failed", f"{error.filename or self.path}: {error.strerror or error}")
        except Exception as error:  # told to a person; the other folders come all the same
            self.tell("failed", f"{type(error).__name__}: {error}")
        return False

    def let_go(self) -> bool:
        """Make its files the desk's own, which is no longer to have them from elsewhere; whether they are."""
        if not self.mount:
            return self.bring()
        try:
            data_mount.ended(self.path)
            with contextlib.suppress(OSError):
                os.rmdir(self.path)  # fails unless it is empty
        except failed as no:
            self.tell("failed", str(no), no.fix)
            return False
        return True

    def forget(self) -> None:
        """From now on its files are the desk's own."""
        shutil.rmtree(self.path + data_record.ARRIVING, ignore_errors=True)
        for file in (self.files, self.files + ".tags", self.record):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)

    def tell(self, state: str, why: str = "", fix: str = "", **more: Any) -> None:
        known = read(self.record)
        kept: dict[str, Any] = {key: known[key] for key in ("count", "bytes", "own") if key in known}
        said = {
            "from": self.origin,
            "to": self.to,
            "mount": self.mount,
            "state": state,
            "why": why,
            "fix": fix,
        }
        write(self.record, dict(kept, at=time.time(), place=place(), **said, **more))

    def report(self, words: str) -> None:
        now = time.monotonic()
        if now - self._said > TELL_SECONDS:
            self._said = now
            self.tell("coming", words[-160:])

    def _linked(self) -> bool:
        """The folder of this machine itself, under its name here."""
        if not os.path.islink(self.path):
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(self.path)  # fails unless it is empty
            os.symlink(self.origin, self.path)
        elif os.readlink(self.path) != self.origin:
            raise failed(f"{self.to} is a link to {os.readlink(self.path)}")
        self.tell("whole", "it is the folder of this machine")
        return True

    def _mounted(self) -> bool:
        """What is kept there, under its name here; copied if nothing can be mounted and there is room."""
        try:
            by = data_mount.made(self.origin, self.path)
        except data_mount.Missing as lacks:
            source = opened(self.origin)
            theirs = source.files()
            self._room(
                sum(told.size for told in theirs.values()), f"{lacks}, so it would be copied: ", lacks.fix
            )
            return self._brought(source, theirs, f"copied, because {lacks}")
        self.tell("whole", f"mounted by {by}, to be read")
        return True

    def _brought(self, source: Source, theirs: dict[str, Told] | None = None, how: str = "") -> bool:
        theirs = source.files() if theirs is None else theirs
        before, here = self._known(), walk(self.path)
        unknown = [path for path in theirs if path in here and here[path] != before.get(path, (None,))[0]]
        same = set(source.same(self.path, unknown))
        own = set(unknown) - same
        own |= {path for path in theirs if _above(path) & here.keys()}  # below a link, say
        todo = [path for path, told in theirs.items() if path not in own | same
                and (path not in here or before[path][1] != told.tag)]  # fmt: skip
        self._room(sum(theirs[path].size for path in todo))
        os.makedirs(self.path, exist_ok=True)
        why, came = self._fetched(source, theirs, todo, here)
        found = {path: before[path] for path in todo if path in here}  # what could not be had anew
        for path, told in theirs.items():
            if path not in own and path not in todo:
                found[path] = (here[path], told.tag)
        found.update(came)
        here = walk(self.path)
        self._keep(found)
        missing = sum(path not in own and found.get(path, ((), ""))[1] != theirs[path].tag for path in theirs)
        size = sum(looks[0] for looks, _ in found.values())
        more: dict[str, Any] = {"count": len(found), "bytes": size, "own": len(here.keys() - found.keys())}
        if missing or why:
            lacks = f"{missing} of {len(theirs)} files are not as they are there"
            self.tell("failed", f"{lacks}: {why}" if why else lacks, **more)
            return False
        self.tell("whole", how, **more)
        return True

    def _fetched(
        self, source: Source, theirs: dict[str, Told], todo: list[str], here: dict[str, tuple[int, int]]
    ) -> tuple[str, dict[str, tuple[tuple[int, int], str]]]:
        """Fetch files beside the folder, and put each whole one into it; why not all came, and which did.

        So nobody ever sees half a file under its name, and what is in the folder is somebody's work unless it
        is what came.
        """
        if not todo:
            return "", {}
        beside, began, came = self.path + data_record.ARRIVING, time.time_ns(), {}
        os.makedirs(beside, exist_ok=True)
        why = source.fetch(todo, theirs.keys() - set(todo), beside, self.report)
        arrived = walk(beside)
        for path in todo:
            size, changed = arrived.get(path, (-1, 0))
            if size != theirs[path].size or (why and changed >= began):  # tools set its time at the end
                continue
            target = os.path.join(self.path, path)
            try:
                told = os.lstat(target)
                looks = (told.st_size, told.st_mtime_ns)
            except OSError:
                looks = None
            if looks == here.get(path):  # else somebody has written there meanwhile
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(os.path.join(beside, path), target)
                came[path] = ((size, changed), theirs[path].tag)
        if not why:
            shutil.rmtree(beside)
        return why, came

    def _room(self, size: int, before: str = "", fix: str = "") -> None:
        top = self.path
        while not os.path.isdir(top):
            top = os.path.dirname(top)
        if (free := shutil.disk_usage(top).free) < size:
            gib = [f"{count / 2**30:.1f} GiB" for count in (size, free)]
            raise failed(f"{before}it needs {gib[0]} more, and the disk has {gib[1]} free", fix)

    def _known(self) -> dict[str, tuple[tuple[int, int], str]]:
        """The files as they had come, with what their source said of each."""
        found: dict[str, tuple[tuple[int, int], str]] = {}
        with contextlib.suppress(OSError), open(self.files, "rb") as lines:
            found = {path: (looks, "") for path, looks in data_record.listed(lines.read())}
        for path, tag in read(self.files + ".tags").items():
            if path in found:
                found[path] = (found[path][0], str(tag))
        return found

    def _keep(self, found: dict[str, tuple[tuple[int, int], str]]) -> None:
        """Write down what has come. The list itself comes last: what is in it is not saved any more."""
        write(self.files + ".tags", {path: tag for path, (_, tag) in found.items()})
        lines = data_record.listing({path: looks for path, (looks, _) in found.items()})
        with open(self.files + ".new", "wb") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.files + ".new", self.files)


def _above(path: str) -> set[str]:
    """The folders that a path is in."""
    names = path.split("/")
    return {"/".join(names[:count]) for count in range(1, len(names))}


VERBS: dict[str, Callable[..., int]] = {"data": begin, "data-bring": bring, "data-told": told}
