"""Images: listed, and baked from machines."""

from __future__ import annotations

from functools import partial
from typing import Any

from fake_ec2 import hidden_images, snapshots
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.filters import iso, keep, page, tag_list
from fake_ec2.rules import Rule
from fake_ec2.things import Image, Instance, Snapshot
from fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for

FILTERS = {
    "name": "Name",
    "image-id": "ImageId",
    "state": "State",
    "architecture": "Architecture",
    "owner-id": "OwnerId",
    "owner-alias": "ImageOwnerAlias",
    "description": "Description",
    "root-device-type": "RootDeviceType",
    "root-device-name": "RootDeviceName",
    "virtualization-type": "VirtualizationType",
    "image-type": "ImageType",
    "is-public": "Public",
    "platform": "Platform",
    "platform-details": "PlatformDetails",
    "creation-date": "CreationDate",
    "boot-mode": "BootMode",
    "ena-support": "EnaSupport",
    "hypervisor": "Hypervisor",
    "source-instance-id": "SourceInstanceId",
    "source-image-id": "SourceImageId",
    "source-image-region": "SourceImageRegion",
    "block-device-mapping.snapshot-id": "BlockDeviceMappings[].Ebs.SnapshotId",
    "block-device-mapping.volume-size": "BlockDeviceMappings[].Ebs.VolumeSize",
    "block-device-mapping.volume-type": "BlockDeviceMappings[].Ebs.VolumeType",
    "block-device-mapping.encrypted": "BlockDeviceMappings[].Ebs.Encrypted",
    "block-device-mapping.delete-on-termination": "BlockDeviceMappings[].Ebs.DeleteOnTermination",
    "block-device-mapping.device-name": "BlockDeviceMappings[].DeviceName",
}


def image_row(world: World, image: Image) -> dict[str, Any]:
    reason = image.state_reason
    return {
        "ImageId": image.id,
        "Name": image.name,
        "Description": image.description or None,
        "State": world.seen_state(image),
        "StateReason": {"Code": reason[0], "Message": reason[1]} if reason else None,
        "Architecture": image.architecture,
        "CreationDate": iso(world.clock.second(image.created)),
        "DeprecationTime": image.deprecation,
        "OwnerId": image.owner,
        "ImageOwnerAlias": image.alias,
        "ImageLocation": image.location or f"{image.owner}/{image.name}",
        "ImageType": "machine",
        "Public": image.public,
        "PlatformDetails": "Red Hat Enterprise Linux" if image.name.startswith("RHEL") else "Linux/UNIX",
        "UsageOperation": "RunInstances:0010" if image.name.startswith("RHEL") else "RunInstances",
        "RootDeviceName": image.root_device,
        "RootDeviceType": "ebs",
        "VirtualizationType": image.virtualization,
        "Hypervisor": "xen",
        "EnaSupport": image.ena,
        "SriovNetSupport": image.sriov,
        "BootMode": image.boot_mode,
        "ImdsSupport": image.imds,
        "TpmSupport": image.tpm,
        "BlockDeviceMappings": image.mappings,
        "SourceInstanceId": image.source_instance,
        "SourceImageId": image.source_image[0] if image.source_image else None,
        "SourceImageRegion": image.source_image[1] if image.source_image else None,
        "ImageAllowed": hidden_images.allowed(world, image)
        if hidden_images.mode(world, image.region) == "audit-mode"
        else None,
        "DeregistrationProtection": image.deregistration_protection,
        "Tags": tag_list(world.seen_tags(image)),
    }


@action("DescribeImages")
def describe_images(world: World, call: Call) -> dict[str, Any]:
    wanted = call.get("ImageIds")
    found: list[Image] = world.listed(call.region, "image", wanted)
    found = hidden_images.shown(world, call, found)
    owners = set(call.get("Owners") or [])
    if owners:
        ids = {ACCOUNT if o == "self" else o for o in owners}
        found = [i for i in found if i.owner in ids or i.alias in ids]
    if "self" in (call.get("ExecutableUsers") or []):
        found = [i for i in found if not i.public]
    rows = keep([image_row(world, i) for i in found], call, FILTERS)
    return page(rows, call, "Images")


def check_name(world: World, region: str, name: str) -> None:
    """Names are unique among the images of an account and region; moto takes any."""
    if not 3 <= len(name) <= 128:
        raise Problem("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long")
    for image in world.region(region).images.values():
        if image.gone is None and image.owner == ACCOUNT and image.name == name:
            raise Problem("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")


def becomes_available(world: World, image: Image, needed: list[Snapshot], spoil: Rule | None = None) -> None:
    """Pending until the last snapshot is complete; failed if one of them fails or a test wants it so."""

    def due() -> float | None:
        if image.state != "pending" or image.gone is not None:
            return None
        if spoil and spoil.how == "stuck":
            return 3600.0
        if spoil and spoil.how == "failed":
            image.become("failed", world.clock.now())
            image.state_reason = ("Server.InternalError", "Internal server error.")
            return None
        if any(s.state == "error" or s.gone is not None for s in needed):
            image.become("failed", world.clock.now())
            image.state_reason = (
                "Client.InvalidSnapshot.NotFound",
                "A snapshot of the image could not be used.",
            )
            return None
        if any(s.state == "pending" for s in needed):
            late = max(s.done for s in needed if s.state == "pending") - world.clock.now()
            return max(late, 0.02 * max(world.clock.rate, 0.001))
        image.become("available", world.clock.now())
        return None

    latest = max((s.done for s in needed), default=world.clock.now()) - world.clock.now()
    world.clock.after(max(0.0, latest) + world.clock.takes("image"), due)


@action("CreateImage")
def create_image(world: World, call: Call) -> dict[str, Any]:
    """Snapshots of the machine's real volumes, tagged; the image follows when they are complete."""
    check_tag_kinds(call.get("TagSpecifications"), {"image", "snapshot"})
    name = call.get("Name") or ""
    instance = world.instance(call.region, call.get("InstanceId") or "")
    if instance.state not in {"running", "stopped"}:
        raise Problem(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in the 'running' or 'stopped' state.",
        )
    check_name(world, call.region, name)
    call.dry_run()
    if instance.state == "running" and not call.get("NoReboot"):
        from fake_ec2.machine import sync

        sync(world, instance)  # AWS restarts the machine first, so nothing is unwritten
        if world.rig:
            world.rig.call("reboot", {"id": instance.id})
    spoil = world.rules.first("spoil", call)
    image_id = world.new_id("image")
    mappings, taken = bake_disks(world, call, instance, image_id, spoil)
    now, source = world.clock.now(), world.region(call.region).images.get(instance.image_id)
    image = Image(
        id=image_id,
        region=call.region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("image"),
        states=[(now, "pending")],
        name=name,
        description=call.get("Description") or "",
        architecture=instance.architecture,
        root_device=instance.root_device,
        mappings=mappings,
        boot_mode=instance.boot_mode,
        ena=source.ena if source else True,
        imds=source.imds if source else None,
        tpm=source.tpm if source else None,
        source_instance=instance.id
        if not (spoil and spoil.how == "wrong-source")
        else world.new_id("instance"),
        source_image=(instance.image_id, call.region),
    )
    world.put_tags(image, tags_for(call.get("TagSpecifications"), "image"))
    world.region(call.region).images[image.id] = image
    becomes_available(world, image, taken, spoil)
    return {"ImageId": image.id}


def bake_disks(
    world: World, call: Call, instance: Instance, image_id: str, spoil: Rule | None
) -> tuple[list[dict[str, Any]], list[Snapshot]]:
    """A snapshot and a mapping per EBS volume of the machine, less what the call says to leave out."""
    asked = {m.get("DeviceName"): m for m in call.get("BlockDeviceMappings") or []}
    tags = tags_for(call.get("TagSpecifications"), "snapshot")
    mappings, taken = [], []
    for device, attachment in sorted(instance.disks.items()):
        own = asked.get(device) or {}
        if own.get("NoDevice") is not None:
            continue
        if (
            spoil
            and spoil.how == "missing-disk"
            and (device != instance.root_device or len(instance.disks) == 1)
        ):
            continue
        volume = world.region(call.region).volumes[attachment.volume_id]
        text = f"Created by CreateImage({instance.id}) for {image_id}"
        snapshot = snapshots.take(world, volume, text, tags, image_id)
        if spoil and spoil.how == "snapshot-error":
            world.clock.after(
                (snapshot.done - snapshot.started) / 2,
                partial(snapshot_fails, world, snapshot),
            )
        ebs = own.get("Ebs") or {}
        short = 1 if spoil and spoil.how == "short-disk" else 0
        delete = ebs.get("DeleteOnTermination")
        mapping = {
            "SnapshotId": snapshot.id,
            "VolumeSize": int(ebs.get("VolumeSize") or volume.size_gib) - short,
            "VolumeType": ebs.get("VolumeType") or volume.type,
            "Encrypted": volume.encrypted,
            "DeleteOnTermination": attachment.delete_on_termination if delete is None else bool(delete),
        }
        if mapping["VolumeType"] in {"gp3", "io1", "io2"}:
            mapping |= {"Iops": volume.iops}
        if mapping["VolumeType"] == "gp3":
            mapping |= {"Throughput": volume.throughput}
        snapshot.volume_size_gib -= short
        mappings.append({"DeviceName": device, "Ebs": mapping})
        taken.append(snapshot)
    return mappings, taken


def snapshot_fails(world: World, snapshot: Snapshot) -> None:
    snapshot.become("error", world.clock.now())
