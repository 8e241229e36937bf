"""Carry a desk's work between a cloud's machine and this computer's store, in a process of its own.

`Transport.carry` starts that process, or tells how far it is, and returns at once; the loop asks again. The
process (services/carrier.py) holds a lock as long as it lives. Killed at any moment, the next one goes on:
what arrived stays in the desk's folder below carry/ until all of it counts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from hotdesk import system
from hotdesk.core import wire
from hotdesk.core.clouds import KNOWN, cloud
from hotdesk.core.errors import Kind
from hotdesk.core.model import Desk, Value
from hotdesk.core.steps import Ask, Fetch, Moving, Wait
from hotdesk.state.store import Store

V = TypeVar("V", bound=Value)
TRIES = 3  # of a process that ends without a word
_POLL_SECONDS = 0.5


class Order(Value, frozen=True):
    """What the process is to do."""

    provider: str
    step: Moving
    since: float  # of the desk's wish
    tries: int = 1  # for this step and wish: one that ends without a word is started again


class Told(Value, frozen=True):
    """How far it is, or why it gave up."""

    share: float = 0.0
    reason: str = ""
    done: bool = False
    failed: bool = False
    kind: Kind | None = None
    fix: str = ""


def folder_of(state: Path, desk: str) -> Path:
    return state / "carry" / desk


def forget(state: Path, desk: str) -> None:
    """Remove what was on its way; a desk that is gone needs none of it."""
    shutil.rmtree(folder_of(state, desk), ignore_errors=True)


@dataclass(kw_only=True, eq=False)
class Transport:
    """Starts and watches the processes that carry desks."""

    state: Path
    store: Store
    on_note: Callable[[str], None] = lambda text: None

    def carry(self, desk: Desk, step: Moving) -> Wait | Ask | None:
        """What to wait for or to ask; None once everything has arrived and was read back."""
        folder = folder_of(self.state, desk.name)
        lock, told_path = folder / "worker.lock", folder / "told.json"
        alive = system.is_locked(lock)
        known = read(folder / "order.json", Order)  # what it was started for, if that is this step
        told = read(told_path, Told) or Told()
        if known is not None and known.step.key != step.key:
            known = None
        if known and told.done:
            if told.reason:
                self.on_note(told.reason)
            return None
        if known and alive:
            words = told.reason or "its files are on their way"
            return Wait(seconds=_POLL_SECONDS, why=words, progress=told.share)
        if alive:  # of another wish: it ends by itself, and is not waited for in vain
            return Wait(seconds=_POLL_SECONDS, why="an earlier way of the desk comes to its end")
        tries = known.tries if known and known.since >= desk.since else 0
        if tries and told.failed:
            return _question(desk, step, told)
        if tries >= TRIES:
            why = f"Its process ended {tries} times without a word: {folder / 'worker.log'}"
            return _question(desk, step, Told(reason=why))
        order = Order(provider=desk.provider, step=step, since=desk.since, tries=tries + 1)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        system.write_atomically(told_path, msgspec.json.encode(Told(reason="its files are being looked at")))
        system.write_atomically(folder / "order.json", msgspec.json.encode(order), durable=True)
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if system.flock(held, wait=False):
                log = folder / "worker.log"
                state = str(self.state.absolute())
                system.spawn("hotdesk.services.carrier", state, desk.name, log=log, lend={held: 3})
        finally:
            os.close(held)
        return Wait(seconds=_POLL_SECONDS, why="its files are being looked at", progress=0.0)


def _question(desk: Desk, step: Moving, told: Told) -> Ask:
    name, here = desk.name, f"hotdesk move {desk.name} --provider {pool_name()}"
    if isinstance(step, Fetch):
        what = f"The files of {name} could not be brought here. Nothing was changed: it is where it was."
        again = f"hotdesk watch {name}   # once that is mended"
    else:
        what = f"The files of {name} could not be brought to its new machine."
        what += f" Nothing is lost: all its work is in {step.image} on this computer."
        again = f"hotdesk up {name}   # once that is mended; or back: {here}"
        if told.kind is Kind.NO_SPACE:
            again = f"hotdesk move {name} --disk {_bigger(desk)}   # a bigger disk; or back: {here}"
    return Ask(what=what, why=told.reason, fix=told.fix or again, kind=told.kind)


def _bigger(desk: Desk) -> int:
    return max(2 * desk.want.disk_gib, 2 * int(cloud(desk.provider).rates.disk_gib), 128)


def pool_name() -> str:
    """The provider whose images are in this computer's store, and which needs no machine elsewhere."""
    return next(known.name for known in KNOWN.values() if known.pooled and not known.machines)


def read(path: Path, type_: type[V]) -> V | None:
    try:
        return wire.json(path.read_bytes(), type_)
    except (OSError, msgspec.MsgspecError):
        return None
