"""What EC2 tells of one thing at a time, and most clients never ask: attributes of images and snapshots, the
credits of burstable machines, changes of volumes that are under way, and when an image is out of date."""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, bad_value
from fake_ec2.filters import iso, keep, page, seconds_of
from fake_ec2.things import Image
from fake_ec2.world import ACCOUNT, World

BURSTABLE = ("t2.", "t3.", "t3a.", "t4g.")


def own_image(world: World, call: Call) -> Image:
    image = world.image(call.region, call.get("ImageId") or "")
    if image.owner != ACCOUNT:
        raise Problem("AuthFailure", f"Not authorized for image:{image.id}", 403)
    return image


def permissions(image: Image) -> list[dict[str, str]]:
    return [
        *([{"Group": "all"}] if image.public else []),
        *({"UserId": a} for a in sorted(image.shared_with)),
    ]


@action("DescribeImageAttribute")
def describe_image_attribute(world: World, call: Call) -> dict[str, Any]:
    image = own_image(world, call)
    answer: dict[str, Any] = {"ImageId": image.id}
    match call.get("Attribute"):
        case "launchPermission":
            answer["LaunchPermissions"] = permissions(image)
        case "description":
            answer["Description"] = {"Value": image.description} if image.description else {}
        case "blockDeviceMapping":
            answer["BlockDeviceMappings"] = image.mappings
        case "bootMode":
            answer["BootMode"] = {"Value": image.boot_mode} if image.boot_mode else {}
        case "imdsSupport":
            answer["ImdsSupport"] = {"Value": image.imds} if image.imds else {}
        case "tpmSupport":
            answer["TpmSupport"] = {"Value": image.tpm} if image.tpm else {}
        case "sriovNetSupport":
            answer["SriovNetSupport"] = {"Value": image.sriov} if image.sriov else {}
        case "productCodes":
            answer["ProductCodes"] = []
        case "kernel":
            answer["KernelId"] = {}
        case "ramdisk":
            answer["RamdiskId"] = {}
        case other:
            raise bad_value(other, "attribute", "Unknown attribute.")
    return answer


@action("ModifyImageAttribute")
def modify_image_attribute(world: World, call: Call) -> None:
    image = own_image(world, call)
    call.dry_run()
    changes = call.get("LaunchPermission") or {}
    if kind := call.get("OperationType"):  # the older form
        rows = [{"UserId": user} for user in call.get("UserIds") or []]
        rows += [{"Group": group} for group in call.get("UserGroups") or []]
        changes = {"Add" if kind == "add" else "Remove": rows}
    for row in changes.get("Add") or []:
        image.public |= row.get("Group") == "all"
        image.shared_with |= {row["UserId"]} if row.get("UserId") else set()
    for row in changes.get("Remove") or []:
        image.public &= row.get("Group") != "all"
        image.shared_with -= {row.get("UserId") or ""}
    if (text := (call.get("Description") or {}).get("Value")) is not None:
        image.description = text


@action("ResetImageAttribute")
def reset_image_attribute(world: World, call: Call) -> None:
    image = own_image(world, call)
    call.dry_run()
    image.public, image.shared_with = False, set()


@action("EnableImageDeprecation")
def deprecate_image(world: World, call: Call) -> dict[str, Any]:
    image, at = own_image(world, call), seconds_of(call.get("DeprecateAt"))
    if at is None or at <= world.clock.now():
        raise bad_value(call.get("DeprecateAt"), "deprecateAt", "It must be in the future.")
    call.dry_run()
    image.deprecation = iso(at // 60 * 60)  # EC2 rounds to the minute
    return {"Return": True}


@action("DisableImageDeprecation")
def undeprecate_image(world: World, call: Call) -> dict[str, Any]:
    image = own_image(world, call)
    call.dry_run()
    image.deprecation = None
    return {"Return": True}


@action("DescribeSnapshotAttribute")
def describe_snapshot_attribute(world: World, call: Call) -> dict[str, Any]:
    snapshot = world.snapshot(call.region, call.get("SnapshotId") or "")
    if snapshot.owner != ACCOUNT:
        raise Problem("AuthFailure", "Not authorized for snapshot.", 403)
    match call.get("Attribute"):
        case "createVolumePermission":
            shared: list[Any] = [{"Group": "all"}] if snapshot.public else []
            return {"SnapshotId": snapshot.id, "CreateVolumePermissions": shared}
        case "productCodes":
            return {"SnapshotId": snapshot.id, "ProductCodes": []}
    raise bad_value(call.get("Attribute"), "attribute", "Unknown attribute.")


@action("DescribeInstanceCreditSpecifications")
def credit_specifications(world: World, call: Call) -> dict[str, Any]:
    """Of burstable machines: those named, or else all that are unlimited (T3 and T4g, unless told)."""
    ids = call.get("InstanceIds")
    found = world.listed(call.region, "instance", ids)
    if ids and (wrong := [i.id for i in found if not i.type.startswith(BURSTABLE)]):
        raise Problem("InvalidParameterCombination", f"{', '.join(wrong)} is not of a burstable type.")
    rows = [
        {"InstanceId": i.id, "CpuCredits": "standard" if i.type.startswith("t2.") else "unlimited"}
        for i in found
        if i.type.startswith(BURSTABLE) and i.alive
    ]
    rows = [row for row in rows if ids or row["CpuCredits"] == "unlimited"]
    return page(keep(rows, call, {"instance-id": "InstanceId"}), call, "InstanceCreditSpecifications")


@action("DescribeVolumesModifications")
def volume_modifications(world: World, call: Call) -> dict[str, Any]:
    """Changes of volumes so far; here each is complete at once."""
    wanted = call.get("VolumeIds") or []
    known = {v.id: v.modification for v in world.listed(call.region, "volume", wanted)}
    if lost := [volume for volume in wanted if not known[volume]]:
        what = f"Modification for volume '{lost[0]}' does not exist."
        raise Problem("InvalidVolumeModification.NotFound", what)
    fields = {"volume-id": "VolumeId", "modification-state": "ModificationState"}
    return page(keep([row for row in known.values() if row], call, fields), call, "VolumesModifications")
