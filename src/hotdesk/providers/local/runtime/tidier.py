"""The worker process that removes what was deleted, which takes a while.

    python -m hotdesk.providers.local.runtime.tidier STATE

Whoever deletes a disk or an image makes it no disk and no image at once, and leaves the rest to this worker:
the files in trash/, machines that run on although their folder is gone, content that no image uses. Killed,
it leaves a leftover that the next survey shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hotdesk.providers.local import records
from hotdesk.providers.local.paths import OWNER, Folders
from hotdesk.providers.local.runtime import processes, spawn
from hotdesk.snapshots import snapshot
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.system import is_locked, locked


def tidy(folders: Folders) -> None:
    """Empty the trash, but for machines that are being deleted by their own worker."""
    for path in sorted(folders.trash.iterdir()):
        if path.name.endswith(OWNER):
            if owner := records.read(path, records.Owner):
                mark = records.mark_of(folders.machines / owner.machine)
                processes.end_stray(folders.root.parent, owner.machine, mark)
            path.unlink(missing_ok=True)
        elif not (folders.machines / path.stem).exists() and not is_locked(path / "end.lock"):
            remove_tree(path)
    with locked(folders.root / "store.lock", wait=False) as free:
        # While an image is read or written everything is kept; the next deletion tidies up.
        if free and folders.store.is_dir():
            elsewhere = {id_ for id_, picture in records.pictures(folders.images) if picture.at}
            here = [path for path in folders.images.glob("*.manifest") if path.stem not in elsewhere]
            snapshot.forget(folders.store, here)


def main() -> int:
    spawn.settle()
    tidy(Folders.of(Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
