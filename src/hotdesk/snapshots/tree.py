"""A tree of files as a list of entries, with descriptors of their folders.

No file is opened by its path: a folder is opened relative to its parent's descriptor, so names may be any
bytes, trees may be deeper than PATH_MAX, and no symbolic link can lead out of the disk.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import blake3
import msgspec
import zstandard

from hotdesk.core import wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.guest import data_record, mounts
from hotdesk.snapshots.chunk_store import Store
from hotdesk.snapshots.pack_file import CHUNK, DIGEST, Damaged, digest, unpacked
from hotdesk.system import write_atomically

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAGIC = b"HDTREE1\n"
_PART = 1000  # entries packed together
_MOST_BYTES = 1 << 32  # of a manifest, unpacked: some thirty million files
_HAS_XATTRS = hasattr(os, "listxattr")
_DEAD = frozenset({errno.ENOTCONN, errno.ECONNABORTED})  # FUSE whose program was killed
_LARGEST = (1 << 63) - 1  # of a file, and of a time in nanoseconds


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One name in the tree. The first entry is the disk's own folder; parents come before children."""

    parent: int  # index of its folder's entry
    name: bytes
    kind: str  # d: folder, f: file, l: symbolic link, p: fifo, h: another name of the entry `link`
    mode: int  # permission bits
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int  # 0: changed too recently to detect a later change by its time, so it is read again
    ino: int
    size: int = 0
    link: int = -1
    target: bytes = b""
    chunks: bytes = b""  # digests of the file's pieces, see `pieces`
    extents: tuple[tuple[int, int], ...] | None = (
        None  # (offset, length) of the data between holes; None: no holes
    )
    xattrs: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Values of which at least one changes whenever the file's content does."""
        return (self.ino, self.size, self.mtime_ns, self.ctime_ns)


class Manifest(msgspec.Struct, array_like=True, gc=False):
    """Everything below one disk at one moment, except the chunks themselves."""

    entries: list[Entry]
    note: str = ""
    origin: bytes = b""  # in the index of a restored disk: the digest of the manifest it came from
    disk: bytes = b""  # in the index of a restored disk: its path


def pieces(entry: Entry) -> Iterable[tuple[int, int]]:
    """(offset, length) of each chunk of a file: cut at multiples of CHUNK, without holes."""
    if entry.extents is None and 0 < entry.size <= CHUNK:
        return ((0, entry.size),)
    return _cut(entry)


def _cut(entry: Entry) -> Iterator[tuple[int, int]]:
    for begin, length in ((0, entry.size),) if entry.extents is None else entry.extents:
        offset, end = begin, begin + length
        while offset < end:
            until = min(end, (offset // CHUNK + 1) * CHUNK)
            yield offset, until - offset
            offset = until


def digests(entry: Entry) -> list[bytes]:
    if len(entry.chunks) == DIGEST:
        return [entry.chunks]
    return [entry.chunks[at : at + DIGEST] for at in range(0, len(entry.chunks), DIGEST)]


def save_manifest(path: Path, manifest: Manifest) -> None:
    write_atomically(path, pack_manifest(manifest), durable=True)


def pack_manifest(manifest: Manifest) -> bytes:
    """A manifest as the content of its file."""
    size = sum(map(len, _encoded(manifest)))
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    packed = [packer.compress(part) for part in _encoded(manifest)]
    packed.append(packer.flush())
    name = blake3.blake3()
    for part in packed:
        name.update(part)
    return b"".join((_MAGIC, name.digest(), *packed))


def _encoded(manifest: Manifest) -> Iterator[bytes]:
    """Its msgpack in parts: the whole would take as much memory as the compressed twice over."""
    fields = list(msgspec.structs.astuple(manifest))
    entries = manifest.entries
    yield b"\x94\xdd" + len(entries).to_bytes(4, "big")  # an array of four, the first an array itself
    for at in range(0, len(entries), _PART):
        yield b"".join(map(msgspec.msgpack.encode, entries[at : at + _PART]))
    yield b"".join(map(msgspec.msgpack.encode, fields[1:]))


def load_manifest(path: Path) -> tuple[Manifest, bytes]:
    """The manifest and its own digest. Raises `Damaged`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Damaged(f"the manifest {path} cannot be read: {error.strerror}") from error
    head = len(_MAGIC) + DIGEST
    name, packed = data[len(_MAGIC) : head], memoryview(data)[head:]
    if data[: len(_MAGIC)] != _MAGIC or digest(packed) != name:
        raise Damaged(f"the manifest {path} is not what was written")
    try:
        return wire.msgpack(unpacked(packed, _MOST_BYTES), Manifest), name
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise Damaged(f"the manifest {path} cannot be read: {error}") from error


def check_manifest(manifest: Manifest) -> None:
    """Raises `Damaged` for a tree that no capture writes.

    A manifest that came from another machine says where files will be made: its digest proves that it came
    whole, and not that whoever wrote it meant well. So every name is one step down, every folder comes before
    what is in it, and every number is one that a file can have.
    """
    entries = manifest.entries
    if not entries or entries[0].kind != "d":
        raise Damaged("a list of files without its own folder")
    for index, entry in enumerate(entries):
        if index and not _is_name(entry.name):
            raise Damaged(f"a list of files with the name {ascii(entry.name)[1:60]}")
        if not _stands(entries, entry, index) or not _is_file(entry):
            raise Damaged(f"a list of files whose entry {index} cannot be")


def _is_name(name: bytes) -> bool:
    return name not in {b"", b".", b".."} and b"/" not in name and b"\0" not in name


def _stands(entries: Sequence[Entry], entry: Entry, index: int) -> bool:
    """Whether its folder, and what it is another name of, come before it."""
    if not index:
        return True
    if not 0 <= entry.parent < index or entries[entry.parent].kind != "d":
        return False
    return entry.kind != "h" or (0 <= entry.link < index and entries[entry.link].kind in {"f", "l", "p"})


def _is_file(entry: Entry) -> bool:
    """Whether its kind and its numbers are those of a file, and its content is as long as it says."""
    numbers = (
        entry.kind in {"d", "f", "h", "l", "p"}
        and 0 <= entry.mode <= 0o7777
        and 0 <= min(entry.uid, entry.gid) <= max(entry.uid, entry.gid) < 1 << 32
        and 0 <= entry.size <= _LARGEST
        and -_LARGEST <= entry.mtime_ns <= _LARGEST
        and b"\0" not in entry.target
        and bool(entry.target) == (entry.kind == "l")
        and not any(b"\0" in name for name, _ in entry.xattrs)
    )
    if not numbers or entry.kind != "f":
        return numbers and not entry.chunks and not entry.size
    last = count = 0
    for begin, length in ((0, entry.size),) if entry.extents is None else entry.extents:
        if begin < last or length < 0 or begin + length > entry.size:
            return False
        last = begin + length
        count += (last - 1) // CHUNK - begin // CHUNK + 1 if length else 0
    return len(entry.chunks) == DIGEST * count


def shown(entries: Sequence[Entry], index: int) -> str:
    """The path of an entry below the disk, for messages: unprintable bytes are escaped."""
    names: list[bytes] = []
    while index > 0:
        names.append(entries[index].name)
        index = entries[index].parent
    path = b"/".join(reversed(names)).decode("utf-8", "backslashreplace") or "."
    text = path if path.isprintable() else ascii(path)[1:-1]
    return text if len(text) < 400 else f"{text[:180]}...{text[-180:]}"


class Folders:
    """A cache of folder descriptors by entry index, which closes the least recently used. For one thread."""

    def __init__(self, root: int, entries: Sequence[Entry], keep: int = 32) -> None:
        self._root = root
        self._entries = entries
        self._keep = keep
        self._open: OrderedDict[int, int] = OrderedDict()
        self._last = (0, root)  # index and descriptor: mostly it is asked for again

    def fd(self, index: int) -> int:
        """The folder's descriptor, valid until the next call."""
        if index == self._last[0]:
            return self._last[1]
        way, wanted = list[int](), index
        while index and index not in self._open:
            way.append(index)
            index = self._entries[index].parent
        fd = self._root
        if index:
            self._open.move_to_end(index)
            fd = self._open[index]
        for step in reversed(way):
            fd = self._open[step] = os.open(self._entries[step].name, FOLDER_FLAGS, dir_fd=fd)
            if len(self._open) > self._keep:
                os.close(self._open.popitem(last=False)[1])
        self._last = (wanted, fd)
        return fd

    def close(self) -> None:
        self._last = (0, self._root)
        while self._open:
            os.close(self._open.popitem()[1])


class Scan(msgspec.Struct):
    """Result of `scan`: the entries, and notes on them and on what was left out."""

    entries: list[Entry]
    sparse: set[int]  # files that occupy less than their size
    mounted: set[int]  # folders on which another file system is mounted
    foreign: set[int]  # files of another file system, whose inode numbers are not comparable
    left_out: list[tuple[str, str]]  # (what it is, path)
    elsewhere: list[str]  # folders on which something is mounted that is kept elsewhere: not entered
    data: list[int]  # bytes of the files that came from elsewhere and are not saved (guest/data_record.py)


def scan(root: int, loosen: Callable[[Folders, Sequence[Entry], int, int], None]) -> Scan:
    """Every name below the folder `root`, without reading any file.

    `loosen(folders, entries, index, bits)` is called to add permission bits to a folder that cannot be
    listed. Raises OSError with the shown path as `filename`.
    """
    top = os.fstat(root)
    entries = [_entry(0, b"", "d", top)]
    found = Scan(entries, set(), set(), set(), [], [], [])
    data: dict[int, dict[bytes, Any]] = {0: _data(root)}  # by folder
    names: dict[tuple[int, int], int] = {}
    folders = Folders(root, entries)
    me = os.geteuid()
    todo = [0]
    away = cache(mounts.elsewhere)  # read once, and only where another device is met
    try:
        while todo:
            at = todo.pop()
            try:
                if entries[at].mode & 0o500 != 0o500 and entries[at].uid == me != 0:
                    loosen(folders, entries, at, 0o500)
                listed, status = _list(folders.fd(at))
            except OSError as error:
                raise OSError(error.errno, error.strerror, shown(entries, at)) from error
            entries[at].xattrs = xattrs_of(folders.fd(at))
            below: list[int] = []
            here = data.pop(at, {})
            for name, seen in listed:
                if seen is None or (seen.st_dev != status.st_dev and seen.st_dev in away()):
                    found.elsewhere.append(shown([*entries, _entry(at, name, "d", status)], len(entries)))
                    continue
                known = here.get(name)
                if data_record.is_data(known, seen):
                    found.data += [seen.st_size] if known is not True else []
                    continue
                index = len(entries)
                mode = seen.st_mode
                kind = _KINDS.get(stat.S_IFMT(mode))
                if kind is None:
                    what = "socket" if stat.S_ISSOCK(mode) else "device"
                    found.left_out.append((what, shown([*entries, _entry(at, name, "f", seen)], index)))
                    continue
                entry = _entry(at, name, kind, seen)
                entries.append(entry)
                if kind == "d":
                    below.append(index)
                    if isinstance(known, dict):
                        data[index] = known
                    if seen.st_dev != status.st_dev:
                        found.mounted.add(index)
                    continue
                if (
                    seen.st_nlink > 1
                    and (first := names.setdefault((seen.st_dev, seen.st_ino), index)) != index
                ):
                    entry.kind, entry.link, entry.size = "h", first, 0
                elif kind == "f":
                    entry.size = seen.st_size
                    if seen.st_blocks * 512 < seen.st_size:
                        found.sparse.add(index)
                    if seen.st_dev != top.st_dev:
                        found.foreign.add(index)
                elif kind == "l":
                    entry.target = os.readlink(name, dir_fd=folders.fd(at))
            todo.extend(reversed(below))
    finally:
        folders.close()
    return found


def _data(root: int) -> dict[bytes, Any]:
    """What came from elsewhere to the desk whose disk this is."""
    try:
        home = os.open("home", FOLDER_FLAGS, dir_fd=root)
    except OSError:
        return {}
    try:
        return {b"home": data_record.left_out(home)}
    finally:
        os.close(home)


_KINDS = {stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}


_one = cache(int)  # one object for a number that most files share, not one a file


def _entry(parent: int, name: bytes, kind: str, seen: os.stat_result) -> Entry:
    mtime_ns, ctime_ns = seen.st_mtime_ns, seen.st_ctime_ns
    return Entry(
        parent,
        name,
        kind,
        _one(stat.S_IMODE(seen.st_mode)),
        _one(seen.st_uid),
        _one(seen.st_gid),
        mtime_ns,
        mtime_ns if mtime_ns == ctime_ns else ctime_ns,
        seen.st_ino,
    )


def _list(fd: int) -> tuple[list[tuple[bytes, os.stat_result | None]], os.stat_result]:
    """Names with their status, sorted; read again if the folder changed meanwhile."""
    for _ in range(2):
        before = os.fstat(fd)
        with os.scandir(fd) as names:
            listed = [(os.fsencode(e.name), _status(e)) for e in names]
        after = os.fstat(fd)
        if before.st_mtime_ns == after.st_mtime_ns:
            listed.sort(key=lambda pair: pair[0])
            return listed, after
    raise ChangedError(None, "it changes while it is read")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of a name; None where what was mounted there by FUSE has died."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno in _DEAD:
            return None
        raise


class ChangedError(OSError):
    """A file or folder changed while it was read."""


def xattrs_of(fd: int) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes that the file's owner may set; for root, all of them.

    Python supports them on Linux only.
    """
    if not _HAS_XATTRS:
        return ()
    try:
        names = os.listxattr(fd)
    except OSError:  # a file system without them
        return ()
    if not names:
        return ()
    root = os.geteuid() == 0
    return tuple(
        (os.fsencode(name), os.getxattr(fd, name))
        for name in sorted(names)
        if root or name.startswith(("user.", "system.posix_acl_"))
    )


def remove(folder: Path) -> None:
    """Delete a tree, however deep its folders and whatever their modes; absent is fine.

    Never what is mounted in it: FUSE is unmounted first, and anything else refused (OSError).
    """
    mounts.free(os.fsencode(folder))
    try:
        root = os.open(folder, FOLDER_FLAGS)
    except FileNotFoundError:
        return
    except PermissionError:
        folder.chmod(0o700)
        root = os.open(folder, FOLDER_FLAGS)
    try:
        os.fchmod(root, 0o700)
        entries: list[Entry] = [Entry(0, b"", "d", 0, 0, 0, 0, 0, 0)]
        folders = Folders(root, entries)
        todo = [0]
        while todo:
            at = todo.pop()
            if at:
                os.chmod(entries[at].name, 0o700, dir_fd=folders.fd(entries[at].parent))
            fd = folders.fd(at)
            with os.scandir(fd) as found:
                for name, is_folder in [
                    (os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in found
                ]:
                    if is_folder:
                        todo.append(len(entries))
                        entries.append(Entry(at, name, "d", 0, 0, 0, 0, 0, 0))
                    else:
                        os.unlink(name, dir_fd=fd)
        folders.close()
        folders = Folders(root, entries)
        for entry in reversed(entries[1:]):
            os.rmdir(entry.name, dir_fd=folders.fd(entry.parent))
        folders.close()
    finally:
        os.close(root)
    with suppress(FileNotFoundError):
        folder.rmdir()


def unreadable(disk: Path, path: str, why: str) -> Refused:
    fix = f"ls -ld {shlex.quote(str(disk / path))}"
    return Refused(Kind.UNREADABLE, f"{path} in {disk} cannot be saved: {why}", fix=fix)


def need_manifest(path: Path, store: Store) -> tuple[Manifest, bytes]:
    """`load_manifest`, of an image that has to be whole. Raises `Refused` (CORRUPT)."""
    try:
        return load_manifest(path)
    except Damaged as error:
        raise corrupt(error, store.folder) from error


def all_chunks(manifest: Manifest) -> set[bytes]:
    return {name for entry in manifest.entries for name in digests(entry)}


def need_chunks(manifest: Manifest, store: Store, names: Iterable[bytes] | None = None) -> None:
    """Raises `Refused` (CORRUPT), naming a file, if any chunk of it, or of these, is in no intact pack."""
    absent = store.missing(all_chunks(manifest) if names is None else names)
    if not absent:
        return
    hit = [i for i, entry in enumerate(manifest.entries) if not absent.isdisjoint(digests(entry))]
    more = f" and {len(hit) - 1} more files" if len(hit) > 1 else ""
    why = "; ".join(store.lost) or "a pack that held it is gone"
    damage = Damaged(f"the content of {shown(manifest.entries, hit[0])}{more} is lost: {why}")
    raise corrupt(damage, store.folder)


def corrupt(damage: Damaged, store: Path) -> Refused:
    packs = shlex.quote(str(store / "packs"))
    return Refused(
        Kind.CORRUPT,
        str(damage),
        fix=f"ls -l {packs}   # put back what is missing or damaged, from a backup; then the same again",
    )
