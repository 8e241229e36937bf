"""Capture a disk: its files go into the store, its manifest is written last.

Two passes. The first lists every name and its status; the second lets several threads read, hash,
compress and write the files whose status is not that of an earlier capture or restore.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from hotdesk.core import byte_sizes
from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import CORES, each
from hotdesk.snapshots.cache import Notes, clock_ns, notes_of, smudge
from hotdesk.snapshots.chunk_store import is_full, no_space, opened
from hotdesk.snapshots.pack_file import Buffer, Damaged, buffer, digest, read_into
from hotdesk.snapshots.tree import (
    FOLDER_FLAGS,
    ChangedError,
    Entry,
    Folders,
    Manifest,
    Scan,
    digests,
    load_manifest,
    pieces,
    save_manifest,
    scan,
    shown,
    unreadable,
    xattrs_of,
)

Progress = Callable[[float, str], None]  # 0..1, what is being done

_TOGETHER = 1 << 20  # files up to this size share frames of about this size
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: The desk's own tmux has its sockets on the desk's disk and makes them anew: no news that they stay out.
_OWN_SOCKET = re.compile(r"run/tmux-\d+/[^/]+")


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """What one capture did."""

    files: int
    bytes: int  # of all files, without holes
    new_bytes: int  # of chunks that the store did not have
    stored_bytes: int  # their compressed size in the store
    note: str  # what could not be captured; "" when everything was


class Job(NamedTuple):
    """One frame's worth of reading: some whole files, or piece `number` of one."""

    files: tuple[int, ...]
    number: int = -1
    offset: int = 0
    length: int = 0


class Steps:
    """Passes progress on in at most 50 calls, and not more often than every 32 MB."""

    def __init__(self, progress: Progress, total_bytes: int, what: str) -> None:
        self._progress = progress
        self._total = max(1, total_bytes)
        self._step = max(self._total // 50, 32 << 20)
        self._what = what
        self._done = self._told = 0
        progress(0.0, what)

    def add(self, count: int) -> None:
        self._done += count
        if self._done - self._told >= self._step:
            self._told = self._done
            self._progress(min(1.0, self._done / self._total), self._what)


def capture(
    disk: Path,
    store: Path,
    manifest_path: Path,
    *,
    previous: Path | None = None,
    progress: Progress = lambda fraction, what: None,
) -> Captured:
    """Save everything below `disk` into `store`, and write the manifest to `manifest_path`.

    Files whose inode, size and times are those in the manifest `previous` or of the last restore are not
    read again. `restore` reproduces content and names exactly; sockets and devices are listed in `note`.
    Raises `Refused`: UNREADABLE (a file cannot be read, or changes while it is), NO_SPACE, NOT_READY (the
    disk is being captured or restored by another process). After any of them, or a kill, a
    repeated capture reuses the packs that were finished.
    """
    disk = Path(os.path.realpath(disk))
    if Path(os.path.realpath(store)).is_relative_to(disk):
        raise Refused(Kind.BAD_REQUEST, f"the store {store} lies inside the disk {disk} that it should save")
    with opened(store) as chunks, notes_of(store, disk) as notes:
        manifest, captured = capture_into(disk, chunks, notes, previous=previous, progress=progress)
        try:
            save_manifest(manifest_path, manifest)
        except OSError as error:
            if is_full(error):
                raise no_space(store, captured.new_bytes, "saving this disk") from error
            raise
        progress(1.0, "saved")
        return captured


class Sink(Protocol):
    """Where the content of files goes: a store here, or one at the other end of a line."""

    folder: Path
    stored_bytes: int

    def holds(self, name: bytes) -> bool:
        """Whether a chunk is there, whole."""
        ...

    def claim(self, name: bytes) -> bool:
        """Whether the caller has to `put` this chunk: it is not there, and no other thread brings it."""
        ...

    def put(self, chunks: Sequence[tuple[bytes, Buffer]]) -> None:
        """Add claimed chunks. They are durable only after `seal`."""
        ...

    def seal(self) -> object: ...


def capture_into(
    disk: Path,
    chunks: Sink,
    notes: Notes,
    *,
    previous: Path | None = None,
    progress: Progress = lambda fraction, what: None,
    sparing: bool = False,
) -> tuple[Manifest, Captured]:
    """Save the content of everything below `disk`; its manifest, yet to be written. See `capture`.

    `sparing`: with little memory, whatever processors there are. Big files are read one piece at a time, and
    first, while little is known of the small ones.
    """
    needed = 0
    try:
        progress(0.0, "listing files")
        root = _open_root(disk)
        try:
            notes.tighten(root)
            taken_ns = clock_ns(disk.parent, os.fstat(root).st_dev)
            try:
                found = _scan(root, notes)
                reading = _Reading(root, found, chunks, notes)
                jobs = reading.plan(_known([*_earlier(previous), *notes.read_seen().entries]))
                needed = reading.todo_bytes
                steps = Steps(progress, needed, "saving files")
                with closing(reading):
                    big = [job for job in jobs if job.number >= 0]
                    small = [job for job in jobs if job.number < 0]
                    for some in (big, small) if sparing else (jobs,):
                        with each(some, reading.work, 1 if sparing else CORES) as results:
                            for job, _ in results:
                                steps.add(job.length)
                    reading.again()
            finally:
                notes.tighten(root)
        finally:
            os.close(root)
        chunks.seal()
    except OSError as error:
        if is_full(error):
            raise no_space(chunks.folder, needed, "saving this disk") from error
        raise
    files = [entry for entry in found.entries if entry.kind == "f"]
    smudge(files, taken_ns)
    note = _note(found)
    return Manifest(found.entries, note), Captured(
        files=len(files),
        bytes=sum(length for entry in files for _, length in pieces(entry)),
        new_bytes=reading.new_bytes,
        stored_bytes=chunks.stored_bytes,
        note=note,
    )


def _open_root(disk: Path) -> int:
    try:
        return os.open(disk, FOLDER_FLAGS)
    except OSError as error:
        raise unreadable(disk, ".", error.strerror or str(error)) from error


def _scan(root: int, notes: Notes) -> Scan:
    try:
        return scan(root, notes.loosen)
    except OSError as error:
        if is_full(error):
            raise
        raise unreadable(notes.disk, str(error.filename), error.strerror or str(error)) from error


def _earlier(previous: Path | None) -> list[Entry]:
    try:
        return load_manifest(previous)[0].entries if previous else []
    except Damaged:  # it only saves work
        return []


def _known(entries: Iterable[Entry]) -> dict[tuple[int, int, int, int], Entry]:
    return {entry.key: entry for entry in entries if entry.kind == "f" and entry.ctime_ns}


def _note(found: Scan) -> str:
    """A message for the owner about what the image omits or changes."""
    said = []
    left_out = [(what, path) for what, path in found.left_out if not _OWN_SOCKET.fullmatch(path)]
    for what, count in sorted(Counter(what for what, _ in left_out).items()):
        names = [path for kind, path in left_out if kind == what]
        some = ", ".join(names[:3]) + (", ..." if count > 3 else "")
        said.append(f"{count} {what}{'s' if count > 1 else ''} left out ({some})")
    if found.data:
        size, count = sum(found.data), len(found.data)
        many = f"{count} file{'s' * (count != 1)} of data ({byte_sizes.said(size)})"
        said.append(f"{many} left out: they are where they came from")
    if found.elsewhere:
        names = sorted(found.elsewhere)
        said.append(f"mounted there and kept elsewhere, so not saved ({', '.join(names)})")
    if found.mounted:
        names = [shown(found.entries, index) for index in sorted(found.mounted)]
        said.append(f"other file systems saved as plain folders ({', '.join(names)})")
    return "; ".join(said)


class _Reading:
    """The second pass over one scan; `work` runs in several threads."""

    def __init__(self, root: int, found: Scan, store: Sink, notes: Notes) -> None:
        self.new_bytes = self.todo_bytes = 0
        self._root = root
        self._found = found
        self._entries = found.entries
        self._store = store
        self._notes = notes
        self._lock = threading.Lock()
        self._mine = threading.local()
        self._folders: list[Folders] = []
        self._parts: dict[int, list[bytes]] = {}  # digests of the pieces of files read in pieces
        self._changed: set[int] = set()

    def plan(self, known: dict[tuple[int, int, int, int], Entry]) -> list[Job]:
        """The files to read; entries of unchanged files are completed from `known`."""
        jobs: list[Job] = []
        some: list[int] = []
        together = 0
        for index, entry in enumerate(self._entries):
            if entry.kind != "f":
                continue
            old = known.get(entry.key) if known and index not in self._found.foreign else None
            if old and all(self._store.holds(name) for name in digests(old)):
                entry.chunks, entry.extents, entry.xattrs = old.chunks, old.extents, old.xattrs
                continue
            if index in self._found.sparse:
                self._find_holes(index)
            self.todo_bytes += entry.size
            if entry.size > _TOGETHER or entry.extents is not None:
                jobs += self._in_pieces(index)
                continue
            some.append(index)
            together += entry.size
            if together >= _TOGETHER or len(some) >= 256:
                jobs.append(Job(tuple(some), length=together))
                some, together = [], 0
        if some:
            jobs.append(Job(tuple(some), length=together))
        return jobs

    def _in_pieces(self, index: int) -> Iterator[Job]:
        cuts = list(pieces(self._entries[index]))
        self._parts[index] = [b""] * len(cuts)
        for number, (offset, length) in enumerate(cuts):
            yield Job((index,), number, offset, length)

    def work(self, job: Job) -> None:
        if job.number < 0:
            self._read_whole(job.files)
        else:
            self._read_piece(job)

    def again(self) -> None:
        """Finish the files read in pieces; those that changed meanwhile get one more chance."""
        for index in sorted(self._changed):
            self._changed.discard(index)
            entry = self._entries[index]
            entry.extents = None
            with self._opened(index) as fd:
                _restat(entry, os.fstat(fd))
            self._find_holes(index)
            for job in self._in_pieces(index):
                self._read_piece(job)
            if index in self._changed:
                raise self._unreadable(index)
        for index, names in self._parts.items():
            self._entries[index].chunks = b"".join(names)

    def _read_whole(self, indexes: Sequence[int]) -> None:
        fresh = []
        folders = self._my_folders()
        for index in indexes:
            entry = self._entries[index]
            data = _at_once(entry, folders)
            if data is None:
                data = self._content(index)
            if data:
                name = entry.chunks = digest(data)
                if self._store.claim(name):
                    fresh.append((name, data))
        if fresh:
            self._store.put(fresh)
            self._count(sum(len(data) for _, data in fresh))

    def _content(self, index: int) -> bytes:
        """The content of a small file that did not change while it was read; of one that is not as listed."""
        entry = self._entries[index]
        for _ in range(2):
            with self._opened(index) as fd:
                before = os.fstat(fd)
                _restat(entry, before)
                data = os.read(fd, before.st_size + 1) if before.st_size <= 2 * _TOGETHER else b""
                entry.xattrs = xattrs_of(fd)
                if len(data) == before.st_size and _same(entry, os.fstat(fd)):
                    return data
        raise self._unreadable(index)

    def _read_piece(self, job: Job) -> None:
        (index,) = job.files
        entry = self._entries[index]
        with self._opened(index) as fd:
            view = buffer(job.length)
            whole = _same(entry, os.fstat(fd)) and read_into(fd, view, job.offset) == job.length
            if job.number == 0:
                entry.xattrs = xattrs_of(fd)
            if not whole or not _same(entry, os.fstat(fd)):
                self._changed.add(index)
                return
        name = self._parts[index][job.number] = digest(view)
        if self._store.claim(name):
            self._store.put([(name, view)])
            self._count(job.length)

    def _find_holes(self, index: int) -> None:
        """Set `extents` if the file has holes, and its attributes, as it may have no piece at all."""
        entry = self._entries[index]
        if not hasattr(os, "SEEK_DATA"):
            return
        with self._opened(index) as fd:
            extents, at = [], 0
            while at < entry.size:
                try:
                    begin = os.lseek(fd, at, os.SEEK_DATA)
                    at = min(os.lseek(fd, begin, os.SEEK_HOLE), entry.size)
                except OSError:  # ENXIO: nothing but a hole up to the end
                    break
                extents.append((begin, at - begin))
            if extents != [(0, entry.size)] and entry.size:
                entry.extents = tuple(extents)
            entry.xattrs = xattrs_of(fd)
            if not _same(entry, os.fstat(fd)):
                self._changed.add(index)

    def _count(self, new_bytes: int) -> None:
        with self._lock:
            self.new_bytes += new_bytes

    @contextmanager
    def _opened(self, index: int) -> Iterator[int]:
        """A descriptor of the file. Raises `Refused` with the file's name if it cannot be read."""
        try:
            fd = self._open(index)
            try:
                yield fd
            finally:
                os.close(fd)
        except OSError as error:
            if is_full(error):
                raise
            raise self._unreadable(index, error.strerror or str(error)) from error

    def _open(self, index: int) -> int:
        entry, folders = self._entries[index], self._my_folders()
        try:
            return os.open(entry.name, _FILE_FLAGS, dir_fd=folders.fd(entry.parent))
        except PermissionError:
            if entry.mode & 0o400 or entry.uid != os.geteuid():
                raise
            with self._lock:
                self._notes.loosen(folders, self._entries, index, 0o400)
            return os.open(entry.name, _FILE_FLAGS, dir_fd=folders.fd(entry.parent))

    def _my_folders(self) -> Folders:
        """This thread's."""
        folders: Folders | None = getattr(self._mine, "folders", None)
        if folders is None:
            folders = self._mine.folders = Folders(self._root, self._entries)
            self._folders.append(folders)
        return folders

    def _unreadable(self, index: int, why: str = "it changes while it is read") -> Refused:
        return unreadable(self._notes.disk, shown(self._entries, index), why)

    def close(self) -> None:
        for folders in self._folders:
            folders.close()


def _at_once(entry: Entry, folders: Folders) -> bytes | None:
    """The content of a small file that is as it was listed after it was read as well; None if it is not."""
    try:
        fd = os.open(entry.name, _FILE_FLAGS, dir_fd=folders.fd(entry.parent))
    except OSError:
        return None
    try:
        data = os.read(fd, entry.size + 1)
        xattrs = xattrs_of(fd)
        now = os.fstat(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(data) != entry.size or not _same(entry, now):
        return None
    entry.xattrs = xattrs
    return data


def _same(entry: Entry, now: os.stat_result) -> bool:
    return (
        entry.ctime_ns == now.st_ctime_ns
        and entry.mtime_ns == now.st_mtime_ns
        and entry.size == now.st_size
        and entry.ino == now.st_ino
    )


def _restat(entry: Entry, now: os.stat_result) -> None:
    if not stat.S_ISREG(now.st_mode):
        raise ChangedError(None, "it changes while it is read")
    entry.ino, entry.size, entry.mtime_ns, entry.ctime_ns = (
        now.st_ino,
        now.st_size,
        now.st_mtime_ns,
        now.st_ctime_ns,
    )
