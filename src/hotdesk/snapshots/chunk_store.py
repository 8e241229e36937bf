"""A content-addressed store of chunks, in pack files that are never changed.

    store/                    0700
      lock                    shared: adding and reading; exclusive: deleting and cleaning up
      verified                packs that were verified, with the stat signature they had then
      disks/                  notes about disks between captures (cache.py)
      packs/NAME.pack         0600; format and name: pack_file.py
      packs/new-XXXXXXXX      a pack that is being written: never read, removed if its writer died

A pack gets its name only after its bytes are on the disk, so a named pack is complete unless it was corrupted
later. A corrupt pack counts as absent: the next capture writes its chunks again, and a restore finds them in
another pack or reports them as lost.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

import msgspec
import zstandard

from hotdesk.core import byte_sizes, wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import each
from hotdesk.snapshots.pack_file import (
    DIGEST,
    Buffer,
    Damaged,
    Pack,
    Signature,
    Writing,
    damage_of,
    digest,
    read_chunks,
    read_pack,
)
from hotdesk.system import flock, fsync_folder, write_atomically

PACK = 64 << 20  # size at which a pack is closed: a killed capture repeats little

_SMALL = 4 << 20  # packs below this size, from small captures,
_MANY = 16  # are merged when there are this many
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Store:
    """Chunks of one store folder, while its lock is held. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packs: dict[Path, Pack] = {}
        self.lost: list[str] = []  # errors of the packs that count as absent
        self.stored_bytes = 0  # written so far, compressed
        self.bytes_read = 0  # during verification
        self._where: dict[bytes, tuple[Pack, int]] = {}
        self._mine: set[bytes] = set()  # chunks this process writes, or wrote
        self._lock = threading.Lock()
        self._open: list[Writing] = []  # packs that no thread is appending to
        self._flushing: list[Future[Path]] = []
        self._flusher = ThreadPoolExecutor(1)
        self._verified = self._read_verified()
        for path in sorted((folder / "packs").glob("*.pack")):
            try:
                self.packs[path] = read_pack(path)
            except Damaged as damage:
                self.lost.append(str(damage))
        self._look_up()

    def _look_up(self) -> None:
        """Index the chunks; of two copies, prefer the one in a verified pack."""
        self._where = {
            name: (pack, number)
            for pack in sorted(self.packs.values(), key=self.is_verified)
            for number, frame in enumerate(pack.frames)
            for name in frame.names()
        }

    # Reading

    def place(self, name: bytes) -> tuple[Pack, int]:
        """The pack and the frame number that hold a chunk. Raises `KeyError` if none does."""
        return self._where[name]

    def names(self) -> Iterable[bytes]:
        """The chunks of packs that were read back, or are."""
        for pack in list(self.packs.values()):
            if not self.is_verified(pack):
                self.check([pack])
        return self._where.keys()

    def look_again(self) -> None:
        """Find the packs that were sealed since this store was opened."""
        for path in sorted((self.folder / "packs").glob("*.pack")):
            if path not in self.packs:
                try:
                    self.packs[path] = read_pack(path)
                except Damaged as damage:
                    self.lost.append(str(damage))
        self._look_up()

    def missing(self, names: Iterable[bytes]) -> set[bytes]:
        return {name for name in names if name not in self._where}

    def is_verified(self, pack: Pack) -> bool:
        return self._verified.get(pack.path.name) == pack.signature

    def doubt(self) -> None:
        """Forget which packs were verified; the next check reads them."""
        self._verified.clear()

    def check(self, packs: Iterable[Pack], on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Verify packs by reading every chunk from the disk; drop those that are damaged."""
        jobs = [pack for pack in packs if pack.path in self.packs and not self.is_verified(pack)]
        with each(jobs, damage_of) as results:
            for pack, damage in results:
                if damage:
                    self.drop(pack, damage)
                else:
                    self._verified[pack.path.name] = pack.signature
                self.bytes_read += pack.signature[0]
                on_bytes(pack.signature[0])
        if jobs:
            self._write_verified()

    def drop(self, pack: Pack, why: str) -> None:
        """Treat the pack as absent from now on, so that the next capture does not rely on it."""
        with self._lock:
            if self.packs.pop(pack.path, None):
                self.lost.append(why)
                self._verified.pop(pack.path.name, None)
                self._look_up()
                self._write_verified()

    # Writing

    def holds(self, name: bytes) -> bool:
        """Whether a chunk is stored intact; verifies its pack first if that was not done yet."""
        while True:
            if name in self._mine:
                return True
            if not (found := self._where.get(name)):
                return False
            if self.is_verified(found[0]):
                return True
            with _checking:
                self.check([found[0]])

    def claim(self, name: bytes) -> bool:
        """Whether the caller has to `put` this chunk: it is not stored, and no other thread is writing it."""
        if self.holds(name):
            return False
        with self._lock:
            if name in self._mine:
                return False
            self._mine.add(name)
            return True

    def put(self, chunks: Sequence[tuple[bytes, Buffer]]) -> None:
        """Append claimed chunks as one frame. They are durable only after `seal`."""
        body, packed = compressed(chunks)
        self.put_frame(b"".join(name for name, _ in chunks), [len(data) for _, data in chunks], body, packed)

    def put_frame(self, names: bytes, sizes: Sequence[int], body: Buffer, packed: bool) -> None:
        """The same of a frame that is compressed already; its chunks were checked by the caller."""
        with self._lock:
            pack = self._open.pop() if self._open else None
        pack = pack or Writing(self.folder / "packs")
        try:
            pack.append(names, sizes, body, packed)
        finally:
            with self._lock:
                self.stored_bytes += len(body)
                if pack.end < PACK:
                    self._open.append(pack)
                else:
                    self._flushing.append(self._flusher.submit(pack.close))

    def seal(self) -> list[Path]:
        """Flush every chunk that was put to the disk; return the packs."""
        closing = self._flushing + [self._flusher.submit(pack.close) for pack in self._open]
        self._open, self._flushing = [], []
        paths = [future.result() for future in closing]
        fsync_folder(self.folder / "packs")
        return paths

    def abandon(self) -> None:
        self._flusher.shutdown()
        for pack in self._open:
            pack.discard()

    # Forgetting

    def prune(self, keep: set[bytes]) -> int:
        """Delete packs without chunks in `keep`, and rewrite those with few; return the bytes freed.

        Requires the exclusive lock of the store. A pack is deleted only after its chunks in `keep` were
        verified in another one, and a damaged pack only if nothing is missing. Works on a full disk.
        """
        freed = self._delete(p for p in self.packs.values() if not any(self._wanted(p, keep, any_copy=True)))
        if not self.missing(keep):
            for path in set((self.folder / "packs").glob("*.pack")) - self.packs.keys():
                freed += path.stat().st_size
                path.unlink()
        while packs := self._wasteful(keep):
            try:
                return freed + self._rewrite(packs, keep)
            except Damaged:
                continue  # that pack counts as absent now: choose again
            except OSError as error:
                if not is_full(error):
                    raise
                break
        return freed

    def _wanted(
        self, pack: Pack, keep: set[bytes], *, any_copy: bool = False
    ) -> Iterator[tuple[int, bytes, int, int]]:
        """(frame, digest, begin, end) of the chunks to keep that no other verified pack holds."""
        for number, frame in enumerate(pack.frames):
            for name, begin, end in frame.chunks():
                if name in keep:
                    holder = self._where[name][0]
                    if any_copy or holder is pack or not self.is_verified(holder):
                        yield number, name, begin, end

    def _wasteful(self, keep: set[bytes]) -> list[Pack]:
        """Packs of which less than half is to be kept; and small ones, if there are many."""
        sparse, small = [], []
        for pack in self.packs.values():
            live = sum(end - begin for _, _, begin, end in self._wanted(pack, keep))
            if live * 2 < sum(sum(frame.sizes) for frame in pack.frames):
                sparse.append(pack)
            elif pack.signature[0] < _SMALL:
                small.append(pack)
        return sparse + (small if len(small) >= _MANY else [])

    def _rewrite(self, packs: Sequence[Pack], keep: set[bytes]) -> int:
        """Copy chunks to keep into new packs, verify these, delete the old; return the bytes freed."""
        for pack in packs:
            try:
                for number, group in groupby(self._wanted(pack, keep), lambda row: row[0]):
                    data = memoryview(read_chunks(pack, number))
                    self.put([(name, data[begin:end]) for _, name, begin, end in group])
            except Damaged as damage:
                self.drop(pack, str(damage))
                raise
        fresh = {path: read_pack(path) for path in self.seal()}
        grown = sum(pack.signature[0] for path, pack in fresh.items() if path not in self.packs)
        self.packs |= fresh
        self._look_up()
        self.check(fresh.values())
        if not fresh.keys() <= self.packs.keys():
            raise OSError(errno.EIO, "a pack that was just written cannot be verified", str(self.folder))
        return self._delete(pack for pack in packs if pack.path not in fresh) - grown

    def _delete(self, packs: Iterable[Pack]) -> int:
        freed = 0
        for pack in list(packs):
            pack.path.unlink()
            del self.packs[pack.path]
            freed += pack.signature[0]
        fsync_folder(self.folder / "packs")
        self._look_up()
        self._write_verified()
        return freed

    # The list of packs that were read back

    def _read_verified(self) -> dict[str, Signature]:
        try:
            data = (self.folder / "verified").read_bytes()
            if digest(data[DIGEST:]) == data[:DIGEST]:
                return wire.msgpack(data[DIGEST:], dict[str, Signature])
        except (OSError, msgspec.MsgspecError):
            pass
        return {}  # then packs are only verified again

    def _write_verified(self) -> None:
        here = {pack.path.name for pack in self.packs.values()}
        data = msgspec.msgpack.encode({n: s for n, s in sorted(self._verified.items()) if n in here})
        with suppress(OSError):
            write_atomically(self.folder / "verified", digest(data) + data, durable=True)


def compressed(chunks: Sequence[tuple[bytes, Buffer]]) -> tuple[Buffer, bool]:
    """The bytes of a frame of these chunks, and whether they are compressed: only if that helps."""
    body = chunks[0][1] if len(chunks) == 1 else b"".join(data for _, data in chunks)
    packed = zstandard.ZstdCompressor(level=1).compress(body)  # skips incompressible data at memory speed
    return (packed, True) if len(packed) < len(body) - len(body) // 32 else (body, False)


_checking = threading.Lock()


@contextmanager
def opened(folder: Path, *, exclusive: bool = False) -> Iterator[Store]:
    """The store, created if absent, locked against deletion of the chunks in use."""
    for part in (folder, folder / "packs", folder / "disks"):
        if not part.is_dir():
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            fsync_folder(part.parent)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if flock(lock, wait=exclusive):  # else it is in use, and so may be the temporary files
            for path in (*folder.glob("packs/new-*"), *folder.glob("verified.*")):
                path.unlink(missing_ok=True)
        if not exclusive:
            flock(lock, shared=True)
        store = Store(folder)
        try:
            yield store
        finally:
            store.abandon()
    finally:
        os.close(lock)


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def no_space(folder: Path, needed_bytes: int, what: str) -> Refused:
    """The refusal for a full disk under `folder`, with the space needed and free."""
    free = shutil.disk_usage(folder).free
    limit = "" if free < needed_bytes else ", but no more may be written: a quota, or the number of files"
    return Refused(
        Kind.NO_SPACE,
        f"{what} needs about {byte_sizes.said(needed_bytes)}"
        f" and {folder} has {byte_sizes.said(free)} free{limit}",
        fix="hotdesk gc",
    )
