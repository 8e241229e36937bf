"""Ask a desk how busy it is, now and over a job's life (guest/measure.py)."""

from __future__ import annotations

import shlex

import msgspec

from hotdesk.connect import job_runner
from hotdesk.core import wire
from hotdesk.core.errors import Unreachable
from hotdesk.core.jobs import SeenJob
from hotdesk.core.load import Load
from hotdesk.core.ports import Access


class Busy(msgspec.Struct, frozen=True):
    load: Load
    jobs: list[SeenJob]


def ask(access: Access) -> Busy:
    """How busy a desk is, and its jobs. Raises `Unreachable`."""
    done = job_runner.ask(access, "busy")
    try:
        return wire.json(done.stdout, Busy)
    except msgspec.DecodeError as error:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or [str(error)]
        raise Unreachable(
            f"{access.desk} does not say how busy it is.", words[-1], f"hotdesk show {access.desk}"
        ) from error


def samples(access: Access, id_: str) -> bytes:
    """What was measured over a job's life, as `core.load.read_curves` reads it. Raises `Unreachable`."""
    return job_runner.run_there(access, f"cat .hotdesk/jobs/{shlex.quote(id_)}/samples 2>/dev/null").stdout
