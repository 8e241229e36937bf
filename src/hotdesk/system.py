"""The one place where the real world leaks in: the time, the folders, this process."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path

from hotdesk.core.errors import Missing


class SystemClock:
    """This computer's clock. Deadlines are kept by it; a cloud's own times are never compared with it."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


def dice(seed: int) -> random.Random:
    """Seeded randomness: one seed is one history."""
    return random.Random(seed)


def state_folder() -> Path:
    """Where everything that hotdesk keeps lies: $HOTDESK_STATE, or the platform's folder for such things."""
    if named := os.environ.get("HOTDESK_STATE"):
        return _path(named, "HOTDESK_STATE")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "hotdesk"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hotdesk"


def config_files() -> list[Path]:
    """Where hotdesk.toml may lie, the nearest first: $HOTDESK_CONFIG alone when it is set."""
    if named := os.environ.get("HOTDESK_CONFIG"):
        return [_path(named, "HOTDESK_CONFIG")]
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    here = []
    with contextlib.suppress(FileNotFoundError):  # the folder we are in may have been deleted
        here = [Path.cwd() / "hotdesk.toml"]
    return [*here, base / "hotdesk" / "hotdesk.toml"]


def _path(named: str, variable: str) -> Path:
    """A path that the environment names, whole. Raises `Missing` where it leads nowhere."""
    try:
        return Path(named).expanduser().absolute()
    except (RuntimeError, FileNotFoundError) as error:  # no such ~user; or a path from a folder that is gone
        raise Missing(
            f"{variable} is {named}, which leads nowhere.", str(error), f"unset {variable}"
        ) from None
