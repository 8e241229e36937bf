"""A store of chunks, each kept once under the hash of its content, in files that are only ever added.

    store/                    0700
      lock                    shared: adding and reading; exclusive: forgetting and sweeping
      verified                which packs were read back whole, with the stat signature they had then
      disks/                  what capture and restore remember about a disk (snapshot_tree.py)
      packs/NAME.pack         0600; NAME is the hash of the index at its end
      packs/new-XXXXXXXX      a pack that is being written: never read, swept by the next in line

A **chunk** is what is addressed: up to 4 MiB of a file. A **frame** is what is compressed: one big chunk
or many small ones. A pack is frames, then an index of them, then a trailer that vouches for the index:

    "HDPACK1\\n"  frame …  index (zstd of msgpack)  length of the index (8)  its blake3 (32)  "HDPACK1\\n"

A pack appears under its name only after its bytes are on the disk, so one that has a name is whole or has
rotted since. A rotten pack is treated as if it were not there: what it held is written anew by the next
capture, found in another pack by a restore, or else reported.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import blake3
import msgspec
import zstandard

from hotdesk.core.errors import Kind, Refused

CHUNK = 4 << 20  # an append to a big file costs at most this much more than itself
PACK = 64 << 20  # when a pack is closed: small enough that a killed capture repeats little
DIGEST = 32
_SMALL = 4 << 20  # packs of single small parks:
_MANY = 16  # put together when there are so many
WORKERS = min(8, max(2, os.cpu_count() or 2))

_MAGIC = b"HDPACK1\n"
_TRAILER = 8 + DIGEST + len(_MAGIC)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Signature = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode
Buffer = bytes | bytearray | memoryview
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Damaged(Exception):
    """A pack or a manifest does not hold what it should; the message says which and how."""


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Bytes `offset` to `offset + stored` of a pack: one or more chunks, compressed where that helps."""

    offset: int
    stored: int
    packed: bool
    digests: bytes  # of its chunks, one after another
    sizes: tuple[int, ...]

    def names(self) -> list[bytes]:
        return [self.digests[at : at + DIGEST] for at in range(0, len(self.digests), DIGEST)]

    def chunks(self) -> Iterator[tuple[bytes, int, int]]:
        """(digest, begin, end) of every chunk in the unpacked frame."""
        begin = 0
        for name, size in zip(self.names(), self.sizes, strict=True):
            yield name, begin, begin + size
            begin += size


class Pack(msgspec.Struct, frozen=True):
    """A closed pack: where it is, what it holds, and the stat signature it had when its index was read."""

    path: Path
    signature: Signature
    frames: list[Frame]


def digest(data: Buffer) -> bytes:
    return blake3.blake3(data).digest()


_thread = threading.local()


def buffer(size: int) -> memoryview:
    """This thread's own scratch memory, valid until it asks again: fresh pages cost more than the copy."""
    held: bytearray | None = getattr(_thread, "buffer", None)
    if held is None or len(held) < size:
        held = _thread.buffer = bytearray(max(size, CHUNK + CHUNK // 8))
    return memoryview(held)[:size]


def read_into(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset` on; how many bytes there were."""
    done = 0
    while done < len(view) and (got := os.preadv(fd, [view[done:]], offset + done)):
        done += got
    return done


def write_all(fd: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def each(
    jobs: Sequence[_Job], work: Callable[[_Job], _Result], workers: int = WORKERS
) -> Iterator[tuple[_Job, _Result]]:
    """Results in the order of the jobs, worked on by several threads; the first failure ends them all."""
    pool = ThreadPoolExecutor(workers)
    try:
        for job, future in [(job, pool.submit(work, job)) for job in jobs]:
            yield job, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_pack(path: Path) -> Pack:
    """The index of a pack. Raises `Damaged`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            signature = signature_of(os.fstat(fd))
            size = signature[0]
            tail = os.pread(fd, _TRAILER, max(0, size - _TRAILER))
            length = int.from_bytes(tail[:8], "little")
            if tail[8 + DIGEST :] != _MAGIC or length > size - _TRAILER - len(_MAGIC):
                raise Damaged(f"the pack {path} is cut short or overwritten at its end")
            packed = os.pread(fd, length, size - _TRAILER - length)
        finally:
            os.close(fd)
    except OSError as error:
        raise Damaged(f"the pack {path} cannot be read: {error.strerror}") from error
    if digest(packed) != tail[8 : 8 + DIGEST] or path.stem != tail[8 : 8 + DIGEST].hex():
        raise Damaged(f"the index of the pack {path} is not what was written")
    index = zstandard.ZstdDecompressor().decompress(packed)
    return Pack(path, signature, msgspec.msgpack.decode(index, type=list[Frame]))


def signature_of(stat: os.stat_result) -> Signature:
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def read_frame(fd: int, pack: Pack, frame: Frame) -> Buffer:
    """The unpacked frame, every chunk of it checked; it may live in `buffer`. Raises `Damaged`."""
    where = f"the pack {pack.path} is damaged at byte {frame.offset}"
    stored = buffer(frame.stored)
    size = sum(frame.sizes)
    try:
        if read_into(fd, stored, frame.offset) != frame.stored:
            raise Damaged(f"the pack {pack.path} is cut short")
        data: Buffer = stored
        if frame.packed:
            if zstandard.frame_content_size(stored) != size:  # or a flipped bit asks for all the memory
                raise Damaged(where)
            data = zstandard.ZstdDecompressor().decompress(stored)
    except OSError as error:
        raise Damaged(f"{where}: {error.strerror}") from error
    except zstandard.ZstdError as error:
        raise Damaged(where) from error
    view = memoryview(data)
    if len(view) != size or any(digest(view[begin:end]) != name for name, begin, end in frame.chunks()):
        raise Damaged(where)
    return data


def read_chunks(pack: Pack, number: int) -> Buffer:
    """`read_frame` of a pack that is not open."""
    try:
        fd = os.open(pack.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Damaged(f"the pack {pack.path} cannot be read: {error.strerror}") from error
    try:
        return read_frame(fd, pack, pack.frames[number])
    finally:
        os.close(fd)


class Store:
    """Chunks of one store folder, while its lock is held. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packs: dict[Path, Pack] = {}
        self.lost: list[str] = []  # what is wrong with packs that count as absent
        self.stored_bytes = 0  # written so far, compressed
        self.bytes_read = 0  # read back to be checked
        self._where: dict[bytes, tuple[Pack, int]] = {}
        self._mine: set[bytes] = set()  # chunks this process writes, or wrote
        self._lock = threading.Lock()
        self._open: list[_Writing] = []  # packs that nobody is appending to at this moment
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
        """Where each chunk is: rather in a pack that was read back whole, where two hold it."""
        self._where = {
            name: (pack, number)
            for pack in sorted(self.packs.values(), key=self.is_verified)
            for number, frame in enumerate(pack.frames)
            for name in frame.names()
        }

    # Reading

    def place(self, name: bytes) -> tuple[Pack, int]:
        """The pack and the number of the frame that hold a chunk. KeyError when none does."""
        return self._where[name]

    def missing(self, names: Iterable[bytes]) -> set[bytes]:
        return {name for name in names if name not in self._where}

    def is_verified(self, pack: Pack) -> bool:
        return self._verified.get(pack.path.name) == pack.signature

    def check(self, packs: Iterable[Pack], on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Read packs back from the disk, every chunk of them; one that is damaged counts as absent."""
        jobs = [pack for pack in packs if pack.path in self.packs and not self.is_verified(pack)]
        for pack, damage in each(jobs, _damage):
            if damage:
                self.drop(pack, damage)
            else:
                self._verified[pack.path.name] = pack.signature
            self.bytes_read += pack.signature[0]
            on_bytes(pack.signature[0])
        if jobs:
            self._write_verified()

    def drop(self, pack: Pack, why: str) -> None:
        """From here on the pack counts as absent, and the next capture will not build on it."""
        with self._lock:
            if self.packs.pop(pack.path, None):
                self.lost.append(why)
                self._verified.pop(pack.path.name, None)
                self._look_up()
                self._write_verified()

    # Writing

    def holds(self, name: bytes) -> bool:
        """Whether a chunk is here for certain: a pack that nobody read back is read back first."""
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
        """Whether the caller has to `put` this chunk: it is not here, and no other thread is on it."""
        if self.holds(name):
            return False
        with self._lock:
            if name in self._mine:
                return False
            self._mine.add(name)
            return True

    def put(self, chunks: Sequence[tuple[bytes, Buffer]]) -> None:
        """Append claimed chunks as one frame. Nothing is promised before `seal`."""
        body = chunks[0][1] if len(chunks) == 1 else b"".join(data for _, data in chunks)
        packed = zstandard.ZstdCompressor(level=1).compress(body)  # runs over noise at memory speed
        worth_it = len(packed) < len(body) - len(body) // 32
        with self._lock:
            pack = self._open.pop() if self._open else None
        pack = pack or _Writing(self.folder / "packs")
        names, sizes = b"".join(name for name, _ in chunks), tuple(len(data) for _, data in chunks)
        try:
            pack.append(packed if worth_it else body, worth_it, names, sizes)
        finally:
            with self._lock:
                self.stored_bytes += len(packed) if worth_it else len(body)
                if pack.end < PACK:
                    self._open.append(pack)
                else:
                    self._flushing.append(self._flusher.submit(pack.close))

    def seal(self) -> list[Path]:
        """Every chunk that was put is on the disk, in these packs, when this returns."""
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
        """Delete packs of which nothing in `keep` is wanted, rewrite those of which little is.

        Returns the bytes freed. The store is held exclusively. Whatever is wanted of a pack was read back
        whole from another one before the pack goes; a damaged pack goes only when nothing is missing.
        """
        doomed: dict[Path, int] = {}
        small, sparse = [], []
        for pack in self.packs.values():
            live = sum(end - begin for _, begin, end in self._wanted(pack, keep))
            whole = sum(sum(frame.sizes) for frame in pack.frames)
            if not live:
                doomed[pack.path] = pack.signature[0]
            elif live * 2 < whole:
                sparse.append(pack)
            elif pack.signature[0] < _SMALL:
                small.append(pack)
        fresh = self._rewrite(sparse + (small if len(small) >= _MANY else []), keep, doomed)
        if not self.missing(keep):
            packs = (self.folder / "packs").glob("*.pack")
            doomed |= {path: path.stat().st_size for path in packs if path not in self.packs}
        for path in doomed.keys() - fresh.keys():
            path.unlink()
            self.packs.pop(path, None)
        fsync_folder(self.folder / "packs")
        self._look_up()
        self._write_verified()
        return sum(doomed.values()) - sum(fresh.values())

    def _wanted(self, pack: Pack, keep: set[bytes]) -> Iterator[tuple[bytes, int, int]]:
        """Chunks of the pack that are to be kept and are not for certain in another one."""
        for frame in pack.frames:
            for chunk in frame.chunks():
                if chunk[0] in keep:
                    holder = self._where[chunk[0]][0]
                    if holder is pack or not self.is_verified(holder):
                        yield chunk

    def _rewrite(self, packs: Iterable[Pack], keep: set[bytes], doomed: dict[Path, int]) -> dict[Path, int]:
        """Copy what is wanted into new packs and read those back: their sizes. The old ones are `doomed`."""
        done = {}
        for pack in packs:
            wanted = {name for name, _, _ in self._wanted(pack, keep)}
            try:
                for number, frame in enumerate(pack.frames):
                    data = memoryview(read_chunks(pack, number)) if wanted & set(frame.names()) else b""
                    if live := [(n, data[begin:end]) for n, begin, end in frame.chunks() if n in wanted]:
                        self.put(live)
                done[pack.path] = pack.signature[0]
            except Damaged:
                continue  # it stays as it is, for `verify` to tell
        fresh = {path: read_pack(path) for path in self.seal()}
        self.packs |= fresh
        self.check(fresh.values())
        if fresh.keys() <= self.packs.keys():
            self._look_up()
            doomed |= done
        return {path: pack.signature[0] for path, pack in fresh.items()}

    # The list of packs that were read back

    def _read_verified(self) -> dict[str, Signature]:
        try:
            data = (self.folder / "verified").read_bytes()
            if digest(data[DIGEST:]) == data[:DIGEST]:
                return msgspec.msgpack.decode(data[DIGEST:], type=dict[str, Signature])
        except (OSError, msgspec.MsgspecError):
            pass
        return {}  # which only means that packs are read again

    def _write_verified(self) -> None:
        here = {pack.path.name for pack in self.packs.values()}
        data = msgspec.msgpack.encode({n: s for n, s in sorted(self._verified.items()) if n in here})
        with suppress(OSError):
            write_atomically(self.folder / "verified", digest(data) + data)


_checking = threading.Lock()


def _damage(pack: Pack) -> str:
    """What is wrong with a pack, read from the disk and not from memory; "" when nothing is."""
    try:
        fd = os.open(pack.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if hasattr(os, "posix_fadvise"):  # its pages were synced, so this drops them
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            if signature_of(os.fstat(fd)) != pack.signature:
                return f"the pack {pack.path} changed while it was read"
            for frame in pack.frames:
                read_frame(fd, pack, frame)
        finally:
            os.close(fd)
        read_pack(pack.path)  # the index was read from memory the first time
    except OSError as error:
        return f"the pack {pack.path} cannot be read: {error.strerror}"
    except Damaged as damage:
        return str(damage)
    return ""


class _Writing:
    """A pack that is being written under a temporary name."""

    def __init__(self, folder: Path) -> None:
        self.frames: list[Frame] = []
        self.fd, path = tempfile.mkstemp(prefix="new-", dir=folder)
        self.path = Path(path)
        write_all(self.fd, _MAGIC)
        self.end = len(_MAGIC)

    def append(self, data: Buffer, packed: bool, names: bytes, sizes: tuple[int, ...]) -> None:
        write_all(self.fd, data)
        self.frames.append(Frame(self.end, len(data), packed, names, sizes))
        self.end += len(data)

    def close(self) -> Path:
        """Flush, then take the name that vouches for the content."""
        try:
            index = zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(self.frames))
            name = digest(index)
            write_all(self.fd, index + len(index).to_bytes(8, "little") + name + _MAGIC)
            fsync(self.fd)
            return self.path.rename(self.path.with_name(f"{name.hex()}.pack"))
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(self.fd)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


@contextmanager
def opened(folder: Path, *, exclusive: bool = False) -> Iterator[Store]:
    """The store, made if absent, locked against those who would forget what this one uses."""
    for part in (folder, folder / "packs", folder / "disks"):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(BlockingIOError):  # somebody else is at it: the temporary packs may be theirs
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in folder.glob("packs/new-*"):
                path.unlink(missing_ok=True)
        fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        store = Store(folder)
        try:
            yield store
        finally:
            store.abandon()
    finally:
        os.close(lock)


def fsync(fd: int) -> None:
    """On the disk, not only in the drive's cache, when this returns."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not ask the drive
    try:
        if full is not None:
            fcntl.fcntl(fd, full)
            return
    except OSError:  # a file system that does not know it
        pass
    os.fsync(fd)


def fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes) -> None:
    """Either the old file or the whole new one, whenever the power goes; 0600."""
    new = path.with_name(f".{path.name}.new")  # always the same name: one left by a kill is written over
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        fsync(fd)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    fsync_folder(path.parent)


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def no_space(folder: Path, needed_bytes: int, what: str) -> Refused:
    """The disk under `folder` is full: how much is needed and how much there is."""
    free = shutil.disk_usage(folder).free
    return Refused(
        Kind.NO_SPACE,
        f"{what} needs about {_size(needed_bytes)} and {folder} has {_size(free)} free",
        fix="hotdesk gc",
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
