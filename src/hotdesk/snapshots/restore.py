"""Restore a disk: build the tree of a manifest beside its place, and rename it when it is complete."""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import each
from hotdesk.snapshots.cache import Notes, notes_of, settled_ns, smudge
from hotdesk.snapshots.capture import Progress, Steps
from hotdesk.snapshots.chunk_store import Store, is_full, no_space, opened
from hotdesk.snapshots.pack_file import Damaged, Pack, read_chunks, write_at
from hotdesk.snapshots.tree import (
    FOLDER_FLAGS,
    Entry,
    Folders,
    Manifest,
    check_manifest,
    corrupt,
    digests,
    need_chunks,
    need_manifest,
    pieces,
    remove,
    shown,
)
from hotdesk.system import fsync_folder

_NEW = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def restore(
    manifest_path: Path,
    store: Path,
    disk: Path,
    *,
    progress: Progress = lambda fraction, what: None,
) -> None:
    """Restore `disk` exactly as it was captured; it is flushed to the disk when this returns.

    It is built as `.NAME.restoring` beside `disk` and renamed: a kill leaves no `disk`, and a repeated call
    starts afresh. A `disk` that was restored from this manifest already (known by its folder's inode) is
    left alone, with all later changes; any other is never touched (`Refused(MISMATCH)`), unless it is empty.
    Raises `Refused` also as CORRUPT, NO_SPACE (nothing is left behind then), NOT_READY (another process is
    saving or restoring it) and UNSUPPORTED (the file system lacks something, such as extended attributes).
    """
    disk = Path(os.path.realpath(disk))
    needed = 0
    try:
        with opened(store) as chunks, notes_of(store, disk) as notes:
            manifest, origin = need_manifest(manifest_path, chunks)
            if _is_there(disk, notes, origin):
                return
            try:
                check_manifest(manifest)
            except Damaged as damage:
                raise corrupt(damage, store) from damage
            need_chunks(manifest, chunks)
            building = disk.with_name(f".{disk.name}.restoring")
            remove(building)
            needed = _size(manifest.entries)
            if shutil.disk_usage(disk.parent).free < needed:
                raise no_space(disk.parent, needed, "restoring this disk")
            building.mkdir(mode=0o700)
            _inherit_nothing(building)
            try:
                _build(building, manifest, chunks, progress)
                seen = Manifest(manifest.entries, origin=origin, disk=os.fsencode(disk))
                smudge(seen.entries, settled_ns(disk.parent, building.lstat().st_dev, seen.entries))
                notes.write_seen(seen)
                building.rename(disk)
            except (Refused, OSError):
                remove(building)
                raise
            fsync_folder(disk.parent)
            progress(1.0, "restored")
    except OSError as error:
        if is_full(error):
            raise no_space(disk.parent, needed, "restoring this disk") from error
        raise


def _is_there(disk: Path, notes: Notes, origin: bytes) -> bool:
    """Whether this restore was finished before. Raises `Refused` (MISMATCH) for any other non-empty disk."""
    try:
        with os.scandir(disk) as names:
            if not any(True for _ in names):
                return False
    except FileNotFoundError:
        return False
    seen = notes.read_seen()
    if seen.origin == origin and seen.entries[0].ino == disk.stat().st_ino:
        return True
    raise Refused(
        Kind.MISMATCH,
        f"{disk} exists and was not restored from this image: it may hold work that is saved nowhere",
        fix=f"mv {shlex.quote(str(disk))} {shlex.quote(str(disk) + '.kept')}",
    )


def _size(entries: list[Entry]) -> int:
    return sum(length for entry in entries for _, length in pieces(entry))


def _inherit_nothing(folder: Path) -> None:
    """Remove inherited access lists, which would spread to everything that is restored."""
    for name in os.listxattr(folder) if hasattr(os, "listxattr") else ():
        with suppress(OSError):
            os.removexattr(folder, name)
    folder.chmod(0o700)


def _build(folder: Path, manifest: Manifest, store: Store, progress: Progress) -> None:
    root = os.open(folder, FOLDER_FLAGS)
    building = _Building(root, manifest.entries, store)
    try:
        building.folders()
        building.files(progress)
        building.rest()
        building.finish_folders()
        _flush(root)
    finally:
        building.close()
        os.close(root)


class _Building:
    """A tree being built; `_write_frame` runs in several threads."""

    def __init__(self, root: int, entries: list[Entry], store: Store) -> None:
        self._root = root
        self._entries = entries
        self._store = store
        self._is_root = os.geteuid() == 0
        self._lock = threading.Lock()
        self._mine = threading.local()
        self._folders: list[Folders] = []
        self._targets: dict[bytes, list[tuple[int, int]]] = {}  # chunk -> (file, offset)
        self._left: dict[int, int] = {}  # file -> pieces still to be written

    def folders(self) -> None:
        for entry in self._entries[1:]:
            if entry.kind == "d":
                os.mkdir(entry.name, 0o700, dir_fd=self._fd(entry.parent))

    def files(self, progress: Progress) -> None:
        """Write all content in the order of the packs; each frame is unpacked once."""
        for index, entry in enumerate(self._entries):
            if names := digests(entry):
                self._left[index] = len(names)
                for name, (offset, _) in zip(names, pieces(entry), strict=True):
                    self._targets.setdefault(name, []).append((index, offset))
        steps = Steps(progress, _size(self._entries), "restoring files")
        todo = set(self._targets)
        while todo:
            need_chunks(Manifest(self._entries), self._store, todo)
            places = {(pack.path, number): pack for pack, number in map(self._store.place, todo)}
            jobs = [(pack, number) for (_, number), pack in sorted(places.items(), key=lambda item: item[0])]
            with each(jobs, self._write_frame) as results:
                for (pack, _), (written, damage) in results:
                    if damage:  # its chunks may also be in another pack
                        self._store.drop(pack, str(damage))
                    steps.add(sum(written.values()))
                    todo -= written.keys()

    def _write_frame(self, place: tuple[Pack, int]) -> tuple[dict[bytes, int], Damaged | None]:
        """Write a frame's chunks to all their files; return the bytes written by chunk."""
        pack, number = place
        written: dict[bytes, int] = {}
        try:
            data = memoryview(read_chunks(pack, number))
        except Damaged as damage:
            return written, damage
        for name, begin, end in pack.frames[number].chunks():
            targets = self._targets.pop(name, ())  # at once: it may lie in two frames of this round
            for index, offset in targets:
                self._write(index, offset, data[begin:end])
            written[name] = (end - begin) * len(targets)
        return written, None

    def _write(self, index: int, offset: int, data: memoryview) -> None:
        entry = self._entries[index]
        whole = len(data) == entry.size
        # A file that is opened again has to be writable, and one that gets attributes.
        mode = entry.mode & 0o777 if whole and not entry.xattrs else 0o600
        fd = os.open(entry.name, _NEW, mode, dir_fd=self._fd(entry.parent))
        try:
            write_at(fd, data, offset)
            if whole or self._is_last(index):
                self._finish(fd, index)
        finally:
            os.close(fd)

    def _is_last(self, index: int) -> bool:
        """Whether the piece that was just written was the last of its file."""
        with self._lock:
            self._left[index] -= 1
            return not self._left[index]

    def rest(self) -> None:
        """Make everything without content: empty files, files that are one hole, links, fifos."""
        for index, entry in enumerate(self._entries):
            folder = self._fd(entry.parent)
            if entry.kind == "f" and not entry.chunks:
                fd = os.open(entry.name, _NEW, 0o600, dir_fd=folder)
                try:
                    self._finish(fd, index)
                finally:
                    os.close(fd)
            elif entry.kind in "lp":
                if entry.kind == "l":
                    os.symlink(entry.target, entry.name, dir_fd=folder)
                else:
                    os.mkfifo(entry.name, 0o600, dir_fd=folder)
                if self._is_root:
                    os.chown(entry.name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
                if entry.kind == "p":
                    os.chmod(entry.name, entry.mode, dir_fd=folder)
                times = (entry.mtime_ns, entry.mtime_ns)
                os.utime(entry.name, ns=times, dir_fd=folder, follow_symlinks=False)
        for entry in self._entries:
            if entry.kind == "h":
                first = self._entries[entry.link]
                source = os.dup(self._fd(first.parent))
                try:
                    folder = self._fd(entry.parent)
                    os.link(
                        first.name, entry.name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False
                    )
                    first.ctime_ns = os.stat(entry.name, dir_fd=folder, follow_symlinks=False).st_ctime_ns
                finally:
                    os.close(source)

    def finish_folders(self) -> None:
        """Set times and modes of folders, children first, after all are filled."""
        for index in range(len(self._entries) - 1, 0, -1):
            if self._entries[index].kind == "d":
                self._finish(self._fd(index), index)
        self._finish(self._root, 0)

    def _finish(self, fd: int, index: int) -> None:
        """Set owner, attributes, mode and times; in this order, none resets an earlier one.

        A change that changes nothing is left out: the file system writes it down all the same.
        """
        entry, now = self._entries[index], os.fstat(fd)
        is_so = stat.S_IMODE(now.st_mode) == entry.mode and not entry.xattrs
        if entry.extents is not None:
            os.ftruncate(fd, entry.size)
        if entry.gid != now.st_gid or (self._is_root and entry.uid != now.st_uid):
            is_so = False
            try:
                os.fchown(fd, entry.uid if self._is_root else -1, entry.gid)
            except PermissionError:
                if self._is_root:
                    raise
                # a group that the user has left
        for name, value in entry.xattrs:
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if is_full(error):
                    raise
                raise Refused(
                    Kind.UNSUPPORTED,
                    f"{shown(self._entries, index)} has the attribute {os.fsdecode(name)}, which this "
                    f"file system does not take: {error.strerror}",
                ) from error
        if not is_so:
            os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        now = os.fstat(fd)
        entry.ino, entry.ctime_ns = now.st_ino, now.st_ctime_ns

    def _fd(self, index: int) -> int:
        folders: Folders | None = getattr(self._mine, "folders", None)
        if folders is None:
            folders = self._mine.folders = Folders(self._root, self._entries)
            self._folders.append(folders)
        return folders.fd(index)

    def close(self) -> None:
        for folders in self._folders:
            folders.close()


def _flush(fd: int) -> None:
    """Flush everything restored, so that a later power cut leaves no incomplete files."""
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0:  # Linux: this file system alone
            return
        code = ctypes.get_errno()
        if code in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise OSError(code, os.strerror(code))
    except AttributeError:
        pass
    os.sync()
