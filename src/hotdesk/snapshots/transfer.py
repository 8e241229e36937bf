"""Carry disks and images between two computers over a pair of pipes, sending only chunks that are not there.

    here   there
    pull   give    a disk there becomes an image in the store here; nothing is written beside the disk there
    push   take    an image in the store here becomes one in the store there

A message is a letter, the length of its body (8 bytes) and the body. The line may be cut at any moment: what
arrived stays in packs, and the same call again sends the rest. Whoever receives checks every chunk against
its name, and the manifest is written last.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import zstandard

from hotdesk.core import wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.snapshots.cache import notes_of
from hotdesk.snapshots.capture import Captured, Progress, capture_into
from hotdesk.snapshots.chunk_store import Store, compressed, opened
from hotdesk.snapshots.pack_file import DIGEST, Buffer, Damaged, digest, holds, read_chunks, unpacked
from hotdesk.snapshots.tree import (
    Manifest,
    all_chunks,
    check_manifest,
    corrupt,
    load_manifest,
    need_chunks,
    need_manifest,
    pack_manifest,
)
from hotdesk.system import write_atomically

T = TypeVar("T")
_SHORT = 10  # bytes of a digest that tell chunks apart: a list of all that are here must be small
_LONGEST = 1 << 32


class Cut(OSError):
    """The line ended in the middle: what arrived is kept, and the same call goes on from there."""


class _Failure(msgspec.Struct):
    """What the other end could not do."""

    message: str
    kind: Kind | None = None
    fix: str = ""


class _Head(msgspec.Struct, array_like=True):
    """What a frame holds: the digests of its chunks, their sizes, and whether its body is compressed."""

    names: bytes
    sizes: list[int]
    packed: bool


class Line:
    """Messages to and from the other end. Sending is safe from several threads."""

    def __init__(self, came: BinaryIO, goes: BinaryIO) -> None:
        self._came, self._goes = came, goes
        self._lock = threading.Lock()
        self.sent = self.received = 0  # bytes

    def send(self, letter: bytes, *parts: Buffer) -> None:
        length = sum(len(part) for part in parts)
        try:
            with self._lock:
                self._goes.write(letter + length.to_bytes(8, "little"))
                for part in parts:
                    self._goes.write(part)
                self._goes.flush()
                self.sent += 9 + length
        except (OSError, ValueError) as error:
            raise Cut(f"the line was cut: {error}") from error

    def receive(self, letters: bytes) -> tuple[bytes, bytes]:
        """The next message, which must be one of these; raises what the other end could not do."""
        letter, length = self._read(1), int.from_bytes(self._read(8), "little")
        if length > _LONGEST:
            raise Cut(f"what came is no message: {letter!r}")
        body = self._read(length)
        self.received += 9 + length
        if letter == b"E":
            said = _decoded(body, _Failure)
            if said.kind is None:
                raise OSError(said.message)
            raise Refused(said.kind, said.message, fix=said.fix)
        if letter not in letters:
            raise Cut(f"what came is no message: {letter!r}")
        return letter, body

    def _read(self, length: int) -> bytes:
        parts, left = [], length
        while left:
            try:
                part = self._came.read(left)
            except (OSError, ValueError) as error:
                raise Cut(f"the line was cut: {error}") from error
            if not part:
                raise Cut("the line was cut")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def fail(self, error: Exception) -> None:
        """Tell the other end why this one gives up."""
        match error:
            case Refused():
                said = _Failure(error.message, error.kind, error.fix)
            case _:
                said = _Failure(f"{type(error).__name__}: {error}")
        self.send(b"E", msgspec.msgpack.encode(said))


# ---- a disk there becomes an image here --------------------------------------------------------------


def pull(
    line: Line, store: Path, manifest_path: Path, *, progress: Progress = lambda fraction, what: None
) -> Captured:
    """Receive what `give` captures, and write its manifest. Raises `Cut`; then the same again goes on."""
    with opened(store) as chunks:
        known = sorted(name[:_SHORT] for name in chunks.names())
        line.send(b"K", b"".join(known))
        try:
            while True:
                letter, body = line.receive(b"FPM")
                if letter == b"M":
                    break
                if letter == b"P":
                    progress(*_decoded(body, tuple[float, str]))
                else:
                    _keep(chunks, body)
        finally:
            chunks.seal()
        captured, data = _decoded(body, tuple[Captured, bytes])
        manifest = _manifest(data, manifest_path)
        chunks.look_again()
        need_chunks(manifest, chunks)
        write_atomically(manifest_path, data, durable=True)
        line.send(b"D")
        return captured


def give(line: Line, disk: Path, notes: Path) -> None:
    """Capture a disk for `pull` at the other end. `notes`: a folder for what must outlive a kill.

    Beside it nothing is written here, so that a disk that is full can be saved.
    """
    _, known = line.receive(b"K")
    _private(notes / "disks")
    with notes_of(notes, disk) as mine:
        sink = _There(line, notes, known)
        manifest, captured = capture_into(disk, sink, mine, progress=telling(line), sparing=True)
    sink.forget()
    tell_captured(line, captured, packed_to_go(manifest))


def telling(line: Line) -> Progress:
    """Progress that is sent to the other end."""

    def tell(share: float, what: str) -> None:
        line.send(b"P", msgspec.msgpack.encode((share, what)))

    return tell


def tell_captured(line: Line, captured: Captured, data: bytes) -> None:
    """Send what was captured and the list of files, as msgpack of both without a copy of the list."""
    head = b"\xc6" + len(data).to_bytes(4, "big")  # so many bytes follow
    line.send(b"M", b"\x92" + msgspec.msgpack.encode(captured), head, data)
    line.receive(b"D")


def packed_to_go(manifest: Manifest) -> bytes:
    """A list of files that another computer will have: by inode and time a file is known only where it is."""
    for entry in manifest.entries:
        entry.ctime_ns = 0
    return pack_manifest(manifest)


class _There:
    """The store at the other end, as `capture.Sink`."""

    def __init__(self, line: Line, folder: Path, known: bytes) -> None:
        self.folder = folder
        self.stored_bytes = 0
        self._line = line
        self._known = _Sorted(known)
        self._sent: set[bytes] = set()
        self._lock = threading.Lock()

    def holds(self, name: bytes) -> bool:
        return name in self._sent or name[:_SHORT] in self._known

    def claim(self, name: bytes) -> bool:
        with self._lock:
            if self.holds(name):
                return False
            self._sent.add(name)
            return True

    def put(self, chunks: Sequence[tuple[bytes, Buffer]]) -> None:
        self.stored_bytes += _send(self._line, chunks)

    def seal(self) -> None:
        pass  # the other end does

    def forget(self) -> None:
        """Give back the memory of what was sent."""
        self._sent.clear()


class _Sorted:
    """A sorted list of short digests in one piece: a set would take ten times the memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._places = range(len(data) // _SHORT)

    def _at(self, place: int) -> bytes:
        return self._data[place * _SHORT : (place + 1) * _SHORT]

    def __contains__(self, name: object) -> bool:
        assert isinstance(name, bytes)
        place = bisect_left(self._places, name, key=self._at)
        return place < len(self._places) and self._at(place) == name


# ---- an image here becomes one there -----------------------------------------------------------------


def push(
    line: Line, store: Path, manifest_path: Path, *, progress: Progress = lambda fraction, what: None
) -> int:
    """Send an image to `take`, as much of it as is not there; return the bytes of chunks sent.

    Raises `Cut`; then the same again goes on. Raises `Refused` (CORRUPT) if it is not whole here.
    """
    with opened(store) as chunks:
        manifest, _ = need_manifest(manifest_path, chunks)
        need_chunks(manifest, chunks)
        line.send(b"M", manifest_path.read_bytes())
        _, lacks = line.receive(b"N")
        wanted = {lacks[at : at + DIGEST] for at in range(0, len(lacks), DIGEST)}
        done = 0
        for some in frames(chunks, wanted):
            _send(line, some)
            done += len(some)
            progress(done / len(wanted), "sending files")
        sent = line.sent
        line.send(b"D")
        line.receive(b"D")
        progress(1.0, "sent")
        return sent


def frames(chunks: Store, wanted: Collection[bytes]) -> Iterator[list[tuple[bytes, Buffer]]]:
    """These chunks with their content, in the order in which a store has them.

    Raises `KeyError` for one that is not there, `Refused` (CORRUPT) if it cannot be read.
    """

    def place(name: bytes) -> tuple[str, int]:
        pack, number = chunks.place(name)
        return str(pack.path), number

    places = sorted((*place(name), name) for name in {*wanted})
    for (path, number), group in groupby(places, key=lambda place: place[:2]):
        names = {name for _, _, name in group}
        pack = chunks.packs[Path(path)]
        try:
            data = memoryview(read_chunks(pack, number))
        except Damaged as damage:
            raise corrupt(damage, chunks.folder) from damage
        yield [(name, data[a:b]) for name, a, b in pack.frames[number].chunks() if name in names]


def take(line: Line, store: Path, manifest_path: Path) -> None:
    """Receive an image from `push`; it is whole when this returns."""
    with opened(store) as chunks:
        _, data = line.receive(b"M")
        manifest = _manifest(data, manifest_path)
        needed = all_chunks(manifest)
        line.send(b"N", *sorted(name for name in needed if not chunks.holds(name)))
        try:
            while (message := line.receive(b"FD"))[0] == b"F":
                _keep(chunks, message[1])
        finally:
            chunks.seal()
        chunks.look_again()
        need_chunks(manifest, chunks)
        write_atomically(manifest_path, data, durable=True)
        line.send(b"D")


def _manifest(data: bytes, path: Path) -> Manifest:
    """The manifest that arrived, to be kept at this path. Raises `Cut` if it is damaged."""
    arriving = path.with_suffix(".arriving")
    write_atomically(arriving, data)
    try:
        manifest = load_manifest(arriving)[0]
        check_manifest(manifest)
        return manifest
    except Damaged as error:
        raise Cut(f"the list of files arrived damaged: {error}") from error
    finally:
        arriving.unlink()


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return wire.msgpack(body, kind)
    except msgspec.MsgspecError as error:
        raise Cut(f"a message arrived damaged: {error}") from error


# ---- frames ------------------------------------------------------------------------------------------


def _send(line: Line, chunks: Iterable[tuple[bytes, Buffer]]) -> int:
    """Send chunks as one frame; return its bytes on the line."""
    some = list(chunks)
    body, packed = compressed(some)
    head = _Head(b"".join(name for name, _ in some), [len(data) for _, data in some], packed)
    told = msgspec.msgpack.encode(head)
    line.send(b"F", len(told).to_bytes(4, "little"), told, body)
    return len(body)


def _keep(chunks: Store, message: bytes) -> None:
    """Check a frame that arrived, chunk by chunk, and store it as it is. Raises `Cut` if it is damaged."""
    length = int.from_bytes(message[:4], "little")
    view = memoryview(message)
    try:
        head = wire.msgpack(view[4 : 4 + length], _Head)
        body = view[4 + length :]
        if not holds(head.names, head.sizes):
            raise Cut("a frame arrived that holds no chunks")
        plain: Buffer = unpacked(body, sum(head.sizes)) if head.packed else body
    except (msgspec.DecodeError, zstandard.ZstdError) as error:
        raise Cut(f"a frame arrived damaged: {error}") from error
    if len(plain) != sum(head.sizes):
        raise Cut("a frame arrived damaged: its size is another")
    begin, fresh = 0, False
    for number, size in enumerate(head.sizes):
        name = head.names[number * DIGEST : (number + 1) * DIGEST]
        if digest(memoryview(plain)[begin : begin + size]) != name:
            raise Cut("a chunk arrived damaged")
        fresh |= chunks.claim(name)
        begin += size
    if fresh:
        chunks.put_frame(head.names, head.sizes, body, head.packed)


# ---- the far end, as a process -----------------------------------------------------------------------


def serve(what: Callable[[Line], None], came: BinaryIO, goes: BinaryIO) -> int:
    """Run one end of a line over these pipes; its exit status. Why it fails is told to the other end."""
    line = Line(came, goes)
    try:
        what(line)
    except Cut:
        return 1
    except Exception as error:  # the other end says it to a person
        line.fail(error)
        return 1
    return 0


def _private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def standard(fd_in: int = 0, fd_out: int = 1) -> tuple[BinaryIO, BinaryIO]:
    """This process's standard input and output as a line; what it prints goes to its standard error."""
    came, goes = os.dup(fd_in), os.dup(fd_out)
    os.dup2(2, fd_out)
    return os.fdopen(came, "rb", buffering=1 << 16), os.fdopen(goes, "wb", buffering=1 << 16)
