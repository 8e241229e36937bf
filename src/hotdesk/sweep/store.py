"""Sweeps in SQLite: the wish, the tasks, their attempts, the machines. One file for all of a state folder.

Only the process that holds a sweep's lock changes its tasks; commands change its wish, and read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from hotdesk.core.errors import Unknown
from hotdesk.core.jobs import Variables
from hotdesk.core.sweep import linger
from hotdesk.core.sweep.group import Asked, Group, Member, Short
from hotdesk.core.sweep.model import (
    OPEN,
    Attempt,
    Checkpoint,
    Counts,
    Machine,
    MachineState,
    State,
    Sweep,
    Task,
)
from hotdesk.core.sweep.params import Params
from hotdesk.state import variables
from hotdesk.state.database import StateFile

MIGRATIONS = (
    """
    CREATE TABLE sweeps (number INTEGER PRIMARY KEY AUTOINCREMENT, over INTEGER NOT NULL, body BLOB NOT NULL);
    CREATE TABLE tasks (
        sweep INTEGER NOT NULL, number INTEGER NOT NULL, params BLOB NOT NULL, state TEXT NOT NULL,
        attempt INTEGER NOT NULL, failed INTEGER NOT NULL, lost INTEGER NOT NULL, machine TEXT NOT NULL,
        began_at REAL NOT NULL, ended_at REAL NOT NULL, seconds REAL NOT NULL, usd REAL NOT NULL,
        exit_status INTEGER, metrics BLOB NOT NULL, why TEXT NOT NULL, last TEXT NOT NULL,
        PRIMARY KEY (sweep, number)
    ) WITHOUT ROWID;
    CREATE INDEX tasks_state ON tasks (sweep, state);
    CREATE TABLE attempts (
        sweep INTEGER NOT NULL, task INTEGER NOT NULL, number INTEGER NOT NULL, machine TEXT NOT NULL,
        began_at REAL NOT NULL, seconds REAL NOT NULL, exit_status INTEGER, why TEXT NOT NULL,
        PRIMARY KEY (sweep, task, number)
    ) WITHOUT ROWID;
    CREATE TABLE machines (
        sweep INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sweep, number)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE unwanted (
        sweep INTEGER NOT NULL, task INTEGER NOT NULL, PRIMARY KEY (sweep, task)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE members (
        sweep INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sweep, id)
    ) WITHOUT ROWID;
    CREATE TABLE orders (
        sweep INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sweep, number)
    ) WITHOUT ROWID;
    CREATE TABLE shortages (
        sweep INTEGER NOT NULL, pool TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sweep, pool)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE checkpoints (
        sweep INTEGER NOT NULL, task INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sweep, task)
    ) WITHOUT ROWID;
    """,
)
TABLES = (
    *("tasks", "attempts", "machines", "unwanted", "members", "orders", "shortages"),
    "checkpoints",
)  # with what belongs to a sweep, each by its number
_COLUMNS = (
    "number, params, state, attempt, failed, lost, machine, began_at, ended_at, seconds, usd, exit_status,"
    " metrics, why, last"
)
_sweep = msgspec.json.Decoder(Sweep)
_machine = msgspec.json.Decoder(Machine)
_member = msgspec.json.Decoder(Member)
_asked = msgspec.json.Decoder(Asked)
_checkpoint = msgspec.json.Decoder(Checkpoint)
_short = msgspec.json.Decoder(Short)
_object = msgspec.json.Decoder(dict)
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class SweepStore:
    """The sweeps of one state folder. Use as a context manager, or `close()` it."""

    def __init__(self, folder: Path | None) -> None:
        """`None` keeps everything in memory. Raises `Damaged` or `Missing` where the file cannot serve."""
        self.folder = folder
        self._file = StateFile(folder / "sweeps.db" if folder else None, MIGRATIONS)
        self._known: dict[tuple[object, ...], Any] = {}  # what was read, as long as nothing has changed
        self._version: tuple[int, int] = (0, 0)

    def __enter__(self) -> SweepStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @property
    def _db(self) -> sqlite3.Connection:
        return self._file.db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._file.complaints(), self._file.transaction():
            yield self._db

    def _again(self, key: tuple[object, ...], read: Callable[[], T]) -> T:
        """What `read` finds; it is called again only once the file has changed.

        A driver asks many times a second, and counting a sweep's tasks reads them all. `data_version` tells
        of other processes' changes (https://sqlite.org/pragma.html#pragma_data_version).
        """
        with self._file.complaints():
            row = self._db.execute("PRAGMA data_version").fetchone()
            version = (int(row[0]), self._db.total_changes)
            if version != self._version:
                self._known.clear()
                self._version = version
            if key not in self._known:
                self._known[key] = read()
        found: T = self._known[key]
        return found

    # ---- sweeps --------------------------------------------------------------------------------------

    def create(self, sweep: Sweep, tasks: Iterable[Params], before: int = 0) -> Sweep:
        """Write a sweep and its tasks down, numbered from 1; the sweep with its number.

        It gets the machines of the sweep `before`, unless that is over by now, or has given them away.
        """
        with self._writing() as db:
            row = db.execute("INSERT INTO sweeps (over, body) VALUES (0, '')")
            sweep = replace(sweep, number=row.lastrowid or 0)
            old = self._read(db, before) if before else None
            if old and not old.over_at and not old.heir:  # its machines keep their name in the cloud
                self._change(db, replace(old, heir=sweep.number))
                sweep = replace(sweep, after=before, group=old.fleet)
            self._change(db, sweep)
            new = (Task(number=n, params=params) for n, params in enumerate(tasks, 1))
            self._put(db, sweep.number, new)
        return sweep

    def sweeps(self, *, left: bool = False, clusters: bool | None = False) -> list[Sweep]:
        """All sweeps, oldest first, or those that are not over. `clusters`: those instead; None: both."""
        where = "WHERE over = 0" if left else ""
        with self._file.complaints():
            rows = self._db.execute(f"SELECT body FROM sweeps {where} ORDER BY number").fetchall()
            found = [_sweep.decode(body) for (body,) in rows]
        return [sweep for sweep in found if clusters is None or sweep.cluster == clusters]

    def sweep(self, number: int | None = None) -> Sweep:
        """A sweep by its number, or the newest; a cluster by its number only. Raises `Unknown`."""
        if number is not None and (found := self._again(("sweep", number), lambda: self._find(number))):
            return found
        known = self.sweeps(clusters=None if number is not None else False)
        if known and number is None:
            return known[-1]
        if not known:
            raise Unknown(
                "There is no sweep yet.",
                "",
                "hotdesk sweep start DESK --param seed=0..4 -- python train.py --seed {seed}",
            )
        raise Unknown(
            f"There is no sweep {number}.",
            f"There are: {', '.join(str(s.number) for s in known[-12:])}.",
            "hotdesk sweep ls",
        )

    def change(self, number: int, **changes: object) -> Sweep:
        """Change fields of a sweep, keeping what other processes changed meanwhile."""
        with self._writing() as db:
            sweep = replace(self._read(db, number), **changes)
            self._change(db, sweep)
        return sweep

    def _find(self, number: int) -> Sweep | None:
        if not _can_be_kept(number):
            return None
        row = self._db.execute("SELECT body FROM sweeps WHERE number = ?", (number,)).fetchone()
        return _sweep.decode(row[0]) if row else None

    def _read(self, db: sqlite3.Connection, number: int) -> Sweep:
        (body,) = db.execute("SELECT body FROM sweeps WHERE number = ?", (number,)).fetchone()
        return _sweep.decode(body)

    def _change(self, db: sqlite3.Connection, sweep: Sweep) -> None:
        values = (bool(sweep.over_at), _encode(sweep), sweep.number)
        db.execute("UPDATE sweeps SET over = ?, body = ? WHERE number = ?", values)

    def next_number(self) -> int:
        """The number that the next sweep gets: none is used twice."""
        with self._file.complaints():
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sweeps'").fetchone()
            return int(row[0]) + 1 if row else 1

    def forget(self, number: int) -> None:
        """Delete a sweep and all that belongs to it."""
        with self._writing() as db:
            self._empty(db, number)
            db.execute("DELETE FROM sweeps WHERE number = ?", (number,))

    def _empty(self, db: sqlite3.Connection, number: int) -> None:
        for table in TABLES:
            db.execute(f"DELETE FROM {table} WHERE sweep = ?", (number,))

    def rows_of(self, number: int) -> tuple[Sweep, dict[str, list[tuple[Any, ...]]]]:
        """A sweep and all its rows, by table, as they are at one moment."""
        with self._writing() as db:
            tables = {
                t: db.execute(f"SELECT * FROM {t} WHERE sweep = ?", (number,)).fetchall() for t in TABLES
            }
            return self._read(db, number), tables

    def give_away(self, sweep: Sweep, computer: str, now: float) -> Sweep:
        """Another computer goes on with a sweep: its machines, and what they cost, are no more this one's."""
        before = self.group(sweep.number)
        ended = tuple(replace(m, ended_at=m.ended_at or now) for m in before.members)
        self.put_group(sweep.number, before, replace(before, members=ended))
        self.forget_secrets(sweep)
        return self.change(sweep.number, away=computer or "the computer where it began", held_at=now)

    def adopt(self, sweep: Sweep, tables: Mapping[str, Sequence[Sequence[Any]]]) -> Sweep:
        """Take a sweep up as another computer has left it, in place of what was known of it here."""
        with self._writing() as db:
            bodies = db.execute("SELECT body FROM sweeps").fetchall()
            known = next((s for (body,) in bodies if (s := _sweep.decode(body)).id == sweep.id), None)
            if known is None:
                row = db.execute("INSERT INTO sweeps (over, body) VALUES (0, '')")
                known = replace(sweep, number=row.lastrowid or 0)
            sweep = replace(sweep, number=known.number, origin=sweep.origin or sweep.number)
            self._empty(db, sweep.number)
            for table in TABLES:
                if rows := [(sweep.number, *row[1:]) for row in tables[table]]:
                    marks = ", ".join("?" * len(rows[0]))
                    db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            self._change(db, sweep)
        return sweep

    # ---- secrets: beside the database, never in it -----------------------------------------------------

    def secrets(self, sweep: Sweep, run: int = 0) -> dict[str, str]:
        """The values of a sweep's secrets, or of a cluster's run; {} where they are not on this computer."""
        if not self.folder or not (sweep.secrets or run):
            return {}
        found = variables.read(self.folder, _private(sweep, run))
        return found.values if found else {}

    def keep_secrets(self, sweep: Sweep, values: Mapping[str, str], run: int = 0) -> None:
        """Keep them until the sweep, or the run, has ended."""
        if values and self.folder:
            given = Variables(values=dict(values), secrets=tuple(values))
            variables.write(self.folder, _private(sweep, run), given)

    def forget_secrets(self, sweep: Sweep, run: int | None = None) -> None:
        """Those of a run, or of the sweep with all runs: also of one that was never written down."""
        if self.folder and run is not None:
            variables.forget(self.folder, _private(sweep, run))
        elif self.folder:
            variables.forget_all(self.folder, _private(sweep, ""))

    # ---- tasks ---------------------------------------------------------------------------------------

    def put(self, sweep: int, tasks: Iterable[Task], attempts: Iterable[Attempt] = ()) -> None:
        """Write tasks as they are now, and attempts that ended, in one transaction."""
        with self._writing() as db:
            self._put(db, sweep, tasks)
            rows = (
                (sweep, a.task, a.number, a.machine, a.began_at, a.seconds, a.exit_status, a.why)
                for a in attempts
            )
            db.executemany("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _put(self, db: sqlite3.Connection, sweep: int, tasks: Iterable[Task]) -> None:
        rows = (
            (sweep, t.number, _encode(t.params), str(t.state), t.attempt, t.failed, t.lost, t.machine,
             t.began_at, t.ended_at, t.seconds, t.usd, t.exit_status, _encode(t.metrics), t.why, t.last)
            for t in tasks
        )  # fmt: skip
        marks = ", ".join("?" * 16)
        db.executemany(f"INSERT OR REPLACE INTO tasks VALUES ({marks})", rows)

    def tasks(
        self,
        sweep: int,
        states: Sequence[State] = (),
        *,
        after: int = 0,
        limit: int = -1,
        newest: bool = False,
    ) -> list[Task]:
        """Tasks by number, of these states or of all. `newest`: the last that ended first."""
        some = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
        order = "ended_at DESC" if newest else "number"
        query = f"SELECT {_COLUMNS} FROM tasks WHERE sweep = ? AND number > ? {some} ORDER BY {order} LIMIT ?"
        with self._file.complaints():
            found = self._db.execute(query, (sweep, after, *map(str, states), limit))
            return [_task(row) for row in found]

    def task(self, sweep: int, number: int) -> Task:
        """Raises `Unknown`."""
        query = f"SELECT {_COLUMNS} FROM tasks WHERE sweep = ? AND number = ?"
        with self._file.complaints():
            row = self._db.execute(query, (sweep, number)).fetchone() if _can_be_kept(number) else None
        if row is None:
            total = self.counts(sweep).total
            raise Unknown(
                f"Sweep {sweep} has no task {number}.",
                f"Its tasks are 1 to {total}.",
                f"hotdesk sweep show {sweep}",
            )
        return _task(row)

    def counts(self, sweep: int) -> Counts:
        return self._again(("counts", sweep), lambda: self._counts(sweep))

    def _counts(self, sweep: int) -> Counts:
        query = "SELECT state, count(*) FROM tasks WHERE sweep = ? GROUP BY state"
        found = dict(self._db.execute(query, (sweep,)).fetchall())
        return Counts(
            waiting=found.get(State.WAITING, 0) + found.get(State.ASKED, 0),
            running=found.get(State.RUNNING, 0),
            done=found.get(State.DONE, 0),
            failed=found.get(State.FAILED, 0),
            cancelled=found.get(State.CANCELLED, 0),
        )

    def spent(self, sweep: int) -> tuple[float, float]:
        """Seconds and US dollars of the tasks' attempts so far."""
        with self._file.complaints():
            row = self._db.execute(
                "SELECT total(seconds), (SELECT total(usd) FROM tasks WHERE sweep = ?1) FROM attempts"
                " WHERE sweep = ?1",
                (sweep,),
            ).fetchone()
            return row[0], row[1]

    def open(self, sweep: int) -> list[Task]:
        """The tasks that somebody has been asked to run."""
        return self.tasks(sweep, OPEN)

    def unwanted(self, sweep: int) -> set[int]:
        """The tasks whose cancellation was asked for, and that have not ended since."""
        query = "SELECT task FROM unwanted WHERE sweep = ?"
        return {*self._again(("unwanted", sweep), lambda: [n for (n,) in self._db.execute(query, (sweep,))])}

    def want(self, sweep: int, tasks: Iterable[int], *, wanted: bool) -> None:
        """Ask for the cancellation of tasks, or do so no longer."""
        rows = [(sweep, task) for task in tasks]
        with self._writing() as db:
            if wanted:
                db.executemany("DELETE FROM unwanted WHERE sweep = ? AND task = ?", rows)
            else:
                db.executemany("INSERT OR IGNORE INTO unwanted VALUES (?, ?)", rows)

    def attempts(self, sweep: int, task: int | None = None) -> list[Attempt]:
        where, values = ("AND task = ?", (sweep, task)) if task is not None else ("", (sweep,))
        with self._file.complaints():
            found = self._db.execute(
                "SELECT task, number, machine, began_at, seconds, exit_status, why FROM attempts"
                f" WHERE sweep = ? {where} ORDER BY task, number",
                values,
            )
            names = ("task", "number", "machine", "began_at", "seconds", "exit_status", "why")
            return [Attempt(**dict(zip(names, row, strict=True))) for row in found]

    def checkpoints(self, sweep: int, *, done: bool = False) -> list[Checkpoint]:
        """What tasks have saved that is on this computer. `done`: of those that need it no more."""
        some = (
            "AND (SELECT state FROM tasks WHERE sweep = c.sweep AND number = c.task) = 'done'" if done else ""
        )
        with self._file.complaints():
            rows = self._db.execute(f"SELECT body FROM checkpoints c WHERE sweep = ? {some}", (sweep,))
            return [_checkpoint.decode(body) for (body,) in rows]

    def put_checkpoint(self, sweep: int, checkpoint: Checkpoint) -> None:
        with self._writing() as db:
            row = (sweep, checkpoint.task, _encode(checkpoint))
            db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", row)

    def forget_checkpoint(self, sweep: int, task: int) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM checkpoints WHERE sweep = ? AND task = ?", (sweep, task))

    # ---- machines ------------------------------------------------------------------------------------

    def machines(self, sweep: int) -> list[Machine]:
        query = "SELECT body FROM machines WHERE sweep = ? ORDER BY number"

        def read() -> list[Machine]:
            return [_machine.decode(body) for (body,) in self._db.execute(query, (sweep,))]

        return [*self._again(("machines", sweep), read)]

    def put_machines(self, sweep: int, machines: Iterable[Machine]) -> None:
        with self._writing() as db:
            self._put_machines(db, sweep, machines)

    def _put_machines(self, db: sqlite3.Connection, sweep: int, machines: Iterable[Machine]) -> None:
        rows = [(sweep, m.number, _encode(m)) for m in machines]
        db.executemany("INSERT OR REPLACE INTO machines VALUES (?, ?, ?)", rows)

    # ---- … in a cloud ----------------------------------------------------------------------------------

    def group(self, sweep: int) -> Group:
        """What is known of a sweep's machines in a cloud."""

        def all_of(table: str) -> list[bytes]:
            rows = self._db.execute(f"SELECT body FROM {table} WHERE sweep = ?", (sweep,))
            return [body for (body,) in rows]

        with self._file.complaints():
            return Group(
                members=tuple(_member.decode(body) for body in all_of("members")),
                asked=tuple(_asked.decode(body) for body in all_of("orders")),
                short=tuple(_short.decode(body) for body in all_of("shortages")),
            )

    def put_group(self, sweep: int, before: Group, after: Group) -> None:
        """Write down what has changed, in one transaction."""
        rows = _changed(sweep, before, after)
        if any(rows.values()):
            with self._writing() as db:
                self._put_rows(db, rows)

    def _put_rows(self, db: sqlite3.Connection, rows: Mapping[str, Sequence[tuple[object, ...]]]) -> None:
        for table, changed in rows.items():
            db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", changed)

    def hand_over(self, sweep: Sweep, now: float) -> None:
        """Give a sweep's machines in a cloud to its heir, in one transaction: it has none from then on."""
        before = self.group(sweep.number)
        kept, new = linger.handed_over(before, now)
        gone = [replace(m, state=MachineState.GONE, since=now) for m in self.machines(sweep.number)]
        with self._writing() as db:
            self._put_rows(db, _changed(sweep.number, before, kept))
            self._put_rows(db, _changed(sweep.heir, Group(), new))
            self._put_machines(db, sweep.number, gone)


def _private(sweep: Sweep, run: int | str) -> str:
    return f"{variables.SWEEP}{sweep.id}-{run}"


def _changed(sweep: int, before: Group, after: Group) -> dict[str, list[tuple[object, ...]]]:
    """The rows that differ, by table."""
    known = {*before.members, *before.asked, *before.short}
    return {
        "members": [(sweep, m.id, _encode(m)) for m in after.members if m not in known],
        "orders": [(sweep, a.order.number, _encode(a)) for a in after.asked if a not in known],
        "shortages": [(sweep, s.key, _encode(s)) for s in after.short if s not in known],
    }


def _can_be_kept(number: int) -> bool:
    """Whether SQLite has such a number; it raises an error for a greater one, wherever it is asked for."""
    return abs(number) < 1 << 63


def _task(row: tuple[object, ...]) -> Task:
    names = [name.strip() for name in _COLUMNS.split(",")]
    fields = dict(zip(names, row, strict=True))
    fields["params"], fields["metrics"] = _object.decode(fields["params"]), _object.decode(fields["metrics"])  # type: ignore[arg-type]
    fields["state"] = State(str(fields["state"]))
    return Task(**fields)  # type: ignore[arg-type]
