"""What the regions answered, in the core's words, with what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from hotdesk.core.model import Disk, Hidden, Image, Instance, Leftover, Market, Phase, Survey
from hotdesk.core.prices import Storing
from hotdesk.providers.aws import network, tags
from hotdesk.providers.aws.account import ListPrice, qualified
from hotdesk.providers.aws.disks import by_machine, device_of, devices, root_first, root_of, sizes_of
from hotdesk.providers.aws.reading import Found, Raw

NAME = "aws"

#: What disks and images cost in a region.
StoragePrice = Callable[[str], Storing]

_MACHINE = {
    "pending": Phase.PENDING,
    "running": Phase.READY,
    "stopping": Phase.STOPPING,
    "stopped": Phase.STOPPED,
    "shutting-down": Phase.ENDING,
    "terminated": Phase.ENDED,
}
#: A disabled image holds what it held: it is kept and counted, and whoever wants to launch it is told.
_IMAGE = {
    "available": Phase.READY,
    "disabled": Phase.READY,
    "pending": Phase.PENDING,
    "transient": Phase.PENDING,
}


def survey(
    found: Iterable[Found],
    unread: Iterable[str],
    *,
    lag_seconds: float,
    poll_seconds: float,
    owner: str,
    storage: StoragePrice,
    list_price: ListPrice = lambda region, instance_type: None,
    closed: tuple[str, str] = ("", ""),
) -> Survey:
    """What was found, in the core's words. `closed`: why a region does not let us look, and what to do."""
    instances: list[Instance] = []
    disks: list[Disk] = []
    images: list[Image] = []
    leftovers: list[Leftover] = []
    for region in found:
        usd = storage(region.region)
        instances += [_instance(region, raw, usd, list_price) for raw in region.instances]
        disks += _disks(region, usd)
        images += [i for i in (_image(region, raw, usd) for raw in region.images) if i]
        images += _unregistered(region, usd)
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


def _instance(found: Found, raw: Raw, stored: Storing, list_price: ListPrice) -> Instance:
    told = tags.read(raw.get("Tags"))
    phase = _MACHINE.get(raw["State"]["Name"], Phase.PENDING)
    spot = raw.get("InstanceLifecycle") == "spot"
    held = [m["Ebs"].get("VolumeId", "") for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    size = sum(found.sizes.get(volume, 0) for volume in held)
    through = {g["GroupId"] for g in raw.get("SecurityGroups", ())}
    usd, priced = tags.number(told, "usd"), tags.number(told, "priced") or None
    if not usd and not spot:  # launched where nobody knew it, or by somebody else
        usd, priced = list_price(found.region, raw["InstanceType"]) or (0.0, None)
    return Instance(
        id=qualified(found.region, raw["InstanceId"]),
        name=told.get("name", ""),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=tags.generation(told),
        phase=phase,
        provider=NAME,
        region=found.region,
        zone=raw.get("Placement", {}).get("AvailabilityZone", ""),
        instance_type=raw["InstanceType"],
        market=Market.SPOT if spot else Market.ON_DEMAND,
        usd_per_hour=usd,
        price_time=priced,
        started_at=time_of(raw.get("LaunchTime")),
        image_id=told.get("image", ""),
        stoppable=not spot,
        retypable=not spot,
        retyped_for=tags.generation(told, "moved"),
        arch=raw.get("Architecture", "x86_64"),
        gpu=told.get("gpu", ""),
        disk_gib=float(size),
        disk_usd_per_month=size * stored.disk_usd_per_gib_month,
        copy_usd=size * stored.copy_usd_per_gib,
        stopped_at=_turned_off(raw) if phase in {Phase.STOPPING, Phase.STOPPED, Phase.ENDED} else 0.0,
        scratch_gib=tags.number(told, "scratch"),
        reason=_why(raw) if phase not in {Phase.READY, Phase.PENDING} else "",
        open_to=network.open_to([g for g in found.groups if g["GroupId"] in through]),
    )


def _hidden(found: Found) -> list[Hidden]:
    """Machines that nobody can read now. Their disks, which can be read, tell their zone."""
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


def _goes_whole(raw: Raw) -> bool:
    """Whether a machine is about to end with all its disks: nothing of it will be left to come back to."""
    held = [m["Ebs"] for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    ending = raw["State"]["Name"] == "shutting-down"
    return ending and bool(held) and all(disk.get("DeleteOnTermination") for disk in held)


def _turned_off(raw: Raw) -> float:
    """When a machine was last turned off; EC2 tells in words: "User initiated (2026-11-23 12:00:00 GMT)"."""
    told = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)", str(raw.get("StateTransitionReason") or ""))
    return time_of(f"{told[1]}+00:00") if told else 0.0


def _why(raw: Raw) -> str:
    """EC2's reason for a machine's state; for a person, so without the code where there is a sentence.

    That its user asked for it is no news while it happens; afterwards it tells who has ended a machine.
    """
    reason = raw.get("StateReason") or {}
    if reason.get("Code") == "Server.SpotInstanceTermination":
        return "AWS took the spot machine back"
    text = str(reason.get("Message") or raw.get("StateTransitionReason") or "")
    if raw["State"]["Name"] in {"stopping", "shutting-down"} and "ser initiated" in text:
        return ""
    return text.removeprefix(f"{reason.get('Code')}: ")


def _disks(found: Found, stored: Storing) -> list[Disk]:
    """Volumes that outlived their machine, or are about to be let go by it; one for each machine."""
    by_id = {i["InstanceId"]: i for i in found.instances}
    by_name = {tags.read(i.get("Tags")).get("name", ""): i for i in found.instances}
    left = []
    for raw in found.volumes:
        attached = next(iter(raw.get("Attachments", ())), None)
        if raw["State"] == "in-use" and attached:
            machine = by_id.get(attached["InstanceId"])
            over = machine is not None and machine["State"]["Name"] == "terminated"
            if not over or attached.get("DeleteOnTermination"):
                continue  # part of a machine, or about to go with one
        elif raw["State"] not in {"available", "error"}:
            continue
        left.append(raw)
    told = [tags.read(raw.get("Tags")) for raw in found.images]
    saved = {t.get("source", "").partition("/")[2]: {*sizes_of(t)} for t in told if t.get("verified")}
    return [_disk(found, _in_order(disks, saved), stored, by_id, by_name) for disks in by_machine(left)]


def _in_order(disks: Mapping[str, Raw], saved: Mapping[str, set[str]]) -> list[Raw]:
    """What one machine left, with the disk first by which all are known: its root disk.

    `saved`: devices that verified images hold, by the disk that each was asked for. Where an image was taken
    while a disk was not to be found, and now that is back, all are known by that disk: by one that is in the
    image they would go as saved.
    """
    asked = {device: saved[disk["VolumeId"]] for device, disk in disks.items() if disk["VolumeId"] in saved}
    whole = {device for device, held in asked.items() if held >= disks.keys()}
    held = set().union(*asked.values())
    root = root_of(tags.read(next(iter(disks.values())).get("Tags")))
    first = min(disks, key=lambda device: (device not in whole, device in held, device != root, device))
    return [disks[first], *(disk for device, disk in disks.items() if device != first)]


def _disk(
    found: Found,
    volumes: list[Raw],
    stored: Storing,
    by_id: dict[str, Raw],
    by_name: dict[str, Raw],
) -> Disk:
    """What is left of one machine: the disk that it is known by, and the others."""
    first, *others = volumes
    told = tags.read(first.get("Tags"))
    attached = next(iter(first.get("Attachments", ())), None)
    machine = by_id.get(attached["InstanceId"]) if attached else by_name.get(told.get("name") or "?")
    source = machine["InstanceId"] if machine else ""
    missing = {*devices(told)} - {device_of(raw) for raw in volumes}
    states = {raw["State"] for raw in volumes}
    ready = Phase.READY if states == {"available"} else Phase.PENDING
    return Disk(
        id=qualified(found.region, first["VolumeId"]),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=tags.generation(told),
        phase=Phase.FAILED if "error" in states else ready,
        provider=NAME,
        region=found.region,
        zone=first.get("AvailabilityZone", ""),
        instance_id=qualified(found.region, source) if source else "",
        started_at=time_of(machine.get("LaunchTime")) if machine else None,
        size_gib=float(sum(raw["Size"] for raw in volumes)),
        made_at=time_of(first.get("CreateTime")),
        usd_per_month=sum(raw["Size"] for raw in volumes) * stored.disk_usd_per_gib_month,
        copy_usd=sum(raw["Size"] for raw in volumes) * stored.copy_usd_per_gib,
        arch=told.get("arch") or "x86_64",
        parts=tuple(qualified(found.region, raw["VolumeId"]) for raw in others),
        lacks=", ".join(sorted(missing)),
    )


def _image(found: Found, raw: Raw, stored: Storing) -> Image | None:
    told = tags.read(raw.get("Tags"))
    if raw["State"] == "deregistered":
        return None
    phase = _IMAGE.get(raw["State"], Phase.FAILED)
    parts = _snapshots_of(found, raw, told)
    size = float(sum(m["Ebs"].get("VolumeSize", 0) for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m))
    bad = next((s for s in parts if s["State"] == "error"), None)
    reason = str((raw.get("StateReason") or {}).get("Message") or "")
    if bad is not None:
        phase, reason = Phase.FAILED, str(bad.get("StateMessage") or f"{bad['SnapshotId']} failed")
    taken = told.get("taken") if told.get("copied") else None
    return Image(
        id=qualified(found.region, raw["ImageId"]),
        name=told.get("name") or raw.get("Name", ""),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=tags.generation(told),
        phase=phase,
        provider=NAME,
        region=found.region,
        verified=told.get("verified") == "1",
        source_id=told.get("source", ""),
        taken_at=time_of(taken or raw.get("CreationDate")),
        size_gib=size,
        usd_per_month=(sum(map(_gib, parts)) if parts else size) * stored.image_usd_per_gib_month,
        copy_usd=(sum(map(_gib, parts)) if parts else size) * stored.copy_usd_per_gib,
        arch=raw.get("Architecture", "x86_64"),
        progress=_progress(parts) if phase is Phase.PENDING else None,
        reason=reason if phase is Phase.FAILED else "",
    )


def _snapshots_of(found: Found, raw: Raw, told: tags.Tags) -> list[Raw]:
    """The snapshots that an image refers to, and, while it refers to none yet, those of its name."""
    ids = [m["Ebs"].get("SnapshotId", "") for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    listed = {s["SnapshotId"]: s for key in (*ids, told.get("name", "")) for s in found.parts.get(key, ())}
    return list(listed.values())


def _unregistered(found: Found, stored: Storing) -> list[Image]:
    """Snapshots of disks that were left: images in the making, until they are registered."""
    registered = {
        tags.read(i.get("Tags")).get("name") or i.get("Name")
        for i in found.images
        if i["State"] != "deregistered"
    }
    orders: dict[str, list[Raw]] = {}
    for raw in sorted(found.snapshots, key=root_first):
        told = tags.read(raw.get("Tags"))
        if told.get("bake") == "disk" and told.get("name") not in registered:
            orders.setdefault(told.get("name") or raw["SnapshotId"], []).append(raw)
    images = []
    for taken in orders.values():
        told = tags.read(taken[0].get("Tags"))
        states = {raw["State"] for raw in taken}
        phase = Phase.READY if states == {"completed"} else Phase.PENDING
        reasons = [
            raw.get("StateMessage") or "the snapshot failed" for raw in taken if raw["State"] == "error"
        ]
        ids = [qualified(found.region, raw["SnapshotId"]) for raw in taken]
        images.append(
            Image(
                id=ids[0],
                name=told.get("name", ""),
                desk=told.get("desk", ""),
                owner=told.get("owner", ""),
                generation=tags.generation(told),
                phase=Phase.FAILED if reasons else phase,
                provider=NAME,
                region=found.region,
                source_id=told.get("source", ""),
                taken_at=min(time_of(raw.get("StartTime")) for raw in taken),
                size_gib=float(sum(raw.get("VolumeSize", 0) for raw in taken)),
                usd_per_month=sum(map(_gib, taken)) * stored.image_usd_per_gib_month,
                arch=told.get("arch") or "x86_64",
                progress=_progress(taken) if phase is Phase.PENDING and not reasons else None,
                reason=str(next(iter(reasons), "")),
                parts=tuple(ids[1:]),
            )
        )
    return images


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
        twice = told.get("bake") == "disk" and told.get("name") in verified  # a crash has had it taken again
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
                generation=tags.generation(told),
                made_at=time_of(raw.get("StartTime")),
                usd_per_month=_gib(raw) * stored.image_usd_per_gib_month,
                why="a snapshot that was taken twice" if twice else "a snapshot whose image is gone",
            )
        )
    left += _groups(found)
    return left


def _groups(found: Found) -> list[Leftover]:
    """Security groups that no machine uses: the shared one, and those through which a Jupyter was reached.

    One of a desk that has a machine here is shown as nobody's: another command may be about to attach it.
    """
    if found.lost:  # nobody knows what those use
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


def _gib(snapshot: Raw) -> float:
    """What is paid of a snapshot at most: its full size where EC2 tells it, else the disk's."""
    whole = snapshot.get("FullSnapshotSizeInBytes")
    return whole / 2**30 if whole else float(snapshot.get("VolumeSize", 0))


def _progress(snapshots: list[Raw]) -> float | None:
    shares = [float(str(s.get("Progress") or "0").rstrip("%") or 0) / 100 for s in snapshots]
    return sum(shares) / len(shares) if shares else None


def time_of(value: Any) -> float:
    """EC2's times, which boto3 gives as datetimes or, of images, as text."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str) and value:
        return datetime.fromisoformat(value).timestamp()
    return 0.0
