"""Images that stay in a store at another computer: taken and read back there, over a pair of pipes.

    here   there
    kept   keep     a disk there becomes an image in the store there; its list of files comes here as well
    read   check    an image there is read back, there

Only the list of files is on the line. It is checked here, too: what an image should hold is known here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hotdesk.core.errors import Kind, Refused
from hotdesk.guest import mounts
from hotdesk.snapshots import snapshot
from hotdesk.snapshots.cache import notes_of
from hotdesk.snapshots.capture import Captured, Progress, capture_into
from hotdesk.snapshots.chunk_store import opened
from hotdesk.snapshots.transfer import Line, _decoded, _manifest, packed_to_go, tell_captured, telling
from hotdesk.system import write_atomically

_SPARE_BYTES = 64 << 20


def keep(line: Line, disk: Path, store: Path, manifest: Path, previous: Path | None = None) -> None:
    """Capture a disk into the store beside it, for `kept` at the other end.

    Raises `Refused` (no-space) where the store would fill the disk.
    """
    size = sum(_blocks(disk)) * 512
    free = shutil.disk_usage(disk).free
    if free < size + _SPARE_BYTES:
        raise Refused(
            Kind.NO_SPACE,
            f"an image of it may need {size / 2**20:,.0f} MiB there, and {free / 2**20:,.0f} are free",
        )
    with opened(store) as chunks, notes_of(store, disk) as notes:
        tell = telling(line)
        found, captured = capture_into(disk, chunks, notes, previous=previous, progress=tell, sparing=True)
        data = packed_to_go(found)
        write_atomically(manifest, data, durable=True)
    tell_captured(line, captured, data)


def kept(line: Line, manifest_path: Path, progress: Progress) -> Captured:
    """Hear how `keep` goes, and write down what it holds. Raises `Cut`, `Refused`."""
    while (message := line.receive(b"PM"))[0] == b"P":
        progress(*_decoded(message[1], tuple[float, str]))
    captured, data = _decoded(message[1], tuple[Captured, bytes])
    _manifest(data, manifest_path)
    write_atomically(manifest_path, data, durable=True)
    line.send(b"D")
    return captured


def check(line: Line, store: Path, manifest: Path) -> None:
    """Read an image back, for `read` at the other end, which says what it should hold."""
    _, data = line.receive(b"M")
    if manifest.read_bytes() != data:
        raise Refused(Kind.CORRUPT, f"{manifest.stem} has another list of files there than here")
    snapshot.verify(manifest, store, progress=telling(line))
    line.send(b"D")


def read(line: Line, manifest: Path, progress: Progress) -> None:
    """Let the other end read its image back. Raises `Cut`, `Refused` (CORRUPT)."""
    line.send(b"M", manifest.read_bytes())
    while (message := line.receive(b"PD"))[0] == b"P":
        progress(*_decoded(message[1], tuple[float, str]))


def _blocks(disk: Path) -> Iterator[int]:
    """The blocks of each file that would be saved, one after the other: a list of them all takes memory."""
    away, todo = mounts.elsewhere(), [str(disk)]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as names:
            for name in names:
                with contextlib.suppress(OSError):  # gone, or mounted by a program that has died
                    seen = name.stat(follow_symlinks=False)
                    if seen.st_dev not in away:
                        yield seen.st_blocks
                        todo += [name.path] if name.is_dir(follow_symlinks=False) else []
