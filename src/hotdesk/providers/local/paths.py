"""Paths of the local provider's files, below one folder that only its owner can open.

machines/<id>/   machine.json (written first), run.json, run.lock, prepared, supervisor.log
disks/<desk>/    home/ env/ tmp/ jupyter/ run/: the desk's disk; always at the same path, because a
                 virtual environment contains its own
disks/<desk>.json  which machine the disk belongs to, should the machine's folder be lost
images/<id>.json, <id>.manifest, <id>.lock
store/           the content of all images
trash/           what is being deleted; tidy.lock: by whom
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

OWNER = ".owner"  # suffix of a deleted disk's record, in trash/
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\Z")


#: Folders that each start lays out on a disk, beside its home.
_LAID_OUT = ("env", "kit", "run", "tmp", "jupyter/data", "jupyter/runtime")


def is_disk(path: Path) -> bool:
    """Whether this folder is a disk that was used, and not what a program wrote where one was deleted.

    Programs make the folders that a file of theirs needs, and no others; a person may delete one of ours.
    """
    return sum((path / name).is_dir() for name in _LAID_OUT) > len(_LAID_OUT) // 2


def plain(name: str) -> bool:
    """Whether a name is a plain file name: no path, not hidden."""
    return bool(_ID.match(name))


@dataclass(frozen=True)
class Folders:
    root: Path

    @staticmethod
    def of(state: Path) -> Folders:
        return Folders(Path(os.path.abspath(state)) / "local")  # noqa: PTH100 - resolve() would follow links

    @cached_property
    def machines(self) -> Path:
        return self.root / "machines"

    @cached_property
    def disks(self) -> Path:
        return self.root / "disks"

    @cached_property
    def images(self) -> Path:
        return self.root / "images"

    @cached_property
    def store(self) -> Path:
        return self.root / "store"

    @cached_property
    def trash(self) -> Path:
        return self.root / "trash"

    @property
    def tidy_lock(self) -> Path:
        """Held by the worker that empties the trash."""
        return self.root / "tidy.lock"

    def disk_record(self, desk: str) -> Path:
        return self.disks / f"{desk}.json"

    def half_restored(self, desk: str) -> Path:
        """Where a disk is restored before it is complete and renamed."""
        return self.disks / f".{desk}.restoring"

    def image(self, id_: str) -> Path:
        return self.images / f"{id_}.json"

    def manifest(self, id_: str) -> Path:
        return self.images / f"{id_}.manifest"

    def image_lock(self, id_: str) -> Path:
        return self.images / f"{id_}.lock"

    def make(self) -> None:
        """Create the folders; idempotent."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.machines, self.disks, self.images, self.trash):
            folder.mkdir(mode=0o700, exist_ok=True)
