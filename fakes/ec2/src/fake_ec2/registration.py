"""Images registered from snapshots, copied from another region, protected and deregistered."""

from __future__ import annotations

from typing import Any

from fake_ec2 import snapshots
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, bad_value, missing, not_found
from fake_ec2.images import becomes_available, check_name
from fake_ec2.things import Image
from fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for


@action("RegisterImage")
def register_image(world: World, call: Call) -> dict[str, Any]:
    """An image of existing snapshots, with its architecture, disks and tags (moto drops all three)."""
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
    """Deregister; with its snapshots where no other image needs them. Results per snapshot."""
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
