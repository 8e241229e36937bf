"""Desks at machines that one can log in to: what `local` does on this computer, done there over ssh.

An order is written down here first; a worker process brings it to the machine, whose own records count from
then on. Images are in this computer's pool, beside those of its own desks, so that a desk can be restored at
any machine, or here.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.idling import Idle
from hotdesk.core.lines import Target
from hotdesk.core.matching import InstanceType, Place, conditions, fits, sold_there, wish
from hotdesk.core.model import Instance, Market, Offer, Phase, Survey, Want
from hotdesk.core.ports import Access, KeyRing, OnProgress
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.providers.cloud import direct
from hotdesk.providers.local import records as pool
from hotdesk.providers.local.images import Images, check_source, nothing_was_made
from hotdesk.providers.local.paths import plain
from hotdesk.providers.local.runtime import clock, locks, spawn, terminator
from hotdesk.providers.local.served import Order, Told
from hotdesk.providers.ssh import kit, records
from hotdesk.providers.ssh import survey as looking
from hotdesk.providers.ssh.hosts import Hosts
from hotdesk.providers.ssh.line import Far, Nothing, Silent
from hotdesk.providers.ssh.settings import Settings
from hotdesk.providers.ssh.survey import PROVIDER, REGION
from hotdesk.system import locked, reap

if TYPE_CHECKING:
    from hotdesk.providers.registry import Context

_LOOKED_SECONDS = 30.0  # for which what a machine is counts as known
_BUSY_GIB = 0.5  # of a GPU's memory, above which somebody works with it


def make(context: Context) -> Ssh:
    return Ssh(context.state, context.keys, context.settings)


class Ssh:
    """Machines with an ssh login as a cloud. See `core.ports.Provider` for what each method promises."""

    name = PROVIDER
    at_once = 8

    def __init__(self, state: Path, keys: KeyRing, settings: Settings) -> None:
        self.state = Path(os.path.abspath(state))  # noqa: PTH100 - resolve() would follow links
        self.hosts = Hosts(self.state, settings)
        self.images = Images(self.state)
        self._keys = keys
        self._settings = settings
        self._told: dict[str, looking.Answer] = {}  # by machine, at the last survey
        self._facts: dict[str, tuple[float, kit.Facts | None]] = {}  # by machine, and when it was looked at

    def expect(self, steps: object) -> None:
        """Nothing has to be saved before steps of several desks are taken at once."""

    def _far(self, name: str) -> Far:
        machine = self.hosts.find(name)
        if name in self.hosts.used():
            self.hosts.remember(name, machine)
        return Far(self.hosts, name, machine)

    # ---- looking ---------------------------------------------------------------------------------

    def offers(self, want: Want) -> Sequence[Offer]:
        """The machines that fit, those without a GPU that somebody uses first, then by price."""
        if want.disk_gib or want.image:  # neither can be chosen there
            return ()
        if not self.hosts.all():
            raise Refused(
                Kind.BAD_REQUEST,
                "No machine of yours is known here.",
                fix="hotdesk up --host me@gpu.example.edu",
            )
        wished = conditions(wish(want, owned=True))
        found: list[tuple[bool, float, Offer]] = []
        silent: dict[str, Exception] = {}
        asked = 0
        for name, machine in sorted(self.hosts.all().items()):
            if not sold_there(wished, Place(PROVIDER, REGION, name), Market.ON_DEMAND):
                continue
            asked += 1
            try:
                facts = self._look(name)
            except (Refused, Silent) as error:
                silent[name] = error
                continue
            used = facts.gpu_used_gib > _BUSY_GIB
            limit = want.usd_per_hour_max
            for kind in facts.types():
                if fits(wished, kind) and (limit is None or machine.usd_per_hour <= limit):
                    busy = used and bool(kind.gpu)
                    found.append((busy, machine.usd_per_hour, self._offer(name, kind, facts, busy=busy)))
        if silent and len(silent) == asked:
            name, first = next(iter(silent.items()))
            if isinstance(first, Refused):
                raise first
            by_hand = f"{self.hosts.find(name).by_hand}   # does it let you in?"
            raise Refused(Kind.NOT_READY, f"No machine answers: {first}", fix=by_hand, seconds=1.0)
        return tuple(offer for _, _, offer in sorted(found, key=lambda row: row[:2]))

    def _look(self, name: str) -> kit.Facts:
        """What a machine is, as it was within the last half minute."""
        at, facts = self._facts.get(name, (0.0, None))
        if facts is None or clock.ticks() - at > _LOOKED_SECONDS:
            facts = kit.look(self._far(name))
            self._facts[name] = clock.ticks(), facts
        return facts

    def _offer(self, name: str, kind: InstanceType, facts: kit.Facts, *, busy: bool) -> Offer:
        machine = self.hosts.find(name)
        whose = f", {machine.owner}'s" if machine.owner else ""
        has = f"{name}{whose} has {facts.free_bytes / 2**30:.0f} GiB free"
        if kind.gpu:
            has = f"{name}{whose} has {kind.gpu_count:g} x {kind.gpu}"
        if busy:
            has += f", of which somebody uses {facts.gpu_used_gib:.1f} GiB now"
        offer = kind.offer(
            region=REGION,
            zone=name,
            usd_per_hour=machine.usd_per_hour,
            price_time=None,
            source="hotdesk.toml",
            why=has,
        )
        return replace(offer, taken=busy)

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        reap()
        direct.sweep(self.state)
        return looking.survey(self.state, self.hosts, self._settings.poll_seconds, self._hear)

    def _hear(self, said: dict[str, looking.Answer]) -> None:
        self._told = said

    def idle(self, machine_id: str) -> Idle | None:
        for told in self._told.values():
            if isinstance(told, Told) and (run := told.machines.get(machine_id)):
                return Idle.read(run.worked_at, run.looked_at, told.now)
        return None

    def access(self, instance: Instance) -> Access:
        folder = records.machine(self.state, instance.id)
        placed, told = folder.placed, self._told.get(instance.zone)
        if not isinstance(told, Told):
            told = looking.ask(self.hosts, (instance.zone,))[instance.zone]
        if not isinstance(told, Told) or instance.id not in told.machines:
            raise Refused(Kind.NOT_READY, f"{instance.desk} is not running", seconds=1.0)
        found = [i for i in told.survey.instances if i.id == instance.id and i.phase is Phase.READY]
        if not found:
            raise Refused(Kind.NOT_READY, f"{instance.desk} is not running", seconds=1.0)
        keys, running = placed.keys if placed else self._keys(instance.desk), told.machines[instance.id]
        machine = self.hosts.find(instance.zone)
        proxy = self.hosts.ssh(machine, "-W", f"127.0.0.1:{running.ssh_port}")
        user, at, _ = machine.host.rpartition("@")
        return Access(
            desk=instance.desk,
            host="127.0.0.1",
            port=running.ssh_port,
            user=user if at else getpass.getuser(),
            key_path=keys.user_key_path,
            known_hosts_path=keys.known_hosts_path,
            alias=keys.alias,
            notebook_port=running.notebook_port,
            proxy=shlex.join(proxy).replace("%", "%%"),
            supervised=True,
        )

    def contents(self, thing_id: str) -> tuple[int, int] | None:
        return self.images.contents(thing_id)

    def line(self, zone: str) -> list[str]:
        return self.hosts.ssh(self.hosts.find(zone))

    def straight(self, source: str, target: str) -> tuple[float, str]:
        from hotdesk.providers.ssh import elsewhere

        try:
            return elsewhere.speed(self.state, self._far(source), self._far(target)), ""
        except (direct.NoWay, Refused, OSError) as no:
            return 0.0, str(no) or type(no).__name__

    def bring(self, image: str, to: Target, progress: OnProgress) -> list[str] | None:
        from hotdesk.providers.ssh import outward

        return outward.straight(self.state, image, to, progress)

    # ---- machines --------------------------------------------------------------------------------

    def launch(self, order: LaunchOrder) -> str:
        id_, name = order.name, order.offer.zone
        if not plain(id_) or not plain(order.desk):
            raise Refused(Kind.BAD_REQUEST, f"{order.desk!r} cannot be a folder's name")
        machine = self.hosts.find(name)
        if order.base_image:
            raise Refused(Kind.BAD_REQUEST, f"{name} has a system of its own, and takes no base image")
        if order.image_id:
            self.images.whole(order.image_id)
        keys = self._keys(order.desk)
        folder = records.machine(self.state, id_)
        with self._in_order():
            placed = folder.placed
            if placed is None:
                for other, known in records.machines(self.state).items():
                    if (theirs := known.placed) and theirs.order.desk == order.desk:
                        if known.has("ending"):
                            raise Refused(Kind.NOT_READY, f"{other} is still being deleted", seconds=1.0)
                        raise Refused(Kind.MISMATCH, f"{order.desk} already has a machine: {other}")
                try:
                    self.hosts.use(name)
                    self.hosts.remember(name, machine)
                    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    pool.write(folder.path / "placed.json", records.Placed(order=order, keys=keys))
                except OSError as error:
                    nothing_was_made(folder.path, error)
            elif placed.order != order:
                raise Refused(Kind.MISMATCH, f"{id_} was already launched with another order")
            if folder.has("ending"):
                raise Refused(Kind.NOT_READY, f"{id_} is being deleted", seconds=1.0)
            if not folder.has("there"):
                self._work(folder, id_)
        return id_

    def power(self, instance_id: str, on: bool) -> None:
        folder = records.machine(self.state, instance_id)
        placed = folder.placed if plain(instance_id) else None
        if placed is None:
            raise Refused(Kind.BAD_REQUEST, f"no machine {instance_id} was launched by this computer")
        if folder.has("ending"):
            raise Refused(Kind.NOT_READY, f"{instance_id} is being deleted", seconds=1.0)
        if folder.has("there"):
            keys = records.sent(self._keys(placed.order.desk)) if on else None
            if on and self.images.being_baked(instance_id):
                raise Refused(Kind.NOT_READY, f"an image of {instance_id} is being taken", seconds=1.0)
            with contextlib.suppress(Nothing):
                self._far(placed.order.offer.zone).call("power", Order(id=instance_id, on=on, keys=keys))
                return
            if not on:
                return  # nothing of ours is there
        with self._in_order():
            if on:
                self._work(folder, instance_id)
            else:
                terminator.end_worker(folder.lock, seconds=0.0)

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        name, _, rest = thing_id.partition("/")
        if rest:
            if name in self.hosts.all():
                with contextlib.suppress(Nothing):
                    self._far(name).call("delete", Order(id=rest))
            return
        if not plain(thing_id):
            return
        folder = records.machine(self.state, thing_id)
        if (placed := folder.placed) is not None:
            with self._in_order():
                terminator.end_worker(folder.lock, seconds=0.0)
                if not folder.has("there"):
                    folder.mark("ending")  # it may have arrived all the same
            with contextlib.suppress(Nothing):
                self._far(placed.order.offer.zone).call("delete", Order(id=thing_id, keep_disk=keep_disk))
            return
        for name, told in self._told.items():  # one that another state of this computer has launched
            if isinstance(told, Told) and thing_id in told.machines:
                with contextlib.suppress(Nothing):
                    self._far(name).call("delete", Order(id=thing_id, keep_disk=keep_disk))
                return
        if (picture := self.images.picture(thing_id)) is not None:
            if picture.at:
                from hotdesk.providers.ssh import elsewhere

                elsewhere.forget(self.state, thing_id, picture.at)
            with self.images.in_order():
                self.images.delete(thing_id)
                self.images.tidy()
            if picture.at:
                self._leave(picture.at)

    def forget(self, desk: str) -> None:
        """Remove what is ours at machines where no other desk of this computer is."""
        for name in self.hosts.used():
            self._leave(name, desk)

    def tidy(self) -> None:
        self.survey()  # forgets the machines that are gone
        self.forget("")

    def _leave(self, name: str, but: str = "") -> None:
        """Remove what is ours at a machine, unless a desk of ours is there, or an image."""
        with locked(self.hosts.folder / f"kit-{name}.lock"):  # nobody brings anything there meanwhile
            if self._is_used(name, but):
                return
            with contextlib.suppress(Silent, Refused):
                self._far(name).leave()
                with self._in_order():
                    if not self._is_used(name, but):
                        self.hosts.use(name, False)

    def _is_used(self, name: str, but: str) -> bool:
        placed = (p for f in records.machines(self.state).values() if (p := f.placed))
        if any(one.order.offer.zone == name and one.order.desk != but for one in placed):
            return True
        return any(at in {name, ""} for at, _ in looking.kept(self.state))  # it may be the one copy

    def _work(self, folder: records.Folder, id_: str) -> None:
        """Start the worker that brings a machine, unless it runs. Called under the order lock."""
        if (lock_fd := locks.take(folder.lock)) is None:
            return
        try:
            pool.write(folder.path / "progress.json", records.Progress(), durable=False)
            spawn.spawn(
                "hotdesk.providers.ssh.launcher",
                str(self.state),
                id_,
                lock_fd=lock_fd,
                log=folder.path / "worker.log",
            )
        finally:
            os.close(lock_fd)

    def _in_order(self) -> contextlib.AbstractContextManager[bool]:
        self.hosts.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return locked(self.hosts.folder / "order.lock")

    # ---- images ----------------------------------------------------------------------------------

    def bake(self, order: BakeOrder) -> str:
        known = self.images.picture(order.name) is not None
        arch = "" if known else self._check_source(order)
        return self.images.bake(order, lambda: None, worker="hotdesk.providers.ssh.taker", arch=arch)

    def _check_source(self, order: BakeOrder) -> str:
        """Raise `Refused` unless the order's source is there, is off, and was not started since; its arch."""
        survey = self.survey()
        for disk in survey.disks:
            if disk.id == order.source_id:
                check_source(order, disk.desk, Phase.STOPPED, None)
                return disk.arch
        for machine in survey.instances:
            if machine.id == order.source_id:
                started = machine.started_at or None
                check_source(order, machine.desk, machine.phase, started)
                return machine.arch
        raise Refused(Kind.BAD_REQUEST, f"there is no {order.source_id} at any machine that answers")

    def verify(self, image_id: str) -> None:
        self.images.verify(image_id)

    def copy(self, image_id: str, region: str, name: str) -> str:
        raise Refused(Kind.UNSUPPORTED, f"images are on this computer; there is no region {region}")
