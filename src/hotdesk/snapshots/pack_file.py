"""One pack: frames of chunks, an index of them, and a trailer with the checksum of the index.

    "HDPACK1\\n"  frame ...  index (zstd of msgpack)  length of the index (8)  its blake3 (32)  "HDPACK1\\n"

A **chunk** is the unit of addressing: up to 4 MiB of a file. A **frame** is the unit of compression: one big
chunk or many small ones. A pack is named by the hash of its index, which holds the hashes of its chunks.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import blake3
import msgspec
import zstandard

from hotdesk.core import wire
from hotdesk.system import fsync

CHUNK = 4 << 20  # appending to a big file stores at most this much more than was appended
DIGEST = 32
FRAME = CHUNK + (1 << 20)  # bytes of chunks in one frame at most
_MOST_INDEX = 1 << 30  # bytes of an index: of 64 MiB of chunks it is far less

_MAGIC = b"HDPACK1\n"
_TRAILER = 8 + DIGEST + len(_MAGIC)

Signature = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode
Buffer = bytes | bytearray | memoryview


class Damaged(Exception):
    """A pack or a manifest is corrupt; the message says which and how."""


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Bytes `offset` to `offset + stored` of a pack: one or more chunks, compressed if that helps."""

    offset: int
    stored: int
    packed: bytes  # digest of the compressed bytes, else b"": zstd ignores some bits
    digests: bytes  # of its chunks, concatenated
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
    """A closed pack: its path, its frames, and its stat signature when its index was read."""

    path: Path
    signature: Signature
    frames: list[Frame]


def digest(data: Buffer) -> bytes:
    return blake3.blake3(data).digest()


_thread = threading.local()


def buffer(size: int) -> memoryview:
    """A reusable buffer of this thread, valid until its next call: fresh pages cost more than the copy."""
    held: bytearray | None = getattr(_thread, "buffer", None)
    if held is None or len(held) < size:
        held = _thread.buffer = bytearray(max(size, CHUNK + CHUNK // 8))
    return memoryview(held)[:size]


def read_into(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset` on; return the number of bytes read."""
    done = 0
    while done < len(view) and (got := os.preadv(fd, [view[done:]], offset + done)):
        done += got
    return done


def write_at(fd: int, data: Buffer, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def read_pack(path: Path) -> Pack:
    """Read the index of a pack. Raises `Damaged`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            signature = signature_of(os.fstat(fd))
            size = signature[0]
            tail = os.pread(fd, _TRAILER, max(0, size - _TRAILER))
            length = int.from_bytes(tail[:8], "little")
            if (
                tail[8 + DIGEST :] != _MAGIC
                or os.pread(fd, len(_MAGIC), 0) != _MAGIC
                or length > size - _TRAILER - len(_MAGIC)
            ):
                raise Damaged(f"the pack {path} is cut short or overwritten")
            packed = os.pread(fd, length, size - _TRAILER - length)
        finally:
            os.close(fd)
    except OSError as error:
        raise Damaged(f"the pack {path} cannot be read: {error.strerror}") from error
    if digest(packed) != tail[8 : 8 + DIGEST] or path.stem != tail[8 : 8 + DIGEST].hex():
        raise Damaged(f"the index of the pack {path} is not what was written")
    try:
        frames = wire.msgpack(unpacked(packed, _MOST_INDEX), list[Frame])
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise Damaged(f"the index of the pack {path} cannot be read: {error}") from error
    if not all(_is_frame(frame, size) for frame in frames):
        raise Damaged(f"the index of the pack {path} names what no pack holds")
    return Pack(path, signature, frames)


def unpacked(packed: Buffer, most: int) -> bytes:
    """Decompress what is `most` bytes long at most. Raises `zstandard.ZstdError`.

    The library makes room for whatever size a frame announces: a few bytes may announce an exabyte.
    """
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= most:
        raise zstandard.ZstdError(f"it announces {size} bytes; {most} can be there at most")
    data: bytes = zstandard.ZstdDecompressor().decompress(packed)
    return data


def holds(names: bytes, sizes: Sequence[int]) -> bool:
    """Whether these can be the digests and the sizes of a frame's chunks."""
    return len(names) == DIGEST * len(sizes) and all(0 <= n <= CHUNK for n in sizes) and sum(sizes) <= FRAME


def _is_frame(frame: Frame, end: int) -> bool:
    inside = frame.offset >= 0 and frame.stored >= 0 and frame.offset + frame.stored <= end
    return inside and holds(frame.digests, frame.sizes)


def signature_of(stat: os.stat_result) -> Signature:
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def read_frame(fd: int, pack: Pack, frame: Frame) -> Buffer:
    """The unpacked frame with all chunks checked, possibly in `buffer`. Raises `Damaged`."""
    where = f"the pack {pack.path} is damaged at byte {frame.offset}"
    stored = buffer(frame.stored)
    size = sum(frame.sizes)
    try:
        if read_into(fd, stored, frame.offset) != frame.stored:
            raise Damaged(f"the pack {pack.path} is cut short")
        data: Buffer = stored
        if frame.packed:
            if digest(stored) != frame.packed:
                raise Damaged(where)
            data = unpacked(stored, size)
    except OSError as error:
        raise Damaged(f"{where}: {error.strerror}") from error
    except zstandard.ZstdError as error:
        raise Damaged(where) from error
    view = memoryview(data)
    if len(view) != size or any(digest(view[begin:end]) != name for name, begin, end in frame.chunks()):
        raise Damaged(where)
    return data


def read_chunks(pack: Pack, number: int) -> Buffer:
    """Like `read_frame`, for a pack that is not open."""
    try:
        fd = os.open(pack.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Damaged(f"the pack {pack.path} cannot be read: {error.strerror}") from error
    try:
        return read_frame(fd, pack, pack.frames[number])
    finally:
        os.close(fd)


def damage_of(pack: Pack) -> str:
    """What is wrong with a pack, bypassing the page cache; "" if nothing is."""
    try:
        fd = os.open(pack.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if hasattr(os, "posix_fadvise"):  # its pages are clean, so this drops them
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            if signature_of(os.fstat(fd)) != pack.signature:
                return f"the pack {pack.path} changed while it was read"
            for frame in pack.frames:
                read_frame(fd, pack, frame)
        finally:
            os.close(fd)
        read_pack(pack.path)  # the index may have come from the page cache before
    except OSError as error:
        return f"the pack {pack.path} cannot be read: {error.strerror}"
    except Damaged as damage:
        return str(damage)
    return ""


class Writing:
    """A pack that is being written under a temporary name."""

    def __init__(self, folder: Path) -> None:
        self.frames: list[Frame] = []
        self.fd, path = tempfile.mkstemp(prefix="new-", dir=folder)
        self.path = Path(path)
        write_at(self.fd, _MAGIC, 0)
        self.end = len(_MAGIC)

    def append(self, names: bytes, sizes: Sequence[int], body: Buffer, packed: bool) -> None:
        """Add one frame of the chunks of these names and sizes; `body` is compressed if `packed`."""
        write_at(self.fd, body, self.end)  # at `end`, so that a failed write leaves no trace
        self.frames.append(Frame(self.end, len(body), digest(body) if packed else b"", names, tuple(sizes)))
        self.end += len(body)

    def close(self) -> Path:
        """Flush, then rename to the hash of the index."""
        try:
            index = zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(self.frames))
            name = digest(index)
            tail = index + len(index).to_bytes(8, "little") + name + _MAGIC
            write_at(self.fd, tail, self.end)
            os.ftruncate(self.fd, self.end + len(tail))
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
