"""A real FUSE mount for tests: rclone's, of a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hotdesk.guest import mounts
from tests.local_rig import wait_for


def why_not() -> str:
    """Why nothing can be mounted by FUSE here; "" where it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "FUSE needs /dev/fuse"
    for names in (("rclone",), ("fusermount3", "fusermount")):
        if not any(map(shutil.which, names)):
            return f"{names[0]} is not installed"
    return ""


needs_fuse = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@contextmanager
def mount(kept: Path, at: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A folder mounted at another, until this is left; the program behind it."""
    at.mkdir(parents=True, exist_ok=True)
    argv = ["rclone", "mount", "--config", "", *words, str(kept), str(at)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: at.is_mount() or process.poll() is not None)
        assert at.is_mount(), "rclone has mounted nothing"
        yield process
    finally:
        for path, _ in mounts.mounted(os.fsencode(at.parent)):
            mounts.unmount(path)
        process.kill()
        process.wait()
