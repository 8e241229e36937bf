"""Records of machines, disks and images: small JSON files, each replaced atomically."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Kind
from hotdesk.core.model import Value
from hotdesk.core.ports import Keys
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.system import fsync, write_atomically

#: Errors of a full disk or an exhausted quota.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

V = TypeVar("V", bound=Value)


class Machine(Value, frozen=True):
    """A machine that was ordered. Written before anything else of it, and never changed."""

    id: str
    order: LaunchOrder
    keys: Keys
    mark: str  # see `mark_of`


def mark_of(folder: Path) -> str:
    """A value that marks the environment of every process of the machine in this folder, and of no other."""
    import hashlib  # OpenSSL: 4 MB, also where a far machine only sends files

    return f"{folder.name}:{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


class RunPhase(StrEnum):
    """How far a machine's start, or its end, came."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Taking(StrEnum):
    """How far the taking of an image, or its reading back, came."""

    BAKING = "baking"
    BAKED = "baked"
    VERIFYING = "verifying"
    FAILED = "failed"


class Run(Value, frozen=True):
    """A machine's last start and its progress. Written by its supervisor once that is running."""

    started_at: float
    phase: RunPhase = RunPhase.STARTING
    ssh_port: int = 0
    notebook_port: int = 0
    progress: float | None = None
    reason: str = ""
    fix: str = ""  # what its owner must do before the next start, if anything
    worked_at: float = 0.0  # when work was last seen at it
    looked_at: float = 0.0  # and last looked for; 0: not yet


class Ports(Value, frozen=True):
    """The desk's last ports. Kept on its disk, so that a resumed desk keeps its address."""

    ssh: int = 0
    notebook: int = 0


class Owner(Value, frozen=True):
    """The desk and the machine that a disk belongs to."""

    desk: str
    machine: str
    generation: int
    started_at: float = 0.0


class Ending(Value, frozen=True):
    """Mark a machine for deletion, which cannot be undone."""

    keep_disk: bool = False


class Picture(Value, frozen=True):
    """An image, and the progress of baking or verifying it."""

    order: BakeOrder
    taken_at: float
    phase: Taking = Taking.BAKING
    verified: bool = False
    reads: int = 0  # attempts to verify it
    size_bytes: int = 0
    stored_bytes: int = 0
    progress: float | None = None
    kind: Kind | None = None
    reason: str = ""
    note: str = ""
    arch: str = ""
    carried: bool = False  # it came from another computer: what is restored from it is read back
    at: str = ""  # the machine in whose store its content is; "": here. Its list of files is here in any case


def write(path: Path, value: Value, *, durable: bool = True) -> None:
    """Replace a record atomically; it survives a power cut if `durable`.

    On a full disk an existing record is overwritten in place, so that "disk full" itself can be recorded.
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


def pictures(images: Path) -> Iterator[tuple[str, Picture]]:
    """The images of a pool that have a readable record, by id."""
    for path in sorted(images.glob("*.json")):
        if picture := read(path, Picture):
            yield path.stem, picture


def read(path: Path, type_: type[V]) -> V | None:
    """The record, or `None` if it is missing or unreadable."""
    try:
        return wire.json(path.read_bytes(), type_)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
