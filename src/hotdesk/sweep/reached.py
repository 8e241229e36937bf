"""What a sweep asks of its machines over ssh, wherever they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from hotdesk.core.errors import Unreachable
from hotdesk.core.ports import Access
from hotdesk.core.sweep.model import Machine, Order, Sweep
from hotdesk.sweep import machine as runner
from hotdesk.sweep.machine import Known, MachineOrder
from hotdesk.sweep.ray_engine import RayEngine


class Reached:
    """The half of `Site` that speaks with one machine. `_reach`: how to, by name, as of the last tick."""

    folder: Path  # of the sweep, on this computer
    _reach: dict[str, Access]

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
            pull=sweep.pull,
            ports=self._ports(sweep),
        )
        runner.serve(access, sweep.id, order)

    def look(self, sweep: Sweep, name: str) -> Known:
        return runner.look(self._access(name), sweep.id)

    def known(self, sweep: Sweep, name: str, tasks: Collection[int]) -> Known:
        return runner.known(self._access(name), sweep.id, sweep.epoch, tasks)

    def cancel(self, sweep: Sweep, name: str, attempts: Mapping[int, int]) -> None:
        runner.cancel(self._access(name), sweep.id, attempts)

    def bring_run(self, sweep: Sweep, name: str, task: int, checkpoint: str) -> None:
        saved = self.folder / "checkpoints" / f"{task:06d}" if checkpoint else None
        runner.bring_run(
            self._access(name), sweep.id, task, self.folder / "runs" / f"{task:06d}" / "project", saved
        )

    def begin(
        self, sweep: Sweep, name: str, order: Order, variables: Mapping[str, str], checkpoint: str
    ) -> None:
        runner.begin(self._access(name), sweep.id, order, variables, checkpoint)

    def fetch_checkpoint(self, sweep: Sweep, name: str, task: int, checkpoint: str) -> None:
        to = self.folder / "checkpoints" / f"{task:06d}"
        runner.fetch_checkpoint(self._access(name), sweep.id, task, checkpoint, to)

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
