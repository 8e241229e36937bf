"""A sweep as its owner sees it: its state in a word, its counts, machines and cost."""

from __future__ import annotations

from collections.abc import Sequence

from hotdesk.core.model import Value
from hotdesk.core.sweep import linger
from hotdesk.core.sweep.model import Counts, Machine, MachineState, Sweep, Task, Wish


class SweepView(Value, frozen=True):
    """A sweep as it is now."""

    sweep: Sweep
    state: str  # starting | running | stopping | ending | lingering | done | failed | stopped | cancelled
    counts: Counts
    machines: tuple[Machine, ...]
    usd: float  # of its machines so far
    usd_per_hour: float
    task_seconds: float  # of all attempts together
    left_seconds: float | None  # until the end, by what tasks took so far
    driven: bool  # whether a process goes on with it

    @property
    def ended(self) -> bool:
        """Whether every task has ended, and no machine is left but for the next sweep."""
        return bool(self.sweep.over_at or self.lingers_until)

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


class SweepResult(Value, frozen=True):
    """A sweep, and each of its tasks."""

    view: SweepView
    tasks: tuple[Task, ...]


def state_of(sweep: Sweep, counts: Counts, machines: Sequence[Machine]) -> str:
    if sweep.over_at:
        if counts.cancelled or sweep.cluster:
            return "stopped" if sweep.stopped else "cancelled"
        return "failed" if counts.failed else "done"
    if sweep.wish is Wish.CANCEL:
        return "stopping"
    if not counts.left and not sweep.cluster:
        return "lingering" if linger.until(sweep, counts, machines) else "ending"
    return "running" if any(m.state is MachineState.UP for m in machines) else "starting"
