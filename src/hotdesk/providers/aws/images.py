"""Bake a desk's images from an instance or from disks, verify them, copy them to another region.

A stopped instance becomes an image in one call. Disks that outlived their instance get a snapshot each, which
the survey shows together as one pending image; once all are complete, they are registered as one image.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.lifecycle.descent import FINAL, marked
from hotdesk.core.steps import BakeOrder
from hotdesk.parallel import all_of, side_by_side
from hotdesk.providers.aws import disks, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.base_images import usable
from hotdesk.providers.aws.errors import GONE, answers, code
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified, split
from hotdesk.providers.cloud.vocabulary import Tags

_FAILED = frozenset({"failed", "error", "invalid"})
#: Tags that an image takes over from its instance.
_KEPT = ("arch", "boot", "tpm", "root", "user", "gpu", "keys", "owner", "image", "line", "computer")


def bake(account: Account, order: BakeOrder, parts: Sequence[str] | None = None) -> str:
    """Begin an image of a stopped instance, or of a disk that outlived its instance; return its id.

    `parts`: the instance's other disks in the last survey, None without one; only those are waited for.
    """
    _, bare = split(order.source_id)
    return _bake_machine(account, order) if bare.startswith("i-") else _bake_disks(account, order, parts)


def _bake_machine(account: Account, order: BakeOrder) -> str:
    region, bare = split(order.source_id)
    ec2 = account.ec2(region)
    attached = [{"Name": "attachment.instance-id", "Values": [bare]}]
    with answers():
        listed, volumes = all_of(
            lambda: ec2.describe_instances(InstanceIds=[bare])["Reservations"],
            lambda: ec2.describe_volumes(Filters=attached)["Volumes"],
        )
    machine = listed[0]["Instances"][0]
    if machine["State"]["Name"] != "stopped":
        raise Refused(
            Kind.NOT_READY, f"{bare} is {machine['State']['Name']}: an image now would miss its last writes."
        )
    listed_gib = {v["VolumeId"]: v["Size"] for v in volumes}
    sizes = {
        m["DeviceName"]: listed_gib[m["Ebs"]["VolumeId"]]
        for m in machine.get("BlockDeviceMappings", ())
        if m["Ebs"]["VolumeId"] in listed_gib
    }
    if order.started_at and _second(machine.get("LaunchTime")) != int(order.started_at):
        raise Refused(Kind.NOT_READY, f"{bare} was started again since it was looked at.", seconds=5.0)
    if len(sizes) != len(machine.get("BlockDeviceMappings", ())) or not sizes:
        raise Refused(Kind.NOT_READY, f"Not every disk of {bare} is listed yet.")
    told = tags.read(machine.get("Tags"))
    made = image_tags(order, told, sizes)
    try:
        with answers():
            image = account.ec2_once(region).create_image(**image_request(order, bare, made))
    except Refused as no:
        return qualified(region, _already(account, region, order.name, no))
    return qualified(region, image["ImageId"])


def _second(launched: Any) -> int:
    """EC2's LaunchTime, which changes with every start, in whole seconds."""
    return int(launched.timestamp()) if launched else 0


def image_request(order: BakeOrder, bare: str, made: Tags) -> dict[str, Any]:
    """The arguments of CreateImage."""
    return {
        "InstanceId": bare,
        "Name": order.name,
        "NoReboot": True,  # it is stopped: no data is buffered, and it must not be started
        "Description": f"hotdesk: {order.desk}",
        "TagSpecifications": tags.specifications(["image", "snapshot"], made),
    }


def _bake_disks(account: Account, order: BakeOrder, parts: Sequence[str] | None) -> str:
    """Begin snapshots of the disk and of its instance's other disks.

    They become an image when `verify` finds them complete: see `register`.
    """
    region, bare = split(order.source_id)
    ec2 = account.ec2(region)
    with answers():  # snapshots have no unique names, so look for those of this order first
        volumes, snapshots, registered = all_of(
            lambda: ec2.describe_volumes(VolumeIds=[bare])["Volumes"],
            lambda: _named(account, region, order.name),
            lambda: _registered(account, region, order.name),
        )
    if registered:
        return qualified(region, registered[0]["ImageId"])
    if snapshots:  # `register` takes those that a crash prevented
        return qualified(region, snapshots[0]["SnapshotId"])
    told = tags.read(volumes[0].get("Tags"))
    found, unlisted = _of_one_machine(account, region, volumes[0]), set[str]()
    root = disks.root_of(told)
    if root not in found:
        raise Refused(
            Kind.UNSUPPORTED,
            f"{bare} is not the disk that its machine started from, and that one is gone.",
            fix=f"aws ec2 delete-volume --region {region} --volume-id {bare}   # when you need it no more",
        )
    if parts is not None:
        seen = {bare, *(split(part)[1] for part in parts)}
        found = {d: v for d, v in found.items() if v["VolumeId"] in seen or v["State"] == "available"}
        unlisted = seen - {v["VolumeId"] for v in found.values()}
    if unlisted:
        raise Refused(Kind.NOT_READY, f"{', '.join(sorted(unlisted))} was just seen, and is not listed.")
    made = image_tags(order, told, {device: volume["Size"] for device, volume in found.items()})
    others = [v["VolumeId"] for v in found.values() if v["VolumeId"] != bare]
    if others:  # all of them are in it, whichever disk an earlier image was ordered for
        held = [marked(volume, FINAL) for volume in others]
        made["line"] = vocabulary.line([*(vocabulary.line_of(told) or ()), *held])
    if disks.devices(told).keys() - found.keys():  # incomplete: it does not hold all of the instance's work
        made.pop("machine", None)
    return _begin(account, region, found, made)[root]


def _of_one_machine(account: Account, region: str, volume: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Device -> volume, for the remaining volumes of the instance that had this one."""
    told = tags.read(volume.get("Tags"))
    if not disks.devices(told):
        return {disks.root_of(told): volume}
    mine = [*tags.OURS, {"Name": "tag:hotdesk:name", "Values": [told.get("name", "")]}]
    with answers():
        listed = account.ec2(region).describe_volumes(Filters=mine)["Volumes"]
    left = [v for v in listed if v["State"] not in {"deleting", "deleted"}]
    known = {disks.device_of(volume): volume}  # described by its id, as the listing may lag
    return {**next((d for d in disks.by_machine(left) if "" not in d), {}), **known}


def _begin(
    account: Account, region: str, volumes: Mapping[str, Mapping[str, Any]], made: Tags
) -> dict[str, str]:
    """Begin a snapshot of each volume concurrently; return their ids by device.

    Raises `Refused` only if none was made: if some were, it is not a definite no.
    """
    for volume in volumes.values():
        if volume["State"] != "available":
            why = f"{volume['VolumeId']} is {volume['State']}: its machine has not let go of it yet."
            raise Refused(Kind.NOT_READY, why)
    begun: dict[str, str] = {}
    answered = side_by_side([partial(_snapshot, account, region, d, v, made) for d, v in volumes.items()])
    for device, answer in zip(volumes, answered, strict=True):
        if not isinstance(answer, Exception):
            begun[device] = qualified(region, answer)
        elif isinstance(answer, Refused) and not all(isinstance(a, Refused) for a in answered):
            raise RuntimeError(f"not every disk has a snapshot yet: {answer.message}") from answer
        else:
            raise answer
    return begun


def _snapshot(account: Account, region: str, device: str, volume: Mapping[str, Any], made: Tags) -> str:
    with answers():
        snapshot = account.ec2_once(region).create_snapshot(
            **snapshot_request(volume["VolumeId"], device, made)
        )
    return str(snapshot["SnapshotId"])


def snapshot_request(volume: str, device: str, made: Tags) -> dict[str, Any]:
    """The arguments of CreateSnapshot, for a disk whose image is registered later."""
    return {
        "VolumeId": volume,
        "Description": f"hotdesk: {made['desk']}",
        "TagSpecifications": tags.specifications(["snapshot"], {**made, "bake": "disk", "device": device}),
    }


def _named(account: Account, region: str, name: str) -> list[Any]:
    """The snapshots of one order: the root disk's first, then the oldest first."""
    mine = [{"Name": "tag:hotdesk:name", "Values": [name]}]
    with answers():
        listed = account.ec2(region).describe_snapshots(OwnerIds=["self"], Filters=mine)["Snapshots"]
    return sorted(listed, key=disks.root_first)


def image_tags(order: BakeOrder, told: Tags, sizes: Mapping[str, int]) -> Tags:
    return vocabulary.of_image(order, told, sizes, _KEPT)


def _already(account: Account, region: str, name: str, no: Refused) -> str:
    """The existing image of this name, which is of the same order. Raises `no` if it is another refusal."""
    if code(no.__cause__ or no) != "InvalidAMIName.Duplicate":
        raise no
    if named := re.search(r"\bami-[0-9a-f]+\b", no.message):
        return named.group()
    try:
        found = _registered(account, region, name)
    except Refused as busy:  # the image exists, so this must not count as a refusal of the order
        raise Failing(f"the image named {name} exists, and cannot be looked up: {busy.message}") from busy
    if found:
        return str(found[0]["ImageId"])
    raise RuntimeError(f"an image named {name} exists in {region} and is not listed yet")


def _registered(account: Account, region: str, name: str) -> list[Any]:
    """Our images of that name; at most one."""
    mine = [{"Name": "name", "Values": [name]}]
    with answers():
        return list(
            account.ec2(region).describe_images(Owners=["self"], Filters=mine, IncludeDisabled=True)["Images"]
        )


def register(account: Account, snapshot_id: str) -> None:
    """Register one image of the completed snapshots of an instance's disks; it still has to be verified.

    If a crash prevented a snapshot, take that first; a later call registers the image.
    """
    region, bare = split(snapshot_id)
    with answers():
        snapshot = account.ec2(region).describe_snapshots(SnapshotIds=[bare])["Snapshots"][0]
    told = tags.read(snapshot.get("Tags"))
    root, wanted = disks.root_of(told), disks.sizes_of(told)
    taken = {told.get("device") or root: snapshot}
    if len(wanted) > 1:
        for other in _named(account, region, told["name"]):
            taken.setdefault(tags.read(other.get("Tags")).get("device", root), other)
    if missing := sorted({root, *wanted} - {*taken}):
        _take_missing(account, region, missing, told)
        return
    for one in taken.values():
        if one["State"] == "error":
            why = f"{one['SnapshotId']} failed: {one.get('StateMessage') or 'AWS gives no reason'}."
            raise Refused(Kind.CORRUPT, why)
        if one["State"] != "completed":
            raise Refused(Kind.NOT_READY, f"{one['SnapshotId']} is at {one.get('Progress') or '0%'}.")
    more = {"BootMode": told.get("boot"), "TpmSupport": told.get("tpm")}
    try:
        with answers():
            account.ec2_once(region).register_image(
                Name=told["name"],
                Description=snapshot.get("Description") or f"hotdesk: {told.get('desk', '')}",
                Architecture=told.get("arch") or "x86_64",
                RootDeviceName=root,
                VirtualizationType="hvm",
                EnaSupport=True,
                ImdsSupport="v2.0",
                BlockDeviceMappings=[
                    {
                        "DeviceName": device,
                        "Ebs": {
                            "SnapshotId": one["SnapshotId"],
                            "VolumeType": "gp3",
                            "DeleteOnTermination": True,
                        },
                    }
                    for device, one in sorted(taken.items())
                ],
                TagSpecifications=tags.specifications(["image"], _of_the_order(told)),
                **{name: value for name, value in more.items() if value},
            )
    except Refused as no:
        _already(account, region, told["name"], no)


def _take_missing(account: Account, region: str, missing: Sequence[str], told: Tags) -> None:
    """Take the missing snapshots of an order. Raises `Refused` (corrupt) if their disks are gone."""
    lost = Refused(Kind.CORRUPT, f"{told['name']} lacks {', '.join(missing)}, and its disks are gone.")
    try:
        with answers():
            source = split(told["source"])[1]
            [volume] = account.ec2(region).describe_volumes(VolumeIds=[source])["Volumes"]
    except Refused as no:
        if code(no.__cause__ or no) not in GONE:
            raise
        raise lost from no
    found = _of_one_machine(account, region, volume)
    if not found.keys() >= set(missing):
        raise lost
    _begin(account, region, {device: found[device] for device in missing}, _of_the_order(told))


def _of_the_order(told: Tags) -> Tags:
    """A snapshot's tags without those of its own disk."""
    return {k: v for k, v in told.items() if k not in {"bake", "device"}}


def verify(account: Account, image_id: str, parts: Sequence[str] = ()) -> None:
    """Check that an image holds what its tags say, and tag it as verified. Raises `Refused` (corrupt).

    `parts`: the snapshots it refers to by the last survey, described concurrently with it.
    """
    region, bare = split(image_id)
    if bare.startswith("snap-"):
        register(account, image_id)
        return
    asked: list[Callable[[], Any]] = [
        lambda: usable(account, region, bare),
        lambda: _snapshots(account, region, bare, parts),
    ]
    image, known = side_by_side(asked)
    if isinstance(image, Exception):
        raise image
    told = tags.read(image.get("Tags"))
    if image["State"] != "available":
        if image["State"] in _FAILED:
            raise Refused(Kind.CORRUPT, f"{bare} is {image['State']}: {_reason(image)}")
        raise Refused(Kind.NOT_READY, f"{bare} is {image['State']}.")
    held = {m["DeviceName"]: m["Ebs"] for m in image.get("BlockDeviceMappings", ()) if "Ebs" in m}
    wanted = disks.sizes_of(told)
    if not wanted:
        raise Refused(Kind.CORRUPT, f"{bare} does not say which disks it must hold.")
    if told.get("source", "").partition("/")[2].startswith("i-") and not told.get("copied"):
        source, stated = told["source"].partition("/")[2], image.get("SourceInstanceId")
        if stated and stated != source:
            raise Refused(Kind.CORRUPT, f"{bare} was taken from {stated}, not from {source}.")
    for device, size in wanted.items():
        if device not in held:
            raise Refused(Kind.CORRUPT, f"{bare} lacks the disk {device}.")
        if int(held[device].get("VolumeSize", 0)) < size:
            raise Refused(
                Kind.CORRUPT,
                f"{bare} holds {held[device].get('VolumeSize')} GiB of {device} where {size} were expected.",
            )
    ids = [disk.get("SnapshotId") for disk in held.values()]
    if not all(ids):
        raise Refused(Kind.CORRUPT, f"{bare} names a disk without a snapshot.")
    if isinstance(known, Exception) or {s["SnapshotId"] for s in known} != set(ids):
        known = _snapshots(account, region, bare, ids)
    snapshots: list[Any] = list(known)
    for snapshot in snapshots:
        if snapshot["State"] == "error":
            raise Refused(Kind.CORRUPT, f"{snapshot['SnapshotId']} of {bare} failed.")
        if snapshot["State"] != "completed":
            raise Refused(
                Kind.NOT_READY, f"{snapshot['SnapshotId']} is at {snapshot.get('Progress') or '0%'}."
            )
    if len(snapshots) != len(set(ids)):
        raise Refused(
            Kind.CORRUPT, f"{bare} refers to {len(set(ids))} snapshots, and {len(snapshots)} exist."
        )
    with answers():
        account.ec2_once(region).create_tags(
            Resources=[bare], Tags=[{"Key": "hotdesk:verified", "Value": "1"}]
        )


def _snapshots(account: Account, region: str, ami: str, ids: Sequence[str]) -> list[Any]:
    if not ids:
        return []
    try:
        with answers():
            found: list[Any] = account.ec2(region).describe_snapshots(SnapshotIds=list(ids))["Snapshots"]
            return found
    except Refused as no:
        if code(no.__cause__ or no) != "InvalidSnapshot.NotFound":
            raise
        raise Refused(Kind.CORRUPT, f"{ami} refers to a snapshot that does not exist: {no.message}") from no


def copy(account: Account, image_id: str, region: str, name: str) -> str:
    """Begin a copy into another region under that name; return its id."""
    home, bare = split(image_id)
    image = usable(account, home, bare)
    told = tags.read(image.get("Tags"))
    kept = vocabulary.of_copy(told, name, image.get("CreationDate"))
    try:
        with answers():
            made = account.ec2_once(region).copy_image(
                SourceImageId=bare,
                SourceRegion=home,
                Name=name,
                Description=str(image.get("Description") or ""),
                Encrypted=True,
                ClientToken=hashlib.sha256(f"{image_id} {region} {name}".encode()).hexdigest()[:32],
                TagSpecifications=tags.specifications(["image", "snapshot"], kept),
            )
    except Refused as no:
        return qualified(region, _already(account, region, name, no))
    return qualified(region, made["ImageId"])


def _reason(image: Mapping[str, Any]) -> str:
    return str((image.get("StateReason") or {}).get("Message") or "AWS gives no reason")
