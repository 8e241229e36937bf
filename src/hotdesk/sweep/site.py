"""Where a sweep's machines are, and what can be asked of each: the driver's other half beside the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from hotdesk.core.errors import Busy
from hotdesk.core.fleet import Hold
from hotdesk.core.model import Value
from hotdesk.core.sweep.model import Machine, Order, Sweep
from hotdesk.sweep.engine import Engine
from hotdesk.sweep.machine import Known, Saved


class TakenOver(Busy):
    """Another computer goes on with this sweep: nothing of it is to be touched from here."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(
            f"This sweep goes on at {hold.computer or 'the computer where it began'}.",
            "That computer has taken it over: its tasks and machines are its own now.",
            "hotdesk sweep resume DESK   # takes it back",
        )
        self.hold = hold


class SeenMachine(Value, frozen=True):
    """A machine that can be used, as one survey shows it."""

    instance: str  # its id: another one has another disk, and knows of no attempt
    address: str  # in the cluster
    slots: int
    gpus: int = 0
    usd_per_hour: float = 0.0


class Site(Protocol):
    """What is asked of one machine raises `Unreachable` where it does not answer."""

    recorded: bool  # whether another computer can see these machines, and go on from a record there

    def confirm(self) -> None:
        """See that no other computer goes on with the sweep, before anything is done after a while away.

        Raises `TakenOver`, and `HotdeskError` where that cannot be seen.
        """
        ...

    def keep_record(self, sweep: Sweep, name: str, record: bytes) -> None:
        """Leave the sweep's record on a machine, from where another computer can go on with it."""
        ...

    def tick(self, wanted: Sequence[str], released: Collection[str]) -> Mapping[str, SeenMachine]:
        """One survey, and the next steps to have these machines and be rid of those; what can be used.

        Raises `TakenOver` where another computer goes on with the sweep, before any step.
        """
        ...

    def troubles(self) -> Mapping[str, str]:
        """Why machines of the last tick cannot be had, where waiting does not help."""
        ...

    def present(self, names: Collection[str]) -> set[str]:
        """Which of these still exist, as far as is known."""
        ...

    def cleared(self) -> bool:
        """Whether a look has shown that nothing of the sweep is left. Asked when every machine has gone."""
        ...

    def usd(self, names: Collection[str]) -> float:
        """What these machines have cost so far."""
        ...

    def prepare(self, sweep: Sweep, machine: Machine, head: Machine) -> None:
        """Bring the folder there and make sure that the runner runs. Again changes nothing."""
        ...

    def look(self, sweep: Sweep, name: str) -> Known: ...

    def known(self, sweep: Sweep, name: str, tasks: Collection[int]) -> Known: ...

    def cancel(self, sweep: Sweep, name: str, attempts: Mapping[int, int]) -> None: ...

    def fetch(self, sweep: Sweep, name: str) -> None:
        """Copy logs and results here."""
        ...

    def stop(self, sweep: Sweep, name: str) -> None: ...

    def fetch_checkpoints(self, sweep: Sweep, name: str, of: Sequence[Saved]) -> list[int]:
        """Copy these checkpoints here; the tasks whose did not come. Raises also `Missing`: no room here.

        Each is the whole copy that its machine has made, or the one that was here before.
        """
        ...

    def give_checkpoint(self, sweep: Sweep, name: str, task: int, attempt: int) -> None:
        """Bring there what an attempt has saved, or word that nothing of it is left."""
        ...

    def forget_checkpoints(self, of: Iterable[tuple[int, int]]) -> None:
        """Delete the copies here."""
        ...

    def engine(self, sweep: Sweep, head: Machine) -> Engine:
        """Raises `EngineLost` where it does not answer yet."""
        ...


class GangSite(Site, Protocol):
    """What a cluster asks of its machines beside what a sweep does."""

    def bring_run(self, sweep: Sweep, name: str, task: int) -> None:
        """Bring the folder of a run there. Again changes nothing."""
        ...

    def begin(
        self, sweep: Sweep, name: str, order: Order, variables: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        """Begin one rank of a run there, and return. Again changes nothing."""
        ...
