"""Images of the local provider: a disk as a manifest, and a store of chunks that manifests share.

    capture   everything below a disk into the store, and a manifest that says where
    verify    the image read back from the disk
    restore   the disk, exactly
    changed   whether a disk is no longer as its manifest says
    forget    what no manifest needs any more

Nothing half-written is ever taken for whole: packs and manifests appear under their names after their
bytes are on the disk, the manifest last, and a restored disk by one rename. Any of these may be killed at
any moment and called again.

What comes back: content, holes, permission bits, symbolic and hard links, fifos, modification times,
empty folders, names of any bytes, trees of any depth, extended attributes (Linux), owners (for root).
What does not: sockets and devices (told in `Captured.note`), access and change times, extended attributes
and file flags on macOS.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hotdesk.snapshots.cache import forget_gone
from hotdesk.snapshots.capture import Captured, Progress, Steps, capture
from hotdesk.snapshots.chunk_store import opened
from hotdesk.snapshots.pack_file import Damaged
from hotdesk.snapshots.restore import restore
from hotdesk.snapshots.tree import FOLDER_FLAGS, Entry, corrupt, digests, load_manifest, missing, remove, scan

__all__ = ["Captured", "Progress", "capture", "changed", "forget", "remove", "restore", "verify"]


def verify(manifest_path: Path, store: Path, *, progress: Progress = lambda fraction, what: None) -> None:
    """The image can be restored: every chunk it needs was read back from the disk and is right.

    Packs that were read back before, and whose size, times and inode have not changed since, are not read
    again. Raises `Refused(CORRUPT)`, naming what is damaged and a file that needs it; a capture after that
    writes anew what the damaged packs held.
    """
    with opened(store) as chunks:
        try:
            manifest, _ = load_manifest(manifest_path)
        except Damaged as error:
            raise corrupt(error, store) from error
        if damage := missing(manifest, chunks):
            raise corrupt(damage, store)
        needed = {name for entry in manifest.entries for name in digests(entry)}
        packs = {pack.path: pack for pack, _ in map(chunks.place, needed)}
        todo = [pack for _, pack in sorted(packs.items()) if not chunks.is_verified(pack)]
        steps = Steps(progress, sum(pack.signature[0] for pack in todo), "reading the image back")
        chunks.check(todo, steps.add)
        if damage := missing(manifest, chunks):
            raise corrupt(damage, store)
        progress(1.0, "verified")


def changed(manifest_path: Path, disk: Path) -> bool:
    """Whether a name, a size, a mode or a time below the disk is not what the manifest says.

    No file is read. False where that cannot be said.
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
    kind = "f" if entry.kind == "h" else entry.kind  # which of two names is the first is no difference
    size = entry.size if entry.kind == "f" else 0
    return (entry.parent, entry.name, kind, entry.mode, entry.mtime_ns, size, entry.target)


def forget(store: Path, keep: Iterable[Path]) -> int:
    """Only what the manifests `keep` need is in the store when this returns; the bytes freed.

    Waits for captures and restores that are under way; `keep` is read after that, so a generator sees
    their manifests too. Raises `Refused(CORRUPT)` when a manifest cannot be read, and deletes nothing then.
    """
    with opened(store, exclusive=True) as chunks:
        try:
            manifests = [load_manifest(path)[0] for path in keep]
        except Damaged as error:
            raise corrupt(error, store) from error
        forget_gone(store)
        return chunks.prune({name for m in manifests for entry in m.entries for name in digests(entry)})
