"""Groups of equal machines: RunInstances launches many of one pool, and the pools are tried in turn.

An order is answered by the first pool that has any of its machines; what is missing then is another order. A
repeated order is looked for first, by its name, and each pool's request has a token of its own: so an order
whose answer was lost launches nothing twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import hotdesk
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.fleet import FleetOrder, FleetReply, Launched, Shortage
from hotdesk.core.model import Market, Offer
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import disk_types, instances, network, tags
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.base_images import BaseImage, find_base
from hotdesk.providers.aliyun.errors import GONE, code
from hotdesk.providers.cloud import price, vocabulary
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.holds import TaggedHolds
from hotdesk.providers.cloud.ids import qualified
from hotdesk.providers.cloud.kept import HOUR
from hotdesk.providers.cloud.refusals import SECONDS, SECONDS_ELSE

#: Machines in one RunInstances, and ids in one DeleteInstances (ECS API reference).
PAGE = 100
#: Machines at once, and how many more each second. No limit is documented but that of requests.
BURST = (1000, 10.0)
#: From its launch on, a machine is released by the cloud itself unless `renew` puts that off.
RELEASE_SECONDS = 7200.0
_TAGGED_MOST = 50  # resources in one TagResources (ECS API reference)
GROUP = {"name": network.FLEET}
SAID = "hotdesk: the machines of one cluster among themselves"
#: What one pool lacks, and another may have.
_OF_POOL = frozenset({Kind.NO_CAPACITY, Kind.QUOTA, Kind.UNSUPPORTED})


def launch(
    account: Account,
    order: FleetOrder,
    user_data: bytes,
    *,
    who: Computer,
    cidr: str,
    owner: str,
    now: float,
    image: Mapping[str, Any] | None = None,
) -> FleetReply:
    """Launch what the first pool has that has any. Raises `Refused` where no pool is to blame."""
    if made := _of_order(account, order):
        return FleetReply(machines=made)
    short = []
    for offer in order.offers:
        place = network.find_place(account, order.region, offer.zone, cidr, who=who, now=now)
        groups = [place.group, _own_group(account, order.region, place.vpc, now)]
        base = find_base(account, _as_one(order, offer), image)
        made, lack = (), None
        for _, disk in disk_types.choices(account, order.region, offer.zone, offer.instance_type):
            request = partial(
                run_request, order, offer, base=base, vswitch=place.vswitch, groups=groups,
                user_data=user_data, owner=owner, computer=who.name, role=account.settings.role, now=now,
                disk=disk,
            )  # fmt: skip
            made, lack = _as_many(account, order, offer, request)
            if lack is None or code(lack) not in disk_types.NOT_SOLD:
                break
        if lack is not None:
            short.append(_shortage(offer, lack))
        if made:
            return FleetReply(machines=made, shortages=tuple(short))
    return FleetReply(shortages=tuple(short))


def _as_many(
    account: Account, order: FleetOrder, offer: Offer, request: Callable[[int], Mapping[str, Any]]
) -> tuple[tuple[Launched, ...], Refused | None]:
    """As many machines as a pool gives; and what it lacks, if that is fewer.

    A request that a quota forbids is refused as a whole, whatever its MinAmount: half as many are asked for.
    """
    lack: Refused | None = None
    asked = order.count
    while asked:
        try:
            made = _asked(account, order, offer, request(asked))
        except Refused as no:
            if no.kind not in _OF_POOL:
                raise
            lack = no
            asked = asked // 2 if no.kind is Kind.QUOTA else 0
            continue
        if len(made) < asked:
            lack = Refused(Kind.NO_CAPACITY, f"only {len(made)} of {asked} machines were there")
        return made, lack
    return (), lack


def _asked(
    account: Account, order: FleetOrder, offer: Offer, request: Mapping[str, Any]
) -> tuple[Launched, ...]:
    try:
        told = account.tell(order.region, "RunInstances", **request)
    except Refused as no:
        if no.kind is not Kind.MISMATCH:
            raise
        if made := _of_order(account, order):  # sent before, a minute ago
            return made
        raise  # not listed yet, or gone already
    ids = told["InstanceIdSets"]["InstanceIdSet"]
    return tuple(Launched(id=qualified(order.region, str(bare)), offer=offer) for bare in ids)


def _shortage(offer: Offer, no: Refused) -> Shortage:
    seconds = no.seconds or SECONDS.get(no.kind, SECONDS_ELSE)
    return Shortage(key=offer.key, kind=no.kind, message=no.message, seconds=seconds)


def _name(order: FleetOrder) -> str:
    return f"{order.name}-{order.number}"


def _of_order(account: Account, order: FleetOrder) -> tuple[Launched, ...]:
    """The machines of an order that was sent before, as they are listed."""
    pools = {(o.instance_type, o.zone): o for o in order.offers}
    rows = account.pages(
        order.region, "DescribeInstances", "Instances", "Instance", Tag=tags.named(_name(order)),
        MaxResults=PAGE,
    )  # fmt: skip
    return tuple(
        Launched(
            id=qualified(order.region, str(raw["InstanceId"])),
            offer=pools.get((str(raw["InstanceType"]), str(raw["ZoneId"])), order.offers[0]),
        )
        for raw in rows
    )


def run_request(
    order: FleetOrder,
    offer: Offer,
    count: int,
    *,
    base: BaseImage,
    vswitch: str,
    groups: Sequence[str],
    user_data: bytes,
    owner: str,
    computer: str,
    role: str,
    now: float,
    disk: Mapping[str, Any],
) -> dict[str, Any]:
    """The arguments of RunInstances: `count` machines, or as many of them as there are.

    They hold no work: an interruption ends them with their disks, and so does the cloud itself after
    `RELEASE_SECONDS`.
    """
    told = vocabulary.of(
        order.fleet,
        _name(order),
        of=order.desk,
        goal="running",
        owner=owner,
        price=price.of(offer),
        gpu=offer.gpu,
        arch=base.arch,
        keys=base.keys,
        computer=computer,
        role=role,
        version=hotdesk.__version__,
        held=order.held,
    )
    place = network.Place("", vswitch, "")
    request = instances.run_request(_as_one(order, offer), base, place, user_data, disk=disk, role=role) | {
        "InstanceName": order.name,
        "ClientToken": hashlib.sha256(f"{order.token} {offer.key} {count}".encode()).hexdigest()[:32],
        "Amount": count,
        "MinAmount": 1,
        "SecurityGroupIds": list(groups),
        "AutoReleaseTime": _released(now),
        "Tag": tags.written(told),
    }
    del request["SecurityGroupId"]
    if offer.market is Market.SPOT:
        request["SpotInterruptionBehavior"] = "Terminate"
    return request


def _as_one(order: FleetOrder, offer: Offer) -> LaunchOrder:
    """What a desk's own machine would be launched by."""
    return LaunchOrder(
        desk=order.desk, born=0.0, generation=1, attempt=0, offer=offer, image_id=order.image_id
    )


def _released(now: float) -> str:
    return datetime.fromtimestamp(now + RELEASE_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:00Z")


def _own_group(account: Account, region: str, vpc: str, now: float) -> str:
    """The group whose one rule lets its members reach each other at a cluster's ports; its id."""

    def find() -> str:
        here = [g for g in network.find_groups(account, region, network.FLEET) if g["VpcId"] == vpc]
        group = min((str(g["SecurityGroupId"]) for g in here), default="")
        group = group or network.make_group(account, region, vpc, told=GROUP, said=SAID, now=now)
        network.let_itself_in(account, region, group)
        return group

    found: str = account.recalled.of(f"fleets/{account.who}/{region}/{vpc}", HOUR, str, find)
    return found


# ---- looking and ending ------------------------------------------------------------------------------


def look(account: Account, fleet: str, region: str) -> list[dict[str, Any]]:
    """The fleet's machines, as ECS describes them."""
    mine = [*tags.OURS, {"Key": f"{vocabulary.MARK}:desk", "Value": fleet}]
    return account.pages(region, "DescribeInstances", "Instances", "Instance", Tag=mine, MaxResults=PAGE)


def end(account: Account, region: str, ids: Collection[str]) -> None:
    """Release these machines. Where one of many refuses, each is asked for alone."""
    left = sorted(ids)
    for at in range(0, len(left), PAGE):
        part = left[at : at + PAGE]
        try:
            account.tell(region, "DeleteInstances", InstanceId=part, Force=True)
        except Refused as no:
            if len(part) == 1 and code(no) in GONE:
                continue
            if len(part) == 1:
                raise
            answers = side_by_side([partial(instances.end, account, region, bare) for bare in part], 8)
            failed = [a for a in answers if isinstance(a, Exception)]
            if failed:
                raise failed[0] from no


def renew(account: Account, region: str, ids: Collection[str], seconds: float) -> None:
    """Put off the release of these machines."""
    asked = [partial(instances.release_in, account, region, bare, seconds) for bare in sorted(ids)]
    for answer in side_by_side(asked, 8):
        if isinstance(answer, Refused) and (code(answer) in GONE or answer.kind is Kind.NOT_READY):
            continue
        if isinstance(answer, Exception):
            raise answer


# ---- which computer goes on with it ------------------------------------------------------------------


@dataclass(frozen=True)
class Holds(TaggedHolds):
    account: Account

    def image_tags(self, region: str, image: str) -> Mapping[str, str] | None:
        told = self.account.ask(region, "DescribeImages", ImageId=image, ImageOwnerAlias="self")
        found = told["Images"]["Image"]
        return tags.read(found[0].get("Tags")) if found else None

    def tag_image(self, region: str, image: str, key: str, value: str) -> None:
        self._tag(region, "image", [image], key, value)

    def untag_image(self, region: str, image: str, tags: Mapping[str, str]) -> None:
        self.account.tell(
            region, "UntagResources", ResourceType="image", ResourceId=[image], TagKey=list(tags)
        )

    def tag_machines(self, region: str, ids: Sequence[str], key: str, value: str) -> None:
        for at in range(0, len(ids), _TAGGED_MOST):
            self._tag(region, "instance", ids[at : at + _TAGGED_MOST], key, value)

    def _tag(self, region: str, kind: str, ids: Sequence[str], key: str, value: str) -> None:
        pair = [{"Key": key, "Value": value}]
        self.account.tell(region, "TagResources", ResourceType=kind, ResourceId=list(ids), Tag=pair)
