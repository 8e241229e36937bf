"""A sweep as its owner sees it: its state in a word, its counts, machines and cost."""

from __future__ import annotations

from collections.abc import Sequence

from hotdesk.core.model import Value
from hotdesk.core.sweep import estimate, linger
from hotdesk.core.sweep.model import Counts, Machine, MachineState, Sweep, Task, Wish


class SweepView(Value, frozen=True):
    """A sweep as it is now."""

    sweep: Sweep
    state: str  # see `state_of`
    counts: Counts
    machines: tuple[Machine, ...]
    usd: float  # of its machines so far
    usd_per_hour: float
    task_seconds: float  # of all attempts together
    left_seconds: float | None  # until the end, by what tasks took so far
    driven: bool  # whether a process goes on with it
    left_band: tuple[float, float] | None = None  # `left_seconds` at best and at worst
    deadline_seconds: float | None = None  # from now until its deadline

    @property
    def late_seconds(self) -> float:
        """How long after its deadline it would end, as expected; 0: in time, or not known."""
        if self.left_seconds is None or self.deadline_seconds is None:
            return 0.0
        return max(0.0, self.left_seconds - self.deadline_seconds)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do here: every task has ended, or another computer goes on with it.

        Machines may be kept for the next sweep.
        """
        return bool(self.sweep.over_at or self.lingers_until or self.sweep.away)

    @property
    def lingers_until(self) -> float:
        """When the last of its machines goes that are kept for the next sweep; 0 where none is."""
        return linger.until(self.sweep, self.counts, self.machines)

    @property
    def warm(self) -> int:
        return sum(m.state is MachineState.WARM for m in self.machines)

    @property
    def up(self) -> int:
        return sum(m.state is MachineState.UP for m in self.machines)


def left_of(
    sweep: Sweep, counts: Counts, machines: Sequence[Machine], task_seconds: float
) -> tuple[float | None, tuple[float, float] | None]:
    """Seconds until every task has ended, by what tasks took so far; and the same at best and at worst."""
    ended, up = counts.done + counts.failed, [m for m in machines if m.state is MachineState.UP]
    slots = sum(m.slots for m in up)
    if sweep.over_at or not ended or not slots or not counts.left:
        return None, None
    each, places = task_seconds / ended, max(1.0, slots / sweep.cpus)
    left = counts.left * each / places
    best, worst = estimate.left(counts.waiting, counts.running, each, places, len(up))
    return left, (min(best, left), max(worst, left))


def to_deadline(sweep: Sweep, now: float) -> float | None:
    """Seconds until the deadline of a sweep that goes on."""
    return None if sweep.over_at or sweep.deadline_at is None else sweep.deadline_at - now


class SweepResult(Value, frozen=True):
    """A sweep, and each of its tasks."""

    view: SweepView
    tasks: tuple[Task, ...]


def state_of(sweep: Sweep, counts: Counts, machines: Sequence[Machine]) -> str:
    """elsewhere, starting, running, stopping, ending, lingering, done, failed, stopped or cancelled."""
    if sweep.over_at:
        if counts.cancelled or sweep.cluster:
            return "stopped" if sweep.stopped else "cancelled"
        return "failed" if counts.failed else "done"
    if sweep.away:
        return "elsewhere"
    if sweep.wish is Wish.CANCEL:
        return "stopping"
    if not counts.left and not sweep.cluster:
        return "lingering" if linger.until(sweep, counts, machines) else "ending"
    return "running" if any(m.state is MachineState.UP for m in machines) else "starting"
