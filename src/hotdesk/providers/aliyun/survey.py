"""Translate the regions' answers into a `Survey`, with costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hotdesk.core.model import Disk, EndedBy, Image, Instance, Leftover, Market, Phase, Survey
from hotdesk.core.money import Money
from hotdesk.core.spot.prices import Storing
from hotdesk.providers.aliyun import hardware, network, tags, times
from hotdesk.providers.aliyun.account import ListPrice
from hotdesk.providers.aliyun.base_images import disks_of
from hotdesk.providers.aliyun.errors import RECHARGE
from hotdesk.providers.aliyun.inventory import Found, Raw
from hotdesk.providers.aliyun.settings import NAME
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified
from hotdesk.providers.cloud.price import read
from hotdesk.providers.cloud.vocabulary import Tags

StoragePrice = Callable[[str], Storing]
DiskPrice = Callable[
    [str, Raw], float
]  # US dollars of a GiB and month of a disk as it is listed, in a region

_MACHINE = {
    "Pending": Phase.PENDING,
    "Starting": Phase.PENDING,
    "Running": Phase.READY,
    "Stopping": Phase.STOPPING,
    "Stopped": Phase.STOPPED,
}
_IMAGE = {
    "Available": Phase.READY,
    "Deprecated": Phase.READY,
    "Creating": Phase.PENDING,
    "Waiting": Phase.PENDING,
}


def survey(
    found: Iterable[Found],
    unread: Iterable[str],
    *,
    lag_seconds: float,
    poll_seconds: float,
    owner: str,
    storage: StoragePrice,
    disk_price: DiskPrice,
    money: Money,
    list_price: ListPrice,
    closed: tuple[str, str] = ("", ""),
) -> Survey:
    """The survey of these regions. `closed`: why a region cannot be read, and the fix."""
    instances: list[Instance] = []
    disks: list[Disk] = []
    images: list[Image] = []
    left: list[Leftover] = []
    for region in found:
        usd = storage(region.region)
        instances += [
            _instance(region, raw, usd, money=money, list_price=list_price, disk_price=disk_price)
            for raw in region.instances
        ]
        disks += _disks(region, usd, disk_price)
        images += [_image(region, raw, usd) for raw in region.images]
        left += leftovers(region, usd)
    return Survey(
        provider=NAME,
        instances=tuple(instances),
        disks=tuple(disks),
        images=tuple(images),
        leftovers=tuple(left),
        unread=tuple(unread),
        closed=closed[0],
        closed_fix=closed[1],
        lag_seconds=lag_seconds,
        disks_throughout=True,
        poll_seconds=poll_seconds,
        owner=owner,
    )


# ---- machines ----------------------------------------------------------------------------------------


def machines(
    region: str, raw: Iterable[Raw], *, stored: Storing, money: Money, list_price: ListPrice
) -> list[Instance]:
    """These machines, without what their disks cost."""
    found = Found(region, tuple(raw), (), (), (), ())
    return [_instance(found, one, stored, money=money, list_price=list_price) for one in found.instances]


def _instance(
    found: Found,
    raw: Raw,
    stored: Storing,
    *,
    money: Money,
    list_price: ListPrice,
    disk_price: DiskPrice = lambda region, disk: 0.0,
) -> Instance:
    told = tags.read(raw.get("Tags"))
    phase = _MACHINE.get(str(raw["Status"]), Phase.PENDING)
    spot = str(raw.get("SpotStrategy") or "NoSpot") != "NoSpot"
    disks = [d for d in found.disks if d.get("InstanceId") == raw["InstanceId"]]
    size = sum(float(d["Size"]) for d in disks)
    price, priced = read(told.get("price", "")), vocabulary.number(told, "priced") or None
    usd, amount = money.dollars(*price) if price else (0.0, None)
    if not usd and not spot and (known := list_price(found.region, str(raw["InstanceType"]))):
        usd, priced, amount = known.usd, known.time, known.told
    keeps_charging = phase is Phase.STOPPED and raw.get("StoppedMode") != "StopCharging"
    off = phase is Phase.STOPPED  # before that it is not told in which mode
    who, why = _stopped(raw, told, spot=spot) if off else (EndedBy.UNKNOWN, "")
    return Instance(
        id=qualified(found.region, str(raw["InstanceId"])),
        name=told.get("name", ""),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=vocabulary.generation(told),
        phase=phase,
        provider=NAME,
        region=found.region,
        zone=str(raw.get("ZoneId") or ""),
        private_ip=_private_ip(raw),
        instance_type=str(raw["InstanceType"]),
        market=Market.SPOT if spot else Market.ON_DEMAND,
        usd_per_hour=usd,
        told_per_hour=amount,
        price_time=priced,
        started_at=times.started(raw),
        image_id=told.get("image", ""),
        line=vocabulary.line_of(told),
        computer=told.get("computer", ""),
        version=told.get("version", ""),
        reported=told.get("reported") == "1",
        doomed=told.get("goal") == "gone",
        retypable=not spot and not hardware.has_local_disk(raw),
        retyped_for=vocabulary.generation(told, "moved"),
        arch=told.get("arch") or "x86_64",
        gpu=told.get("gpu", ""),
        charged_while_off=keeps_charging,
        disk_gib=size,
        disk_usd_per_month=sum(float(d["Size"]) * disk_price(found.region, d) for d in disks),
        told_per_usd=stored.told_per_usd,
        copy_usd=size * stored.copy_usd_per_gib,
        scratch_gib=vocabulary.number(told, "scratch"),
        reason=why,
        ended_by=who,
        fix=RECHARGE if "financial" in _locks(raw) else "",
        released_at=times.seconds(raw.get("AutoReleaseTime")),
        open_to=_open_to(found, raw),
    )


def _private_ip(raw: Raw) -> str:
    told = ((raw.get("VpcAttributes") or {}).get("PrivateIpAddress") or {}).get("IpAddress") or []
    return str(told[0]) if told else ""


def _locks(raw: Raw) -> set[str]:
    rows = (raw.get("OperationLocks") or {}).get("LockReason") or ()
    return {str(one.get("LockReason")) for one in rows}


def _stopped(raw: Raw, told: Tags, *, spot: bool) -> tuple[EndedBy, str]:
    """Who stopped a machine, and why. The service does not say; what shows is how it was stopped.

    A shutdown from within never ends the charge, and a request does, unless it asked not to.
    """
    if "financial" in _locks(raw):
        return EndedBy.PROVIDER, "the account's balance is too low, and Alibaba Cloud stopped it"
    if told.get("left") == raw.get("StartTime"):
        return EndedBy.GUEST, "it stopped itself: idle, or its time was over"
    if raw.get("StoppedMode") != "StopCharging":
        if hardware.has_local_disk(raw):
            return EndedBy.UNKNOWN, "a type with a local disk goes on costing while it is off"
        return EndedBy.GUEST, "it was shut down from within, which does not end the charge"
    return (EndedBy.UNKNOWN, "") if spot else (EndedBy.OWNER, "stopped by a request")


def _open_to(found: Found, raw: Raw) -> tuple[str, ...]:
    """The address ranges that can reach Jupyter's port of a machine, whoever admitted them."""
    through = (raw.get("SecurityGroupIds") or {}).get("SecurityGroupId") or ()
    return tuple(sorted({network.cidr_of(r) for id_ in through for r in found.rules.get(str(id_), ())}))


# ---- disks and images --------------------------------------------------------------------------------


def _disks(found: Found, stored: Storing, disk_price: DiskPrice) -> list[Disk]:
    """Disks that outlived their machine: as data disks, of which no image can be made."""
    here = {str(i["InstanceId"]) for i in found.instances}
    left = []
    for raw in found.disks:
        holder = str(raw.get("InstanceId") or "")
        if holder in here:
            continue
        told, size = tags.read(raw.get("Tags")), float(raw["Size"])
        left.append(
            Disk(
                id=qualified(found.region, str(raw["DiskId"])),
                desk=told.get("desk", ""),
                owner=told.get("owner", ""),
                generation=vocabulary.generation(told),
                phase=Phase.READY if raw["Status"] == "Available" else Phase.PENDING,
                provider=NAME,
                region=found.region,
                zone=str(raw.get("ZoneId") or ""),
                machine=told.get("name", ""),
                image_id=told.get("image", ""),
                line=vocabulary.line_of(told),
                size_gib=size,
                usd_per_month=size * disk_price(found.region, raw),
                told_per_usd=stored.told_per_usd,
                copy_usd=size * stored.copy_usd_per_gib,
                made_at=times.seconds(raw.get("CreationTime")),
                arch=told.get("arch") or "x86_64",
                held_by=holder,
                fix=f"aliyun ecs DetachDisk --DiskId {raw['DiskId']} --InstanceId {holder}" if holder else "",
                doomed=told.get("goal") == "gone",
            )
        )
    return left


def _image(found: Found, raw: Raw, stored: Storing) -> Image:
    told = tags.read(raw.get("Tags"))
    phase = _IMAGE.get(str(raw["Status"]), Phase.FAILED)
    size = float(sum(d.size_gib for d in disks_of(raw)))
    taken = told.get("taken") if told.get("copied") else None
    return Image(
        id=qualified(found.region, str(raw["ImageId"])),
        name=told.get("name") or str(raw.get("ImageName") or ""),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=vocabulary.generation(told),
        phase=phase,
        provider=NAME,
        region=found.region,
        verified=told.get("verified") == "1",
        source_id=told.get("source", ""),
        **descent_of(told),
        taken_at=times.seconds(taken or raw.get("CreationTime")),
        size_gib=size,
        usd_per_month=size * stored.image_usd_per_gib_month,
        told_per_usd=stored.told_per_usd,
        copy_usd=size * stored.copy_usd_per_gib,
        arch=str(raw.get("Architecture") or "x86_64"),
        progress=_share(raw.get("Progress")) if phase is Phase.PENDING else None,
        reason=f"Alibaba Cloud says: {raw['Status']}" if phase is Phase.FAILED else "",
        doomed=told.get("goal") == "gone",
    )


def descent_of(told: Tags) -> dict[str, Any]:
    """The fields of an image that say where it comes from, by its tags."""
    return {
        "machine": told.get("machine", ""),
        "image_id": told.get("image", ""),
        "line": vocabulary.line_of(told),
        "started_at": vocabulary.number(told, "started") or None,
    }


def _share(text: object) -> float | None:
    number = str(text or "").rstrip("%")
    return float(number) / 100 if number.isdecimal() else None


def leftovers(found: Found, stored: Storing) -> list[Leftover]:
    """What belongs to no desk in a region: snapshots without their image, groups that nothing uses."""
    return [*_snapshots(found, stored), *_groups(found)]


def _snapshots(found: Found, stored: Storing) -> list[Leftover]:
    """Snapshots whose image is gone."""
    kept = {d.snapshot for raw in found.images for d in disks_of(raw)}
    left = []
    for raw in found.snapshots:
        if str(raw["SnapshotId"]) in kept:
            continue
        told = tags.read(raw.get("Tags"))
        left.append(
            Leftover(
                id=qualified(found.region, str(raw["SnapshotId"])),
                kind="snapshot",
                provider=NAME,
                region=found.region,
                desk=told.get("desk", ""),
                owner=told.get("owner", ""),
                generation=vocabulary.generation(told),
                machine=told.get("machine") or told.get("source", ""),
                started_at=vocabulary.number(told, "started") or None,
                made_at=times.seconds(raw.get("CreationTime")),
                usd_per_month=float(raw.get("SourceDiskSize") or 0) * stored.image_usd_per_gib_month,
                told_per_usd=stored.told_per_usd,
                why="a snapshot whose image is gone",
            )
        )
    return left


def _groups(found: Found) -> list[Leftover]:
    """Security groups that no machine uses. A desk's own may be about to be attached to its machine."""
    used = {
        str(id_)
        for raw in found.instances
        for id_ in (raw.get("SecurityGroupIds") or {}).get("SecurityGroupId") or ()
    }
    at_work = {tags.read(raw.get("Tags")).get("desk", "") for raw in found.instances}
    left = []
    for raw in found.groups:
        desk, id_ = tags.read(raw.get("Tags")).get("desk", ""), str(raw["SecurityGroupId"])
        if id_ in used or (found.instances and not desk):
            continue
        let = f"a security group that opened {desk}'s Jupyter, and no machine uses it"
        left.append(
            Leftover(
                id=qualified(found.region, id_),
                kind="security group",
                provider=NAME,
                region=found.region,
                desk="" if desk in at_work else desk,
                why=f"{let if desk else 'a security group that no machine uses'} (it costs nothing)",
            )
        )
    return left
