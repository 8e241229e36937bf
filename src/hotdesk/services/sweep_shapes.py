"""The documents of `hotdesk sweep … --json`. Times are seconds since the epoch, money US dollars."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hotdesk.core.sweep.model import State, Sweep, Task
from hotdesk.core.sweep.params import Scalar
from hotdesk.services.sweeps import SweepView


class SweepMachine(TypedDict):
    """A machine of a sweep."""

    name: str
    state: str  # wanted | up | lost | leaving | gone
    address: str  # in the sweep's cluster
    slots: int  # processors that tasks can have
    why: str


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
    metrics: dict[str, Scalar]
    why: str
    last_line: str  # of its log


class SweepRow(TypedDict):
    """A sweep, with its tasks where it is shown alone."""

    sweep: int  # its number
    id: str
    desk: str
    image: str
    command: list[str]
    state: str  # starting | running | stopping | ending | done | failed | stopped | cancelled
    stopped: str  # why it has stopped early
    tasks: int
    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int
    machines: list[SweepMachine]
    usd: float  # of its machines so far
    usd_per_hour: float
    seconds: float  # of all attempts together
    left_seconds: float | None  # until the end, by what tasks took so far
    asked_at: float
    over_at: float | None
    each: NotRequired[list[SweepTask]]


class SweepPlan(TypedDict):
    """What `sweep start` would do."""

    tasks: int
    machines: int
    usd_per_hour: float
    image: str
    files: int  # that would be copied
    first: list[str]  # the first commands


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
        "command": list(sweep.command),
        "state": view.state,
        "stopped": sweep.stopped,
        "tasks": counts.total,
        "waiting": counts.waiting,
        "running": counts.running,
        "done": counts.done,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "machines": [
            {"name": m.name, "state": str(m.state), "address": m.address, "slots": m.slots, "why": m.why}
            for m in view.machines
        ],
        "usd": view.usd,
        "usd_per_hour": view.usd_per_hour,
        "seconds": view.task_seconds,
        "left_seconds": view.left_seconds,
        "asked_at": sweep.created_at,
        "over_at": sweep.over_at or None,
    }


def state(task: Task) -> str:
    """A task's state: one that may not have begun waits."""
    return "waiting" if task.state is State.ASKED else str(task.state)


def task(task: Task) -> SweepTask:
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
        "metrics": task.metrics,
        "why": task.why,
        "last_line": task.last,
    }


def plan(sweep: Sweep, tasks: int, files: int, first: list[str]) -> SweepPlan:
    """What would be begun."""
    return {
        "tasks": tasks,
        "machines": sweep.machines,
        "usd_per_hour": 0.0,
        "image": sweep.image,
        "files": files,
        "first": first,
    }
