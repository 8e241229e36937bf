"""Remove a tree of any permissions and any depth."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hotdesk.snapshots.tree import remove


def remove_tree(path: Path) -> None:
    """Remove a file or a tree; absent is fine. Raises OSError for files of another user."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    for _ in range(4):  # an ending process may still create a file
        with contextlib.suppress(OSError):
            remove(path)
            return
    remove(path)
