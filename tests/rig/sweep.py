"""What a rig leaves behind when it is killed, found by its name and taken away.

A rig holds a lock on its folder for as long as its process lives. A folder that nobody holds belonged to one
that has gone: what still runs of its machines is found by their control groups and
ended, and all of it is removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.rig import cgroups
from tests.rig.commands import attempt, lines
from tests.rig.network import FORWARD

PREFIX = "hotdesk-rig-"
MARK = "hotr"  # with six more letters and a number it must fit into the 15 of an interface's name
_FORWARD_WAS = Path("/run/hotdesk-rig.forward")
_NAME = re.compile(rf"^({MARK}[0-9a-z]{{6}})(?:[nvm]\d+)?$")


@dataclass
class Claim:
    """A rig's folder and name, held until released or until this process ends, however it ends."""

    folder: Path
    name: str
    fd: int

    @classmethod
    def take(cls) -> Claim:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        name = MARK + "".join(c for c in folder.name.removeprefix(PREFIX).lower() if c.isalnum())[:6].ljust(
            6, "0"
        )
        fd = os.open(folder / "held", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        (folder / "pid").write_text(str(os.getpid()))
        (folder / "name").write_text(name)
        if FORWARD.read_text().strip() == "0":
            _FORWARD_WAS.write_text("0")
        return cls(folder, name, fd)

    def release(self) -> None:
        os.close(self.fd)


def name_of(pid: int) -> str:
    """What the rig of a process is called. Others may be at work beside it."""
    pids = {p: p / "pid" for p in _folders()}
    return next((p / "name").read_text() for p, f in pids.items() if f.exists() and f.read_text() == str(pid))


def _folders() -> list[Path]:
    return [p for p in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if (p / "name").exists()]


def _is_held(folder: Path) -> bool:
    fd = os.open(folder / "held", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def left(name: str = "") -> list[str]:
    """Everything that exists of a rig (of all rigs when no name is given), a line each."""
    found = [
        f"namespace {w.split()[0]}" for w in lines(["ip", "netns", "list"]) if w and _of(w.split()[0], name)
    ]
    links = json.loads("".join(lines(["ip", "-j", "link"])) or "[]")
    found += [f"interface {link['ifname']}" for link in links if _of(link["ifname"], name)]
    tables = (line.split()[-1] for line in lines(["nft", "list", "tables", "ip"]))
    found += [f"table {table}" for table in tables if _of(table, name)]
    found += [f"group {group}" for group in cgroups.of(MARK) if _of(group, name)]
    folders = {p: (p / "name").read_text() for p in _folders()}
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for folder, whose in folders.items():
        if name in {"", whose}:
            found += [f"mount {m}" for m in mounts if m.startswith(f"{folder}/")]
            found.append(f"folder {folder}")
    return found


def sweep() -> list[str]:
    """Remove what belongs to no living rig; what was removed."""
    folders = {p: (p / "name").read_text() for p in _folders()}
    alive = {whose for p, whose in folders.items() if _is_held(p)}
    gone = [
        thing
        for thing in left()
        if not any(_of(thing.split()[1], name) for name in alive)
        and not any(thing.split()[1].startswith(str(p)) for p, whose in folders.items() if whose in alive)
    ]
    order = ["group", "mount", "namespace", "interface", "table", "folder"]  # processes first
    for thing in sorted(gone, key=lambda t: order.index(t.split()[0])):
        kind, what = thing.split(" ", 1)
        match kind:
            case "mount":
                attempt("umount", "--lazy", what)
            case "namespace":
                attempt("ip", "netns", "del", what)
            case "interface":
                attempt("ip", "link", "del", what)
            case "table":
                attempt("nft", "delete", "table", "ip", what)
            case "group":
                cgroups.remove(what)
            case "folder":
                shutil.rmtree(what, ignore_errors=True)
    put_back()
    return gone


def put_back() -> None:
    """Once no rig is left, this computer forwards packets only if it did so before."""
    if not _folders() and _FORWARD_WAS.exists():
        FORWARD.write_text(_FORWARD_WAS.read_text())
        _FORWARD_WAS.unlink()


def _of(thing: str, name: str) -> bool:
    found = _NAME.match(thing)
    return found is not None and name in {"", found.group(1)}
