"""Removing a tree, whatever its owner did to its permissions."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def remove_tree(path: Path) -> None:
    """Nothing is there afterwards. Raises OSError for what another user owns."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    for _ in range(3):  # a process that is just ending may still drop a file
        if not path.exists():
            return
        with contextlib.suppress(OSError):
            shutil.rmtree(path)
            return
        for folder, _, _ in os.walk(path):  # an entry can only be removed from a folder that is writable
            with contextlib.suppress(OSError):
                Path(folder).chmod(0o700)
    shutil.rmtree(path)
