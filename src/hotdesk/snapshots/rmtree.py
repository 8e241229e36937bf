"""Removing a tree, whatever its owner did to its permissions and however deep it is."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hotdesk.snapshots.tree import remove


def remove_tree(path: Path) -> None:
    """Nothing is there afterwards. Raises OSError for what another user owns."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    for _ in range(4):  # a process that is just ending may still drop a file
        with contextlib.suppress(OSError):
            remove(path)
            return
    remove(path)
