"""What is written down about machines, disks and images: small JSON files, each replaced in one move."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from hotdesk.core.errors import Kind
from hotdesk.core.model import Value
from hotdesk.core.ports import Keys
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.system import fsync, write_atomically

#: What an operating system says when nothing more can be written.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

V = TypeVar("V", bound=Value)


class Machine(Value, frozen=True):
    """A machine that was ordered. Written before anything of it is made, and never changed."""

    id: str
    order: LaunchOrder
    keys: Keys
    mark: str  # see `mark_of`


def mark_of(folder: Path) -> str:
    """What stands in the environment of each process of the machine in that folder, and of no others."""
    return f"{folder.name}:{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


class Run(Value, frozen=True):
    """A machine's last start, and how far it came. Written by its supervisor once that lives."""

    started_at: float
    phase: str = "starting"  # starting | ready | stopping | stopped
    ssh_port: int = 0
    notebook_port: int = 0
    progress: float | None = None
    reason: str = ""
    fix: str = ""  # where its owner must do something before the next start


class Ports(Value, frozen=True):
    """Where a desk was last reached. It lies on the disk, so that a resumed desk has the same address."""

    ssh: int = 0
    notebook: int = 0


class Owner(Value, frozen=True):
    """Whose disk a disk is."""

    desk: str
    machine: str
    generation: int
    started_at: float = 0.0


class Ending(Value, frozen=True):
    """A machine that is to be deleted. From then on it can only be deleted further."""

    keep_disk: bool = False


class Picture(Value, frozen=True):
    """An image, and how far its taking or its reading back came."""

    order: BakeOrder
    taken_at: float
    phase: str = "baking"  # baking | baked | verifying | failed
    verified: bool = False
    reads: int = 0  # how often reading it back was begun
    size_bytes: int = 0
    stored_bytes: int = 0
    progress: float | None = None
    kind: Kind | None = None
    reason: str = ""
    note: str = ""
    arch: str = ""


def write(path: Path, value: Value, *, durable: bool = True) -> None:
    """Replace a record. Whoever reads finds the old or the new one, also after a power cut if `durable`.

    On a full disk, a record that is there is written over in its place: "full" can be said when it is.
    """
    data = msgspec.json.encode(value)
    try:
        write_atomically(path, data, durable=durable)
    except OSError as error:
        if error.errno not in FULL or not path.exists():
            raise
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(fd, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
            os.ftruncate(fd, len(data))
            if durable:
                fsync(fd)
        finally:
            os.close(fd)


def read(path: Path, type_: type[V]) -> V | None:
    """The record, or `None` when there is none or it cannot be understood."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
