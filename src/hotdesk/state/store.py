"""Persistent state in one SQLite file: the desks (goals), the journal (history), sightings, jobs and a cache.

A step's *begin* is on the disk before the step is taken (WAL with synchronous=FULL), its *end* after. Several
processes may use the file at once; only the holder of a desk's lock file may act on the desk, and the kernel
releases it when its holder dies.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path

import msgspec

from hotdesk.core.billing.observed import Sighting, merged, news, only_later
from hotdesk.core.errors import HotdeskError, Missing, Unknown
from hotdesk.core.jobs import Job, Variables, job_id
from hotdesk.core.lifecycle.history import Past, Unread
from hotdesk.core.model import Desk, Survey
from hotdesk.core.steps import Done, Entry, Outcome, Row
from hotdesk.state import variables
from hotdesk.state.database import CHARGED_WHILE_OFF, GONE, NOT_GONE, StateFile
from hotdesk.system import flock, is_locked

_desk = msgspec.json.Decoder(Desk)
_step = msgspec.json.Decoder(Entry)
_outcome = msgspec.json.Decoder(Outcome)
_job = msgspec.json.Decoder(Job)
_sighting = msgspec.json.Decoder(Sighting)
_encode = msgspec.json.Encoder(order="deterministic").encode
KEPT = frozenset({"@watch", "@notify"})  # locks that belong to no desk
_LOGIN = (
    "json_extract(CAST(step AS TEXT), '$.step') = 'prove'"
    " AND json_extract(CAST(outcome AS TEXT), '$.status') = 'done'"
)
_ROW = "SELECT id, desk, at, step, ended_at, outcome, change FROM journal "


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """How far a reader has read: the numbers of the last change that it knows of."""

    journal: int = 0
    sightings: int = 0


class Store:
    """Desks and journal of one state folder. Use as a context manager, or `close()` it."""

    def __init__(self, folder: Path | None) -> None:
        """`None` keeps everything in memory. Raises `Damaged` or `Missing` when the file cannot serve."""
        self.folder = folder
        self._pasts: dict[str, tuple[float, Past]] = {}
        self._change = 0
        self._file = StateFile(folder / "hotdesk.db" if folder else None)
        self._complaints, self._transaction = self._file.complaints, self._file.transaction

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @property
    def _db(self) -> sqlite3.Connection:
        return self._file.db

    @property
    def frozen(self) -> str:
        """Why the state cannot be written now, mostly a full disk; "" if it can. Reading works anyway."""
        return self._file.frozen

    # ---- desks ---------------------------------------------------------------------------------------

    def desks(self) -> list[Desk]:
        with self._complaints():
            rows = self._db.execute("SELECT body FROM desks ORDER BY name").fetchall()
            return [_desk.decode(body) for (body,) in rows]

    def desk(self, name: str) -> Desk:
        """The desk's row. Raises `Unknown`, naming the nearest desk there is."""
        if found := self.find(name):
            return found
        import difflib

        names = [desk.name for desk in self.desks()]
        near = difflib.get_close_matches(name, names, n=1)
        raise Unknown(
            f"There is no desk named {name[:40]!r}.",
            f"The desks here are: {', '.join(names[:12])}." if names else "There is no desk yet.",
            f"hotdesk show {near[0]}" if near else "hotdesk ls" if names else "hotdesk up",
        )

    def find(self, name: str) -> Desk | None:
        if not name.isascii():  # no desk has such a name, and SQLite accepts no lone surrogates
            return None
        with self._complaints():
            row = self._db.execute("SELECT body FROM desks WHERE name = ?", (name,)).fetchone()
            return _desk.decode(row[0]) if row else None

    def put(self, desk: Desk) -> None:
        with self._complaints(), self._transaction():
            self._db.execute("INSERT OR REPLACE INTO desks VALUES (?, ?)", (desk.name, _encode(desk)))

    def remove(self, name: str) -> None:
        """Remove a desk. Its journal stays, for the bill."""
        with self._complaints(), self._transaction():
            self._db.execute("DELETE FROM desks WHERE name = ?", (name,))
            self._pasts.pop(name, None)

    # ---- journal -------------------------------------------------------------------------------------

    def begin(self, acts: Iterable[tuple[str, Entry]], now: float) -> list[Row]:
        """Record steps that are about to be taken; they are on the disk when this returns."""
        with self._writing() as change:
            rows = []
            for number, (desk, step) in enumerate(acts):
                cursor = self._db.execute(
                    "INSERT INTO journal (desk, at, step, change) VALUES (?, ?, ?, ?)",
                    (desk, now, _encode(step), change + number),
                )
                rows.append(Row(id=cursor.lastrowid or 0, desk=desk, at=now, step=step))
        return rows

    def end(self, row: Row, outcome: Outcome, now: float) -> Row:
        """Record how a step ended."""
        with self._writing() as change:
            self._db.execute(
                "UPDATE journal SET ended_at = ?, outcome = ?, change = ? WHERE id = ?",
                (now, _encode(outcome), change, row.id),
            )
        return msgspec.structs.replace(row, ended_at=now, outcome=outcome)

    def note(self, desk: Desk, step: Entry, now: float, id_: str) -> Row:
        """Record what has happened, as done. No older than the desk, even where the clock was set back: else
        `past` would not have it, and it would be taken for news and recorded again."""
        (row,) = self.begin([(desk.name, step)], max(now, desk.created_at))
        return self.end(row, Done(id=id_), row.at)

    def past(self, desk: Desk) -> Past:
        """The desk's history since its creation, including what other processes wrote."""
        with self._complaints():
            self._catch_up()
            born, past = self._pasts.get(desk.name, (None, None))
            if past is None or born != desk.created_at:
                query = _ROW + "WHERE desk = ? AND at >= ? AND change <= ? ORDER BY id"
                found = self._db.execute(query, (desk.name, desk.created_at, self._change))
                past = Past(map(_row, found), earlier=partial(self._before, desk.name, desk.created_at))
                self._pasts[desk.name] = (desk.created_at, past)
            return past

    def unread_past(self, desk: Desk) -> Past:
        """The same, read only as far as it is asked for."""
        return Unread(partial(self.past, desk), partial(self._last_login, desk))

    def _last_login(self, desk: Desk) -> Row | None:
        query = _ROW + f"WHERE desk = ? AND at >= ? AND {_LOGIN} ORDER BY id DESC LIMIT 1"
        with self._complaints():
            found = self._db.execute(query, (desk.name, desk.created_at)).fetchone()
            return _row(found) if found else None

    def _before(self, name: str, born: float) -> list[Row]:
        """Journal rows of earlier desks of that name."""
        with self._complaints():
            found = self._db.execute(_ROW + "WHERE desk = ? AND at < ?", (name, born))
            return [_row(columns) for columns in found]

    def rows(self, desk: str | None = None, after: int = 0, limit: int | None = 1000) -> list[Row]:
        """The newest `limit` rows with ids above `after`, oldest first; of one desk, or of all.

        `limit`: None for every row.
        """
        if desk is not None and not desk.isascii():
            return []
        where = "WHERE id > ?" + (" AND desk = ?" if desk is not None else "")
        values: tuple[object, ...] = (after,) if desk is None else (after, desk)
        most = -1 if limit is None else limit
        with self._complaints():
            found = self._db.execute(f"{_ROW} {where} ORDER BY id DESC LIMIT ?", (*values, most)).fetchall()
            return [_row(columns) for columns in reversed(found)]

    def latest(self, desk: str) -> float:
        """The newest time in a desk's journal; 0 if it is empty."""
        query = "SELECT max(max(at, coalesce(ended_at, 0))) FROM journal WHERE desk = ?"
        with self._complaints():
            return self._db.execute(query, (desk,)).fetchone()[0] or 0.0

    def changed_desks(self, known: Changes) -> tuple[Changes, set[str], set[str]]:
        """What is known after this call; the desks with later rows, and those with later sightings.

        Another look at a thing that is there as before is no change.
        """
        query = "SELECT desk, max(change) FROM {} WHERE change > ? GROUP BY desk"
        with self._complaints():
            rows = dict(self._db.execute(query.format("journal"), (known.journal,)))
            seen = dict(self._db.execute(query.format("sightings"), (known.sightings,)))
            newest = Changes(
                journal=max(rows.values(), default=known.journal),
                sightings=max(seen.values(), default=known.sightings),
            )
            return newest, set(rows), set(seen)

    def changed(self, change: int) -> tuple[int, list[Row]]:
        """Rows begun or ended after `change`, and the number for the next call. Used by `log -f`."""
        with self._complaints():
            found = self._db.execute(_ROW + "WHERE change > ? ORDER BY change", (change,)).fetchall()
            return (found[-1][-1] if found else change), [_row(columns) for columns in found]

    # ---- sightings -----------------------------------------------------------------------------------

    def sighted(self, desk: str | None = None) -> list[Sighting]:
        """The sightings of one desk, or of all, including resources that are gone."""
        where, values = ("WHERE desk = ?", (desk,)) if desk is not None else ("", ())
        with self._complaints():
            found = self._db.execute(f"SELECT body FROM sightings {where} ORDER BY id", values).fetchall()
            return [_sighting.decode(body) for (body,) in found]

    def charged_while_off(self) -> dict[str, list[Sighting]]:
        """By desk, the machines that went on costing while they were off, including those that are gone."""
        found: dict[str, list[Sighting]] = {}
        query = f"SELECT body FROM sightings WHERE {CHARGED_WHILE_OFF} ORDER BY id"
        with self._complaints():
            for (body,) in self._db.execute(query):
                thing = _sighting.decode(body)
                found.setdefault(thing.desk, []).append(thing)
        return found

    def not_gone(self) -> dict[str, list[Sighting]]:
        """By desk, what was there at the last look that would have shown it."""
        found: dict[str, list[Sighting]] = {}
        with self._complaints():
            for (body,) in self._db.execute(f"SELECT body FROM sightings WHERE {NOT_GONE} ORDER BY id"):
                thing = _sighting.decode(body)
                found.setdefault(thing.desk, []).append(thing)
        return found

    def gone_since(self, at: float) -> list[Sighting]:
        """What was found to be gone after that time."""
        query = f"SELECT body FROM sightings WHERE NOT ({NOT_GONE}) AND {GONE} > ? ORDER BY id"
        with self._complaints():
            return [_sighting.decode(body) for (body,) in self._db.execute(query, (at,))]

    def _seen_before(self, names: Collection[str], ids: Iterable[str]) -> dict[str, Sighting]:
        """The sightings of these desks that a survey with these resources may add to."""
        query = f"SELECT body FROM sightings WHERE {NOT_GONE}"
        with self._complaints():
            found = [body for (body,) in self._db.execute(query)]
            for id_ in ids:  # one that was gone, and is back
                found += [b for (b,) in self._db.execute("SELECT body FROM sightings WHERE id = ?", (id_,))]
            things = {thing.id: thing for thing in map(_sighting.decode, found)}
        return {id_: thing for id_, thing in things.items() if thing.desk in names}

    def witness(self, survey: Survey, before: float, after: float) -> None:
        """Record what is new in a survey about the desks here.

        A failure to write is ignored: the survey matters more than its record.
        """
        with self._complaints():
            names = {name for (name,) in self._db.execute("SELECT name FROM desks")}
        if found := news(self._seen_before(names, survey.ids), survey, names, before, after):
            self.amend(found)

    def amend(self, things: Iterable[Sighting]) -> None:
        """Merge sightings into the recorded ones. A failure to write is ignored."""
        with contextlib.suppress(HotdeskError), self._complaints(), self._transaction():
            (newest,) = self._db.execute("SELECT max(change) FROM sightings").fetchone()
            for thing in things:
                query = "SELECT body, change FROM sightings WHERE id = ?"
                row = self._db.execute(query, (thing.id,)).fetchone()
                old = _sighting.decode(row[0]) if row else None
                known = merged(old, thing) if old else thing
                change = row[1] if old and only_later(old, known) else (newest or 0) + 1
                self._db.execute(
                    "INSERT OR REPLACE INTO sightings VALUES (?, ?, ?, ?)",
                    (known.id, known.desk, _encode(known), change),
                )

    # ---- jobs ----------------------------------------------------------------------------------------

    def queue(self, job: Job, given: Variables | None = None) -> Job:
        """Append a job to the queue; return it with its number and id.

        The values of its variables are kept beside the database, until it has a result.
        """
        with self._complaints(), self._transaction():
            row = self._db.execute("INSERT INTO jobs (desk, settled, body) VALUES (?, 0, '')", (job.desk,))
            number = row.lastrowid or 0
            named = msgspec.structs.replace(job, number=number, id=job_id(number, job.desk, job.created_at))
            self._db.execute("UPDATE jobs SET body = ? WHERE number = ?", (_encode(named), number))
            if given and given.values and self.folder:  # before the job can be begun
                variables.write(self.folder, named.id, given)
        if self.folder:
            variables.sweep(self.folder, {job.id for job in self.jobs(unsettled=True) if not job.result})
        return named

    def variables(self, job: Job) -> Variables | None:
        """The values of a job's variables; None if they are not on this computer."""
        if not job.variables:
            return Variables()
        return variables.read(self.folder, job.id) if self.folder else None

    def put_job(self, number: int, **changes: object) -> Job:
        """Change fields of a job, keeping what other processes changed meanwhile."""
        with self._complaints(), self._transaction():
            (body,) = self._db.execute("SELECT body FROM jobs WHERE number = ?", (number,)).fetchone()
            job = msgspec.structs.replace(_job.decode(body), **changes)
            self._db.execute(
                "UPDATE jobs SET settled = ?, body = ? WHERE number = ?", (job.settled, _encode(job), number)
            )
        if job.variables and self.folder and (job.result or job.settled):
            variables.forget(self.folder, job.id)
        return job

    def jobs(self, desk: str | None = None, unsettled: bool = False) -> list[Job]:
        """Jobs in the order of their submission; of one desk, or of all."""
        where = " AND ".join(["1", *(["desk = ?"] if desk else []), *(["settled = 0"] if unsettled else [])])
        with self._complaints():
            found = self._db.execute(
                f"SELECT body FROM jobs WHERE {where} ORDER BY number", (desk,) if desk else ()
            ).fetchall()
            return [_job.decode(body) for (body,) in found]

    def job(self, desk: str, number: int | None = None) -> Job:
        """A job by its number, or the desk's newest. Raises `Unknown`, naming the existing ones."""
        known = self.jobs(desk)
        found = [j for j in known if number is None or j.number == number]
        if found:
            return found[-1]
        if not known:
            self.desk(desk)
            raise Unknown(f"{desk} has no job.", "", f"hotdesk run {desk} -- python train.py")
        raise Unknown(
            f"{desk} has no job {number}.",
            f"Its jobs are: {', '.join(str(j.number) for j in known[-12:])}.",
            f"hotdesk jobs {desk}",
        )

    # ---- cache ---------------------------------------------------------------------------------------

    def cached(self, key: str) -> tuple[float, bytes] | None:
        """The time and value last stored under this key."""
        with self._complaints():
            row = self._db.execute("SELECT at, body FROM cache WHERE key = ?", (key,)).fetchone()
            return (row[0], row[1]) if row else None

    def keep(self, key: str, body: bytes, now: float) -> None:
        with self._complaints():
            self._db.execute("INSERT OR REPLACE INTO cache VALUES (?, ?, ?)", (key, now, body))

    # ---- locks ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def hold(self, name: str, doing: str, wait: bool = False) -> Iterator[bool]:
        """Hold the lock of a desk, which allows to act on it; yields whether it was acquired.

        With `wait`, waits for it. The kernel releases it with the process. `holder()` tells who holds it.
        """
        if self.folder is None:
            yield True
            return
        lock = self._take(name, wait)
        if lock is None:
            yield False
            return
        with lock:
            with contextlib.suppress(OSError):  # the holder's name is only informative; the disk may be full
                os.ftruncate(lock.fileno(), 0)
                os.write(lock.fileno(), f"{os.getpid()} {doing}".encode())
            try:
                yield True
            finally:
                os.ftruncate(lock.fileno(), 0)
                with contextlib.suppress(HotdeskError, OSError):
                    if name not in KEPT and self.find(name) is None:  # the desk is gone, so remove its lock
                        self._lock(name).unlink()

    def _take(self, name: str, wait: bool) -> FileIO | None:
        """The lock file of that name, locked; `None` if another process holds it."""
        path = self._lock(name)
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            while True:
                lock = path.open("ab", buffering=0)
                try:
                    if not flock(lock.fileno(), wait=wait):
                        lock.close()
                        return None
                    if os.fstat(lock.fileno()).st_nlink:  # else its last holder has deleted it meanwhile
                        return lock
                except BaseException:
                    lock.close()
                    raise
                lock.close()
        except OSError as error:
            raise Missing(
                f"hotdesk cannot write {path}.", error.strerror or str(error), f"ls -ld {path.parent} {path}"
            ) from error

    def holder(self, name: str) -> str:
        """The process that acts on a desk now, as "PID command"; "" if there is none."""
        with contextlib.suppress(OSError, ValueError):
            holder = self._lock(name).read_text()
            os.kill(int(holder.partition(" ")[0]), 0)  # raises if it was killed without clearing its name
            return holder if is_locked(self._lock(name)) else ""  # else another has that number by now
        return ""

    def _lock(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / "locks" / name

    # ---- the file ------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        if not self._pasts:  # nothing is cached yet: `past` reads what it needs
            self._change = self._db.execute("SELECT max(change) FROM journal").fetchone()[0] or 0
            return
        found = self._db.execute(_ROW + "WHERE change > ? ORDER BY change", (self._change,))
        for columns in found.fetchall():
            self._change = columns[-1]
            born, past = self._pasts.get(columns[1], (0.0, None))
            if past is not None and columns[2] >= born:
                past.add(_row(columns))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[int]:
        """A write transaction; yields the next change number."""
        with self._complaints(), self._transaction():
            (newest,) = self._db.execute("SELECT max(change) FROM journal").fetchone()
            yield (newest or 0) + 1


def _row(columns: tuple[int, str, float, bytes, float | None, bytes | None, int]) -> Row:
    id_, desk, at, step, ended_at, outcome, _ = columns
    return Row(
        id=id_,
        desk=sys.intern(desk),
        at=at,
        step=_step.decode(step or b""),
        ended_at=ended_at,
        outcome=_outcome.decode(outcome) if outcome else None,
    )
