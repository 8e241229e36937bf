"""The documents of `hotdesk sweep … --json`. Times are seconds since the epoch, money US dollars."""

from __future__ import annotations

import shlex
from itertools import islice
from typing import NotRequired, TypedDict

from hotdesk.core.money import Amount, in_same
from hotdesk.core.sweep.estimate import estimate
from hotdesk.core.sweep.model import Checkpoint, State, Sweep, Task
from hotdesk.core.sweep.params import Scalar, Space, fill
from hotdesk.services import sweep_fleet
from hotdesk.services.clusters import ClusterRun, ClusterView
from hotdesk.services.sweep_kept import RemovedSweep
from hotdesk.services.sweep_request import SweepRequest
from hotdesk.services.sweep_view import SweepView


class SweepMachine(TypedDict):
    """A machine of a sweep."""

    name: str
    state: str  # wanted | up | lost | leaving | warm | gone
    address: str  # in the sweep's cluster
    slots: int  # processors that tasks can have
    why: str


class SweepCheckpoint(TypedDict):
    """What a task has saved, as it was brought to this computer."""

    attempt: int  # that saved it; 0: nothing was brought here yet
    bytes: int
    fetched_at: float
    why: str  # why there is no newer one


class SweepTask(TypedDict):
    """A task of a sweep."""

    task: int
    params: dict[str, Scalar]
    state: str  # waiting | running | done | failed | cancelled
    attempts: int
    failed: int  # attempts that failed
    lost: int  # attempts that went with their machine
    machine: str
    exit_status: int | None
    seconds: float  # of the attempt that counts
    usd: float
    told: Amount | None  # the same as its cloud tells it, if not in US dollars
    metrics: dict[str, Scalar]
    why: str
    last_line: str  # of its log
    checkpoint: SweepCheckpoint | None  # the copy on this computer


class SweepRow(TypedDict):
    """A sweep, with its tasks where it is shown alone."""

    sweep: int  # its number
    id: str
    desk: str
    image: str
    command: list[str]
    state: str  # elsewhere | starting | running | stopping | ending | lingering | done | failed | stopped | …
    away: str  # the computer that goes on with it instead of this one
    stopped: str  # why it has stopped early
    lingers_until: float | None  # when the last of its machines goes that are kept for the next sweep
    tasks: int
    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int
    machines: list[SweepMachine]
    usd: float  # of its machines so far
    told: Amount | None  # the same as its cloud tells it, if not in US dollars
    usd_per_hour: float
    told_per_hour: Amount | None  # likewise
    seconds: float  # of all attempts together
    left_seconds: float | None  # until the end, by what tasks took so far
    left_band: list[float] | None  # the same at best and at worst
    deadline_at: float | None
    asked_at: float
    over_at: float | None
    each: NotRequired[list[SweepTask]]


class SweepPlan(TypedDict):
    """What `sweep start` would do."""

    tasks: int
    machines: int
    usd_per_hour: float  # of all of them, at the best prices now
    usd_per_hour_most: float  # … if each were bought on demand
    told_per_hour: Amount | None  # the first as its cloud tells it, if not in US dollars
    pools: list[str]  # type, zone and market that they may come from, the best first
    seconds: list[float] | None  # until the end: at best, as expected, at worst; with --each only
    usd: list[float] | None  # … and what it costs then
    image: str
    files: int  # that would be copied
    first: list[str]  # the first commands


class SweepRemoved(TypedDict):
    """A sweep that was deleted, or would be."""

    sweep: int
    tasks: int
    bytes: int  # of logs, results and the copied folder on this computer
    over_at: float
    command: str


class ClusterRunRow(TypedDict):
    """A program on a cluster."""

    run: int
    command: str
    every_machine: bool
    state: str  # waiting | running | done | failed | cancelled
    attempts: int
    failed: int  # attempts that failed
    lost: int  # attempts that went with a machine
    exit_status: int | None
    seconds: float  # of the last attempt
    why: str


class ClusterRow(TypedDict):
    """A cluster."""

    cluster: str  # its desk
    number: int
    state: str  # starting | running | stopping | cancelled | stopped
    stopped: str
    address: str  # of Ray's head; "" while it is not up
    has_ray: bool | None
    machines: list[SweepMachine]
    runs: list[ClusterRunRow]
    usd: float
    told: Amount | None  # the same as its cloud tells it, if not in US dollars
    usd_per_hour: float
    told_per_hour: Amount | None  # likewise


class ClusterDashboard(TypedDict):
    """Ray's dashboard at this computer."""

    url: str
    token_file: str


class SweepLog(TypedDict):
    """What a task has said."""

    task: int
    text: str


def row(view: SweepView) -> SweepRow:
    """A sweep."""
    sweep, counts = view.sweep, view.counts
    return {
        "sweep": sweep.number,
        "id": sweep.id,
        "desk": sweep.desk,
        "image": sweep.image,
        "command": [sweep.title] if sweep.function else list(sweep.command),
        "state": view.state,
        "away": sweep.away,
        "stopped": sweep.stopped,
        "lingers_until": view.lingers_until or None,
        "tasks": counts.total,
        "waiting": counts.waiting,
        "running": counts.running,
        "done": counts.done,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "machines": _machines(view),
        "usd": view.usd,
        "told": told(sweep, view.usd),
        "usd_per_hour": view.usd_per_hour,
        "told_per_hour": told(sweep, view.usd_per_hour),
        "seconds": view.task_seconds,
        "left_seconds": view.left_seconds,
        "left_band": list(view.left_band) if view.left_band else None,
        "deadline_at": sweep.deadline_at,
        "asked_at": sweep.created_at,
        "over_at": sweep.over_at or None,
    }


def told(sweep: Sweep, usd: float) -> Amount | None:
    """What its machines cost as their cloud tells prices; None: in US dollars."""
    return in_same(usd, sweep.pools[0]) if sweep.pools else None


def _machines(view: SweepView) -> list[SweepMachine]:
    return [
        {"name": m.name, "state": str(m.state), "address": m.address, "slots": m.slots, "why": m.why}
        for m in view.machines
    ]


def cluster(found: ClusterView) -> ClusterRow:
    """A cluster."""
    view = found.view
    return {
        "cluster": found.name,
        "number": view.sweep.number,
        "state": view.state,
        "stopped": view.sweep.stopped,
        "address": found.address,
        "has_ray": found.has_ray,
        "machines": _machines(view),
        "runs": [cluster_run(run) for run in found.runs],
        "usd": view.usd,
        "told": told(view.sweep, view.usd),
        "usd_per_hour": view.usd_per_hour,
        "told_per_hour": told(view.sweep, view.usd_per_hour),
    }


def cluster_run(run: ClusterRun) -> ClusterRunRow:
    """A program on a cluster."""
    task = run.task
    return {
        "run": run.number,
        "command": run.command,
        "every_machine": run.gang,
        "state": state(task),
        "attempts": task.attempt,
        "failed": task.failed,
        "lost": task.lost,
        "exit_status": task.exit_status,
        "seconds": task.seconds,
        "why": task.why,
    }


def state(task: Task) -> str:
    """A task's state: one that may not have begun waits."""
    return "waiting" if task.state is State.ASKED else str(task.state)


def task(sweep: Sweep, task: Task, saved: Checkpoint | None = None) -> SweepTask:
    """A task."""
    return {
        "task": task.number,
        "params": task.params,
        "state": state(task),
        "attempts": task.attempt,
        "failed": task.failed,
        "lost": task.lost,
        "machine": task.machine,
        "exit_status": task.exit_status,
        "seconds": task.seconds,
        "usd": task.usd,
        "told": told(sweep, task.usd),
        "metrics": task.metrics,
        "why": task.why,
        "last_line": task.last,
        "checkpoint": {
            "attempt": saved.attempt,
            "bytes": saved.bytes,
            "fetched_at": saved.fetched_at,
            "why": saved.why,
        }
        if saved
        else None,
    }


def removed(sweep: RemovedSweep) -> SweepRemoved:
    """A sweep that was deleted, or would be."""
    return {
        "sweep": sweep.number,
        "tasks": sweep.tasks,
        "bytes": sweep.bytes,
        "over_at": sweep.over_at,
        "command": sweep.title,
    }


def first_lines(sweep: Sweep, space: Space) -> list[str]:
    """What the first tasks would run."""
    words = [fill(sweep.command, params, n) for n, params in enumerate(islice(space.tasks(), 3), 1)]
    return [" ".join(w) if len(sweep.command) == 1 else shlex.join(w) for w in words]


def plan(sweep: Sweep, request: SweepRequest | None, files: int, first: list[str]) -> SweepPlan:
    """What would be begun."""
    now, most = sweep_fleet.usd_per_hour(sweep)
    found = None
    if request and sweep.pools and request.each_seconds:
        found = estimate(sweep_fleet.load(request, sweep.pools), sweep.machines)
    return {
        "tasks": request.space.size if request else 0,
        "machines": sweep.machines,
        "usd_per_hour": now,
        "usd_per_hour_most": most,
        "told_per_hour": told(sweep, now),
        "pools": [f"{o.instance_type} {o.zone} {o.market}" for o in sweep.pools],
        "seconds": list(found.seconds) if found else None,
        "usd": list(found.usd) if found else None,
        "image": sweep.image,
        "files": files,
        "first": first,
    }
