"""Fetch a job's results into its project, without overwriting the user's files.

Files that hotdesk put there itself may be replaced if they are unchanged since: for each folder there is a
list of those files, by size and time. If a list is lost, nothing is replaced.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from hotdesk.connect import copying, placing
from hotdesk.connect.sync import ARRIVING
from hotdesk.core import wire
from hotdesk.core.jobs import Job
from hotdesk.core.model import Value
from hotdesk.core.ports import Access
from hotdesk.core.steps import Begin
from hotdesk.state.store import Store
from hotdesk.system import write_atomically

_SHOWN = 5  # names; the rest is counted


class Put(msgspec.Struct, frozen=True):
    """A file as hotdesk has put it there."""

    size: int
    mtime_ns: int
    job: str
    at: float  # our clock


class Fetched(Value, frozen=True):
    words: tuple[str, ...]  # what was fetched and which files were kept, in words
    absent: tuple[str, ...] = ()  # what was asked for and does not exist: the job has not made it
    failed: str = ""  # why some of it could not be read on the desk


def began(store: Store, job: Job) -> float:
    """When its first attempt began (our clock); if none did, when the job was created."""
    rows = store.rows(job.desk, limit=None)
    begun = (r.at for r in rows if isinstance(r.step, Begin) and r.step.id == job.id)
    return min(begun, default=job.created_at)


def fetch(
    access: Access,
    job: Job,
    *,
    began: float,
    now: float,
    state: Path | None,
    on_progress: Callable[[str], None] | None = None,
) -> Fetched:
    """Copy the job's results into its project's folder here, under their names in the job's folder.

    An existing file stays, and the desk's is put beside it as `name.from-DESK`: unless hotdesk put it there,
    for this job or before this job `began` (our clock), and it is unchanged since.
    Raises `Unreachable`, `Missing` and others: see `copying.pull`.
    """
    target = Path(job.pull_to)
    with _known(state, target, now) as known:
        arrived = copying.pull(
            access,
            list(job.pull),
            target,
            below=job.folder,
            may_replace=_replacing(job, began, known),
            on_progress=on_progress,
        )
        _note(known, job, arrived.placed, now)
    failed = _shown(arrived.failed[0]) if arrived.failed else ""
    return Fetched(words=_words(job, arrived.placed), absent=tuple(arrived.absent), failed=failed)


def take(job: Job, source: Path, *, began: float, now: float, state: Path | None) -> tuple[str, ...]:
    """Like `fetch`, for results that another computer fetched into `source`, a temporary folder here."""
    target = Path(job.pull_to)
    target.mkdir(parents=True, exist_ok=True)
    with _known(state, target, now) as known, copying.arriving(target, f"{job.desk}-{job.id}") as folder:
        shutil.rmtree(folder / "tree", ignore_errors=True)
        shutil.copytree(source, folder / "tree", symlinks=True, ignore=shutil.ignore_patterns(ARRIVING))
        may = _replacing(job, began, known)
        placed = placing.place(folder / "tree", target, f".from-{job.desk}", may)
        _note(known, job, placed, now)
    return _words(job, placed)


def _replacing(job: Job, began: float, known: Mapping[str, Put]) -> placing.Replace:
    def may_replace(name: str, here: os.stat_result, came: os.stat_result) -> bool:
        put = known.get(name)
        if put is None or (put.size, put.mtime_ns) != (here.st_size, here.st_mtime_ns):
            return False
        return put.job == job.id or put.at <= began

    return may_replace


def _note(known: dict[str, Put], job: Job, placed: placing.Placed, now: float) -> None:
    for name, told in placed.came.items():
        known[name] = Put(size=told.st_size, mtime_ns=told.st_mtime_ns, job=job.id, at=now)


@contextmanager
def _known(state: Path | None, target: Path, now: float) -> Iterator[dict[str, Put]]:
    """The list of files that hotdesk put into a folder, by name; additions are saved."""
    known: dict[str, Put] = {}
    if state is None:
        yield known
        return
    name = hashlib.sha256(os.fsencode(os.path.realpath(target))).hexdigest()[:16]
    file = state / "fetched" / f"{name}.json"
    try:
        listed = wire.json(file.read_bytes(), dict[str, Put])
        known = {_name(text): put for text, put in listed.items()}
    except (OSError, msgspec.DecodeError):
        pass  # nothing is known: nothing is replaced
    yield known
    kept = {_text(name): put for name, put in known.items() if os.path.lexists(target / name)}
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(file, msgspec.json.encode(kept))


def _text(name: str) -> str:
    """A file's name, of any bytes, as text for JSON."""
    return os.fsencode(name).decode("latin-1")


def _name(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))


def _words(job: Job, placed: placing.Placed) -> tuple[str, ...]:
    what = f"{', '.join(source.rstrip('/') for source in job.pull)} from {job.desk}"
    words = []
    if count := len(placed.came):
        words = [f"{what}: {_files(count)} ({_size(placed.bytes)}) in {job.pull_to}"]
    elif placed.same:
        words = [f"{what}: nothing new, {_files(placed.same)} unchanged in {job.pull_to}"]
    beside = [
        f"{_shown(name)} is kept as it is; {job.desk}'s copy is {_shown(lies)}"
        for name, lies in placed.beside.items()
    ]
    if more := len(beside[_SHOWN:]):
        beside[_SHOWN:] = [f"and {more} more kept files: find . -name '*.from-{job.desk}*'"]
    return (*words, *beside)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
