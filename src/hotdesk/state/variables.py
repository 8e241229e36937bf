"""The values of jobs' variables on this computer: a private file for each job, until it has ended.

So are those of a sweep's secrets, and of a cluster's runs, whose names begin with `SWEEP`.

Never in the database, whose copies go elsewhere. At a desk that runs a watcher the folder is a link into
memory (`loop/remote_watcher.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import msgspec

from hotdesk.core import wire
from hotdesk.core.jobs import Variables
from hotdesk.system import write_atomically

FOLDER = "variables"
SWEEP = "sweep-"


def write(state: Path, id_: str, variables: Variables) -> None:
    """Keep the values for a job, for its owner's eyes only, and past a power cut."""
    folder = state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomically(folder / f"{id_}.json", msgspec.json.encode(variables), durable=True)


def read(state: Path, id_: str) -> Variables | None:
    """The values for a job; None if they are not on this computer."""
    try:
        return wire.json((state / FOLDER / f"{id_}.json").read_bytes(), Variables)
    except (OSError, msgspec.DecodeError):
        return None


def forget(state: Path, id_: str) -> None:
    with contextlib.suppress(OSError):
        (state / FOLDER / f"{id_}.json").unlink()


def forget_all(state: Path, beginning: str) -> None:
    """Those whose names begin so."""
    with contextlib.suppress(OSError):
        for file in (state / FOLDER).iterdir():
            if file.name.startswith(beginning):
                file.unlink(missing_ok=True)


def sweep(state: Path, kept: Collection[str]) -> None:
    """Remove the values for all jobs but these: of jobs that ended elsewhere, or were never queued."""
    with contextlib.suppress(OSError):
        for file in (state / FOLDER).iterdir():
            if file.name.removesuffix(".json") not in kept and not file.name.startswith(SWEEP):
                file.unlink(missing_ok=True)
