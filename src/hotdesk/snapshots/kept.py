"""Images that stay in a store at another computer: taken and read back there, over a pair of pipes.

    here   there
    kept   keep     a disk there becomes an image in the store there; its list of files comes here as well
    read   check    an image there is read back, there

Only the list of files is on the line. It is checked here, too: what an image should hold is known here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.snapshots import snapshot
from hotdesk.snapshots.capture import Captured, Progress
from hotdesk.snapshots.transfer import Line, _decoded, _manifest
from hotdesk.snapshots.tree import load_manifest, pack_manifest
from hotdesk.system import write_atomically

_SPARE_BYTES = 64 << 20


def keep(line: Line, disk: Path, store: Path, manifest: Path, previous: Path | None = None) -> None:
    """Capture a disk into the store beside it, for `kept` at the other end.

    Raises `Refused` (no-space) where the store would fill the disk.
    """
    size = sum(path.lstat().st_blocks * 512 for path in disk.rglob("*"))
    free = shutil.disk_usage(disk).free
    if free < size + _SPARE_BYTES:
        raise Refused(
            Kind.NO_SPACE,
            f"an image of it may need {size / 2**20:,.0f} MiB there, and {free / 2**20:,.0f} are free",
        )
    captured = snapshot.capture(disk, store, manifest, previous=previous, progress=_telling(line))
    found = load_manifest(manifest)[0]
    for entry in found.entries:
        entry.ctime_ns = 0  # by inode and time a file is known only where it is
    write_atomically(manifest, data := pack_manifest(found), durable=True)
    line.send(b"M", msgspec.msgpack.encode((captured, data)))
    line.receive(b"D")


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
    snapshot.verify(manifest, store, progress=_telling(line))
    line.send(b"D")


def read(line: Line, manifest: Path, progress: Progress) -> None:
    """Let the other end read its image back. Raises `Cut`, `Refused` (CORRUPT)."""
    line.send(b"M", manifest.read_bytes())
    while (message := line.receive(b"PD"))[0] == b"P":
        progress(*_decoded(message[1], tuple[float, str]))


def _telling(line: Line) -> Progress:
    def tell(share: float, what: str) -> None:
        line.send(b"P", msgspec.msgpack.encode((share, what)))

    return tell
