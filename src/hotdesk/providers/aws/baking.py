"""The desk's own images: baked from a machine or a disk, read back, copied into another region.

A stopped machine becomes an image in one call. A disk that outlived its machine takes two: a snapshot
(which the survey shows as an image in the making) and, once that is complete, its registration.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.steps import BakeOrder
from hotdesk.providers.aws import tags
from hotdesk.providers.aws.account import Account, all_of, qualified, side_by_side, split
from hotdesk.providers.aws.errors import answers, code
from hotdesk.providers.aws.images import describe

_FAILED = frozenset({"failed", "error", "invalid"})


def bake(account: Account, order: BakeOrder) -> str:
    """Begin an image of a stopped machine, or of a disk that was left; its id."""
    _, bare = split(order.source_id)
    return _bake_machine(account, order) if bare.startswith("i-") else _bake_disk(account, order)


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
    sizes = {v["VolumeId"]: v["Size"] for v in volumes}
    disks = {
        m["DeviceName"]: sizes[m["Ebs"]["VolumeId"]]
        for m in machine.get("BlockDeviceMappings", ())
        if m["Ebs"]["VolumeId"] in sizes
    }
    if len(disks) != len(machine.get("BlockDeviceMappings", ())) or not disks:
        raise Refused(Kind.NOT_READY, f"Not every disk of {bare} is listed yet.")
    told = tags.read(machine.get("Tags"))
    made = _tags(order, told, disks)
    try:
        with answers():
            image = account.ec2_once(region).create_image(
                InstanceId=bare,
                Name=order.name,
                NoReboot=True,  # it is stopped: nothing is buffered, and nothing may start it
                Description=f"hotdesk: {order.desk}",
                TagSpecifications=tags.specifications(["image", "snapshot"], made),
            )
    except Refused as no:
        return qualified(region, _already(account, region, order.name, no))
    return qualified(region, image["ImageId"])


def _bake_disk(account: Account, order: BakeOrder) -> str:
    """Begin a snapshot. It becomes an image when `verify` finds it complete: see `register`."""
    region, bare = split(order.source_id)
    ec2 = account.ec2(region)
    mine = [{"Name": "tag:hotdesk:name", "Values": [order.name]}]
    with answers():  # snapshots have no names of their own, so one of this order is looked for first
        volumes, snapshots, registered = all_of(
            lambda: ec2.describe_volumes(VolumeIds=[bare])["Volumes"],
            lambda: ec2.describe_snapshots(OwnerIds=["self"], Filters=mine)["Snapshots"],
            lambda: ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [order.name]}])[
                "Images"
            ],
        )
    if registered:
        return qualified(region, registered[0]["ImageId"])
    if snapshots:
        return qualified(region, snapshots[0]["SnapshotId"])
    volume = volumes[0]
    if volume["State"] != "available":
        raise Refused(Kind.NOT_READY, f"{bare} is {volume['State']}: its machine has not let go of it yet.")
    told = tags.read(volume.get("Tags"))
    made = _tags(order, told, {told.get("root") or "/dev/sda1": volume["Size"]})
    with answers():
        snapshot = account.ec2_once(region).create_snapshot(
            VolumeId=bare,
            Description=f"hotdesk: {order.desk}",
            TagSpecifications=tags.specifications(["snapshot"], {**made, "bake": "disk"}),
        )
    return qualified(region, snapshot["SnapshotId"])


def _tags(order: BakeOrder, told: tags.Tags, disks: Mapping[str, int]) -> tags.Tags:
    kept = {
        key: told[key] for key in ("arch", "boot", "root", "user", "gpu", "keys", "owner") if told.get(key)
    }
    return tags.of(
        order.desk,
        order.name,
        generation=order.generation,
        born=order.born,
        attempt=order.attempt,
        goal="parked",
        source=order.source_id,
        started=order.started_at or "",
        disks=",".join(f"{device}={size}" for device, size in sorted(disks.items())),
        **kept,
    )


def _already(account: Account, region: str, name: str, no: Refused) -> str:
    """The image that already has this name: the same order's. Raises what was refused otherwise."""
    if code(no.__cause__ or no) != "InvalidAMIName.Duplicate":
        raise no
    if named := re.search(r"\bami-[0-9a-f]+\b", no.message):
        return named.group()
    with answers():
        found = account.ec2(region).describe_images(
            Owners=["self"], Filters=[{"Name": "name", "Values": [name]}]
        )
    if found["Images"]:
        return str(found["Images"][0]["ImageId"])
    raise RuntimeError(f"an image named {name} exists in {region} and is not listed yet")


def register(account: Account, snapshot_id: str) -> None:
    """Make an image of a completed snapshot of a disk; the image counts only once it is verified itself."""
    region, bare = split(snapshot_id)
    with answers():
        snapshot = account.ec2(region).describe_snapshots(SnapshotIds=[bare])["Snapshots"][0]
    told = tags.read(snapshot.get("Tags"))
    if snapshot["State"] != "completed":
        if snapshot["State"] == "error":
            raise Refused(
                Kind.ROTTEN, f"{bare} failed: {snapshot.get('StateMessage') or 'AWS gives no reason'}."
            )
        raise Refused(Kind.NOT_READY, f"{bare} is at {snapshot.get('Progress') or '0%'}.")
    root = told.get("root") or "/dev/sda1"
    disk = {"SnapshotId": bare, "VolumeType": "gp3", "DeleteOnTermination": True}
    boot = {"BootMode": told["boot"]} if told.get("boot") else {}
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
                BlockDeviceMappings=[{"DeviceName": root, "Ebs": disk}],
                TagSpecifications=tags.specifications(
                    ["image"], {k: v for k, v in told.items() if k != "bake"}
                ),
                **boot,
            )
    except Refused as no:
        _already(account, region, told["name"], no)


def verify(account: Account, image_id: str, parts: Sequence[str] = ()) -> None:
    """Compare an image with what its tags say it must hold, and mark it; else `Refused` (rotten).

    `parts`: the snapshots that it is thought to refer to, asked about beside it.
    """
    region, bare = split(image_id)
    if bare.startswith("snap-"):
        register(account, image_id)
        return
    asked: list[Callable[[], Any]] = [
        lambda: describe(account, region, bare),
        lambda: _snapshots(account, region, bare, parts),
    ]
    image, known = side_by_side(asked)
    if isinstance(image, Exception):
        raise image
    told = tags.read(image.get("Tags"))
    if image["State"] != "available":
        if image["State"] in _FAILED:
            raise Refused(Kind.ROTTEN, f"{bare} is {image['State']}: {_reason(image)}")
        raise Refused(Kind.NOT_READY, f"{bare} is {image['State']}.")
    held = {m["DeviceName"]: m["Ebs"] for m in image.get("BlockDeviceMappings", ()) if "Ebs" in m}
    wanted = expected_disks(told)
    if not wanted:
        raise Refused(Kind.ROTTEN, f"{bare} does not say which disks it must hold.")
    if told.get("source", "").partition("/")[2].startswith("i-") and not told.get("copied"):
        source, stated = told["source"].partition("/")[2], image.get("SourceInstanceId")
        if stated and stated != source:
            raise Refused(Kind.ROTTEN, f"{bare} was taken from {stated}, not from {source}.")
    for device, size in wanted.items():
        if device not in held:
            raise Refused(Kind.ROTTEN, f"{bare} lacks the disk {device}.")
        if int(held[device].get("VolumeSize", 0)) < size:
            raise Refused(
                Kind.ROTTEN,
                f"{bare} holds {held[device].get('VolumeSize')} GiB of {device} where {size} were expected.",
            )
    ids = [disk.get("SnapshotId") for disk in held.values()]
    if not all(ids):
        raise Refused(Kind.ROTTEN, f"{bare} names a disk without a snapshot.")
    if isinstance(known, Exception) or {s["SnapshotId"] for s in known} != set(ids):
        known = _snapshots(account, region, bare, ids)
    snapshots: list[Any] = list(known)
    for snapshot in snapshots:
        if snapshot["State"] == "error":
            raise Refused(Kind.ROTTEN, f"{snapshot['SnapshotId']} of {bare} failed.")
        if snapshot["State"] != "completed":
            raise Refused(
                Kind.NOT_READY, f"{snapshot['SnapshotId']} is at {snapshot.get('Progress') or '0%'}."
            )
    if len(snapshots) != len(set(ids)):
        raise Refused(Kind.ROTTEN, f"{bare} refers to {len(set(ids))} snapshots, and {len(snapshots)} exist.")
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
        raise Refused(Kind.ROTTEN, f"{ami} refers to a snapshot that does not exist: {no.message}") from no


def copy(account: Account, image_id: str, region: str, name: str) -> str:
    """Begin a copy into another region, under that name; its id."""
    home, bare = split(image_id)
    image = describe(account, home, bare)
    told = tags.read(image.get("Tags"))
    # The same work under another name: generation, source and time are the original's.
    kept = {k: v for k, v in told.items() if k != "verified"}
    kept |= {"name": name, "copied": "1", "taken": told.get("taken") or str(image.get("CreationDate") or "")}
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


def expected_disks(told: tags.Tags) -> dict[str, int]:
    """Device -> GiB, as written down when the image was asked for."""
    pairs = [part.partition("=") for part in told.get("disks", "").split(",") if part]
    return {device: int(size) for device, _, size in pairs if size.isdecimal()}


def _reason(image: Mapping[str, Any]) -> str:
    return str((image.get("StateReason") or {}).get("Message") or "AWS gives no reason")
