"""Sweeps, as the page asks for them: all; one with its tasks, then only what changed; retry and cancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hotdesk.api import Hotdesk
from hotdesk.core.model import Value
from hotdesk.core.sweep.model import OPEN
from hotdesk.services import sweep_shapes
from hotdesk.web.numbers import whole

STATES = ("waiting", "running", "done", "failed", "cancelled")
LATE = 10.0  # seconds by which an end may be written down after the time that it carries

Words = Mapping[str, str]


class Chosen(Value, frozen=True):
    """A sweep; and some of its tasks, or none for all that apply."""

    number: int
    tasks: tuple[int, ...] = ()


def sweeps(desks: Hotdesk, said: Words) -> list[sweep_shapes.SweepRow]:
    """All sweeps, without their tasks."""
    return [sweep_shapes.row(view) for view in desks.services.sweeps.views()]


def sweep(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """One sweep. `each` has all of its tasks, or those that run or have ended since a time.

    What else has changed since then is seen by the counts, which are of all tasks: then all are to be asked.
    """
    sweeps, now = desks.services.sweeps, desks.services.clock.now()
    number = whole(said.get("sweep", ""))
    try:
        since = float(said.get("since", "0"))
    except ValueError:
        since = 0.0
    view = sweeps.view(number)
    tasks, saved = sweeps.tasks(view.sweep.number), sweeps.checkpoints(view.sweep.number)
    counts = Counter(sweep_shapes.state(task) for task in tasks)  # of the same moment as the tasks
    each = [
        sweep_shapes.task(view.sweep, task, saved.get(task.number))
        for task in tasks
        if not since or task.state in OPEN or task.ended_at >= since - LATE
    ]
    told = {**sweep_shapes.row(view), **{state: counts[state] for state in STATES}}
    return {**told, "driven": view.driven, "at": now, "whole": not since, "each": each}


def log(desks: Hotdesk, said: Words) -> bytes:
    """What a task has said."""
    number, task = (whole(said.get(key, "")) or 0 for key in ("sweep", "task"))
    return desks.services.sweeps.kept.log(number, task)


def retry(desks: Hotdesk, asked: Chosen) -> dict[str, Any]:
    """Run again what failed or was cancelled; how many tasks that are."""
    _, count = desks.services.sweeps.retry(asked.number, asked.tasks)
    return {"count": count}


def cancel(desks: Hotdesk, asked: Chosen) -> sweep_shapes.SweepRow:
    """End a sweep, or these of its tasks; it as it is then."""
    number = desks.services.sweeps.cancel(asked.number, asked.tasks).number
    return sweep_shapes.row(desks.services.sweeps.view(number))
