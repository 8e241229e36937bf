"""Volumes: made, listed, changed, attached, deleted."""

from __future__ import annotations

from typing import Any

from fake_ec2 import catalogue
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, bad_value, missing, not_found
from fake_ec2.filters import keep, page, stamp, tag_list
from fake_ec2.things import Attachment, Image, Volume
from fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for

GP3_IOPS, GP3_MIBPS = 3000, 125
KMS = "arn:aws:kms:{region}:" + ACCOUNT + ":key/0f5e5a4e-ebs0-4b1c-9d0c-aws0ebs00000"
FILTERS = {
    "status": "State",
    "volume-id": "VolumeId",
    "size": "Size",
    "snapshot-id": "SnapshotId",
    "volume-type": "VolumeType",
    "encrypted": "Encrypted",
    "availability-zone": "AvailabilityZone",
    "create-time": "CreateTime",
    "attachment.instance-id": "Attachments[].InstanceId",
    "attachment.device": "Attachments[].Device",
    "attachment.status": "Attachments[].State",
    "attachment.delete-on-termination": "Attachments[].DeleteOnTermination",
}


# ── block device mappings: what the image says, changed by what the order says ───────────────────────────


def check_mapping(
    world: World, region: str, image: Image, asked: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Disks of a launch, [{device, size, type, …}]. moto ignores the image's own disks."""
    disks: dict[str, dict[str, Any]] = {}
    for mapping in image.mappings:
        if mapping.get("Ebs"):
            disks[mapping["DeviceName"]] = dict(mapping["Ebs"])
    for mapping in asked:
        device = mapping.get("DeviceName")
        if not device:
            raise missing("BlockDeviceMapping.DeviceName")
        if mapping.get("NoDevice") is not None:
            disks.pop(device, None)
            continue
        if mapping.get("VirtualName") or not mapping.get("Ebs"):
            continue
        theirs, ours = disks.get(device, {}), {k: v for k, v in mapping["Ebs"].items() if v is not None}
        if theirs.get("SnapshotId") and ours.get("SnapshotId") not in (None, theirs["SnapshotId"]):
            raise Problem(
                "InvalidBlockDeviceMapping", f"snapshotId can not be modified on root device {device}"
            )
        if theirs.get("Encrypted") and ours.get("Encrypted") is False:
            raise Problem(
                "InvalidParameterDependency",
                "The parameter encrypted cannot be false for an encrypted snapshot",
            )
        disks[device] = theirs | ours
    return [resolve_disk(world, region, device, ebs) for device, ebs in disks.items()]


def resolve_disk(world: World, region: str, device: str, ebs: dict[str, Any]) -> dict[str, Any]:
    snapshot = world.snapshot(region, ebs["SnapshotId"]) if ebs.get("SnapshotId") else None
    size = ebs.get("VolumeSize") or (snapshot.volume_size_gib if snapshot else None)
    if not size:
        raise missing("size/snapshot")
    if snapshot and size < snapshot.volume_size_gib:
        raise Problem(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= "
            f"{snapshot.volume_size_gib}GB",
        )
    kind = ebs.get("VolumeType") or "gp2"
    check_size(kind, int(size))
    iops, mibps = check_speed(kind, int(size), ebs.get("Iops"), ebs.get("Throughput"))
    rate = ebs.get("VolumeInitializationRate")
    if rate is not None and not 100 <= int(rate) <= 300:
        raise bad_value(rate, "VolumeInitializationRate", "It must be between 100 and 300 MiB/s.")
    encrypted = (
        bool(ebs.get("Encrypted"))
        or bool(snapshot and snapshot.encrypted)
        or world.moto(region).ebs_encryption_by_default
    )
    delete = ebs.get("DeleteOnTermination")
    return {
        "device": device,
        "size": int(size),
        "type": kind,
        "iops": iops,
        "throughput": mibps,
        "encrypted": encrypted,
        "kms": (ebs.get("KmsKeyId") or KMS.format(region=region)) if encrypted else None,
        "snapshot": snapshot.id if snapshot else None,
        "delete": True if delete is None else bool(delete),
        "rate": int(rate) if rate is not None else None,
    }


SIZES = {  # GiB, by the EBS user guide
    "gp2": (1, 16_384), "gp3": (1, 65_536), "io1": (4, 16_384), "io2": (4, 65_536),
    "st1": (125, 16_384), "sc1": (125, 16_384), "standard": (1, 1024),
}  # fmt: skip


def check_size(kind: str, size: int) -> None:
    least, most = SIZES.get(kind, (1, 65_536))
    if not least <= size <= most:
        raise bad_value(size, "volumeSize", f"Volume size must be from {least} to {most} GiB for {kind}.")


def check_speed(kind: str, size: int, iops: int | None, mibps: int | None) -> tuple[int | None, int | None]:
    """gp3 keeps its iops and throughput (moto drops them); limits are those of the EBS user guide."""
    match kind:
        case "gp3":
            iops, mibps = int(iops or GP3_IOPS), int(mibps or GP3_MIBPS)
            if not 3000 <= iops <= 80_000 or iops > max(3000, 500 * size):
                raise bad_value(iops, "iops", "gp3 allows 3000 to 80000, and at most 500 per GiB.")
            if not 125 <= mibps <= 2000 or mibps > iops / 4:
                raise bad_value(
                    mibps, "throughput", "gp3 allows 125 to 2000 MiB/s, and at most a quarter of the iops."
                )
            return iops, mibps
        case "io1" | "io2":
            if not iops:
                raise missing("iops")
            return int(iops), None
        case "gp2":
            if iops or mibps:
                raise Problem(
                    "InvalidParameterCombination", f"The parameter iops is not supported for {kind} volumes."
                )
            return min(16_000, max(100, 3 * size)), None
        case "st1" | "sc1" | "standard":
            return None, None
    raise bad_value(kind, "volumeType")


def make_volume(world: World, region: str, zone: str, disk: dict[str, Any], tags: dict[str, str]) -> Volume:
    now = world.clock.now()
    snapshot = world.region(region).snapshots.get(disk["snapshot"] or "")
    volume = Volume(
        id=world.new_id("volume"),
        region=region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("volume"),
        zone=zone,
        size_gib=disk["size"],
        type=disk["type"],
        iops=disk["iops"],
        throughput=disk["throughput"],
        encrypted=disk["encrypted"],
        kms_key=disk["kms"],
        snapshot_id=disk["snapshot"],
        initialization_rate=disk["rate"],
        work=dict(snapshot.work) if snapshot else {},
    )
    world.put_tags(volume, tags)
    world.region(region).volumes[volume.id] = volume
    return volume


def drop_volume(world: World, volume: Volume) -> None:
    now = world.clock.now()
    volume.become("deleting", now)
    volume.gone = now
    if world.rig:
        world.rig.call("forget", volume.id)


# ── actions ──────────────────────────────────────────────────────────────────────────────────────────────


def attachment_row(world: World, volume: Volume) -> list[dict[str, Any]]:
    if not volume.attached_to:
        return []
    instance = world.region(volume.region).instances[volume.attached_to]
    attachment = instance.disks.get(volume.device or "")
    return [
        {
            "VolumeId": volume.id,
            "InstanceId": instance.id,
            "Device": volume.device,
            "State": "attached",
            "AttachTime": stamp(volume.attached),
            "DeleteOnTermination": bool(attachment and attachment.delete_on_termination),
        }
    ]


def volume_row(world: World, volume: Volume) -> dict[str, Any]:
    return {
        "VolumeId": volume.id,
        "Size": volume.size_gib,
        "SnapshotId": volume.snapshot_id or "",
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": catalogue.zones(volume.region).get(volume.zone),
        "State": volume.state,
        "CreateTime": stamp(volume.created),
        "VolumeType": volume.type,
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "Encrypted": volume.encrypted,
        "KmsKeyId": volume.kms_key,
        "SseType": "sse-ebs" if volume.encrypted else None,
        "MultiAttachEnabled": False,
        "VolumeInitializationRate": volume.initialization_rate,
        "Attachments": attachment_row(world, volume),
        "Tags": tag_list(world.seen_tags(volume)),
    }


@action("DescribeVolumes")
def describe_volumes(world: World, call: Call) -> dict[str, Any]:
    rows = [volume_row(world, v) for v in world.listed(call.region, "volume", call.get("VolumeIds"))]
    return page(keep(rows, call, FILTERS), call, "Volumes")


@action("DescribeVolumeStatus")
def describe_volume_status(world: World, call: Call) -> dict[str, Any]:
    rows = []
    for volume in world.listed(call.region, "volume", call.get("VolumeIds")):
        done = 1.0
        if volume.snapshot_id:
            seconds = volume.size_gib * 1024 / (volume.initialization_rate or 30) * world.clock.pace
            done = min(1.0, (world.clock.now() - volume.created) / max(seconds, 1e-9))
        rows.append(
            {
                "VolumeId": volume.id,
                "AvailabilityZone": volume.zone,
                "VolumeStatus": {"Status": "ok", "Details": [{"Name": "io-enabled", "Status": "passed"}]},
                "InitializationStatusDetails": {
                    "InitializationType": "provisioned-rate" if volume.initialization_rate else "default",
                    "Progress": int(done * 100),
                }
                if volume.snapshot_id
                else None,
            }
        )
    return page(
        keep(rows, call, {"volume-id": "VolumeId", "availability-zone": "AvailabilityZone"}),
        call,
        "VolumeStatuses",
    )


@action("CreateVolume")
def create_volume(world: World, call: Call) -> dict[str, Any]:
    check_tag_kinds(call.get("TagSpecifications"), {"volume"})
    zone = call.get("AvailabilityZone")
    by_id = {zone_id: name for name, zone_id in catalogue.zones(call.region).items()}
    zone = zone or by_id.get(call.get("AvailabilityZoneId"))
    if zone not in catalogue.zones(call.region):
        raise Problem("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")
    disk = resolve_disk(
        world,
        call.region,
        "",
        {**call.params, "VolumeSize": call.get("Size"), "DeleteOnTermination": False},
    )
    token = call.raw.get("ClientToken")
    order = sorted((k, v) for k, v in call.raw.items() if k not in {"ClientToken", "DryRun"})
    tokens = world.region(call.region).tokens
    if token and (past := tokens.get(("CreateVolume", "", token))):
        if past[0] != repr(order):
            raise Problem(
                "IdempotentParameterMismatch", "The request uses the same client token with other parameters."
            )
        return volume_row(world, world.region(call.region).volumes[past[1]])
    call.dry_run()
    volume = make_volume(world, call.region, zone, disk, tags_for(call.get("TagSpecifications"), "volume"))
    volume.states = [(world.clock.now(), "creating")]
    world.clock.after(world.clock.takes("volume"), lambda: _made(world, volume))
    if token:
        tokens["CreateVolume", "", token] = (repr(order), volume.id)
    if world.rig and volume.snapshot_id:
        world.rig.call("restore", volume.id, volume.snapshot_id)
    return volume_row(world, volume)


def _made(world: World, volume: Volume) -> None:
    if volume.state == "creating":
        volume.become("available", world.clock.now())


@action("DeleteVolume")
def delete_volume(world: World, call: Call) -> dict[str, Any]:
    volume = world.volume(call.region, call.get("VolumeId") or "")
    call.dry_run()
    if volume.attached_to:
        raise Problem("VolumeInUse", f"Volume {volume.id} is currently attached to {volume.attached_to}")
    drop_volume(world, volume)
    return {}


@action("AttachVolume")
def attach_volume(world: World, call: Call) -> dict[str, Any]:
    volume = world.volume(call.region, call.get("VolumeId") or "")
    instance = world.instance(call.region, call.get("InstanceId") or "")
    device = call.get("Device") or "/dev/sdf"
    call.dry_run()
    if volume.state != "available":
        raise Problem("IncorrectState", f"{volume.id} is not 'available'.")
    if instance.state not in {"running", "stopped"}:
        raise Problem("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if volume.zone != instance.zone:
        raise Problem(
            "InvalidVolume.ZoneMismatch", f"The volume '{volume.id}' is not in the same availability zone."
        )
    if device in instance.disks:
        raise bad_value(device, "unixDevice", "Attachment point is already in use")
    now = world.clock.now()
    volume.become("in-use", now)
    volume.attached_to, volume.device, volume.attached = instance.id, device, now
    instance.disks[device] = Attachment(
        volume_id=volume.id, device=device, since=now, delete_on_termination=False
    )
    return attachment_row(world, volume)[0] | {"State": "attaching"}


@action("DetachVolume")
def detach_volume(world: World, call: Call) -> dict[str, Any]:
    volume = world.volume(call.region, call.get("VolumeId") or "")
    call.dry_run()
    if not volume.attached_to:
        raise Problem("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
    instance = world.region(call.region).instances[volume.attached_to]
    if volume.device == instance.root_device and instance.state != "stopped":
        raise Problem(
            "OperationNotPermitted",
            f"Unable to detach root volume '{volume.id}' from instance '{instance.id}'",
        )
    row = attachment_row(world, volume)[0] | {"State": "detaching"}
    instance.disks.pop(volume.device or "", None)
    volume.attached_to = volume.device = None
    volume.become("available", world.clock.now())
    return row


@action("ModifyVolume")
def modify_volume(world: World, call: Call) -> dict[str, Any]:
    volume = world.volume(call.region, call.get("VolumeId") or "")
    size, kind = int(call.get("Size") or volume.size_gib), call.get("VolumeType") or volume.type
    if size < volume.size_gib:
        raise bad_value(size, "size", "New size cannot be smaller than existing size")
    check_size(kind, size)
    iops, mibps = check_speed(kind, size, call.get("Iops"), call.get("Throughput"))
    call.dry_run()
    row = {
        "VolumeId": volume.id,
        "ModificationState": "modifying",
        "OriginalSize": volume.size_gib,
        "TargetSize": size,
        "OriginalVolumeType": volume.type,
        "TargetVolumeType": kind,
        "TargetIops": iops,
        "TargetThroughput": mibps,
        "Progress": 0,
        "StartTime": stamp(world.clock.now()),
    }
    volume.size_gib, volume.type, volume.iops, volume.throughput = size, kind, iops, mibps
    volume.modification = row | {
        "ModificationState": "completed",
        "Progress": 100,
        "EndTime": row["StartTime"],
    }
    return {"VolumeModification": row}


def volumes_of(world: World, region: str, instance_id: str) -> dict[str, Volume]:
    instance = world.region(region).instances.get(instance_id)
    if instance is None:
        raise not_found("instance", instance_id)
    return {device: world.region(region).volumes[a.volume_id] for device, a in instance.disks.items()}
