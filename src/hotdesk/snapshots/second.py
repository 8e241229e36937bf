"""A second copy of images in another store of this computer, on another disk, say; and back from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hotdesk.snapshots import snapshot
from hotdesk.snapshots.capture import Progress
from hotdesk.snapshots.chunk_store import is_full, no_space, opened
from hotdesk.snapshots.transfer import frames
from hotdesk.snapshots.tree import all_chunks, need_chunks, need_manifest
from hotdesk.system import write_atomically


def copy(
    manifest_path: Path,
    store: Path,
    to: Path,
    to_store: Path,
    *,
    progress: Progress = lambda fraction, what: None,
) -> int:
    """Copy an image to another store, as much of it as is not there; return the bytes of files copied.

    It is read back there before its manifest is written. What was copied before an error stays, and is not
    copied again. Raises `Refused`: CORRUPT where it is not whole here or there, NO_SPACE.
    """
    with opened(store) as here, opened(to_store) as there:
        manifest, _ = need_manifest(manifest_path, here)
        need_chunks(manifest, here)
        needed = all_chunks(manifest)
        wanted = {name for name in needed if not there.holds(name)}
        done = copied = 0
        try:
            for some in frames(here, wanted):
                if fresh := [(name, data) for name, data in some if there.claim(name)]:
                    there.put(fresh)
                done += len(some)
                copied += sum(len(data) for _, data in some)
                progress(0.5 * done / len(wanted), "copying")
        except OSError as error:
            if is_full(error):
                left = sum(entry.size for entry in manifest.entries) - copied
                raise no_space(to_store, max(0, left), "the rest of the copy") from error
            raise
        finally:
            there.seal()
        there.look_again()
        need_chunks(manifest, there)
    snapshot.verify(manifest_path, to_store, progress=lambda share, what: progress(0.5 + share / 2, what))
    write_atomically(to, manifest_path.read_bytes(), durable=True)
    return copied


@contextmanager
def packs(
    manifest_path: Path, store: Path, *, progress: Progress = lambda fraction, what: None
) -> Iterator[list[Path]]:
    """The files of a store that an image needs, which were read back; none is deleted while this lasts.

    Raises `Refused` (CORRUPT) where the image is not whole.
    """
    snapshot.verify(manifest_path, store, progress=progress)
    with opened(store) as chunks:
        manifest, _ = need_manifest(manifest_path, chunks)
        need_chunks(manifest, chunks)
        needed = all_chunks(manifest)
        yield sorted({chunks.place(name)[0].path for name in needed})
