"""What is kept of sweeps on this computer: logs, results, what functions returned; and its end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, NeedsDecision
from hotdesk.core.model import Value
from hotdesk.core.ports import Access
from hotdesk.core.sweep.model import Machine, MachineState, Sweep, Task
from hotdesk.services import sweep_fleet
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.loop.clouds import Clouds
    from hotdesk.services.sweep_function import FunctionSweep
    from hotdesk.services.sweep_view import SweepView
    from hotdesk.sweep.store import SweepStore


REACHED_SECONDS = 10.0  # how long a machine in a cloud is taken to be where it was: not looked for each time


class RemovedSweep(Value, frozen=True):
    """A sweep whose record, logs and results are removed, or would be."""

    number: int
    title: str
    over_at: float
    tasks: int
    bytes: int


@dataclass(kw_only=True, eq=False)
class SweepKept:
    """The files of sweeps in one state folder."""

    state: Path
    store: Store
    clouds: Clouds
    _reach: dict[tuple[int, str], tuple[float, Access]] = field(default_factory=dict)

    def log(self, number: int | None, task: int) -> bytes:
        """What a task has said, all attempts in order. Raises `Unknown`."""
        with self._opened() as store:
            sweep = store.sweep(number)
            found = store.task(sweep.number, task)
            machines = {a.machine: None for a in store.attempts(sweep.number, task)}
            present = {m.name: m for m in store.machines(sweep.number)}
        if found.machine:
            machines[found.machine] = None
        parts = [self._log(sweep, present.get(name), name, task) for name in machines if name]
        return b"".join(parts)

    def log_at(self, number: int, name: str, task: int) -> bytes:
        """What a machine has of a task's log. Raises `Unknown`."""
        with self._opened() as store:
            sweep = store.sweep(number)
            present = {m.name: m for m in store.machines(number)}
        return self._log(sweep, present.get(name), name, task)

    def _log(self, sweep: Sweep, machine: Machine | None, name: str, task: int) -> bytes:
        if machine is not None and machine.state is MachineState.UP:
            from hotdesk.sweep import machine as runner

            try:
                if access := self.reached(sweep, name):
                    return runner.log(access, sweep.id, task)
            except HotdeskError:
                pass  # what was fetched is shown
        file = self.of_machine(sweep, name) / f"{task:06d}.log"
        return file.read_bytes() if file.exists() else b""

    def reached(self, sweep: Sweep, name: str) -> Access | None:
        """How to reach a machine of a sweep; None where it is not there now."""
        if cloud(sweep.provider).rented:
            key, now = (sweep.number, name), self.clouds.clock.now()
            at, known = self._reach.get(key, (0.0, None))
            if known is None or not 0 <= now - at < REACHED_SECONDS:
                with self._opened() as store:
                    known = sweep_fleet.access(sweep, name, self.clouds, store)
                self._reach.pop(key, None)
                if known is not None:
                    self._reach[key] = now, known
            return known
        desk = self.store.find(name)
        return self.clouds.reached(desk) if desk is not None else None

    def folder(self, sweep: Sweep) -> Path:
        return self.state / "sweeps" / sweep.id

    def of_machine(self, sweep: Sweep, machine: str) -> Path:
        """Where logs and results of a machine are, once they have been fetched."""
        return self.folder(sweep) / "machines" / machine / "out"

    def results_of(self, sweep: Sweep, task: Task) -> Path | None:
        """The folder of what was fetched of a task by --pull; None where there is nothing."""
        folder = self.of_machine(sweep, task.machine) / f"{task.number:06d}"
        return folder if task.machine and folder.is_dir() else None

    def copy_results(self, sweep: Sweep, tasks: Sequence[Task], to: Path) -> int:
        """Copy what --pull fetched of each task to a folder of its number; of how many tasks."""
        count = 0
        for task in tasks:
            if (source := self.results_of(sweep, task)) is not None:
                shutil.copytree(source, to / source.name, dirs_exist_ok=True, symlinks=True)
                count += 1
        return count

    def returned(self, view: SweepView, tasks: Sequence[Task]) -> FunctionSweep[Any]:
        """The calls of a sweep over a function. Raises `Usage` for one that runs a command."""
        from hotdesk.services.sweep_function import returned

        return returned(view, tasks, {task.number: self.results_of(view.sweep, task) for task in tasks})

    def remove(self, numbers: Sequence[int], *, dry_run: bool = False) -> list[RemovedSweep]:
        """Delete sweeps that are over: their record, logs and results; what that was.

        Raises `Unknown`, and `NeedsDecision` for one that is not over: then none is deleted.
        """
        with self._opened() as store:
            sweeps = [store.sweep(number) for number in dict.fromkeys(numbers)]
            for sweep in sweeps:
                if not sweep.over_at:
                    raise NeedsDecision(
                        f"Sweep {sweep.number} is not over.",
                        "Its machines would be nobody's.",
                        f"hotdesk sweep cancel {sweep.number}",
                    )
            found = []
            for sweep in sweeps:
                folder = self.folder(sweep)
                found.append(
                    RemovedSweep(
                        number=sweep.number,
                        title=sweep.title,
                        over_at=sweep.over_at,
                        tasks=store.counts(sweep.number).total,
                        bytes=_size(folder),
                    )
                )
                if not dry_run:
                    # The row last: what is killed before is listed still, and can be removed again.
                    shutil.rmtree(folder, ignore_errors=True)
                    (self.state / "sweeps" / f"{sweep.number}.log").unlink(missing_ok=True)
                    store.forget(sweep.number)
                    store.forget_secrets(sweep)
        return found

    def over_since(self, before: float) -> list[int]:
        """The sweeps and clusters that were over before this time."""
        with self._opened() as store:
            return [s.number for s in store.sweeps(clusters=None) if 0 < s.over_at < before]

    def _opened(self) -> SweepStore:
        from hotdesk.sweep.store import SweepStore

        return SweepStore(self.state)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; a file with several names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for inside, _, files in os.walk(folder):
        for name in files:
            found = os.lstat(os.path.join(inside, name))  # noqa: PTH118
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())
