"""Notes that the store keeps about a disk between captures and restores.

disks/KEY.lock    held while the disk is captured or restored
disks/KEY.seen    a manifest with the inode numbers and change times that a restore gave its files,
                  so that the first park after a resume need not read them again
disks/KEY.modes   permission bits that a capture added temporarily, to be removed even after a kill
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.snapshots.pack_file import Damaged, digest
from hotdesk.snapshots.tree import FOLDER_FLAGS, Entry, Folders, Manifest, load_manifest, save_manifest
from hotdesk.system import locked, write_atomically

_FINE_NS = 20_000_000  # the kernel's clock for files ticks at least this often
_SECOND_NS = (
    1_000_000_000  # a time in whole seconds may be from a file system with a resolution of one or two seconds
)
_MODES = tuple[bytes, list[tuple[list[bytes], int, int]]]


class Notes:
    """The three files of one disk."""

    def __init__(self, store: Path, disk: Path) -> None:
        self.disk = disk
        base = str(store / "disks" / digest(os.fsencode(disk)).hex()[:32])
        self.seen, self.lock, self._modes = Path(f"{base}.seen"), Path(f"{base}.lock"), Path(f"{base}.modes")
        self._loosened: list[tuple[list[bytes], int, int]] = []  # (names, mode before, bits added)

    def read_seen(self) -> Manifest:
        """The index of the last restore; empty if there is no valid one."""
        with suppress(Damaged):
            return load_manifest(self.seen)[0]
        return Manifest([])

    def write_seen(self, manifest: Manifest) -> None:
        save_manifest(self.seen, manifest)

    def loosen(self, folders: Folders, entries: Sequence[Entry], index: int, bits: int) -> None:
        """Add permission bits that the owner needs to read an entry; recorded first, for `tighten`."""
        entry = entries[index]
        names, at = [entry.name], entry.parent
        while at:
            names.append(entries[at].name)
            at = entries[at].parent
        self._loosened.append((names[::-1], entry.mode, bits))
        kept = msgspec.msgpack.encode((os.fsencode(self.disk), self._loosened))
        write_atomically(self._modes, kept, durable=True)
        os.chmod(entry.name, entry.mode | bits, dir_fd=folders.fd(entry.parent))

    def tighten(self, root: int) -> None:
        """Restore the modes that `loosen` changed, in this process or in one that was killed."""
        try:
            _, records = wire.msgpack(self._modes.read_bytes(), _MODES)
        except (FileNotFoundError, msgspec.MsgspecError):
            return
        for names, mode, bits in reversed(records):
            fd = os.dup(root)
            try:
                for name in names[:-1]:
                    fd, above = os.open(name, FOLDER_FLAGS, dir_fd=fd), fd
                    os.close(above)
                now = os.stat(names[-1], dir_fd=fd, follow_symlinks=False).st_mode
                if not stat.S_ISLNK(now) and stat.S_IMODE(now) == mode | bits:
                    os.chmod(names[-1], mode, dir_fd=fd)
            except FileNotFoundError:
                pass  # the owner removed it since
            except PermissionError:
                pass  # its folder was restored already, which happens after its content
            finally:
                os.close(fd)
        self._loosened.clear()
        self._modes.unlink()


@contextmanager
def notes_of(store: Path, disk: Path) -> Iterator[Notes]:
    """The notes, locked. Raises `Refused` (NOT_READY) during another capture or restore of the disk."""
    notes = Notes(store, disk)
    with locked(notes.lock, wait=False) as mine:
        if not mine:
            raise Refused(
                Kind.NOT_READY,
                f"{disk} is being saved or restored by another process",
                fix=f"fuser {shlex.quote(str(notes.lock))}",
                seconds=5.0,
            )
        yield notes


def clock_ns(folder: Path, device: int) -> int:
    """The present time by the clock of file system `device`, measured in `folder`; 0 if that fails."""
    path = folder / ".hotdesk-clock"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return 0
    try:
        os.utime(fd)
        now = os.fstat(fd)
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)
    return now.st_mtime_ns if now.st_dev == device else 0


def settled_ns(folder: Path, device: int, entries: Sequence[Entry]) -> int:
    """`clock_ns`, after waiting until it has passed the last change.

    Waits about 20 ms at most, and not at all if the file system keeps whole seconds.
    """
    last = max((entry.ctime_ns for entry in entries if entry.kind == "f"), default=0)
    while 0 <= (now := clock_ns(folder, device)) - last <= _FINE_NS and last % _SECOND_NS:
        pass
    return now


def smudge(entries: Sequence[Entry], taken_ns: int) -> None:
    """Distrust files changed so shortly before `taken_ns` that a later change could show the same time."""
    for entry in entries:
        margin = _FINE_NS if entry.ctime_ns % _SECOND_NS else 2 * _SECOND_NS
        if entry.kind == "f" and entry.ctime_ns + margin >= taken_ns:
            entry.ctime_ns = 0


def forget_gone(store: Path) -> None:
    """Delete the notes about disks that no longer exist. Requires the exclusive lock of the store."""
    for lock in (store / "disks").glob("*.lock"):
        disks = []
        with suppress(Damaged):
            disks.append(load_manifest(lock.with_suffix(".seen"))[0].disk)
        with suppress(OSError, msgspec.MsgspecError):
            disks.append(wire.msgpack(lock.with_suffix(".modes").read_bytes(), _MODES)[0])
        if not any(os.path.lexists(disk) for disk in disks):
            for path in lock.parent.glob(f"{lock.stem}.*"):
                path.unlink(missing_ok=True)
