"""The provider for Alibaba Cloud: each method takes a few requests.

Ids are `region/id`, so that a new process can take a step without searching all regions. The last survey is
remembered to save requests, never to make a decision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.findings import Finding
from hotdesk.core.fleet import FleetOrder, FleetReply
from hotdesk.core.model import Desk, Disk, Image, Instance, Leftover, Market, Offer, Survey, Want
from hotdesk.core.money import Money
from hotdesk.core.ports import Access, Cache, Clock, KeyFiles, KeyRing
from hotdesk.core.spot.prices import Storing
from hotdesk.core.steps import AnyStep, BakeOrder, LaunchOrder
from hotdesk.guest.plain_user_data import render
from hotdesk.providers.aliyun import (
    billing,
    disk_types,
    exposure,
    fleets,
    host_keys,
    images,
    instances,
    inventory,
    network,
    prices,
    quotas,
    spot_history,
    tags,
)
from hotdesk.providers.aliyun import survey as surveying
from hotdesk.providers.aliyun.account import Account, ListPrice
from hotdesk.providers.aliyun.errors import GONE, code
from hotdesk.providers.aliyun.settings import NAME, Settings
from hotdesk.providers.cloud import admitting, hostkeys, replies
from hotdesk.providers.cloud.address import own_address
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.ids import qualified, split
from hotdesk.providers.cloud.kept import Recalled
from hotdesk.providers.cloud.mirrors import mirrors
from hotdesk.providers.cloud.regions import RegionMemory, look

ADMITTED_SECONDS = 60.0  # how long this computer's address is taken to be unchanged

#: Renders a machine's user data: password hash for Jupyter, public key, whether the desk was on it before.
UserData = Callable[..., bytes]

if TYPE_CHECKING:
    from hotdesk.providers.registry import Context


def make(context: Context) -> Aliyun:
    return Aliyun(
        context.state,
        context.cache,
        keys=context.keys,
        clock=context.clock,
        settings=context.settings,
        money=context.money,
        list_price=context.list_price,
    )


class Aliyun:
    """ECS as a `Provider` (hotdesk.core.ports, with its three laws)."""

    name = NAME
    at_once = 4
    fleet_most, fleet_burst, cluster_ports = fleets.PAGE, fleets.BURST, network.CLUSTER

    def __init__(
        self,
        state: Path,
        store: Cache | None = None,
        *,
        keys: KeyRing,
        clock: Clock,
        user_data: UserData = render,
        settings: Settings | None = None,
        money: Money | None = None,
        list_price: ListPrice = lambda region, instance_type: None,
    ) -> None:
        """`state`: the folder of pinned host keys. Sends no request."""
        self.settings = settings or Settings()
        self.address_url = self.settings.address_url
        self.lag_seconds, self.poll_seconds = self.settings.lag_seconds, self.settings.poll_seconds
        self.account = Account(self.settings)
        self._store = store
        self._keys = keys
        self._clock = clock
        self._user_data = partial(user_data, mirrors=mirrors(self.settings))
        self._money = money or Money()
        self._list_price = list_price
        self.state, self._computer = state, Computer(state, clock)
        self.account.recalled = Recalled(store, f"{NAME}-recalled", clock)
        self._regions = RegionMemory(
            store, f"{NAME}-regions", clock,
            lag_seconds=self.settings.lag_seconds, quiet_seconds=inventory.QUIET_SECONDS,
        )  # fmt: skip
        self._readable: set[str] = set()  # regions where an empty listing means that nothing is there
        self._memory = inventory.Memory(self.settings.lag_seconds)
        self._doomed: frozenset[str] = frozenset()  # ids whose owner asked to delete them, as last surveyed
        self._deleted: dict[str, float] = {}  # disks, snapshots and images that may still be listed
        self._admitted: dict[str, float] = {}  # regions that admit this computer, and since when
        self._machines: dict[str, inventory.Raw] = {}  # by id, as last surveyed
        self._images: dict[str, inventory.Raw] = {}  # likewise
        self.holds = fleets.Holds(
            lambda id_: tags.read(self._machines.get(id_, {}).get("Tags")), self.account
        )
        self._me = ""

    # ---- looking -------------------------------------------------------------------------------------

    def offers(self, want: Want) -> Sequence[Offer]:
        from hotdesk.providers.aliyun.offers import find_offers

        return find_offers(
            self.account,
            want,
            self._store,
            self._clock.now(),
            money=self._money,
            list_price=self._list_price,
        )

    @replies.legible("Alibaba Cloud")
    def survey(self, regions: Sequence[str] = ()) -> Survey:
        now = self._clock.now()
        self.account.recalled.sync()
        admitting.sweep(self.state, self, NAME)
        found, unread = look(
            tuple(regions) or self.account.regions(),
            self._regions,
            now,
            holds_any=partial(inventory.holds_any, self.account),
            read=self._read,
            unreachable=lambda error: error,
        )
        self._regions.read({region: not one.is_empty for region, one in found.items()}, now)
        every = [one.without(self._deleted, now) for one in found.values()]
        self._machines = {
            qualified(one.region, str(raw["InstanceId"])): raw for one in every for raw in one.instances
        }
        self._images = {
            qualified(one.region, str(raw["ImageId"])): raw for one in every for raw in one.images
        }
        shown = surveying.survey(
            every,
            sorted(unread),
            closed=self.account.why_closed(unread),
            lag_seconds=self.settings.lag_seconds,
            poll_seconds=self.settings.poll_seconds,
            owner=self._owner() if every or not unread else "",
            storage=partial(prices.storing, money=self._money),
            disk_price=partial(disk_types.usd_per_gib_month, self.account, money=self._money),
            money=self._money,
            list_price=self._list_price,
        )
        things: list[Instance | Disk | Image] = [*shown.instances, *shown.disks, *shown.images]
        self._doomed = frozenset(thing.id for thing in things if thing.doomed)
        return shown

    def _read(self, region: str) -> inventory.Found:
        """Everything of ours in a region; without machines, it is believed only with the right to list."""
        found = inventory.read(self.account, region, self._memory, self._clock.now())
        if not found.instances and region not in self._readable:
            inventory.may_read(self.account, region)
        self._readable.add(region)
        return found

    def in_transit(self, ids: Collection[str]) -> bool:
        return inventory.in_transit(self.account, ids, self._memory, self._clock.now())

    # ---- machines ------------------------------------------------------------------------------------

    def expect(self, steps: Sequence[AnyStep]) -> None:
        self._regions.expect(steps)

    def launch(self, order: LaunchOrder) -> str:
        region = order.offer.region
        known = self._memory.of(region, self._clock.now())
        if not (known and known.groups):
            self._memory.forget(region)  # a group is made
        self._regions.will_make_in(region)
        if region not in self._readable:
            inventory.may_read(self.account, region)  # a machine that no survey shows would be billed unseen
            self._readable.add(region)
        data = self._data_for(order.desk, resumed=bool(order.image_id))
        made = instances.launch(
            self.account,
            order,
            data,
            who=self._computer,
            cidr=self._address(region),
            owner=self._owner(),
            now=self._clock.now(),
            image=self._images.get(order.image_id),
            groups=known.groups if known else (),
        )
        self._regions.proven(region)
        self._admitted[region] = self._clock.now()
        return made

    def _data_for(self, desk: str, *, resumed: bool) -> bytes:
        keys = self._keys(desk)
        return self._user_data(
            password_hash=Path(keys.password_hash_path).read_text("ascii").strip(),
            public_key=Path(keys.user_key_path + ".pub").read_text("ascii").strip(),
            resumed=resumed,
            role=bool(self.settings.role),
        )

    def power(self, instance_id: str, on: bool) -> None:
        region, bare = split(instance_id)
        if on:
            instances.start(self.account, region, bare)
            return
        if (self._machines.get(instance_id) or {}).get("AutoReleaseTime"):  # a stopped desk stays
            instances.release_in(self.account, region, bare, 0.0)
        instances.stop(self.account, region, bare)

    def release_in(self, desk: str, seconds: float) -> None:
        for machine_id, raw in self._machines.items():
            if tags.read(raw.get("Tags")).get("desk") == desk and raw["Status"] == "Running":
                region, bare = split(machine_id)
                if self.settings.auto_release or raw.get("AutoReleaseTime"):
                    after = seconds if self.settings.auto_release else 0.0
                    instances.release_in(self.account, region, bare, after)

    def retype(self, instance_id: str, offer: Offer, generation: int) -> None:
        region, bare = split(instance_id)
        instances.retype(self.account, region, bare, offer, generation)

    def access(self, instance: Instance) -> Access:
        """How to log in, once the machine has an address and its host key is known.

        The host key is pinned under the launch that made it; images keep it, so a resumed desk is the same
        host. It is read through the cloud's API (`host_keys`), never trusted on first use.
        """
        region, bare = split(instance.id)
        raw = self._machines.get(instance.id) or {}
        if not instances.address_of(raw):
            raw = instances.describe(self.account, region, bare)
        host = instances.address_of(raw)
        if not host:
            raise Refused(Kind.NOT_READY, f"{bare} has no address yet.")
        self._admit(region, raw)
        told = tags.read(raw.get("Tags"))
        keys = self._keys(told.get("of") or instance.desk)
        shown = partial(host_keys.host_keys, self.account, region, raw)
        known = hostkeys.pinned(keys, told.get("keys") or bare, shown)
        return Access(
            desk=instance.desk,
            host=host,
            port=network.SSH,
            user=instances.USER,
            key_path=keys.user_key_path,
            known_hosts_path=str(known),
            alias=keys.alias,
            notebook_port=network.NOTEBOOK,
        )

    def _admit(self, region: str, raw: inventory.Raw) -> None:
        """Admit this computer's present address, unless that was checked within `ADMITTED_SECONDS`."""
        now = self._clock.now()
        if 0 <= now - self._admitted.get(region, -ADMITTED_SECONDS) < ADMITTED_SECONDS:
            return
        through = (raw.get("SecurityGroupIds") or {}).get("SecurityGroupId") or ()
        for group in network.find_groups(self.account, region, network.NAME):
            if group["SecurityGroupId"] in through:
                network.admit(
                    self.account, region, group["SecurityGroupId"], self._address(region), self._computer
                )
        self._admitted[region] = now

    def let_in(self, machine_id: str, cidr: str, note: str) -> None:
        raw = self._machines.get(machine_id)
        if raw is None:
            raise Refused(Kind.NOT_READY, f"{machine_id} is not listed yet.")
        inside = (raw.get("SecurityGroupIds") or {}).get("SecurityGroupId") or ()
        network.let_in(self.account, split(machine_id)[0], inside, cidr, note)

    def shut_out(self, machine_id: str, note: str) -> None:
        network.shut_out(self.account, split(machine_id)[0], note)

    def _address(self, region: str) -> str:
        """The CIDR that may connect."""
        return own_address(
            self.account.client.url("ecs", region),
            self.settings.address,
            self.settings.address_url,
            section=NAME,
        )

    # ---- fleets --------------------------------------------------------------------------------------

    def fleet_room(self, offers: Sequence[Offer]) -> Mapping[Market, int]:
        free = quotas.of(self.account, offers[0].region).free
        sizes = {o.market: o.vcpus for o in offers if o.vcpus}
        return {market: max(0, int(free[market] // size)) for market, size in sizes.items() if market in free}

    def launch_fleet(self, order: FleetOrder) -> FleetReply:
        self._memory.forget(order.region)  # groups may be made
        self._regions.will_make_in(order.region)
        if order.region not in self._readable:
            inventory.may_read(self.account, order.region)
            self._readable.add(order.region)
        reply = fleets.launch(
            self.account,
            order,
            self._data_for(order.desk, resumed=True),
            who=self._computer,
            cidr=self._address(order.region),
            owner=self._owner(),
            now=self._clock.now(),
            image=self._images.get(order.image_id),
        )
        self._admitted[order.region] = self._clock.now()
        return reply

    def fleet(self, fleet: str, region: str) -> Sequence[Instance]:
        raw = fleets.look(self.account, fleet, region)
        self._machines |= {qualified(region, str(i["InstanceId"])): i for i in raw}
        stored = prices.storing(region, self._money)
        return surveying.machines(region, raw, stored=stored, money=self._money, list_price=self._list_price)

    def end_fleet(self, ids: Collection[str]) -> None:
        for region in sorted({split(id_)[0] for id_ in ids}):
            fleets.end(self.account, region, [split(id_)[1] for id_ in ids if split(id_)[0] == region])

    def renew_fleet(self, ids: Collection[str], seconds: float) -> None:
        for region in sorted({split(id_)[0] for id_ in ids}):
            bare = [split(id_)[1] for id_ in ids if split(id_)[0] == region]
            fleets.renew(self.account, region, bare, seconds)

    def clear_fleet(self, fleet: str, region: str) -> None:
        """Nothing: the group stays, as desks' does: it costs nothing."""

    # ---- Jupyter without a tunnel ----------------------------------------------------------------------

    def open_notebook(self, instance: Instance, caller: bool, wider: Sequence[str]) -> tuple[str, ...]:
        region, bare = split(instance.id)
        self._memory.forget(region)
        own = {self._address(region)} if caller else set()
        exposure.open_to(
            self.account,
            region,
            bare,
            instance.desk,
            who=self._computer,
            own=own,
            wider=set(wider),
            now=self._clock.now(),
        )
        return tuple(sorted({*own, *wider}))

    def close_notebook(self, instance: Instance) -> None:
        region, bare = split(instance.id)
        self._memory.forget(region)
        exposure.close(self.account, region, bare, instance.desk)

    def opened_for_all(self) -> Sequence[str]:
        return ()

    def close_for_all(self, region: str) -> None:
        """Nothing: no hotdesk has ever opened one rule for all desks here."""

    # ---- images --------------------------------------------------------------------------------------

    def bake(self, order: BakeOrder) -> str:
        return images.bake(self.account, order)

    def verify(self, image_id: str) -> None:
        images.verify(self.account, image_id, self._images.get(image_id))

    def copy(self, image_id: str, region: str, name: str) -> str:
        split(image_id)
        self._regions.will_make_in(region)
        return images.copy(self.account, image_id, region, name)

    # ---- money ---------------------------------------------------------------------------------------

    def spot_prices(
        self, offers: Sequence[Offer], since: float, until: float
    ) -> dict[str, list[tuple[float, float]]]:
        return spot_history.spot_prices(self.account, offers, since, until, self._money)

    def billed(self, since: float, until: float) -> dict[str, float]:
        return billing.billed(self.account, since, until, self._money)

    def ended(self, machines: Sequence[str]) -> dict[str, float]:
        return {}

    def storing(self, regions: Iterable[str], *, ask: bool) -> dict[str, Storing]:
        return {region: prices.storing(region, self._money) for region in regions}

    # ---- the account ---------------------------------------------------------------------------------

    def examine(
        self, desks: Sequence[Desk], keys: Sequence[KeyFiles], survey: Survey | None
    ) -> Iterable[Finding]:
        from hotdesk.providers.aliyun.doctor import findings

        return findings(self.account, desks, survey, clock=self._clock)

    def sweep(self, survey: Survey) -> tuple[list[Leftover], list[str]]:
        from hotdesk.providers.aliyun.gc import sweep

        storage = partial(prices.storing, money=self._money)
        return sweep(self.account, self.account.regions(), survey, storage)

    # ---- beside other computers ------------------------------------------------------------------------

    def doom(self, thing_id: str) -> None:
        if thing_id in self._doomed:
            return
        region, bare = split(thing_id)
        self._tag(region, bare, goal="gone")

    def report(self, machine_id: str) -> None:
        said = tags.read((self._machines.get(machine_id) or {}).get("Tags"))
        if said.get("reported") == "1" and said.get("goal") != "gone":
            return
        region, bare = split(machine_id)
        self._tag(region, bare, reported="1", goal="running")  # an interrupted `down` is over

    def _tag(self, region: str, bare: str, **told: str) -> None:
        """Inform other computers; the resource may be gone."""
        kind = _KINDS.get(bare.partition("-")[0], "")
        if kind in {"instance", "image", "snapshot", "disk"}:
            with contextlib.suppress(Refused):
                self.account.tell(
                    region, "TagResources", ResourceType=kind, ResourceId=[bare], Tag=tags.changed(**told)
                )

    def delete_saved(self, machine_id: str, started_at: float) -> None:
        from hotdesk.providers.aliyun import times

        region, bare = split(machine_id)
        try:
            machine = instances.describe(self.account, region, bare)
        except Refused as no:
            if no.kind is Kind.NOT_READY and not no.__cause__:  # it is not listed: it is gone
                return
            raise
        if machine["Status"] != "Stopped" or times.started(machine) != started_at:
            why = f"{bare} is {machine['Status']}, and was started again since its image was ordered."
            raise Refused(Kind.NOT_READY, why, seconds=5.0)
        self.delete(machine_id)

    # ---- deleting ------------------------------------------------------------------------------------

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        if "/" not in thing_id:
            return  # not an id of a rented cloud, so it does not exist
        region, bare = split(thing_id)
        kind, gone = _KINDS.get(bare.partition("-")[0]), [bare]
        if kind not in {"instance", "image"}:
            self._memory.forget(region)
        try:
            match kind:
                case "instance" if keep_disk:
                    why = "A disk without its machine cannot become an image on Alibaba Cloud."
                    raise Refused(Kind.UNSUPPORTED, why)
                case "instance":
                    instances.end(self.account, region, bare)
                case "image":
                    with self._memory.forgotten_unless_done(region):
                        gone += images.delete(self.account, region, bare, self._images.get(thing_id))
                case "snapshot":
                    images.delete_snapshot(self.account, region, bare)
                case "disk":
                    self.account.tell(region, "DeleteDisk", DiskId=bare)
                case "vSwitch":
                    self.account.tell(region, "DeleteVSwitch", of="vpc", VSwitchId=bare)
                case "VPC":
                    self.account.tell(region, "DeleteVpc", of="vpc", VpcId=bare)
                case "securitygroup":
                    self.account.tell(region, "DeleteSecurityGroup", SecurityGroupId=bare)
                case _:
                    raise Refused(Kind.BAD_REQUEST, f"hotdesk makes nothing like {bare}, so it deletes none.")
        except Refused as no:
            if code(no) not in GONE:
                raise
        self._deleted |= dict.fromkeys(gone, self._clock.now())

    # ---- who we are ----------------------------------------------------------------------------------

    def _owner(self) -> str:
        """The owner, asked once per process. Raises `Refused`, because everything is tagged with it."""
        if not self._me:
            self._me = self.account.owner(self._store, self._clock.now())
        return self._me


#: What resources hotdesk makes, by the beginning of their ids.
_KINDS = {"i": "instance", "m": "image", "s": "snapshot", "d": "disk", "sg": "securitygroup"}
_KINDS |= {"vsw": "vSwitch", "vpc": "VPC"}
