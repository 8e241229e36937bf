"""Images: baked from machines, registered from snapshots, copied, listed, deregistered."""

from __future__ import annotations

from typing import Any

from tests.fake_ec2 import snapshots
from tests.fake_ec2.actions import Call, action
from tests.fake_ec2.errors import Problem, bad_value, missing, not_found
from tests.fake_ec2.filters import iso, keep, page, tag_list
from tests.fake_ec2.rules import Rule
from tests.fake_ec2.things import Image, Instance, Snapshot
from tests.fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for

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
        "CreationDate": iso(image.created),
        "DeprecationTime": image.deprecation,
        "OwnerId": image.owner,
        "ImageOwnerAlias": image.alias,
        "ImageLocation": image.location or f"{image.owner}/{image.name}",
        "ImageType": "machine",
        "Public": image.public,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
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
        "DeregistrationProtection": image.deregistration_protection,
        "Tags": tag_list(world.seen_tags(image)),
    }


@action("DescribeImages")
def describe_images(world: World, call: Call) -> dict[str, Any]:
    wanted = call.get("ImageIds")
    found: list[Image] = world.listed(call.region, "image", wanted)
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
    if instance.state not in {"running", "stopped", "pending", "stopping"}:
        raise Problem(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in the 'running' or 'stopped' state.",
        )
    check_name(world, call.region, name)
    call.dry_run()
    if instance.state == "running" and not call.get("NoReboot"):
        from tests.fake_ec2.machine import sync

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
                lambda s=snapshot: s.become("error", world.clock.now()),
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


@action("RegisterImage")
def register_image(world: World, call: Call) -> dict[str, Any]:
    """An image of existing snapshots, with the architecture, disks and tags it is given (moto drops all three)."""
    check_tag_kinds(call.get("TagSpecifications"), {"image"})
    name = call.get("Name") or ""
    root = call.get("RootDeviceName")
    mappings = []
    if not call.get("BlockDeviceMappings"):
        raise missing("BlockDeviceMappings")
    needed = []
    for mapping in call.get("BlockDeviceMappings"):
        ebs = dict(mapping.get("Ebs") or {})
        if ebs.get("SnapshotId"):
            snapshot = world.snapshot(call.region, ebs["SnapshotId"])
            if snapshot.state == "error":
                raise Problem("IncorrectState", f"Snapshot {snapshot.id} is not in a valid state")
            if snapshot.state != "completed":
                raise Problem(
                    "InvalidSnapshot.NotCompleted", f"The snapshot '{snapshot.id}' is not completed."
                )
            size = int(ebs.get("VolumeSize") or snapshot.volume_size_gib)
            if size < snapshot.volume_size_gib:
                raise Problem(
                    "InvalidBlockDeviceMapping",
                    f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= "
                    f"{snapshot.volume_size_gib}GB",
                )
            needed.append(snapshot)
            delete = ebs.get("DeleteOnTermination")
            ebs |= {
                "VolumeSize": size,
                "Encrypted": snapshot.encrypted,
                "DeleteOnTermination": delete is not False,
            }
            ebs.setdefault("VolumeType", "gp2")
        mappings.append({"DeviceName": mapping.get("DeviceName"), "Ebs": ebs} if ebs else dict(mapping))
    root = root or "/dev/sda1"
    if not any(m.get("DeviceName") == root and (m.get("Ebs") or {}).get("SnapshotId") for m in mappings):
        raise Problem(
            "InvalidBlockDeviceMapping", f"Root device is not found in the block device mapping: {root}."
        )
    architecture = call.get("Architecture") or "i386"
    if architecture not in {"i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"}:
        raise bad_value(architecture, "architecture")
    check_name(world, call.region, name)
    call.dry_run()
    spoil = world.rules.first("spoil", call)
    now = world.clock.now()
    image = Image(
        id=world.new_id("image"),
        region=call.region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("image"),
        states=[(now, "pending")],
        name=name,
        description=call.get("Description") or "",
        architecture=architecture,
        root_device=root,
        mappings=mappings,
        boot_mode=call.get("BootMode"),
        ena=bool(call.get("EnaSupport")),
        imds=call.get("ImdsSupport"),
        tpm=call.get("TpmSupport"),
        sriov=call.get("SriovNetSupport"),
        virtualization=call.get("VirtualizationType") or "paravirtual",
    )
    world.put_tags(image, tags_for(call.get("TagSpecifications"), "image"))
    world.region(call.region).images[image.id] = image
    becomes_available(world, image, needed, spoil)
    return {"ImageId": image.id}


@action("CopyImage")
def copy_image(world: World, call: Call) -> dict[str, Any]:
    """A copy in this region: snapshots are copied too; tags only when asked; a token is honoured."""
    check_tag_kinds(call.get("TagSpecifications"), {"image", "snapshot"})
    region, name = call.get("SourceRegion") or "", call.get("Name") or ""
    world.check_region(region)
    source = world.region(region).images.get(call.get("SourceImageId") or "")
    if source is None or not world.visible(source):
        raise not_found("image", call.get("SourceImageId") or "")
    token = call.raw.get("ClientToken")
    order = repr(sorted((k, v) for k, v in call.raw.items() if k not in {"ClientToken", "DryRun"}))
    tokens = world.region(call.region).tokens
    if token and (past := tokens.get(("CopyImage", "", token))):
        if past[0] != order:
            raise Problem(
                "IdempotentParameterMismatch", "The request uses the same client token with other parameters."
            )
        return {"ImageId": past[1]}
    if source.state != "available":
        raise Problem("InvalidAMIID.Unavailable", f"The image ID '{source.id}' is not available")
    check_name(world, call.region, name)
    call.dry_run()
    spoil = world.rules.first("spoil", call)
    now, image_id = world.clock.now(), world.new_id("image")
    mappings, needed = [], []
    text = f"Copied for DestinationAmi {image_id} from SourceAmi {source.id} for SourceSnapshot {{}}."
    for mapping in source.mappings:
        ebs = dict(mapping.get("Ebs") or {})
        old = world.region(region).snapshots.get(ebs.get("SnapshotId") or "")
        if old is not None:
            new = snapshots.copy(
                world,
                old,
                call.region,
                description=text.format(old.id),
                tags=tags_for(call.get("TagSpecifications"), "snapshot"),
                encrypted=call.get("Encrypted"),
                kms_key=call.get("KmsKeyId"),
                image_id=image_id,
            )
            ebs |= {"SnapshotId": new.id, "Encrypted": new.encrypted}
            needed.append(new)
        mappings.append({"DeviceName": mapping["DeviceName"], "Ebs": ebs})
    image = Image(
        id=image_id,
        region=call.region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("image"),
        states=[(now, "pending")],
        name=name,
        description=call.get("Description") or f"[Copied {source.id} from {region}] {source.name}",
        architecture=source.architecture,
        root_device=source.root_device,
        mappings=mappings,
        boot_mode=source.boot_mode,
        ena=source.ena,
        imds=source.imds,
        tpm=source.tpm,
        sriov=source.sriov,
        source_image=(source.id, region),
    )
    copied = source.tags if call.get("CopyImageTags") else {}
    world.put_tags(image, copied | tags_for(call.get("TagSpecifications"), "image"))
    world.region(call.region).images[image.id] = image
    becomes_available(world, image, needed, spoil)
    if token:
        tokens["CopyImage", "", token] = (order, image.id)
    return {"ImageId": image.id}


@action("DeregisterImage")
def deregister_image(world: World, call: Call) -> dict[str, Any]:
    image_id = call.get("ImageId") or ""
    past = world.region(call.region).images.get(image_id)
    if past is not None and past.gone is not None:
        raise Problem("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
    image = world.image(call.region, image_id)
    if image.owner != ACCOUNT:
        raise Problem("AuthFailure", f"Not authorized for image:{image.id}", 403)
    if image.deregistration_protection.startswith("enabled"):
        raise Problem("OperationNotPermitted", f"The AMI {image.id} is protected from deregistration.")
    call.dry_run()
    return {
        "Return": True,
        "DeleteSnapshotResults": drop_image(world, image, bool(call.get("DeleteAssociatedSnapshots"))),
    }


def drop_image(world: World, image: Image, with_snapshots: bool) -> list[dict[str, Any]] | None:
    """Deregister; with its snapshots where no other image needs them. Results per snapshot, as AWS gives them."""
    image.gone = world.clock.now()
    image.become("deregistered", image.gone)
    if not with_snapshots:
        return None
    results = []
    for mapping in image.mappings:
        snapshot_id = (mapping.get("Ebs") or {}).get("SnapshotId")
        snapshot = world.region(image.region).snapshots.get(snapshot_id or "")
        if snapshot is None or snapshot.gone is not None:
            continue
        if snapshots.needed_by(world, snapshot):
            results.append({"SnapshotId": snapshot.id, "ReturnCode": "skipped"})
            continue
        snapshots.drop_snapshot(world, snapshot)
        results.append({"SnapshotId": snapshot.id, "ReturnCode": "success"})
    return results


@action("EnableImageDeregistrationProtection", "DisableImageDeregistrationProtection")
def protect_image(world: World, call: Call) -> dict[str, Any]:
    image = world.image(call.region, call.get("ImageId") or "")
    call.dry_run()
    image.deregistration_protection = (
        "enabled-without-cooldown" if call.action.startswith("Enable") else "disabled"
    )
    return {"Return": image.deregistration_protection}
