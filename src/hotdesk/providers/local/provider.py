"""Desks on this computer: no account, no root, nothing to pay.

Each call records the order, starts a worker process that outlives it, and returns. A machine's lock says
whether it is alive; its folder says everything else. See `paths.py` for the layout.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.idling import Idle
from hotdesk.core.model import Instance, Offer, Phase, Survey, Want
from hotdesk.core.ports import Access, Copied, KeyRing, OnProgress, Part
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.providers.local import records
from hotdesk.providers.local import survey as looking
from hotdesk.providers.local.images import Images, check_source, nothing_was_made
from hotdesk.providers.local.paths import OWNER, Folders, plain
from hotdesk.providers.local.runtime import clock, locks, spawn
from hotdesk.system import reap, space

if TYPE_CHECKING:
    from hotdesk.providers.registry import Context

_FRESH_BYTES = 50_000_000  # what an empty desk needs, with some margin


def make(context: Context) -> Local:
    return Local(context.state, context.keys)


class Local:
    """This computer as a cloud. See `core.ports.Provider` for what each method promises."""

    name = "local"

    def __init__(self, state: Path, keys: KeyRing) -> None:
        self.state = state
        self.folders = Folders.of(state)
        self.images = Images(state)
        self._keys = keys

    # ---- looking ---------------------------------------------------------------------------------

    def offers(self, want: Want) -> Sequence[Offer]:
        from hotdesk.providers.local import offers as hardware

        return hardware.offers(want)

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        reap()
        return looking.survey(self.folders)

    def contents(self, thing_id: str) -> tuple[int, int] | None:
        machine = self._machine(thing_id) if plain(thing_id) else None
        if machine is None:
            return self.images.contents(thing_id)
        from hotdesk.guest.inventory import files

        found = files([str(self.folders.disks / machine.order.desk)])
        return found["files"], found["bytes"]

    def unpack(self, image_id: str, disk: str, progress: OnProgress) -> str:
        return str(self.images.unpack(image_id, Path(disk), progress))

    def unpack_newest(self, desk: str, disk: str, progress: OnProgress) -> str:
        return str(self.images.unpack_newest(desk, Path(disk), progress))

    def pack(self, order: BakeOrder, disk: str, progress: OnProgress) -> None:
        self.images.pack(order, Path(disk), progress)

    def damages(self, image_ids: Sequence[str], progress: OnProgress) -> dict[str, str]:
        return self.images.damages(image_ids, progress)

    def shared(self, image_ids: Sequence[str]) -> dict[str, int | None]:
        return self.images.shared(image_ids)

    def copies(
        self, folder: str, desk: str, progress: OnProgress, *, back: bool, skip: Collection[str] = ()
    ) -> Iterator[Copied]:
        return self.images.copies(Path(folder), desk, progress, back=back, skip=skip)

    def parts(self, desk: str, progress: OnProgress, skip: Collection[str] = ()) -> Iterator[Part]:
        return self.images.parts(desk, progress, skip)

    def lacking(self, folder: str, desk: str, progress: OnProgress) -> list[str]:
        return self.images.lacking(Path(folder), desk, progress)

    def old(self, folder: str, desk: str, keep: int, keep_seconds: float) -> list[Copied]:
        return self.images.old(Path(folder) if folder else None, desk, keep, keep_seconds)

    def prune(self, folder: str, ids: Sequence[str]) -> int:
        return self.images.prune(Path(folder), ids)

    def space(self) -> dict[str, int]:
        """Disks by desk; the images of all share their content."""
        disks = self.folders.disks
        found = {path.name: space(path) for path in disks.glob("*") if path.is_dir() and plain(path.name)}
        return found | {"": space(self.folders.store) + space(self.folders.images)}

    def access(self, instance: Instance) -> Access:
        machine = self._machine(instance.id)
        phase, _, _, run = looking.machine_now(self.folders, instance.id)
        if machine is None or run is None or phase is not Phase.READY:
            raise Refused(Kind.NOT_READY, f"{instance.desk} is not running", seconds=1.0)
        keys = machine.keys
        for path in (keys.user_key_path, keys.known_hosts_path):
            if not os.access(path, os.R_OK):
                raise Refused(
                    Kind.UNREADABLE,
                    f"its key {path} is gone or cannot be read, and what runs knows no other",
                    fix=f"hotdesk stop {instance.desk} && hotdesk start {instance.desk}   # with new keys",
                )
        return Access(
            desk=machine.order.desk,
            host="127.0.0.1",
            port=run.ssh_port,
            user=getpass.getuser(),
            key_path=keys.user_key_path,
            known_hosts_path=keys.known_hosts_path,
            alias=keys.alias,
            notebook_port=run.notebook_port,
            notebook_here=True,
            supervised=True,
            home=str(self.folders.disks / machine.order.desk / "home"),
        )

    def idle(self, machine_id: str) -> Idle | None:
        run = looking.machine_now(self.folders, machine_id)[3]
        return Idle.read(run.worked_at, run.looked_at, clock.wall()) if run else None

    # ---- machines --------------------------------------------------------------------------------

    def launch(self, order: LaunchOrder) -> str:
        from hotdesk.providers.local import offers as hardware

        id_ = order.name
        hardware.check(order)
        keys = self._keys(order.desk)
        self.folders.make()
        with self.images.in_order():
            present = self._machine(id_)
            if present is None:
                self._check_place(order)
                folder = self.folders.machines / id_
                try:
                    folder.mkdir(mode=0o700, exist_ok=True)
                except OSError as error:
                    nothing_was_made(folder, error)
                present = records.Machine(id=id_, order=order, keys=keys, mark=records.mark_of(folder))
                try:
                    records.write(folder / "machine.json", present)
                except OSError as error:
                    nothing_was_made(folder, error)
            elif present.order != order:
                raise Refused(Kind.MISMATCH, f"{id_} was already launched with another order")
            if self._ending(id_):
                raise Refused(Kind.NOT_READY, f"{id_} is being deleted", seconds=1.0)
            if self._run(id_) is None:  # also continues an order that was interrupted
                self._start(present)
        return id_

    def power(self, instance_id: str, on: bool) -> None:
        with self.images.in_order():
            machine = self._known(instance_id)
            phase = looking.machine_now(self.folders, instance_id)[0]
            if phase is Phase.ENDING:
                raise Refused(Kind.NOT_READY, f"{instance_id} is being deleted", seconds=1.0)
            if not on:
                if phase is not Phase.STOPPED:
                    self._end(instance_id)
                return
            if phase in {Phase.READY, Phase.PENDING}:
                return
            if phase is Phase.STOPPING:
                raise Refused(Kind.NOT_READY, f"{instance_id} is still stopping", seconds=0.5)
            if self.images.being_baked(instance_id):
                raise Refused(Kind.NOT_READY, f"an image of {instance_id} is being taken", seconds=1.0)
            self._keys(machine.order.desk)  # recreated if they were deleted
            self._start(machine)

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        if not self.folders.root.is_dir():
            return
        kind, _, name = thing_id.rpartition("/")
        if not plain(name):
            return
        with self.images.in_order():
            if kind in {"", "machine"} and (self.folders.machines / name).is_dir():
                if not self._ending(name):
                    ending = records.Ending(keep_disk=keep_disk)
                    records.write(self.folders.machines / name / "ending.json", ending)
                self._end(name)
                return
            whole = self.folders.image(name).exists()
            if (kind == "" and whole) or (kind == "manifest" and not whole):
                self.images.delete(name)
            elif kind == "" and name.startswith("disk-"):
                self._delete_disk(name.removeprefix("disk-"))
            elif kind != "trash":
                return
            self.images.tidy()

    def _check_place(self, order: LaunchOrder) -> None:
        """Raise `Refused` if the desk already has a machine or a disk, or the disk is too full.

        Called under the order lock.
        """
        for id_ in looking.names(self.folders.machines):
            other = self._machine(id_)
            if other and other.order.desk == order.desk:
                if self._ending(id_):
                    raise Refused(Kind.NOT_READY, f"{id_} is still being deleted", seconds=0.5)
                if looking.lost_its_disk(self.folders, id_, other):
                    # It is not the new disk's machine, and what was made where its disk was is no disk.
                    folder = self.folders.machines / id_
                    with contextlib.suppress(FileNotFoundError):
                        (self.folders.disks / order.desk).rename(folder / f"{order.desk}.disk")
                    (folder / "machine.json").unlink()
                    continue
                raise Refused(Kind.MISMATCH, f"{order.desk} already has a machine: {id_}")
        if (self.folders.disks / order.desk).exists():
            raise Refused(Kind.MISMATCH, f"{order.desk} already has a disk, left by another machine")
        size = _FRESH_BYTES
        if image := order.image_id or order.base_image:
            size = self.images.whole(image).size_bytes + _FRESH_BYTES
        free = shutil.disk_usage(self.folders.root).free
        if free < size:
            raise Refused(
                Kind.NO_SPACE,
                f"{order.desk} needs {size / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free "
                f"in {self.folders.root}",
            )

    def _start(self, machine: records.Machine) -> None:
        """Start a supervisor, unless one is running. Called under the order lock."""
        folder, desk = self.folders.machines / machine.id, machine.order.desk
        lock_fd = locks.take(folder / "run.lock")
        if lock_fd is None:
            return
        try:
            before = self._run(machine.id)
            owner = records.read(self.folders.disk_record(desk), records.Owner)
            taken = [i.taken_at for i in self.survey().images if i.desk == desk]
            started_at = clock.after(
                before.started_at if before else 0.0, owner.started_at if owner else 0.0, *taken
            )
            records.write(
                self.folders.disk_record(desk),
                records.Owner(
                    desk=desk, machine=machine.id, generation=machine.order.generation, started_at=started_at
                ),
            )
            run = records.Run(
                started_at=started_at,
                ssh_port=before.ssh_port if before else 0,
                notebook_port=before.notebook_port if before else 0,
            )
            records.write(folder / "run.json", run)
            spawn.spawn(
                "hotdesk.providers.local.runtime.supervisor",
                str(self.state.absolute()),
                machine.id,
                lock_fd=lock_fd,
                log=folder / "supervisor.log",
            )
        finally:
            os.close(lock_fd)

    def _end(self, id_: str) -> None:
        """Start the worker that stops (and, given ending.json, deletes) a machine, unless one is running."""
        folder = self.folders.machines / id_
        lock_fd = locks.take(folder / "end.lock")
        if lock_fd is None:
            return
        try:
            spawn.spawn(
                "hotdesk.providers.local.runtime.terminator",
                str(self.state.absolute()),
                id_,
                lock_fd=lock_fd,
                log=folder / "ender.log",
            )
        finally:
            os.close(lock_fd)

    # ---- images ----------------------------------------------------------------------------------

    def bake(self, order: BakeOrder) -> str:
        return self.images.bake(order, lambda: self._check_source(order))

    def verify(self, image_id: str) -> None:
        self.images.verify(image_id)

    def copy(self, image_id: str, region: str, name: str) -> str:
        raise Refused(
            Kind.UNSUPPORTED, f"this computer is one region, {looking.REGION}; {region} is not here"
        )

    def _check_source(self, order: BakeOrder) -> None:
        """Raise `Refused` unless the order's source exists, is off, and was not started since the order."""
        desk = order.desk
        if order.source_id == looking.disk_id(desk):
            if not any(d.id == order.source_id for d in self.survey().disks):
                raise Refused(Kind.BAD_REQUEST, f"there is no disk {order.source_id} on this computer")
            return
        machine = self._known(order.source_id)
        phase, _, _, run = looking.machine_now(self.folders, order.source_id)
        check_source(order, machine.order.desk, phase, run.started_at if run else None)

    def _delete_disk(self, desk: str) -> None:
        """Put a disk into the trash; the tidier ends what still runs on it. Called under the order lock."""
        if not any(d.desk == desk for d in self.survey().disks):
            return
        gone = self.folders.trash / f"{looking.disk_id(desk)}.disk"
        while gone.exists():  # one of that desk is being removed
            gone = gone.with_stem(f"{gone.stem}-")
        (self.folders.disks / desk).rename(gone)
        with contextlib.suppress(FileNotFoundError):
            self.folders.disk_record(desk).rename(gone.with_suffix(OWNER))

    # ---- records and locks -------------------------------------------------------------------------

    def _machine(self, id_: str) -> records.Machine | None:
        file = self.folders.machines / id_ / "machine.json"
        return records.read(file, records.Machine) if plain(id_) else None

    def _known(self, id_: str) -> records.Machine:
        if (machine := self._machine(id_)) is None:
            raise Refused(Kind.BAD_REQUEST, f"there is no machine {id_} on this computer")
        return machine

    def _run(self, id_: str) -> records.Run | None:
        return records.read(self.folders.machines / id_ / "run.json", records.Run)

    def _ending(self, id_: str) -> bool:
        return (self.folders.machines / id_ / "ending.json").exists()
