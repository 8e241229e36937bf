"""Desks on this computer: no account, no root, nothing to pay.

Each call records the order, starts a worker process that outlives it, and returns. A machine's lock says
whether it is alive; its folder says everything else. See `paths.py` for the layout.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Instance, Offer, Phase, Survey, Want
from hotdesk.core.ports import Access, KeyRing
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.providers.local import records
from hotdesk.providers.local import survey as looking
from hotdesk.providers.local.paths import OWNER, Folders, plain
from hotdesk.providers.local.runtime import clock, locks, spawn
from hotdesk.system import is_locked, locked, reap, space

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
        self._keys = keys

    # ---- looking ---------------------------------------------------------------------------------

    def offers(self, want: Want) -> Sequence[Offer]:
        from hotdesk.providers.local import offers as hardware

        return hardware.offers(want)

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        reap()
        return looking.survey(self.folders)

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
            home=str(self.folders.disks / machine.order.desk / "home"),
        )

    # ---- machines --------------------------------------------------------------------------------

    def launch(self, order: LaunchOrder) -> str:
        from hotdesk.providers.local import offers as hardware

        id_ = order.name
        hardware.check(order)
        keys = self._keys(order.desk)
        self.folders.make()
        with self._in_order():
            present = self._machine(id_)
            if present is None:
                self._check_place(order)
                folder = self.folders.machines / id_
                try:
                    folder.mkdir(mode=0o700, exist_ok=True)
                except OSError as error:
                    self._nothing_was_made(folder, error)
                present = records.Machine(id=id_, order=order, keys=keys, mark=records.mark_of(folder))
                try:
                    records.write(folder / "machine.json", present)
                except OSError as error:
                    self._nothing_was_made(folder, error)
            elif present.order != order:
                raise Refused(Kind.MISMATCH, f"{id_} was already launched with another order")
            if self._ending(id_):
                raise Refused(Kind.NOT_READY, f"{id_} is being deleted", seconds=1.0)
            if self._run(id_) is None:  # also continues an order that was interrupted
                self._start(present)
        return id_

    def power(self, instance_id: str, on: bool) -> None:
        with self._in_order():
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
            if self._being_baked(instance_id):
                raise Refused(Kind.NOT_READY, f"an image of {instance_id} is being taken", seconds=1.0)
            self._keys(machine.order.desk)  # recreated if they were deleted
            self._start(machine)

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        if not self.folders.root.is_dir():
            return
        kind, _, name = thing_id.rpartition("/")
        if not plain(name):
            return
        with self._in_order():
            if kind in {"", "machine"} and (self.folders.machines / name).is_dir():
                if not self._ending(name):
                    ending = records.Ending(keep_disk=keep_disk)
                    records.write(self.folders.machines / name / "ending.json", ending)
                self._end(name)
                return
            whole = self.folders.image(name).exists()
            if (kind == "" and whole) or (kind == "manifest" and not whole):
                self._delete_image(name)
            elif kind == "" and name.startswith("disk-"):
                self._delete_disk(name.removeprefix("disk-"))
            elif kind != "trash":
                return
            self._tidy()

    def _check_place(self, order: LaunchOrder) -> None:
        """Raise `Refused` if the desk already has a machine or a disk, or the disk is too full.

        Called under the order lock.
        """
        for id_ in looking.names(self.folders.machines):
            other = self._machine(id_)
            if other and other.order.desk == order.desk:
                if self._ending(id_):
                    raise Refused(Kind.NOT_READY, f"{id_} is still being deleted", seconds=0.5)
                if looking.lost_its_disk(
                    self.folders, id_, other
                ):  # it must not be taken for the new disk's machine
                    (self.folders.machines / id_ / "machine.json").unlink()
                    continue
                raise Refused(Kind.MISMATCH, f"{order.desk} already has a machine: {id_}")
        if (self.folders.disks / order.desk).exists():
            raise Refused(Kind.MISMATCH, f"{order.desk} already has a disk, left by another machine")
        size = _FRESH_BYTES
        if image := order.image_id or order.base_image:
            picture = self._picture(image)
            if picture is None or not self.folders.manifest(image).exists():
                raise Refused(Kind.BAD_REQUEST, f"there is no image {image} on this computer")
            size = picture.size_bytes + _FRESH_BYTES
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
        id_ = order.name
        if not plain(id_):
            raise Refused(Kind.BAD_REQUEST, f"{id_!r} cannot be a file's name")
        self.folders.make()
        with self._in_order():
            if (present := self._picture(id_)) is not None:
                if present.order != order:
                    raise Refused(Kind.MISMATCH, f"{id_} was already taken with another order")
                return id_
            self._check_source(order)
            if self._being_baked(order.source_id):
                raise Refused(Kind.NOT_READY, f"another image of {order.desk} is being taken", seconds=1.0)
            picture = records.Picture(
                order=order, taken_at=clock.after(order.started_at), arch=platform.machine()
            )
            try:
                lock_fd = locks.take(self.folders.image_lock(id_))
            except OSError as error:
                self._nothing_was_made(self.folders.image_lock(id_), error)
            if lock_fd is None:
                raise Refused(Kind.NOT_READY, f"{id_} is being deleted", seconds=0.5)
            try:
                try:
                    records.write(self.folders.image(id_), picture)
                except OSError as error:
                    self._nothing_was_made(self.folders.image(id_), error)
                self._work_on(id_, "bake", lock_fd)
            finally:
                os.close(lock_fd)
        return id_

    def verify(self, image_id: str) -> None:
        with self._in_order():
            picture = self._picture(image_id)
            if picture is None:
                raise Refused(Kind.BAD_REQUEST, f"there is no image {image_id} on this computer")
            if picture.phase == records.Taking.FAILED:
                raise Refused(picture.kind or Kind.CORRUPT, picture.reason or f"{image_id} is not whole")
            if picture.verified:
                return
            lock_fd = locks.take(self.folders.image_lock(image_id))
            if lock_fd is None:
                if picture.phase != records.Taking.VERIFYING:
                    raise Refused(Kind.NOT_READY, f"{image_id} is still being taken", seconds=0.1)
                return
            try:
                if picture.phase == records.Taking.BAKING:
                    raise Refused(Kind.CORRUPT, f"{image_id} was never finished")
                if picture.reads >= looking.READS:
                    raise Refused(
                        Kind.CORRUPT, f"{image_id} could not be read back in {picture.reads} attempts"
                    )
                changed = msgspec.structs.replace(
                    picture, phase=records.Taking.VERIFYING, reads=picture.reads + 1, progress=0.0, reason=""
                )
                records.write(self.folders.image(image_id), changed)
                self._work_on(image_id, "verify", lock_fd)
            finally:
                os.close(lock_fd)

    def copy(self, image_id: str, region: str, name: str) -> str:
        raise Refused(
            Kind.UNSUPPORTED, f"this computer is one region, {looking.REGION}; {region} is not here"
        )

    def _work_on(self, image_id: str, verb: str, lock_fd: int) -> None:
        spawn.spawn(
            "hotdesk.providers.local.runtime.imager",
            str(self.state.absolute()),
            verb,
            image_id,
            lock_fd=lock_fd,
            log=self.folders.images / f"{image_id}.log",
        )

    def _check_source(self, order: BakeOrder) -> None:
        """Raise `Refused` unless the order's source exists, is off, and was not started since the order."""
        desk = order.desk
        if order.source_id == looking.disk_id(desk):
            if not any(d.id == order.source_id for d in self.survey().disks):
                raise Refused(Kind.BAD_REQUEST, f"there is no disk {order.source_id} on this computer")
            return
        machine = self._known(order.source_id)
        if machine.order.desk != desk:
            raise Refused(Kind.MISMATCH, f"{order.source_id} belongs to {machine.order.desk}, not to {desk}")
        phase, _, _, run = looking.machine_now(self.folders, order.source_id)
        if phase is not Phase.STOPPED:
            raise Refused(
                Kind.NOT_READY, f"{order.source_id} is {phase}, and must be stopped first", seconds=1.0
            )
        if run and run.started_at != order.started_at:
            raise Refused(Kind.MISMATCH, f"{order.source_id} was started again since this image was ordered")

    def _being_baked(self, source_id: str) -> bool:
        for file in looking.names(self.folders.images):
            picture = self._picture(id_) if (id_ := file.removesuffix(".json")) != file else None
            of_it = picture is not None and picture.order.source_id == source_id
            if (
                picture
                and of_it
                and picture.phase == records.Taking.BAKING
                and is_locked(self.folders.image_lock(id_))
            ):
                return True
        return False

    def _delete_image(self, id_: str) -> None:
        """Remove an image; the tidier drops its content. Called under the order lock."""
        from hotdesk.providers.local.runtime import terminator

        terminator.end_worker(self.folders.image_lock(id_), seconds=0.0)
        # The record first: without a record there is no image; without content one would look complete.
        for path in (
            self.folders.image(id_),
            self.folders.manifest(id_),
            self.folders.images / f"{id_}.log",
            self.folders.image_lock(id_),
        ):
            path.unlink(missing_ok=True)
        for path in self.folders.images.glob(
            f"{id_}.*.new"
        ):  # left by a worker that was killed while writing
            path.unlink(missing_ok=True)

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

    def _tidy(self) -> None:
        """Start the worker that removes what was deleted, unless it runs. Called under the order lock."""
        if (lock_fd := locks.take(self.folders.tidy_lock)) is None:
            return
        try:
            spawn.spawn(
                "hotdesk.providers.local.runtime.tidier",
                str(self.state.absolute()),
                lock_fd=lock_fd,
                log=self.folders.root / "tidier.log",
            )
        finally:
            os.close(lock_fd)

    def _nothing_was_made(self, path: Path, error: OSError) -> NoReturn:
        """Raise `Refused` because even the first record could not be written."""
        from hotdesk.snapshots.rmtree import remove_tree

        remove_tree(path)
        full = error.errno in records.FULL
        raise Refused(
            Kind.NO_SPACE if full else Kind.DENIED,
            f"{path} cannot be written: {error.strerror}",
            fix="df -h   # make room; then the same again"
            if full
            else f"ls -ld {shlex.quote(str(path.parent))}   # make it yours to write; then the same again",
        ) from error

    # ---- records and locks -------------------------------------------------------------------------

    def _in_order(self) -> contextlib.AbstractContextManager[bool]:
        """The order lock: one order at a time on this computer, for milliseconds."""
        self.folders.make()
        return locked(self.folders.root / "order.lock")

    def _machine(self, id_: str) -> records.Machine | None:
        file = self.folders.machines / id_ / "machine.json"
        return records.read(file, records.Machine) if plain(id_) else None

    def _known(self, id_: str) -> records.Machine:
        if (machine := self._machine(id_)) is None:
            raise Refused(Kind.BAD_REQUEST, f"there is no machine {id_} on this computer")
        return machine

    def _run(self, id_: str) -> records.Run | None:
        return records.read(self.folders.machines / id_ / "run.json", records.Run)

    def _picture(self, id_: str) -> records.Picture | None:
        return records.read(self.folders.image(id_), records.Picture) if plain(id_) else None

    def _ending(self, id_: str) -> bool:
        return (self.folders.machines / id_ / "ending.json").exists()
