"""Sweeps that a watcher at another desk goes on with: handed to it whole, and brought back from it.

Never do two go on with one: here its process is ended first and its lock held, and it is marked as given away
before the watcher begins. The mark in the cloud says so to every other computer (services/sweep_takeover.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.sweep.model import Sweep
from hotdesk.providers.cloud.caller import Computer
from hotdesk.services.sweep_takeover import mark
from hotdesk.sweep import record as records
from hotdesk.sweep.store import SweepStore

if TYPE_CHECKING:
    from hotdesk.services.sweeps import Sweeps

_SENT = ("function", "checkpoints", "project")  # of a sweep's folder; the project last: where it is, all is
_FETCHED = ("checkpoints", "machines")


def watched(sweeps: Sweeps, desks: Collection[str]) -> list[Sweep]:
    """The sweeps that a watcher of these desks can go on with: the values of secrets go nowhere."""
    return [s for s in _left(sweeps, desks) if not (s.heir or s.secrets or s.cluster)]


def staying(sweeps: Sweeps, desks: Collection[str]) -> str:
    """What of these desks no watcher can go on with, and what follows from that; "" for nothing."""
    left = _left(sweeps, desks)
    secret = [f"sweep {s.number}" for s in left if s.secrets and not s.cluster]
    clusters = [f"the cluster of {s.desk}" for s in left if s.cluster]
    if not (secret or clusters):
        return ""
    told = " and ".join([*secret, *clusters])
    why = " The values of --secret are sent nowhere." if secret else ""
    return (
        f"Only this computer goes on with {told}.{why}"
        " While it is off, nothing new begins there, and the machines end themselves after an hour."
    )


def _left(sweeps: Sweeps, desks: Collection[str]) -> list[Sweep]:
    """The sweeps and clusters of these desks on machines of a cloud that this computer goes on with."""
    if not (sweeps.state / "sweeps.db").exists():
        return []
    with sweeps.opened() as store:
        left = store.sweeps(left=True, clusters=None)
    return [s for s in left if s.desk in desks and cloud(s.provider).rented and not s.away]


@contextlib.contextmanager
def handing_over(
    sweeps: Sweeps, chosen: Collection[Sweep], desk: str
) -> Iterator[tuple[Callable[[Path], None], Callable[[], None]]]:
    """Two steps: write the sweeps into a state folder that is sent to that desk; then, once it is there, mark
    them as given away. Where the second does not come, they go on here."""
    given: list[Sweep] = []

    def write(state: Path) -> None:
        for sweep in chosen:
            hold = mark(sweeps, sweep, desk, "handed over")
            with sweeps.opened() as store, SweepStore(state) as there:
                exact = records.unpacked(records.packed(store, sweep.number))
                taken = records.taken(exact, hold, sweeps.clock.now(), files=True)
                there.adopt(taken.sweep, taken.tables)
                store.change(sweep.number, hold=hold)  # if it does not go there, it is still this computer's
            _copy(sweeps.kept.folder(sweep), state / "sweeps" / sweep.id, _SENT)
            given.append(sweep)

    def give() -> None:
        with sweeps.opened() as store:
            for sweep in given:
                store.give_away(store.sweep(sweep.number), desk, sweeps.clock.now())

    with contextlib.ExitStack() as held:
        for sweep in chosen:
            held.enter_context(_stopped(sweeps, sweep.number))
        yield write, give
    sweeps.revive()


def bring_back(sweeps: Sweeps, state: Path) -> list[int]:
    """Take up the sweeps of a watcher's state folder, which has come here; their numbers."""
    numbers = []
    if not (state / "sweeps.db").exists():
        return []
    with SweepStore(state) as there, sweeps.opened() as store:
        for known in there.sweeps():
            if known.away:  # another computer has taken it over from there
                continue
            found = records.unpacked(records.packed(there, known.number))
            computer = Computer(sweeps.state, sweeps.clock).name
            # (One that is over has no machine, and perhaps no image, that could say whose it is.)
            hold = known.hold if known.over_at else mark(sweeps, known, computer, "brought back")
            taken = records.taken(found, hold, sweeps.clock.now(), files=True)
            _copy(state / "sweeps" / known.id, sweeps.kept.folder(known), _FETCHED)
            sweep = store.adopt(replace(taken.sweep, over_at=known.over_at), taken.tables)
            numbers.append(sweep.number)
    sweeps.revive()
    return numbers


def stop_all(sweeps: Sweeps) -> None:
    """End the processes that go on with sweeps here; what they have begun goes on."""
    if not (sweeps.state / "sweeps.db").exists():
        return
    with sweeps.opened() as store:
        numbers = [sweep.number for sweep in store.sweeps(left=True, clusters=None)]
    for number in numbers:
        with _stopped(sweeps, number):
            pass


@contextlib.contextmanager
def _stopped(sweeps: Sweeps, number: int) -> Iterator[None]:
    """Within it, no process goes on with a sweep here."""
    from hotdesk.services.sweeps import lock_of

    if holder := sweeps.store.holder(lock_of(number)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(holder.partition(" ")[0]), signal.SIGTERM)
    with sweeps.store.hold(lock_of(number), "hotdesk watch --on", wait=True):
        yield


def _copy(source: Path, target: Path, parts: Collection[str]) -> None:
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in parts:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, symlinks=True, dirs_exist_ok=True)
