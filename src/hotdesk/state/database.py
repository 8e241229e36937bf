"""Open and migrate the SQLite file of a state folder, and translate its errors.

If it cannot be written (mostly because the disk is full), it is read into memory instead, so that hotdesk can
still say what runs and what it costs. A reserve file beside it is deleted when the disk is full, so that
commands that free space, such as `hotdesk down`, can still be recorded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from hotdesk.core.errors import Busy, Damaged, HotdeskError, Missing, Newer
from hotdesk.system import locked, upgrade_line

#: Of sightings; only a query that says the same as an index is answered by it.
GONE = "json_extract(CAST(body AS TEXT), '$.gone')"
NOT_GONE = f"{GONE} IS NULL"
CHARGED_WHILE_OFF = "json_extract(CAST(body AS TEXT), '$.charged_while_off')"

#: One script per version of the file; a new version appends a script and never changes an old one.
MIGRATIONS = (
    """
    CREATE TABLE desks (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        desk TEXT NOT NULL,
        at REAL NOT NULL,
        step BLOB NOT NULL,
        ended_at REAL,
        outcome BLOB,
        change INTEGER NOT NULL     -- raised by begin and by end: what a reader has not seen yet
    );
    CREATE INDEX journal_desk ON journal (desk, id);
    CREATE UNIQUE INDEX journal_change ON journal (change);
    CREATE TABLE cache (key TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        desk TEXT NOT NULL,
        settled INTEGER NOT NULL,   -- nothing is left to do for it
        body BLOB NOT NULL
    );
    CREATE INDEX jobs_desk ON jobs (desk, settled);
    """,
    """
    CREATE TABLE sightings (id TEXT PRIMARY KEY, desk TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX sightings_desk ON sightings (desk);
    """,
    f"""
    CREATE INDEX sightings_not_gone ON sightings (desk) WHERE {NOT_GONE};
    CREATE INDEX sightings_charged_while_off ON sightings (desk) WHERE {CHARGED_WHILE_OFF};
    """,
    f"""
    -- Raised by what is more than another look at a thing that is there as before.
    ALTER TABLE sightings ADD COLUMN change INTEGER NOT NULL DEFAULT 1;
    CREATE INDEX sightings_change ON sightings (change, desk);
    CREATE INDEX sightings_gone ON sightings ({GONE}) WHERE NOT ({NOT_GONE});
    """,
)

_CANNOT_WRITE = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")
_SMALL_BYTES = 1 << 18  # with less free space than this, SQLite cannot write
_RESERVE_BYTES = 1 << 19  # the reserve: enough for the rows of one command and for what it starts


class StateFile:
    """An open state file. `db`: its connection; `frozen`: why `db` is a read-only copy in memory, or ""."""

    def __init__(self, path: Path | None, migrations: Sequence[str] = MIGRATIONS) -> None:
        """Makes its folder. `None` keeps everything in memory.

        Raises `Damaged` or `Missing` when the file cannot serve.
        """
        self.path = path
        self.migrations = migrations
        self.frozen = ""
        if path is None:
            self.db = _connect(":memory:")
            self._bring_up()
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Missing(
                f"hotdesk cannot keep its state in {path.parent}.",
                error.strerror or str(error),
                "HOTDESK_STATE=/another/folder hotdesk ls",
            ) from error
        with self.complaints():
            try:
                self._open(path)
            except (sqlite3.Error, OSError) as error:
                if not _cannot_write(error) or not self._freeze(path, error):
                    raise

    def _open(self, path: Path) -> None:
        # Create it ourselves, so that it is private from the start. One that is there is opened by SQLite
        # alone: a process that closes any descriptor of a file loses all its locks on it (fcntl(2)), also
        # those of its other stores, and the next process to leave would take the WAL away under them.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
        self.db = _connect(path)
        try:
            # One process at a time: switching to WAL does not wait for others.
            with locked(path.with_name("hotdesk.opening")):
                self._bring_up()
        except BaseException:
            self.db.close()
            raise
        self._keep_reserve(path)

    def _keep_reserve(self, path: Path) -> None:
        reserve = _reserve(path)
        if not reserve.exists() and _free_bytes(path) > 8 * _RESERVE_BYTES:
            with contextlib.suppress(OSError):
                reserve.write_bytes(bytes(_RESERVE_BYTES))

    def _make_room(self, path: Path) -> None:
        """Delete the reserve before a write if the disk is full, and leave the frozen state."""
        with contextlib.suppress(OSError):
            if _free_bytes(path) < _SMALL_BYTES and _reserve(path).exists():
                _reserve(path).unlink()
                if self.frozen:
                    copy = self.db
                    try:
                        self._open(path)
                    except (sqlite3.Error, OSError):
                        self.db = copy
                    else:
                        copy.close()
                        self.frozen = ""

    def _freeze(self, path: Path, error: Exception) -> bool:
        """Read the whole file into memory because it cannot be written; return whether that worked."""
        where = quote(str(path))
        ways = [
            f"file:{where}?mode=rw"
        ]  # with an exclusive lock, SQLite reads without creating files beside it
        beside = path.with_name(f"{path.name}-wal")
        if not beside.exists() or not beside.stat().st_size:  # else it would miss what is only in the WAL
            ways.append(f"file:{where}?immutable=1")
        for way in ways:
            copy = _connect(":memory:")
            try:
                with contextlib.closing(sqlite3.connect(way, uri=True, timeout=5.0)) as db:
                    db.execute("PRAGMA locking_mode = EXCLUSIVE")
                    db.backup(copy)
                self.db = copy
                self._bring_up()
                self.db.execute("PRAGMA query_only = ON")
            except (sqlite3.Error, OSError):
                copy.close()
                continue
            except BaseException:
                copy.close()
                raise
            self.frozen = _reason(path, error)
            return True
        return False

    def _bring_up(self) -> None:
        """Migrate the file to this version. Raises `Newer`."""
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if version > len(self.migrations):
            raise Newer(
                f"{self.path} was written by a newer hotdesk.",
                f"It is of version {version}; this hotdesk reads up to {len(self.migrations)}.",
                upgrade_line(),
            )
        if version < 0:  # four bytes of the file's head, which SQLite itself does not check
            raise sqlite3.DatabaseError(f"Its version is {version}, which no hotdesk writes")
        if version == len(self.migrations):
            self.db.execute("PRAGMA synchronous = FULL")
            return
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        for number in range(version, len(self.migrations)):
            with self.transaction():
                (now_at,) = self.db.execute("PRAGMA user_version").fetchone()
                if now_at > number:  # another process was faster
                    continue
                for statement in _statements(self.migrations[number]):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {number + 1}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        if self.path:
            self._make_room(self.path)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:  # a full disk may have rolled it back already
                self.db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def complaints(self) -> Iterator[None]:
        """Translate SQLite's errors into `HotdeskError`s that say what to do."""
        try:
            yield
        except (sqlite3.Error, ValueError, RecursionError, OSError) as error:  # two of them: of a bad row
            raise self._complaint(error) from error

    def _complaint(self, error: Exception) -> HotdeskError:
        text = str(error)
        if self.path and _cannot_write(error):
            return Missing(
                f"hotdesk cannot write {self.path}.",
                f"{self.frozen or _reason(self.path, error)} Nothing was started without a record.",
                "df -h   # make room or fix the permissions, then run the same command again",
            )
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Busy(
                f"{self.path} has been in use by another process for 20 seconds.",
                text,
                "hotdesk ls   # try again",
            )
        return Damaged(
            f"{self.path} cannot be read.",
            f"{text}. Your desks' disks and images are not in it and are untouched.",
            "hotdesk doctor --adopt   # sets the file aside and rebuilds it from a survey",
        )


def _connect(where: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(where, isolation_level=None, timeout=20.0)


def _cannot_write(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorname", "")
    return isinstance(error, OSError) or (code.startswith(_CANNOT_WRITE) and not code.endswith("SHORT_READ"))


def _reason(path: Path, error: Exception) -> str:
    """Why the file cannot be written: SQLite reports a full disk in several ways."""
    with contextlib.suppress(OSError):
        disk = os.statvfs(path.parent)
        if (free := _free_bytes(path)) < _SMALL_BYTES:
            return f"The disk is full: {free >> 10} KiB are free in {path.parent}."
        if disk.f_files and not disk.f_favail:
            return f"The disk is full: no more files can be made in {path.parent}."
    return f"{error}."


def _free_bytes(path: Path) -> int:
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize


def _reserve(path: Path) -> Path:
    return path.with_name("hotdesk.reserve")


def _statements(script: str) -> Iterator[str]:
    lines = [line.split("--")[0] for line in script.splitlines()]
    yield from (s for s in "\n".join(lines).split(";") if s.strip())
