"""What this computer writes down of desks at other machines, below places/machines/ID in its state folder.

placed.json    the order; written before anything is done, and never changed
there          the machine has recorded it, too: from now on its own survey counts
progress.json  what the worker does that brings it there, or why it could not
ending         it is to be deleted
worker.lock    held by that worker
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hotdesk.core.model import Value
from hotdesk.core.ports import Keys
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.local.records import read
from hotdesk.providers.local.served import DeskKeys
from hotdesk.providers.ssh.hosts import FOLDER_HERE
from hotdesk.system import is_locked


class Placed(Value, frozen=True):
    """A machine that was ordered: a part of another machine, for one desk."""

    order: LaunchOrder
    keys: Keys


class Progress(Value, frozen=True):
    """How far its worker is, or why it gave up."""

    share: float = 0.0
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Folder:
    """One of these folders."""

    path: Path

    @property
    def placed(self) -> Placed | None:
        return read(self.path / "placed.json", Placed)

    @property
    def progress(self) -> Progress:
        return read(self.path / "progress.json", Progress) or Progress()

    @property
    def lock(self) -> Path:
        return self.path / "worker.lock"

    @property
    def busy(self) -> bool:
        return is_locked(self.lock)

    def has(self, mark: str) -> bool:
        return (self.path / mark).exists()

    def mark(self, name: str) -> None:
        (self.path / name).touch(mode=0o600)


def machines(state: Path) -> dict[str, Folder]:
    """The folders by id."""
    top = state / FOLDER_HERE / "machines"
    try:
        return {path.name: Folder(path) for path in sorted(top.iterdir())}
    except FileNotFoundError:
        return {}


def machine(state: Path, id_: str) -> Folder:
    return Folder(state / FOLDER_HERE / "machines" / id_)


def sent(keys: Keys) -> DeskKeys:
    """The parts of a desk's keys that go to its machine."""

    def text(path: str) -> str:
        return Path(path).read_text("utf-8")

    return DeskKeys(
        desk=keys.desk,
        alias=keys.alias,
        user_public=text(f"{keys.user_key_path}.pub"),
        host_private=text(keys.host_key_path),
        host_public=text(f"{keys.host_key_path}.pub"),
        password_hash=text(keys.password_hash_path),
    )
