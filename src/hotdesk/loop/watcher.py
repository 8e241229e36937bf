"""The watcher: one process for all desks that keeps the loop alive when no command runs.

A file says that a watcher is wanted; a lock says that one is running, and the kernel frees it when it dies.
Any command that finds the file without the lock restarts it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.connect import telling
from hotdesk.core.lifecycle.ending import known_end
from hotdesk.core.model import Desk, Goal
from hotdesk.state.store import Store
from hotdesk.system import is_locked, shorten, spawn

if TYPE_CHECKING:
    from hotdesk.loop.reconcile import Reconciler

LOCK = "@watch"  # no desk can have this name
SECONDS = 2.0  # between two looks when there is nothing to do
_FILE = "watcher"
_LOG = "watcher.log"
_FOREVER, _BUSY = "forever", "while there is work"


def ask_for(store: Store, *, forever: bool) -> str:
    """Ensure that a watcher runs: for ever, or while there is work. Returns its process, as "PID doing"."""
    assert store.folder is not None
    file = store.folder / _FILE
    if forever or not file.exists():
        file.write_text(_FOREVER if forever else _BUSY, "utf-8")
    return revive(store.folder) or store.holder(LOCK)


def revive(folder: Path) -> str:
    """Start the requested watcher unless one is running; returns what was started, as "PID doing"."""
    if not (folder / _FILE).exists() or alive(folder):
        return ""
    shorten(folder / _LOG)
    own = {"HOTDESK_STATE": str(folder), telling.TERMINAL: telling.terminal()}
    pid = spawn("hotdesk", "watch", "--alone", log=folder / _LOG, variables=own)
    return f"{pid} hotdesk watch"


def watch_alone(
    reconciler: Reconciler, beside: Callable[[list[str]], bool], needed: Callable[[], bool]
) -> None:
    """Run as the only watcher until none is wanted; return at once if there is one.

    `needed`: whether somebody waits for what `beside` sees, also while there is no job.
    """
    from hotdesk.loop.reconcile import watch

    store = reconciler.store
    with store.hold(LOCK, "hotdesk watch") as mine:
        if mine:
            done = partial(_done, store, needed)
            watch(reconciler, None, SECONDS, beside, done, unattended=True)


def _done(store: Store, needed: Callable[[], bool]) -> bool:
    assert store.folder is not None
    asked = (store.folder / _FILE).exists()
    shorten(store.folder / _LOG)
    return not (asked and needed()) and enough(store)


def alive(folder: Path) -> bool:
    """Whether a watcher is running."""
    with contextlib.suppress(OSError):
        return is_locked(folder / "locks" / LOCK)
    return False


def dismiss(store: Store) -> bool:
    """Stop the watcher, also one that is starting; returns whether there was one. Desks and jobs stay."""
    assert store.folder is not None
    file = store.folder / _FILE
    asked = file.exists()
    file.unlink(missing_ok=True)
    holder = store.holder(LOCK)
    if holder:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(holder.partition(" ")[0]), signal.SIGTERM)
    return bool(holder) or asked  # one that starts just now sees that nobody asks for it


def enough(store: Store) -> bool:
    """Whether the watcher may end: it is not wanted, or only while there is work and there is none."""
    assert store.folder is not None
    file = store.folder / _FILE
    try:
        wish = file.read_text("utf-8")
    except OSError:
        return True
    if wish == _FOREVER:
        return False
    desks = {desk.name: desk.goal for desk in store.desks()}
    if any(desks.get(job.desk) in {Goal.RUNNING, None} for job in store.jobs(unsettled=True)):
        return False
    if any(
        desk.lease_hours and desk.goal is Goal.RUNNING and _used_from_here(store, desk)
        for desk in store.desks()
    ):
        return False  # its lease must be renewed while it is open
    if any(desk.goal is Goal.RUNNING and known_end(store.past(desk)) for desk in store.desks()):
        return False  # it is parked before its machine is ended
    file.unlink(missing_ok=True)
    return True


def _used_from_here(store: Store, desk: Desk) -> bool:
    """Whether a desk's Jupyter or another of its ports is open on this computer."""
    from hotdesk.connect import forwards, tunnel

    assert store.folder is not None
    folder = store.folder / "desks" / desk.name
    return tunnel.is_open(folder) or forwards.kept(folder)


def unit(folder: Path) -> str:
    """A systemd user unit that runs this state folder's watcher across logouts and reboots."""
    variables = {"HOTDESK_STATE": str(folder), "HOTDESK_CONFIG": os.environ.get("HOTDESK_CONFIG", "")}
    told = "\n".join(
        f"Environment={_quoted(f'{name}={value}')}" for name, value in variables.items() if value
    )
    program = _quoted(sys.executable).replace("$", "$$")
    return f"""\
# ~/.config/systemd/user/hotdesk.service
#   hotdesk watch --systemd > ~/.config/systemd/user/hotdesk.service
#   systemctl --user enable --now hotdesk && loginctl enable-linger
[Unit]
Description=hotdesk: keeps desks as they are wanted, and goes on with their jobs
After=network-online.target

[Service]
{told}
ExecStart={program} -m hotdesk watch
Restart=always
RestartSec=10

[Install]
WantedBy=default.target
"""


def _quoted(text: str) -> str:
    """A word of a unit file (systemd.syntax(7), systemd.unit(5): % begins a specifier)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
