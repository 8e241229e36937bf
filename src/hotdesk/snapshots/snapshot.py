"""Images of the local provider: a disk as a manifest, and a store of chunks that manifests share.

    capture   save everything below a disk to the store, and write its manifest
    verify    read the image back from the disk
    restore   rebuild the disk, exactly
    changed   whether a disk differs from its manifest
    compare   read a disk back, file by file, and compare it with its manifest
    forget    delete the chunks that no manifest needs

Nothing half-written ever counts as complete: packs and manifests get their names after their bytes are on
the disk, the manifest last, and a restored disk appears by one rename. Each function may be killed at any
moment and called again.

Restored: content, holes, permission bits, symbolic and hard links, fifos, modification times,
empty folders, names of any bytes, trees of any depth, extended attributes (Linux), owners (for root).
Not restored: sockets and devices (listed in `Captured.note`), access and change times, extended attributes
and file flags on macOS.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import each
from hotdesk.snapshots.cache import forget_gone
from hotdesk.snapshots.capture import Captured, Progress, Steps, capture
from hotdesk.snapshots.chunk_store import Store, opened
from hotdesk.snapshots.pack_file import Damaged, buffer, digest, read_into
from hotdesk.snapshots.restore import restore
from hotdesk.snapshots.tree import (
    FOLDER_FLAGS,
    Entry,
    Folders,
    all_chunks,
    digests,
    load_manifest,
    need_chunks,
    need_manifest,
    pieces,
    remove,
    scan,
    shown,
)

_LOT = 64  # files that one thread reads in a row
_READERS = 8

__all__ = [
    "Captured",
    "Progress",
    "capture",
    "changed",
    "compare",
    "damages",
    "forget",
    "need_manifests",
    "remove",
    "restore",
    "shared",
    "verify",
]


def verify(manifest_path: Path, store: Path, *, progress: Progress = lambda fraction, what: None) -> None:
    """Check that the image can be restored, by reading every chunk it needs back from the disk.

    Packs that were verified before, and whose size, times and inode have not changed since, are not read
    again. Raises `Refused(CORRUPT)`, naming what is damaged and a file that needs it; the next capture then
    writes the chunks of damaged packs again.
    """
    with opened(store) as chunks:
        _verify(manifest_path, chunks, progress)


def damages(
    manifests: Sequence[Path], store: Path, *, progress: Progress = lambda fraction, what: None
) -> list[str]:
    """What is damaged in each image, "" where nothing is. What was verified before is read again, once.

    A disk may lose what was written long ago.
    """
    found: list[str] = []
    with opened(store) as chunks:
        chunks.doubt()
        for path in manifests:
            try:
                _verify(path, chunks, lambda part, what: progress((len(found) + part) / len(manifests), what))
            except Refused as no:
                found.append(no.message)
            else:
                found.append("")
    return found


def shared(manifests: Sequence[Path], store: Path) -> list[int | None]:
    """How many bytes of each image others of these hold too, by their lists alone; None if unreadable."""
    lengths: list[dict[bytes, int] | None] = []
    with opened(store) as chunks:
        for path in manifests:
            try:
                manifest, _ = need_manifest(path, chunks)
            except Refused:
                lengths.append(None)
                continue
            lengths.append(
                {
                    name: length
                    for entry in manifest.entries
                    if entry.chunks
                    for name, (_, length) in zip(digests(entry), pieces(entry), strict=True)
                }
            )
    holders = Counter(name for one in lengths for name in one or ())
    return [
        None if one is None else sum(length for name, length in one.items() if holders[name] > 1)
        for one in lengths
    ]


def _verify(manifest_path: Path, chunks: Store, progress: Progress) -> None:
    manifest, _ = need_manifest(manifest_path, chunks)
    needed = all_chunks(manifest)
    need_chunks(manifest, chunks, needed)
    packs = {pack.path: pack for pack, _ in map(chunks.place, needed)}
    todo = [pack for _, pack in sorted(packs.items()) if not chunks.is_verified(pack)]
    steps = Steps(progress, sum(pack.signature[0] for pack in todo), "reading the image back")
    chunks.check(todo, steps.add)
    need_chunks(manifest, chunks, needed)
    progress(1.0, "verified")


def compare(manifest_path: Path, disk: Path, *, progress: Progress = lambda fraction, what: None) -> None:
    """Read every file below a disk back and compare it with the manifest: names, content, modes and times.

    Its pages are dropped from memory first, so that what is read is what the disk holds. Raises `Refused`
    (CORRUPT) with the first difference.
    """
    try:
        manifest, _ = load_manifest(manifest_path)
    except Damaged as error:
        raise Refused(Kind.CORRUPT, str(error)) from error
    root = os.open(disk, FOLDER_FLAGS)
    try:
        found = scan(root, lambda folders, entries, index, bits: None).entries
        if [_looks(entry) for entry in found] != [_looks(entry) for entry in manifest.entries]:
            odd = next(
                (shown(found, n) for n, (a, b) in enumerate(zip(found, manifest.entries, strict=False))
                 if _looks(a) != _looks(b)),
                "the number of files",
            )  # fmt: skip
            raise Refused(Kind.CORRUPT, f"{odd} below {disk} is not as it was sent")
        steps = Steps(progress, sum(entry.size for entry in manifest.entries), "reading every file back")
        files = [n for n, entry in enumerate(manifest.entries) if entry.kind == "f" and entry.chunks]
        lots = [files[at : at + _LOT] for at in range(0, len(files), _LOT)]
        # Reading small files is waiting for the disk, and several threads wait side by side.
        with each(lots, partial(_odd, root, manifest.entries), _READERS) as results:
            for lot, other in results:
                if other is not None:
                    name = shown(manifest.entries, other)
                    raise Refused(Kind.CORRUPT, f"{name} below {disk} is not as it was sent")
                steps.add(sum(manifest.entries[n].size for n in lot))
    finally:
        os.close(root)


def _odd(root: int, entries: Sequence[Entry], lot: Sequence[int]) -> int | None:
    """The first of these files below a folder that is not as its entry says."""
    folders = Folders(root, entries)
    try:
        return next((n for n in lot if not _holds(folders.fd(entries[n].parent), entries[n])), None)
    finally:
        folders.close()


def _holds(folder: int, entry: Entry) -> bool:
    fd = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if hasattr(os, "posix_fadvise"):  # its pages were flushed, so this drops them
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for name, (offset, length) in zip(digests(entry), pieces(entry), strict=True):
            view = buffer(length)
            if read_into(fd, view, offset) != length or digest(view) != name:
                return False
    finally:
        os.close(fd)
    return True


def changed(manifest_path: Path, disk: Path) -> bool:
    """Whether a name, size, mode or time below the disk differs from the manifest.

    No file is read. False if they cannot be compared.
    """
    try:
        manifest, _ = load_manifest(manifest_path)
        root = os.open(disk, FOLDER_FLAGS)
        try:
            now = scan(root, lambda folders, entries, index, bits: None).entries
        finally:
            os.close(root)
    except (OSError, Damaged):
        return False
    return [_looks(entry) for entry in now] != [_looks(entry) for entry in manifest.entries]


def _looks(entry: Entry) -> tuple[object, ...]:
    kind = "f" if entry.kind == "h" else entry.kind  # the order of two hard links is no difference
    size = entry.size if entry.kind == "f" else 0
    return (entry.parent, entry.name, kind, entry.mode, entry.mtime_ns, size, entry.target)


def need_manifests(paths: Iterable[Path], store: Path) -> None:
    """Raises `Refused` (CORRUPT) if any of these cannot be read."""
    with opened(store) as chunks:
        for path in paths:
            need_manifest(path, chunks)


def forget(store: Path, keep: Iterable[Path]) -> int:
    """Delete the chunks that no manifest in `keep` needs; return the bytes freed.

    Waits for running captures and restores; `keep` is iterated after that, so a generator sees their
    manifests too. Raises `Refused(CORRUPT)` if a manifest cannot be read, and deletes nothing then.
    """
    with opened(store, exclusive=True) as chunks:
        manifests = [need_manifest(path, chunks)[0] for path in keep]
        forget_gone(store)
        return chunks.prune({name for manifest in manifests for name in all_chunks(manifest)})
