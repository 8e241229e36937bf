"""What a command finishes beside its own work: the parking of desks whose machines ended themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hotdesk
from hotdesk.api import Hotdesk
from hotdesk.views import View


def parking(desks: Hotdesk, views: list[View]) -> list[View]:
    """Begin to park what has ended itself, in a process that outlives this one; the desks it is begun for.

    Killed, it is begun again by the next command; two of them share the work, as any two commands do.
    """
    begun = [view for view in views if view.left and not view.holder]
    root = str(Path(hotdesk.__file__).parents[1])
    for view in begun:
        subprocess.Popen(
            [sys.executable, "-m", "hotdesk", "watch", "--once", view.name],
            env={**os.environ, "PYTHONPATH": root, "HOTDESK_STATE": str(desks.state)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    return begun
