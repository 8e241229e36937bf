"""What a sweep asks of its machines over ssh, wherever they are."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from hotdesk.core.errors import Missing, Unreachable
from hotdesk.core.ports import Access
from hotdesk.core.sweep.model import Machine, Order, Sweep
from hotdesk.sweep import machine as runner
from hotdesk.sweep.machine import Known, MachineOrder, Saved
from hotdesk.sweep.ray_engine import RayEngine

SPARE_BYTES = 1 << 30  # of this computer's disk, which checkpoints leave free


class Reached:
    """The half of `Site` that speaks with one machine. `_reach`: how to, by name, as of the last tick."""

    folder: Path  # of the sweep, on this computer
    secrets: Callable[[Sweep], Mapping[str, str]]  # their values
    _reach: dict[str, Access]
    recorded = True
    _counting: ClassVar[threading.Lock] = threading.Lock()
    _coming: ClassVar[list[int]] = []  # bytes of checkpoints that are being copied here

    def prepare(self, sweep: Sweep, machine: Machine, head: Machine) -> None:
        access = self._access(machine.name)
        runner.push(access, sweep.id, self.folder)
        order = MachineOrder(
            machine=machine.name,
            address=machine.address,
            head=f"{head.address}:{sweep.head_port}",
            heads=machine.number == 1,
            cpus=machine.slots,
            gpus=machine.gpus,
            python="" if sweep.cluster else self._python(access),
            own=sweep.cluster,
            dashboard_port=sweep.dashboard_port,
            token=sweep.token,
            limit_seconds=sweep.limit_seconds,
            grace_seconds=sweep.grace_seconds,
            memory_bytes=int(sweep.memory_gib * 2**30),
            memory_total_bytes=0,
            environment=dict(sweep.environment),
            secrets=self.secrets(sweep),
            pull=sweep.pull,
            checkpoint_bytes=int(sweep.checkpoint_gib * 2**30),
            ports=self._ports(sweep),
        )
        runner.serve(access, sweep.id, order)

    def look(self, sweep: Sweep, name: str) -> Known:
        return runner.look(self._access(name), sweep.id)

    def known(self, sweep: Sweep, name: str, tasks: Collection[int]) -> Known:
        return runner.known(self._access(name), sweep.id, sweep.epoch, tasks)

    def cancel(self, sweep: Sweep, name: str, attempts: Mapping[int, int]) -> None:
        runner.cancel(self._access(name), sweep.id, attempts)

    def bring_run(self, sweep: Sweep, name: str, task: int) -> None:
        folder = self.folder / "runs" / f"{task:06d}" / "project"
        runner.bring_run(self._access(name), sweep.id, task, folder)

    def begin(
        self, sweep: Sweep, name: str, order: Order, variables: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        runner.begin(self._access(name), sweep.id, order, variables, secrets)

    def fetch_checkpoints(self, sweep: Sweep, name: str, of: Sequence[Saved]) -> list[int]:
        names = {runner.checkpoint(saved.task, saved.attempt): saved.task for saved in of}
        folder = self.folder / "checkpoints"
        with self._room(sum(saved.bytes for saved in of)):
            missing = runner.fetch_checkpoints(self._access(name), sweep.id, [*names], folder)
        return [names[file] for file in missing]

    @contextlib.contextmanager
    def _room(self, size: int) -> Iterator[None]:
        """For so many bytes more, beside what is being copied from other machines. Raises `Missing`."""
        with self._counting:
            free = shutil.disk_usage(self.folder).free - sum(self._coming)
            if free < size + SPARE_BYTES:
                why = f"Only {max(0, free) / 2**30:.3g} GiB are free for checkpoints on this computer."
                raise Missing("The disk is nearly full.", why, f"df -h {self.folder}")
            self._coming.append(size)
        try:
            yield
        finally:
            with self._counting:
                self._coming.remove(size)

    def give_checkpoint(self, sweep: Sweep, name: str, task: int, attempt: int) -> None:
        file = self.folder / "checkpoints" / runner.checkpoint(task, attempt)
        runner.give_checkpoint(self._access(name), sweep.id, file)

    def forget_checkpoints(self, of: Iterable[tuple[int, int]]) -> None:
        for task, attempt in of:
            with contextlib.suppress(OSError):  # what is left goes with the sweep
                (self.folder / "checkpoints" / runner.checkpoint(task, attempt)).unlink()

    def keep_record(self, sweep: Sweep, name: str, record: bytes) -> None:
        runner.keep_record(self._access(name), sweep.id, record)

    def fetch(self, sweep: Sweep, name: str) -> None:
        runner.fetch(self._access(name), sweep.id, self.folder / "machines" / name)

    def stop(self, sweep: Sweep, name: str) -> None:
        runner.stop(self._access(name), sweep.id)

    def engine(self, sweep: Sweep, head: Machine) -> RayEngine:
        access = self._access(head.name)
        return RayEngine(runner.engine(access, sweep.id, self._python(access)))

    def _access(self, name: str) -> Access:
        if (found := self._reach.get(name)) is None:
            raise Unreachable(f"{name} has no machine now.", "", f"hotdesk show {name}")
        return found

    def _python(self, access: Access) -> str:
        """The Python with Ray there. Raises `Missing`, `Unreachable`."""
        raise NotImplementedError

    def _ports(self, sweep: Sweep) -> int:
        """The first of the cluster's ports, where they are fixed; else 0."""
        return 0
