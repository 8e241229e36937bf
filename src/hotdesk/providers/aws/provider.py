"""The AWS provider: each method takes a few EC2 requests.

Ids are `region/ec2-id`, so that a new process can take a step without searching all regions. The last survey
is remembered to save requests, never to make a decision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.findings import Finding
from hotdesk.core.fleet import FleetOrder, FleetReply
from hotdesk.core.model import Desk, Disk, Image, Instance, Leftover, Market, Offer, Retained, Survey, Want
from hotdesk.core.money import Money
from hotdesk.core.ports import Access, Cache, Clock, KeyFiles, KeyRing
from hotdesk.core.spot.prices import Storing
from hotdesk.core.steps import AnyStep, BakeOrder, LaunchOrder
from hotdesk.guest.cloud_init import render
from hotdesk.providers.aws import billing, exposure, fleets, images, instances, inventory, network, tags
from hotdesk.providers.aws import survey as surveying
from hotdesk.providers.aws.account import Account, ListPrice
from hotdesk.providers.aws.admission import admit_through, groups_of, let_in, shut_out
from hotdesk.providers.aws.errors import GONE, answers, code, reaching
from hotdesk.providers.aws.owner import owner
from hotdesk.providers.aws.pricing import Storage
from hotdesk.providers.aws.quotas import room as quota_room
from hotdesk.providers.aws.reservations import paid
from hotdesk.providers.aws.saved import time_of
from hotdesk.providers.aws.settings import NAME, Settings
from hotdesk.providers.aws.survey import StoragePrice
from hotdesk.providers.cloud import admitting, hostkeys, replies
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.ids import qualified, split
from hotdesk.providers.cloud.kept import Recalled
from hotdesk.providers.cloud.mirrors import mirrors
from hotdesk.providers.cloud.regions import RegionMemory

NOTEBOOK_PORT = network.NOTEBOOK
ADMITTED_SECONDS = 60.0  # how long this computer's address is taken to be unchanged
UNPRICED = Storing(disk_usd_per_gib_month=0.0, image_usd_per_gib_month=0.0)

#: Renders a machine's user data: password hash for Jupyter, and whether the desk was on it before.
UserData = Callable[..., bytes]

if TYPE_CHECKING:
    from hotdesk.providers.registry import Context


def make(context: Context) -> Aws:
    return Aws(
        context.state,
        context.cache,
        keys=context.keys,
        clock=context.clock,
        settings=context.settings,
        list_price=context.list_price,
        storing=context.storing,
        money=context.money,
    )


class Aws:
    """EC2 as a `Provider` (hotdesk.core.ports, with its three laws)."""

    name = NAME
    fleet_most, fleet_burst, cluster_ports = fleets.PAGE, fleets.BURST, fleets.PORTS
    at_once = 8  # RunInstances allows about two requests per second, and takes a few seconds

    def __init__(
        self,
        state: Path,
        store: Cache | None = None,
        *,
        keys: KeyRing,
        clock: Clock,
        user_data: UserData = render,
        settings: Settings | None = None,
        account: Account | None = None,
        list_price: ListPrice = lambda region, instance_type: None,
        storing: StoragePrice = lambda region: UNPRICED,
        money: Money = Money(),
    ) -> None:
        """`state`: the folder of pinned host keys and per-desk files. Sends no request and imports nothing.

        `list_price` and `storing`: prices to use where AWS returns none.
        """
        self._list_price, self._money = list_price, money
        self._storage = Storage(store, storing, money)
        self.state = state
        self.settings = settings or Settings()
        self.address_url = self.settings.address_url
        self.lag_seconds, self.poll_seconds = self.settings.lag_seconds, self.settings.poll_seconds
        self.account = account or Account(self.settings)
        self._store, self._keys = store, keys
        self._user_data = partial(user_data, mirrors=mirrors(self.settings))
        self._clock = clock
        self.account.recalled = Recalled(store, "aws-recalled", clock)
        self._regions = RegionMemory(store, "aws-regions", clock, lag_seconds=self.settings.lag_seconds)
        self._memory = inventory.Memory()
        self._me = ""  # who we are in this account, once it is known
        self._machines: dict[str, dict[str, Any]] = {}  # by id, as last surveyed
        self._disks: frozenset[str] = frozenset()  # EC2's ids of our volumes, as last surveyed
        self._computer = Computer(state, clock)
        self._admitted: dict[str, float] = {}  # regions and groups that admit this computer, and since when
        self._opened: tuple[str, ...] = ()  # regions where it opened Jupyter for all desks, as last surveyed
        self._images: dict[str, Mapping[str, Any]] = {}  # by id, as last surveyed
        self._parts: dict[str, list[str]] = {}  # snapshots by id of image, as last surveyed
        self._desks: dict[str, str] = {}  # desk by id of instance, disk or image, as last surveyed
        self._templates: dict[str, str] = {}  # launch templates by fleet
        self.holds = fleets.Holds(
            lambda id_: tags.read(self._machines.get(id_, {}).get("Tags")), self.account
        )
        self._with: dict[str, tuple[str, ...]] = {}  # other parts of a disk or a pending image

    # ---- looking -------------------------------------------------------------------------------------

    def offers(self, want: Want) -> Sequence[Offer]:
        from hotdesk.providers.aws.offers import find_offers

        with reaching():
            found = find_offers(
                self.account,
                want,
                self._store,
                self._clock.now(),
                list_price=self._list_price,
                money=self._money,
            )
        self._storage.forget()  # their prices were requested with the offers
        return found

    @replies.legible("AWS")
    def survey(self, regions: Sequence[str] = ()) -> Survey:
        self.account.recalled.sync()
        admitting.sweep(self.state, self, NAME)
        with reaching():
            self.account.renew()
            wanted = tuple(regions) or self.account.regions()
        now = self._clock.now()
        found, unread = inventory.look(self.account, wanted, self._regions, self._memory, now)
        self._regions.read({f.region: f.is_busy for f in found}, now)
        self._machines = {qualified(f.region, i["InstanceId"]): dict(i) for f in found for i in f.instances}
        self._images = {qualified(f.region, i["ImageId"]): i for f in found for i in f.images}
        self._parts = {qualified(f.region, i["ImageId"]): inventory.parts(i) for f in found for i in f.images}
        self._disks = frozenset(v["VolumeId"] for f in found for v in f.volumes)
        self._opened = tuple(f.region for f in found if exposure.opened_for_all(f.groups, self._computer))
        me = ""
        # The owner is not needed if nothing was found, and cannot be asked if no region answered.
        with contextlib.nullcontext() if found else contextlib.suppress(Refused):
            me = self._owner() if found or not unread else ""
        for region in found:
            region.paid = paid(self.account, region)
        silent = dict(unread)
        shown = surveying.survey(
            found,
            sorted(silent),
            closed=self.account.why_closed(silent),
            lag_seconds=self.settings.lag_seconds,
            poll_seconds=self.settings.poll_seconds,
            owner=me,
            storage=self._storage,
            list_price=self._list_price,
            money=self._money,
        )
        every: list[Instance | Disk | Image] = [*shown.instances, *shown.disks, *shown.images]
        self._desks = {thing.id: thing.desk for thing in every}
        self._with = {d.id: d.parts for d in shown.disks} | {i.id: i.parts for i in shown.images}
        return shown

    def _changed(self, region: str) -> None:
        """Keys and groups of a region are no longer what they were at the last look."""
        self._memory.free.pop(region, None)
        self._regions.quiet.pop(region, None)

    def in_transit(self, ids: Collection[str]) -> bool:
        return inventory.in_transit(self.account, ids)

    # ---- money ---------------------------------------------------------------------------------------

    def spot_prices(
        self, offers: Sequence[Offer], since: float, until: float
    ) -> dict[str, list[tuple[float, float]]]:
        return billing.spot_prices(self.account, offers, since, until, self._money)

    def storing(self, regions: Iterable[str], *, ask: bool) -> dict[str, Storing]:
        if ask:
            self._storage.ask(self.account, self._clock.now())
        return {region: self._storage(region) for region in regions}

    def ended(self, machines: Sequence[str]) -> dict[str, float]:
        return billing.ended(self.account, machines)

    def billed(self, since: float, until: float) -> dict[str, float]:
        return billing.billed(self.account, since, until)

    # ---- the account ---------------------------------------------------------------------------------

    def examine(
        self, desks: Sequence[Desk], keys: Sequence[KeyFiles], survey: Survey | None
    ) -> Iterable[Finding]:
        from hotdesk.providers.aws.doctor import findings
        from hotdesk.providers.aws.dry_run import Launcher

        data = self._user_data(password_hash="argon2:$argon2id$v=19$" + "x" * 80, resumed=False)
        with contextlib.suppress(Exception):  # the check-up reports errors of identity
            self._owner()
        launcher = Launcher(user_data=data, computer=self._computer, owner=self._me)
        return findings(self.account, desks, keys, survey, clock=self._clock, launcher=launcher)

    def sweep(self, survey: Survey) -> tuple[list[Leftover], list[str]]:
        from hotdesk.providers.aws.gc import sweep

        return sweep(self.account, self.account.regions(), survey, self._storage, self._memory.kinds)

    def retained(self, ids: Collection[str], *, everywhere: bool) -> tuple[list[Retained], list[str]]:
        from hotdesk.providers.aws.recycle import retained

        regions = self.account.regions() if everywhere else {split(i)[0] for i in ids if "/" in i}
        return retained(self.account, regions, ids, named=everywhere)

    # ---- machines ------------------------------------------------------------------------------------

    def expect(self, steps: Sequence[AnyStep]) -> None:
        self._regions.expect(steps)

    def launch(self, order: LaunchOrder) -> str:
        keys = self._keys(order.desk)
        self._regions.will_make_in(order.offer.region)
        data = self._user_data(
            password_hash=Path(keys.password_hash_path).read_text("ascii").strip(),
            resumed=bool(order.image_id),
            ends_at=order.offer.ends_at,
        )
        here = self._memory.free_now(order.offer.region, self._clock.now())
        self._changed(order.offer.region)
        key = Path(keys.user_key_path + ".pub")
        new = self._regions.is_unproven(order.offer.region)
        owner = self._owner()
        try:
            made = instances.launch(
                self.account, order, key, data, self._computer,
                owner=owner, new=new, image=self._images.get(order.image_id), here=here,
            )  # fmt: skip
        except Refused as no:
            if new and no.kind is Kind.DENIED and no.scope:  # nothing of ours can be there
                self._regions.forbidden(order.offer.region)
            raise
        self._regions.proven(order.offer.region)
        self._admitted[order.offer.region] = self._clock.now()
        return made

    def power(self, instance_id: str, on: bool) -> None:
        region, bare = split(instance_id)
        if on:
            instances.start(self.account, region, bare, self._machines.get(instance_id))
        else:
            instances.stop(self.account, region, bare)

    def retype(self, instance_id: str, offer: Offer, generation: int) -> None:
        region, bare = split(instance_id)
        instances.retype(self.account, region, bare, offer, generation)

    def grow(self, instance_id: str, gib: int) -> None:
        region, bare = split(instance_id)
        instances.grow(self.account, region, bare, gib)

    def access(self, instance: Instance) -> Access:
        """How to log in, once the instance has an address and has printed its host key.

        The host key is pinned under the launch that made it; images keep it, so a resumed desk is the same
        host. It is read from the console through AWS's API, never trusted on first use.
        """
        region, bare = split(instance.id)
        raw = self._machines.get(instance.id) or {}
        if not raw.get("PublicIpAddress"):
            with reaching():
                raw = dict(instances.describe(self.account, region, bare))
        host = raw.get("PublicIpAddress") or (raw.get("PrivateIpAddress") if self._private else None)
        if not host:
            raise Refused(Kind.NOT_READY, f"{bare} has no address yet.")
        with reaching():
            self._admit(region, instance.desk, raw)
        told = tags.read(raw.get("Tags"))
        keys = self._keys(told.get("of") or instance.desk)
        with reaching():
            shown = partial(instances.host_keys, self.account, region, bare)
            known = hostkeys.pinned(keys, told.get("keys") or bare, shown)
        return Access(
            desk=instance.desk,
            host=host,
            port=network.SSH,
            user=told.get("user") or "ubuntu",
            key_path=keys.user_key_path,
            known_hosts_path=str(known),
            alias=keys.alias,
            notebook_port=NOTEBOOK_PORT,
            ends_at=instance.ends_at,
        )

    @property
    def _private(self) -> bool:
        """Whether the network is configured, so that it may have no public addresses."""
        return bool(self.settings.vpc or self.settings.subnet)

    def _admit(self, region: str, desk: str, raw: dict[str, Any]) -> None:
        """Admit this computer's present address, unless that was checked within `ADMITTED_SECONDS`."""
        now = self._clock.now()
        through = groups_of(raw, desk)
        looked = {id_ if name != network.GROUP else region for id_, name in through.items()} | {region}
        if any(
            not 0 <= now - self._admitted.get(key, -ADMITTED_SECONDS) < ADMITTED_SECONDS for key in looked
        ):
            known = self._memory.free_now(region, now).get("groups", [])
            if admit_through(self.account, region, through, known, self._computer):
                self._changed(region)
            self._admitted |= dict.fromkeys(looked, self._clock.now())

    def let_in(self, machine_id: str, cidr: str, note: str) -> None:
        self._changed(split(machine_id)[0])
        let_in(self.account, machine_id, cidr, note)

    def shut_out(self, machine_id: str, note: str) -> None:
        shut_out(self.account, machine_id, note)

    # ---- fleets --------------------------------------------------------------------------------------

    def fleet_room(self, offers: Sequence[Offer]) -> Mapping[Market, int]:
        return quota_room(self.account, offers)

    def launch_fleet(self, order: FleetOrder) -> FleetReply:
        if order.fleet not in self._templates:
            keys = self._keys(order.desk)
            self._regions.will_make_in(order.region)
            self._changed(order.region)
            password = Path(keys.password_hash_path).read_text("ascii").strip()
            self._templates[order.fleet] = fleets.ensure_template(
                self.account, order, Path(keys.user_key_path + ".pub"),
                self._user_data(password_hash=password, resumed=True, fleet=True), self._computer,
                owner=self._owner(), image=self._images.get(order.image_id),
            )  # fmt: skip
            self._admitted[order.region] = self._clock.now()
        return fleets.launch(self.account, order, self._templates[order.fleet])

    def fleet(self, fleet: str, region: str) -> Sequence[Instance]:
        with reaching():
            raw = fleets.look(self.account, fleet, region)
        self._machines |= {qualified(region, i["InstanceId"]): i for i in raw}
        return surveying.machines(region, raw, list_price=self._list_price, money=self._money)

    def end_fleet(self, ids: Collection[str]) -> None:
        for region in sorted({split(id_)[0] for id_ in ids}):
            fleets.end(self.account, region, [split(id_)[1] for id_ in ids if split(id_)[0] == region])

    def renew_fleet(self, ids: Collection[str], seconds: float) -> None:
        """Nothing: each ends itself."""

    def clear_fleet(self, fleet: str, region: str) -> None:
        fleets.clear(self.account, fleet, region)
        self._templates.pop(fleet, None)

    # ---- Jupyter without a tunnel ----------------------------------------------------------------------

    def open_notebook(self, instance: Instance, caller: bool, wider: Sequence[str]) -> tuple[str, ...]:
        region, bare = split(instance.id)
        own = {network.callers_address(self.account, region)} if caller else set()
        self._changed(region)
        exposure.open_to(self.account, region, bare, instance.desk, self._computer, own=own, wider=set(wider))
        self._changed(region)
        return tuple(sorted({*own, *wider}))

    def close_notebook(self, instance: Instance) -> None:
        region, bare = split(instance.id)
        self._changed(region)
        exposure.close(self.account, region, bare, instance.desk)

    def opened_for_all(self) -> Sequence[str]:
        return self._opened

    def close_for_all(self, region: str) -> None:
        exposure.close_for_all(self.account, region, self._computer)
        self._changed(region)
        self._opened = tuple(r for r in self._opened if r != region)

    # ---- images --------------------------------------------------------------------------------------

    def bake(self, order: BakeOrder) -> str:
        return images.bake(self.account, order, self._with.get(order.source_id))

    def verify(self, image_id: str) -> None:
        images.verify(self.account, image_id, self._parts.get(image_id, ()))

    def copy(self, image_id: str, region: str, name: str) -> str:
        self._regions.will_make_in(region)
        new = self._regions.is_unproven(region)
        try:
            return images.copy(self.account, image_id, region, name)
        except Refused:
            if new:  # perhaps there is no such region: it need not be read from now on
                self._regions.forbidden(region)
            raise

    # ---- beside other computers ------------------------------------------------------------------------

    def doom(self, thing_id: str) -> None:
        region, bare = split(thing_id)
        if bare.partition("-")[0] not in {"i", "ami", "vol", "snap"}:
            return
        mappings = (self._machines.get(thing_id) or {}).get("BlockDeviceMappings", ())
        parts = [m["Ebs"]["VolumeId"] for m in mappings if m["Ebs"].get("VolumeId") in self._disks]
        more = [split(part)[1] for part in self._with.get(thing_id, ())]
        self._write_gone(region, [bare, *parts, *more])
        # A parked desk's terminated instance stays listed for an hour: mark it too.
        desk = self._desks.get(thing_id)
        for machine_id, raw in self._machines.items():
            told = tags.read(raw.get("Tags"))
            ended = raw["State"]["Name"] == "terminated" and told.get("goal") != "gone"
            mine = told.get("owner", "") in {"", self._owner()}
            if ended and mine and desk and self._desks.get(machine_id) == desk:
                self._write_gone(split(machine_id)[0], [split(machine_id)[1]])

    def _write_gone(self, region: str, resources: list[str]) -> None:
        goal = [{"Key": "hotdesk:goal", "Value": "gone"}]
        with (
            contextlib.suppress(Refused),
            answers(),
        ):  # only informs other computers: the resource may be gone
            self.account.ec2_once(region).create_tags(Resources=resources, Tags=goal)

    def report(self, machine_id: str) -> None:
        said = tags.read((self._machines.get(machine_id) or {}).get("Tags"))
        if said.get("reported") == "1" and said.get("goal") != "gone":
            return
        region, bare = split(machine_id)
        told = [
            {"Key": "hotdesk:reported", "Value": "1"},
            {"Key": "hotdesk:goal", "Value": "running"},  # an interrupted `down` is over
        ]
        with contextlib.suppress(Refused), answers():  # without it, only a second computer asks as well
            self.account.ec2_once(region).create_tags(Resources=[bare], Tags=told)

    def delete_saved(self, machine_id: str, started_at: float) -> None:
        region, bare = split(machine_id)
        try:
            machine = instances.describe(self.account, region, bare)
        except Refused as no:
            if code(no.__cause__ or no) not in GONE:
                raise
            return
        state = machine["State"]["Name"]
        if state in {"shutting-down", "terminated"}:
            return
        if state != "stopped" or time_of(machine.get("LaunchTime")) != started_at:
            why = f"{bare} is {state}, and was started again since its image was ordered."
            raise Refused(Kind.NOT_READY, why, seconds=5.0)
        self._machines[machine_id] = dict(machine)
        self.delete(machine_id)

    # ---- deleting ------------------------------------------------------------------------------------

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        if "/" not in thing_id:
            return  # not an id of AWS, so it does not exist
        for part in self._with.get(thing_id, ()):  # the id that the others are found by goes last
            self.delete(part)
        region, bare = split(thing_id)
        change = self.account.ec2_once(region)
        kind = "key" if bare.startswith("key/") else bare.partition("-")[0]
        with_it: list[str] = []
        try:
            with answers():
                match kind:
                    case "i":
                        known = self._machines.get(thing_id)
                        instances.end(self.account, region, bare, known, self._disks, keep_disk=keep_disk)
                    case "vol":
                        change.delete_volume(VolumeId=bare)
                    case "ami":
                        told = change.deregister_image(ImageId=bare, DeleteAssociatedSnapshots=True)
                        with_it = [
                            one["SnapshotId"]
                            for one in told.get("DeleteSnapshotResults", ())
                            if one.get("ReturnCode") == "success"
                        ]
                    case "snap":
                        change.delete_snapshot(SnapshotId=bare)
                    case "key":
                        self._changed(region)
                        change.delete_key_pair(KeyName=bare.removeprefix("key/"))
                    case "sg":
                        self._changed(region)
                        change.delete_security_group(GroupId=bare)
                    case "eipalloc":
                        change.release_address(AllocationId=bare)
                    case "sir":
                        change.cancel_spot_instance_requests(SpotInstanceRequestIds=[bare])
                    case "lt":
                        change.delete_launch_template(LaunchTemplateId=bare)
                    case _:
                        raise Refused(
                            Kind.BAD_REQUEST, f"hotdesk makes nothing like {bare}, so it deletes none."
                        )
        except Refused as no:
            if code(no.__cause__ or no) not in GONE:
                raise
        if kind in {"vol", "ami", "snap"}:  # it may stay listed for a while
            self._memory.deleted |= dict.fromkeys([bare, *with_it], self._clock.now())

    # ---- who we are ----------------------------------------------------------------------------------

    def _owner(self) -> str:
        """The owner, asked once per process. Raises `Refused`, because everything is tagged with it."""
        if not self._me:
            with reaching():
                self._me = owner(self.account, self._store, self._clock.now())
        return self._me
