"""What is left to do for a sweep: from what is wanted, what is seen, and what has been. Pure.

A task's attempts are numbered beforehand, and one is accepted: the first that ends well, else the newest. So
an answer that comes late, from a machine that was given up, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import ceil

from msgspec.structs import replace

from hotdesk.core.model import Offer
from hotdesk.core.sweep.model import Counts, Ended, Machine, MachineState, State, Sweep, Task, Wish

LOST_MOST = 8  # machines that a task may go with, before it is taken for the cause
FAILED_AT_ONCE = 10  # tasks that fail before one has succeeded: the command is wrong
BATCH_SECONDS = 0.25  # of work in one request: short tasks are asked for several at a time
BATCH_MOST = 32
DEPTH = 2  # requests per slot that the engine has: one that runs, one that follows
ENGINE_STARTS = 12  # of Ray in a row that fail at its head, before the sweep is given up
SILENT_SECONDS = 15.0  # without an answer, a machine is given up
ABSENT = frozenset({MachineState.GONE, MachineState.LEAVING, MachineState.WARM})  # no machines to count on
CANCELLED_WHY, LOST_WHY, FENCED_WHY = "cancelled", "lost", "fenced"


def outcome(task: Task, told: Ended, sweep: Sweep, machine: Machine | None, now: float) -> Task | None:
    """The task after this answer; None where the answer does not count.

    A success counts whichever attempt it is of, and once. Any other end counts only of the newest attempt.
    """
    if task.state in {State.DONE, State.CANCELLED} or told.attempt > task.attempt:
        return None
    if told.why == FENCED_WHY:
        return None
    if told.exit_status != 0 and (
        told.attempt != task.attempt or task.state not in {State.ASKED, State.RUNNING}
    ):
        return None
    if told.why == LOST_WHY or (told.why == CANCELLED_WHY and sweep.wish is Wish.RUN):
        return lost(task, now)  # its machine has ended it, on its way out
    changes: dict[str, object] = {
        "machine": machine.name if machine else task.machine,
        "began_at": task.began_at or now - told.seconds,
        "ended_at": now,
        "seconds": told.seconds,
        "usd": task.usd + usd_of(told.seconds, sweep, machine),
        "exit_status": told.exit_status,
        "metrics": told.metrics,
        "why": told.why,
        "last": told.last,
    }
    if told.exit_status == 0:
        return replace(task, state=State.DONE, **changes)
    if told.why == CANCELLED_WHY:
        return replace(task, state=State.CANCELLED, **changes)
    failed = task.failed + 1
    again = failed <= sweep.retries and sweep.wish is Wish.RUN
    return replace(task, state=State.WAITING if again else State.FAILED, failed=failed, **changes)


def lost(task: Task, now: float) -> Task:
    """The task after its machine went with an attempt that had begun, or may have."""
    if task.lost + 1 >= LOST_MOST:
        why = f"its machine was lost {task.lost + 1} times while it ran"
        return replace(task, state=State.FAILED, lost=task.lost + 1, ended_at=now, exit_status=None, why=why)
    return replace(task, state=State.WAITING, lost=task.lost + 1, why="its machine was lost")


def asked(task: Task, saved: int, now: float) -> Task:
    """The task as it is asked for again; `saved`: the attempt from whose checkpoint it goes on, or 0."""
    before = task.why.partition(";")[0]
    why = f"{before}; it goes on from the checkpoint of attempt {saved}".lstrip("; ") if saved else task.why
    return replace(task, state=State.ASKED, attempt=task.attempt + 1, machine="", began_at=now, why=why)


def cancelled(task: Task) -> Task:
    return replace(task, state=State.CANCELLED, why=CANCELLED_WHY)


def unbegun(task: Task) -> Task:
    """The task after an attempt that has certainly not begun: its number is free again."""
    return replace(task, state=State.WAITING, attempt=task.attempt - 1)


def usd_of(seconds: float, sweep: Sweep, machine: Machine | None) -> float:
    """A task's share of its machine, by what it reserves of it."""
    if machine is None or not machine.usd_per_hour:
        return 0.0
    share = sweep.cpus / max(1, machine.slots)
    if sweep.gpus and machine.gpus:
        share = max(share, sweep.gpus / machine.gpus)
    return seconds / 3600 * machine.usd_per_hour * min(1.0, share)


def places(sweep: Sweep, machines: Sequence[Machine]) -> int:
    """How many tasks can run at once on the machines that are up."""
    return sum(places_of(sweep, m) for m in machines if m.state is MachineState.UP)


def places_of(sweep: Sweep, machine: Machine) -> int:
    at_once = int(machine.slots / sweep.cpus + 1e-9)
    if sweep.gpus:
        at_once = min(at_once, int(machine.gpus / sweep.gpus + 1e-9))
    return max(0, at_once)


def share(computer: Offer, machines: int) -> Offer:
    """One of several machines that are this computer: they share its processors and its GPUs."""
    gpus = int(computer.gpu_count)
    return replace(
        computer,
        vcpus=float(max(1, int(computer.vcpus) // machines)),
        gpu_count=gpus if machines == 1 else gpus // machines,
    )


def batch_size(recent_seconds: Sequence[float], waiting: int, slots: int) -> int:
    """How many tasks one request holds: several where they are short, but so that no place idles."""
    if not recent_seconds or not slots:
        return 1
    mean = sum(recent_seconds) / len(recent_seconds)
    fits = int(BATCH_SECONDS / max(mean, 1e-4))
    return max(1, min(fits, BATCH_MOST, ceil(waiting / (2 * slots))))


def stop_reason(sweep: Sweep, counts: Counts, failures: Sequence[Task], usd: float, now: float) -> str:
    """Why nothing more is to be begun; "" where there is no reason."""
    if sweep.deadline_at is not None and now >= sweep.deadline_at:
        return "its deadline"
    if sweep.budget_usd is not None and usd >= sweep.budget_usd:
        return f"its budget of ${sweep.budget_usd:,.2f} is spent"
    if not sweep.keep_going and counts.failed >= FAILED_AT_ONCE and not counts.done and counts.waiting:
        last = failures[-1] if failures else None
        said = f", the last with exit status {last.exit_status}: {last.last or last.why}" if last else ""
        return f"the first {counts.failed} tasks all failed{said}"
    return ""


def machines_wanted(sweep: Sweep, counts: Counts, machines: Sequence[Machine]) -> int:
    """How many machines the tasks that are left can use: fewer as the queue empties, none at the end.

    A cluster keeps all that were asked for.
    """
    if sweep.cluster:
        return sweep.machines if sweep.wish is Wish.RUN else 0
    if not counts.left:
        return 0
    each = max([places_of(sweep, m) for m in machines if m.slots], default=1) or 1
    return max(1, min(sweep.machines, ceil(counts.left / each)))


def superfluous(wanted: int, machines: Sequence[Machine], busy: Collection[str]) -> list[Machine]:
    """Which machines may go: idle ones, the newest first, and the head's last."""
    present = [m for m in machines if m.state not in ABSENT]
    idle = sorted((m for m in present if m.name not in busy), key=lambda m: -m.number)
    if wanted == 0:
        return idle
    return [m for m in idle if m.number > 1][: max(0, len(present) - wanted)]
