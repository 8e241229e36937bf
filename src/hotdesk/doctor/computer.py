"""This computer: programs, packages, space, settings, and who can read what."""

from __future__ import annotations

import platform
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import hotdesk
from hotdesk.core.errors import HotdeskError
from hotdesk.core.findings import Finding
from hotdesk.providers import registry
from hotdesk.system import config_files

LEAST_FREE_GIB = 2.0


def findings(folder: Path) -> Iterator[Finding]:
    """`folder` is where hotdesk keeps its state."""
    yield Finding(level="ok", what=f"hotdesk {hotdesk.__version__}, Python {platform.python_version()}.")
    yield from _programs()
    yield from _packages()
    yield from _jupyter_of_old()
    yield from _space(folder)
    yield from _config()
    yield from _rights(folder)


def _programs() -> Iterator[Finding]:
    for name in ("ssh", "ssh-keygen"):
        if shutil.which(name):
            continue
        fix = "sudo apt-get install openssh-client"
        yield Finding(
            level="bad",
            what=f"There is no {name} on this computer.",
            why="hotdesk connects to desks with it.",
            fix=fix,
        )
    for name, use in (
        ("tmux", "work at a local desk survives a lost connection"),
        ("rsync", "push and pull copy only changes"),
    ):
        if not shutil.which(name):
            yield Finding(
                level="note",
                what=f"There is no {name}.",
                why=f"With it, {use}.",
                fix=f"sudo apt-get install {name}",
            )


def _packages() -> Iterator[Finding]:
    try:
        registry.check(registry.known(registry.DEFAULT))
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)


def _jupyter_of_old() -> Iterator[Finding]:
    """Settings of the classic notebook, which today's Jupyter silently ignores."""
    config = Path.home() / ".jupyter" / "jupyter_notebook_config.py"
    try:
        text = config.read_text("utf-8", "replace")
    except OSError:
        return
    lines = (line.strip() for line in text.splitlines())
    if any(line.startswith("c.NotebookApp.") for line in lines):
        yield Finding(
            level="note",
            what=f"{config} sets c.NotebookApp, which JupyterLab ignores.",
            why="A password or address set there has no effect. Desks do not read this file.",
            fix="jupyter lab password   # for a Jupyter of your own outside hotdesk",
        )


def _space(folder: Path) -> Iterator[Finding]:
    near = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(near).free / 2**30
    if free < LEAST_FREE_GIB:
        yield Finding(
            level="bad",
            what=f"Only {free:.1f} GiB are free below {near}.",
            why="Parking a local desk needs room for its image before its disk can be deleted.",
            fix="df -h",
        )


def _config() -> Iterator[Finding]:
    from hotdesk.config import load

    for error in load(config_files()).faults.values():
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)


def _rights(folder: Path) -> Iterator[Finding]:
    """Keys and state that other users can read; missing public or private keys."""
    if not folder.exists():
        return
    secrets = [folder, folder / "hotdesk.db", *(folder / "desks").glob("*"), *(folder / "desks").glob("*/*")]
    for path in secrets:
        if (
            path.exists()
            and not path.name.endswith(".pub")
            and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        ):
            yield Finding(
                level="bad",
                what=f"{path} can be read by others.",
                why="It holds keys, passwords or your journal; ssh refuses keys like that.",
                fix="hotdesk doctor --fix",
                mends=f"chmod {path}",
            )
