"""Translate the regions' answers into a `Survey`, with costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from hotdesk.core.model import Disk, EndedBy, Hidden, Image, Instance, Leftover, Market, Phase, Survey
from hotdesk.core.money import Money
from hotdesk.core.spot.prices import Storing
from hotdesk.providers.aws import hardware, network, placeholders, reservations, tags
from hotdesk.providers.aws.account import ListPrice
from hotdesk.providers.aws.disks import by_machine, device_of, devices, root_of, root_volume, sizes_of
from hotdesk.providers.aws.inventory import Found, Raw
from hotdesk.providers.aws.saved import gib, image_of, time_of, unregistered
from hotdesk.providers.aws.settings import NAME
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified
from hotdesk.providers.cloud.price import Price, read

#: Prices of disks and images in a region.
StoragePrice = Callable[[str], Storing]

_MACHINE = {
    "pending": Phase.PENDING,
    "running": Phase.READY,
    "stopping": Phase.STOPPING,
    "stopped": Phase.STOPPED,
    "shutting-down": Phase.ENDING,
    "terminated": Phase.ENDED,
}
#: EC2's "Client error on launch" (AWS knowledge center: encrypted-volumes-stops-immediately).
KEY_REFUSED = (
    "Client error on launch (Client.InternalError), mostly a KMS key for its disks that is disabled, or that "
    "these credentials may not use for EC2: `hotdesk iam` prints what they need, kms:CreateGrant among it"
)
#: State reasons of a machine that ended before it ran.
_LAUNCH_FAILED = frozenset(
    {
        "Client.InternalError",
        "Client.InvalidSnapshot.NotFound",
        "Client.InvalidParameterCombination",
        "Client.VolumeLimitExceeded",
        "Server.InsufficientInstanceCapacity",
    }
)


def survey(
    found: Iterable[Found],
    unread: Iterable[str],
    *,
    lag_seconds: float,
    poll_seconds: float,
    owner: str,
    storage: StoragePrice,
    list_price: ListPrice = lambda region, instance_type: None,
    money: Money = Money(),
    closed: tuple[str, str] = ("", ""),
) -> Survey:
    """The survey of these regions. `closed`: why a region cannot be read, and the fix."""
    instances: list[Instance] = []
    disks: list[Disk] = []
    images: list[Image] = []
    leftovers: list[Leftover] = []
    for region in found:
        usd = storage(region.region)
        own = [raw for raw in region.instances if not placeholders.is_one(raw)]
        instances += [_instance(region, raw, usd, list_price, money) for raw in own]
        leftovers += placeholders.found(region)
        disks += _disks(region, usd)
        images += [i for i in (image_of(region, raw, usd) for raw in region.images) if i]
        images += unregistered(region, usd)
        leftovers += _leftovers(region, usd)
    going = {qualified(r.region, raw["InstanceId"]) for r in found for raw in r.instances if _goes_whole(raw)}
    things: list[Instance | Disk | Image] = [*instances, *disks, *images]
    hidden = [machine for region in found for machine in _hidden(region)]
    in_use = {t.desk for t in things if t.phase is not Phase.ENDED and t.id not in going}
    in_use |= {machine.desk for machine in hidden}
    leftovers += [key for region in found for key in _keys(region) if key.desk not in in_use]
    return Survey(
        provider=NAME,
        instances=tuple(instances),
        disks=tuple(disks),
        images=tuple(images),
        leftovers=tuple(leftovers),
        unread=tuple(unread),
        hidden=tuple(hidden),
        closed=closed[0],
        closed_fix=closed[1],
        lag_seconds=lag_seconds,
        disks_throughout=True,
        poll_seconds=poll_seconds,
        owner=owner,
    )


def machines(region: str, raw: Iterable[Raw], *, list_price: ListPrice, money: Money) -> list[Instance]:
    """Instances alone, as EC2 describes them; what their disks cost is not told."""
    nothing: dict[str, list[Raw]] = {
        "reservations": [], "volumes": [], "images": [], "snapshots": [], "keys": [], "groups": []
    }  # fmt: skip
    found, free = Found(region, nothing), Storing(disk_usd_per_gib_month=0.0, image_usd_per_gib_month=0.0)
    return [_instance(found, one, free, list_price, money) for one in raw]


def _instance(found: Found, raw: Raw, stored: Storing, list_price: ListPrice, money: Money) -> Instance:
    told = tags.read(raw.get("Tags"))
    phase = _MACHINE.get(raw["State"]["Name"], Phase.PENDING)
    spot = raw.get("InstanceLifecycle") == "spot"
    held = [m["Ebs"].get("VolumeId", "") for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    size = sum(found.sizes.get(volume, 0) for volume in held)
    through = {g["GroupId"] for g in raw.get("SecurityGroups", ())}
    paid = read(told.get("price", "")) or Price(vocabulary.number(told, "usd"), "USD")
    (usd, amount), priced = money.dollars(*paid), vocabulary.number(told, "priced") or None
    reserved = raw.get("CapacityReservationId") in found.paid
    if not usd and not spot and not reserved:  # the price was unknown at launch, or nothing more is reserved
        known = list_price(found.region, raw["InstanceType"])
        usd, priced, amount = (known.usd, known.time, known.told) if known else (0.0, None, None)
    return Instance(
        id=qualified(found.region, raw["InstanceId"]),
        name=told.get("name", ""),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=vocabulary.generation(told),
        phase=phase,
        provider=NAME,
        region=found.region,
        zone=raw.get("Placement", {}).get("AvailabilityZone", ""),
        instance_type=raw["InstanceType"],
        market=Market.SPOT if spot else Market.ON_DEMAND,
        usd_per_hour=usd,
        told_per_hour=amount,
        price_time=priced,
        started_at=time_of(raw.get("LaunchTime")),
        image_id=told.get("image", ""),
        line=vocabulary.line_of(told),
        computer=told.get("computer", ""),
        version=told.get("version", ""),
        reported=told.get("reported") == "1",
        never_ran=phase is Phase.ENDED and _never_ran(raw),
        doomed=told.get("goal") == "gone",
        fix=_fix(raw),
        stoppable=not spot,
        retypable=not spot and not reservations.of_instance(raw),
        proves_within=hardware.proves_within(raw["InstanceType"]),
        retyped_for=vocabulary.generation(told, "moved"),
        arch=raw.get("Architecture", "x86_64"),
        gpu=told.get("gpu", ""),
        disk_gib=float(size),
        growable_gib=float(found.sizes.get(root_volume(raw), 0)),
        disk_usd_per_month=size * stored.disk_usd_per_gib_month,
        told_per_usd=stored.told_per_usd,
        copy_usd=size * stored.copy_usd_per_gib,
        stopped_at=_turned_off(raw) if phase in {Phase.STOPPING, Phase.STOPPED, Phase.ENDED} else 0.0,
        scratch_gib=vocabulary.number(told, "scratch"),
        reason=_why(raw) if phase not in {Phase.READY, Phase.PENDING} else "",
        ended_by=ended_by(raw) if phase not in {Phase.READY, Phase.PENDING} else EndedBy.UNKNOWN,
        ends_at=reservations.end_of(raw, found.paid, told),
        open_to=network.open_to([g for g in found.groups if g["GroupId"] in through]),
        private_ip=raw.get("PrivateIpAddress") or "",
    )


def _hidden(found: Found) -> list[Hidden]:
    """Instances that cannot be described now. Their zone is that of their disks."""
    zones = {
        a["InstanceId"]: raw["AvailabilityZone"] for raw in found.volumes for a in raw.get("Attachments", ())
    }
    return [
        Hidden(
            id=qualified(found.region, bare),
            desk=told.get("desk", ""),
            owner=told.get("owner", ""),
            zone=zones.get(bare, found.region),
        )
        for bare, told in found.lost.items()
    ]


def _never_ran(raw: Raw) -> bool:
    """Whether EC2 ended a machine on its way up: a key that it may not use, a full account, its own fault.

    (EC2 user guide, "Instance launch issues": it goes from pending to terminated at once, and the
    code of the state reason tells why; a machine that has run ends with other codes.)
    """
    code = str((raw.get("StateReason") or {}).get("Code") or "")
    return code in _LAUNCH_FAILED and not str(raw.get("StateTransitionReason") or "").startswith("User ")


def _key_refused(raw: Raw) -> bool:
    return (raw.get("StateReason") or {}).get("Code") == "Client.InternalError"


def _fix(raw: Raw) -> str:
    """What to do before the same launch or start can succeed; "" if it may without a change."""
    code = str((raw.get("StateReason") or {}).get("Code") or "")
    if _key_refused(raw):
        return "hotdesk iam   # prints the policy that hotdesk needs"
    if code == "Client.VolumeLimitExceeded":
        return "hotdesk gc   # or ask AWS for a higher limit of EBS storage in this region"
    return "hotdesk doctor" if code.startswith("Client.") and code in _LAUNCH_FAILED else ""


def _goes_whole(raw: Raw) -> bool:
    """Whether an instance is being terminated with all its disks, so that nothing of it will be left."""
    held = [m["Ebs"] for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    ending = raw["State"]["Name"] == "shutting-down"
    return ending and bool(held) and all(disk.get("DeleteOnTermination") for disk in held)


def _turned_off(raw: Raw) -> float:
    """When an instance was last stopped, from a text such as "User initiated (2026-11-23 12:00:00 GMT)"."""
    told = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)", str(raw.get("StateTransitionReason") or ""))
    return time_of(f"{told[1]}+00:00") if told else 0.0


_ENDED_BY = {
    "Client.InstanceInitiatedShutdown": EndedBy.GUEST,
    "Client.UserInitiated": EndedBy.OWNER,  # …Shutdown, …Hibernate
    "Server.": EndedBy.PROVIDER,  # …SpotInstanceTermination, …InternalError
}


def ended_by(raw: Raw) -> EndedBy:
    """Who ended an instance, by the code of its state reason (EC2 API reference, StateReason)."""
    code = str((raw.get("StateReason") or {}).get("Code") or "")
    for begins, who in _ENDED_BY.items():
        if code.startswith(begins):
            return who
    asked = str(raw.get("StateTransitionReason") or "").startswith("User initiated")
    return EndedBy.OWNER if asked and not code else EndedBy.UNKNOWN


def _why(raw: Raw) -> str:
    """EC2's reason for an instance's state, for a person: a sentence without its code, if there is one.

    "User initiated" is omitted while the instance is ending; afterwards it tells who ended it.
    """
    reason = raw.get("StateReason") or {}
    if reason.get("Code") == "Server.SpotInstanceTermination":
        return "AWS took the spot machine back"
    if _key_refused(raw):
        return KEY_REFUSED
    text = str(reason.get("Message") or raw.get("StateTransitionReason") or "")
    if raw["State"]["Name"] in {"stopping", "shutting-down"} and "ser initiated" in text:
        return ""
    return text.removeprefix(f"{reason.get('Code')}: ")


def _disks(found: Found, stored: Storing) -> list[Disk]:
    """Volumes that outlive their instance, or are about to be detached from it; one `Disk` per instance."""
    by_id = {i["InstanceId"]: i for i in found.instances}
    by_name = {tags.read(i.get("Tags")).get("name", ""): i for i in found.instances}
    left, held = [], []
    for raw in found.volumes:
        attached = next(iter(raw.get("Attachments", ())), None)
        if placeholders.is_one(raw):
            continue
        if raw["State"] == "in-use" and attached:
            machine = by_id.get(attached["InstanceId"])
            name = tags.read(raw.get("Tags")).get("name", "")
            if attached["InstanceId"] in found.lost:
                continue  # part of an instance that cannot be described now
            if machine is None or tags.read(machine.get("Tags")).get("name", "") != name:
                held.append(raw)  # somebody attached it to another instance
                continue
            if machine["State"]["Name"] != "terminated" or attached.get("DeleteOnTermination"):
                continue  # part of an instance, or about to be deleted with it
        elif raw["State"] not in {"available", "error"}:
            continue
        left.append(raw)
    names = {tags.read(raw.get("Tags")).get("name", "") for raw in left}
    elsewhere = [raw for raw in held if tags.read(raw.get("Tags")).get("name", "") not in names]
    told = [tags.read(raw.get("Tags")) for raw in found.images]
    saved = {t.get("source", "").partition("/")[2]: {*sizes_of(t)} for t in told if t.get("verified")}
    groups = [*by_machine(left), *by_machine(elsewhere)]
    return [_disk(found, _in_order(disks, saved), stored, by_name, held) for disks in groups]


def _in_order(disks: Mapping[str, Raw], saved: Mapping[str, set[str]]) -> list[Raw]:
    """The disks that one instance left; the first identifies all of them: normally the root disk.

    `saved`: the devices in verified images, by the disk that each image was ordered for. If an image was
    taken while a disk was missing that is back now, that disk comes first: under one that is in the image,
    all would count as saved and be deleted.
    """
    asked = {device: saved[disk["VolumeId"]] for device, disk in disks.items() if disk["VolumeId"] in saved}
    whole = {device for device, held in asked.items() if held >= disks.keys()}
    held = set().union(*asked.values())
    root = root_of(tags.read(next(iter(disks.values())).get("Tags")))
    first = min(disks, key=lambda device: (device not in whole, device in held, device != root, device))
    return [disks[first], *(disk for device, disk in disks.items() if device != first)]


_DETACH = "aws ec2 detach-volume"


def _disk(
    found: Found, volumes: list[Raw], stored: Storing, by_name: dict[str, Raw], held: list[Raw]
) -> Disk:
    """One instance's remaining volumes as a `Disk`; the first identifies it."""
    first, *others = volumes
    told = tags.read(first.get("Tags"))
    machine = by_name.get(told.get("name") or "?")
    source = machine["InstanceId"] if machine else ""
    missing = {*devices(told)} - {device_of(raw) for raw in volumes}
    at = {
        device_of(raw): _holder(raw)
        for raw in held
        if tags.read(raw.get("Tags")).get("name") == told.get("name")
    }
    states = {raw["State"] for raw in volumes}
    ready = Phase.READY if states == {"available"} else Phase.PENDING
    return Disk(
        id=qualified(found.region, first["VolumeId"]),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=vocabulary.generation(told),
        phase=Phase.FAILED if "error" in states else ready,
        provider=NAME,
        region=found.region,
        zone=first.get("AvailabilityZone", ""),
        instance_id=qualified(found.region, source) if source else "",
        machine=told.get("name", ""),
        image_id=told.get("image", ""),
        line=vocabulary.line_of(told),
        doomed=told.get("goal") == "gone",
        held_by=_holder(first) if first in held else "",
        fix=f"{_DETACH} --region {found.region} --volume-id {first['VolumeId']}" if first in held else "",
        started_at=time_of(machine.get("LaunchTime")) if machine else None,
        size_gib=float(sum(raw["Size"] for raw in volumes)),
        made_at=time_of(first.get("CreateTime")),
        usd_per_month=sum(raw["Size"] for raw in volumes) * stored.disk_usd_per_gib_month,
        told_per_usd=stored.told_per_usd,
        copy_usd=sum(raw["Size"] for raw in volumes) * stored.copy_usd_per_gib,
        arch=told.get("arch") or "x86_64",
        parts=tuple(qualified(found.region, raw["VolumeId"]) for raw in others),
        lacks=", ".join(f"{d} (in use at {at[d]})" if d in at else d for d in sorted(missing)),
    )


def _holder(volume: Raw) -> str:
    """The instance that a volume is attached to."""
    return next((str(a["InstanceId"]) for a in volume.get("Attachments", ())), "")


def _leftovers(found: Found, stored: Storing) -> list[Leftover]:
    """Snapshots whose image is gone, and security groups that no machine uses."""
    kept = {
        m["Ebs"].get("SnapshotId")
        for i in found.images
        for m in i.get("BlockDeviceMappings", ())
        if "Ebs" in m
    }
    names = {tags.read(i.get("Tags")).get("name") or i.get("Name") for i in found.images}
    verified = {told.get("name") for i in found.images if (told := tags.read(i.get("Tags"))).get("verified")}
    left = []
    for raw in found.snapshots:
        told = tags.read(raw.get("Tags"))
        twice = told.get("bake") == "disk" and told.get("name") in verified  # taken again after a crash
        in_the_making = told.get("name") in names or told.get("bake") == "disk"
        if raw["SnapshotId"] in kept or (in_the_making and not twice):
            continue
        left.append(
            Leftover(
                id=qualified(found.region, raw["SnapshotId"]),
                kind="snapshot",
                provider=NAME,
                region=found.region,
                desk=told.get("desk", ""),
                owner=told.get("owner", ""),
                generation=vocabulary.generation(told),
                machine=told.get("machine") or told.get("source", ""),
                started_at=vocabulary.number(told, "started") or None,
                made_at=time_of(raw.get("StartTime")),
                usd_per_month=gib(raw) * stored.image_usd_per_gib_month,
                told_per_usd=stored.told_per_usd,
                why="a snapshot that was taken twice" if twice else "a snapshot whose image is gone",
            )
        )
    left += _groups(found)
    return left


def _groups(found: Found) -> list[Leftover]:
    """Security groups that no instance uses: the shared one, and those of desks with a public Jupyter.

    The group of a desk with an instance here is listed without a desk: it may be about to be attached.
    """
    if found.lost:  # the groups of those are unknown
        return []
    here = [i for i in found.instances if i["State"]["Name"] != "terminated"]
    used = {g["GroupId"] for i in here for g in i.get("SecurityGroups", ())}
    at_work = {tags.read(i.get("Tags")).get("desk", "") for i in here}
    left = []
    for raw in found.groups:
        desk = tags.read(raw.get("Tags")).get("desk", "")
        if raw["GroupId"] in used or (here and not desk):
            continue
        let = f"a security group that opened {desk}'s Jupyter, and no machine uses it"
        left.append(
            Leftover(
                id=qualified(found.region, raw["GroupId"]),
                kind="security group",
                provider=NAME,
                region=found.region,
                desk="" if desk in at_work else desk,
                why=f"{let if desk else 'a security group that no machine uses'} (it costs nothing)",
            )
        )
    return left


def _keys(found: Found) -> list[Leftover]:
    return [
        Leftover(
            id=qualified(found.region, f"key/{raw['KeyName']}"),
            kind="key pair",
            provider=NAME,
            region=found.region,
            desk=tags.read(raw.get("Tags")).get("desk", ""),
            made_at=time_of(raw.get("CreateTime")),
            why="the public key of a desk that has nothing else (it costs nothing)",
        )
        for raw in found.keys
    ]
