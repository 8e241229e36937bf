"""A sweep's record: all that its computer knows of it, kept on its machines too, so that another can go on.

No value of a secret is in it. It is as old as its last copy; what has ended since is asked of the machines.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core.errors import HotdeskError, NotAllowed
from hotdesk.core.fleet import Hold
from hotdesk.core.ports import Clock
from hotdesk.core.sweep.model import Checkpoint, Machine, MachineState, Sweep
from hotdesk.sweep.site import Site
from hotdesk.sweep.store import MIGRATIONS, SweepStore

KEPT_SECONDS = 15.0  # between two copies
SHARE = 50.0  # … and so many times as long as the last one took: at most 2 % of the time
COPIES = 2  # machines that have it: the head, and another
LIVE_SECONDS = 120.0  # a younger copy is of a computer that goes on
CLOCKS_SECONDS = 30.0  # clocks that differ by less are taken for equal: the record has been on its way
_FORMAT = 1


class Record(msgspec.Struct, frozen=True):
    """A sweep and its rows, by table."""

    sweep: Sweep
    tables: dict[str, list[list[Any]]]
    rows: int = len(MIGRATIONS)  # what they mean: by the version of the file that they are of
    format: int = _FORMAT
    at: float = 0.0  # when it was made, by the clock of its computer; 0: not told


_read = msgspec.msgpack.Decoder(Record)


def packed(store: SweepStore, number: int, now: float = 0.0) -> bytes:
    """The record as it is kept on a machine."""
    sweep, tables = store.rows_of(number)
    told = {
        "sweep": sweep,
        "tables": tables,
        "rows": len(MIGRATIONS),
        "format": _FORMAT,
        "at": now,
    }
    return zlib.compress(msgspec.msgpack.encode(told), 1)


def unpacked(record: bytes) -> Record:
    """Raises `NotAllowed` for what this hotdesk cannot read."""
    try:
        found = _read.decode(zlib.decompress(record))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise NotAllowed(
            "The sweep's record on its machines cannot be read.",
            f"Another version of hotdesk has left it there, or it is damaged: {error}.",
            "hotdesk --version   # the same at both computers",
        ) from None
    if (found.rows, found.format) != (len(MIGRATIONS), _FORMAT):
        raise NotAllowed(
            "The sweep's record on its machines is of another version of hotdesk.",
            "A sweep goes on where the same version is.",
            "hotdesk --version   # the same at both computers",
        )
    _check(found)
    return found


def _check(record: Record) -> None:
    """Raises `NotAllowed` for rows that mean nothing here."""
    try:
        with SweepStore(None) as store:
            number = store.adopt(record.sweep, record.tables).number
            store.machines(number), store.group(number), store.checkpoints(number), store.tasks(number)
    except (msgspec.MsgspecError, sqlite3.Error, HotdeskError, LookupError, TypeError, ValueError) as error:
        raise NotAllowed(
            "The sweep's record on its machines cannot be read.",
            f"Its rows are of another version of hotdesk, or damaged: {error}.",
            "hotdesk --version   # the same at both computers",
        ) from None


#: What moments are in the rows of each table: columns by their place, or names in the last column's JSON.
_MOMENTS: dict[str, tuple[int | str, ...]] = {
    "tasks": (8, 9),  # began_at, ended_at
    "attempts": (4,),  # began_at
    "machines": ("since", "lost_at"),
    "members": ("since", "ending_at", "ended_at"),
    "orders": ("at",),
    "shortages": ("until",),
}


def by_clock(record: Record, made_at: float) -> Record:
    """The record with its moments by this computer's clock, by which it was made then.

    Costs and deadlines are counted from them, and computers' clocks may differ by hours.
    """
    ahead = made_at - record.at
    if not record.at or abs(ahead) < CLOCKS_SECONDS:
        return record
    tables = {
        name: [_moved(row, _MOMENTS.get(name, ()), ahead) for row in rows]
        for name, rows in record.tables.items()
    }
    deadline = record.sweep.deadline_at
    sweep = msgspec.structs.replace(
        record.sweep, deadline_at=None if deadline is None else deadline + ahead
    )  # (its id is of the moment when it was created)
    return msgspec.structs.replace(record, sweep=sweep, tables=tables, at=made_at)


def _moved(row: Sequence[Any], moments: Sequence[int | str], ahead: float) -> list[Any]:
    moved = list(row)
    body = msgspec.json.decode(row[-1]) if any(isinstance(m, str) for m in moments) else {}
    for moment in moments:
        holder: Any = body if isinstance(moment, str) else moved
        known = body.get(moment) if isinstance(moment, str) else moved[moment]
        if known:  # 0: it has not been yet
            holder[moment] = known + ahead
    if body:
        moved[-1] = msgspec.json.encode(body)
    return moved


def taken(record: Record, hold: Hold, now: float, *, files: bool) -> Record:
    """The record for the computer that goes on with it; `files`: whether it has the checkpoints too."""
    sweep = msgspec.structs.replace(
        record.sweep, origin=record.sweep.origin or record.sweep.number, hold=hold, held_at=now, away="",
        over_at=0.0, heir=0, after=0,
    )  # fmt: skip
    tables = dict(record.tables)
    tables["machines"] = [_unmet(row) for row in tables["machines"]]
    if not files:
        tables["checkpoints"] = [_elsewhere(row) for row in tables["checkpoints"]]
    return Record(sweep=sweep, tables=tables)


def _unmet(row: Sequence[Any]) -> list[Any]:
    """A machine that may have begun and ended more than the record says."""
    machine = msgspec.json.decode(row[2], type=Machine)
    if machine.state is MachineState.GONE or not machine.instance:
        return list(row)
    return [
        row[0],
        row[1],
        msgspec.json.encode(
            msgspec.structs.replace(machine, state=MachineState.WANTED, unmet=True, fetched=False, why="")
        ),
    ]


def _elsewhere(row: Sequence[Any]) -> list[Any]:
    """A checkpoint whose copy is at another computer: it is fetched anew, where its machine still has it."""
    found = msgspec.json.decode(row[2], type=Checkpoint)
    lost = Checkpoint(
        task=found.task, attempt=0, at=0.0, bytes=0, fetched_at=0.0, why="its copy is elsewhere"
    )
    return [row[0], row[1], msgspec.json.encode(lost)]


class Recorder:
    """Keeps the record of one sweep on its machines; in a thread, with a connection of its own."""

    def __init__(self, number: int, folder: Path | None, site: Site, clock: Clock) -> None:
        self.number, self.folder, self.site, self.clock = number, folder, site, clock
        self._next = float("-inf")

    def keep(self, sweep: Sweep, names: Sequence[str], *, now: bool = False) -> None:
        """Leave a copy on the first of these machines, where it is time to, or `now`."""
        began = self.clock.now()
        if self.folder is None or not self.site.recorded or not names or (began < self._next and not now):
            return
        with SweepStore(self.folder) as store:
            record = packed(store, self.number, began)
        for name in names[:COPIES]:
            try:
                self.site.keep_record(sweep, name, record)
            except HotdeskError:  # it is left there, or elsewhere, the next time
                continue
        ended = self.clock.now()
        self._next = ended + max(KEPT_SECONDS, SHARE * (ended - began))
