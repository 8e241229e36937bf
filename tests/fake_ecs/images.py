"""Images and snapshots: taken, copied, listed, deleted; tags on everything."""

from __future__ import annotations

from functools import partial

from tests.fake_ecs import laws
from tests.fake_ecs.disks import held
from tests.fake_ecs.laws import ECS, Answer, operation
from tests.fake_ecs.wire import Call, Problem, second
from tests.fake_ecs.world import Image, Machine, Region, Snapshot, World

COPIES_AT_ONCE = 5
_UBUNTU = ("ubuntu_24_04_x64_20G_alibase_20260915.vhd", "ubuntu_24_04_x64_20G_alibase_20250722.vhd")


def public_images(world: World, region: Region) -> None:
    """The cloud's own, the newest of a family last."""
    for id_, at in ((_UBUNTU[1], 1.76e9), (_UBUNTU[0], 1.79e9)):
        region.images[id_] = Image(
            id_, region.name, name=id_, made=at, status="Available", owner="system",
            family="acs:ubuntu_24_04_x64",
            snapshots=[("", "/dev/xvda", "system", 20)],
        )  # fmt: skip
    arm = "ubuntu_24_04_arm64_20G_alibase_20260915.vhd"
    region.images[arm] = Image(
        arm, region.name, name=arm, made=1.79e9, status="Available", owner="system", arch="arm64",
        family="acs:ubuntu_24_04_arm64", snapshots=[("", "/dev/xvda", "system", 20)],
    )  # fmt: skip


def image_of(world: World, region: str, id_: str) -> Image:
    found = world.region(region).images.get(id_)
    if found is None:
        raise Problem("InvalidImageId.NotFound", "The specified ImageId does not exist.", 404)
    return found


def _name(world: World, region: str, name: str) -> str:
    if not 2 <= len(name) <= 128 or not name[:1].isalpha() or "http://" in name:
        raise Problem("InvalidImageName.Malformed", "The specified ImageName is not valid.")
    if any(i.name == name for i in world.region(region).images.values()):
        raise Problem(
            "InvalidImageName.Duplicated",
            "The specified ImageName has already been used by another image.",
            403,
        )
    return name


@operation(ECS, tokens=True)
def create_image(world: World, call: Call) -> Answer:
    call.need("RegionId")
    region = world.region(call.region)
    id_ = call.get("InstanceId")
    name = _name(world, call.region, call.get("ImageName"))
    if not id_:
        return _of_snapshots(world, call, region, name)
    machine = region.machines.get(id_)
    if machine is None:
        raise Problem("InvalidInstanceId.NotFound", "The specified InstanceId does not exist.", 404)
    if machine.status not in {"Running", "Stopped"} or "security" in machine.locks:
        raise Problem(
            "IncorrectInstanceStatus",
            "The current status of the resource does not support this operation.",
            403,
        )
    laws.dry_run(call)
    now = world.clock.now()
    image = Image(world.new_id("m"), call.region, name=name, tags=call.tags, made=now, status="Creating")
    region.images[image.id] = image
    spoilt = world.spoil.pop(0) if world.spoil else ""
    for disk in held(world, machine):
        if spoilt == "missing-disk" and disk.kind == "data":
            continue
        snapshot = Snapshot(
            world.new_id("s"), call.region, name=name, made=now, status="progressing",
            disk=disk.id, kind=disk.kind, size=disk.size - (1 if spoilt == "short-disk" else 0),
            work=dict(disk.work), origin=disk.origin,
        )  # fmt: skip
        region.snapshots[snapshot.id] = snapshot
        image.snapshots.append((snapshot.id, disk.device, disk.kind, snapshot.size))
        if world.rig:
            world.rig.call("bake", snapshot.id, disk.id)
    world.clock.after(
        world.clock.takes("snapshot"), partial(_taken, world, image, machine, machine.epoch, spoilt)
    )
    return {"ImageId": image.id}


def _of_snapshots(world: World, call: Call, region: Region, name: str) -> Answer:
    """From snapshots: the one that is to be the system disk must have been taken of a system disk."""
    asked = call.params.get("DiskDeviceMapping") or []
    if not asked and call.get("SnapshotId"):
        asked = [{"SnapshotId": call.get("SnapshotId")}]
    found = [region.snapshots.get(str(one.get("SnapshotId"))) for one in asked]
    if not found or any(s is None for s in found):
        raise Problem("InvalidSnapshotId.NotFound", "The specified snapshot does not exist.", 404)
    first = found[0]
    assert first is not None
    if first.kind != "system" or first.status != "accomplished":
        raise Problem("OperationDenied", "The specified snapshot is not a system disk snapshot.", 403)
    image = Image(
        world.new_id("m"), call.region, name=name, tags=call.tags, made=world.clock.now(), status="Creating"
    )
    image.snapshots = [(s.id, f"/dev/xvd{'abcdef'[n]}", s.kind, s.size) for n, s in enumerate(found) if s]
    region.images[image.id] = image
    world.clock.after(world.clock.takes("image"), partial(_available, world, image))
    return {"ImageId": image.id}


def _taken(world: World, image: Image, machine: Machine, epoch: int, spoilt: str) -> None:
    """A machine that was started, stopped or released meanwhile has spoilt its snapshots."""
    region = world.region(image.region)
    disturbed = machine.epoch != epoch
    for id_, _, _, _ in image.snapshots:
        if id_ in region.snapshots:
            region.snapshots[id_].status = "failed" if disturbed or spoilt == "failed" else "accomplished"
    if disturbed or spoilt == "failed":
        image.status = "CreateFailed"
    elif spoilt != "stuck":
        world.clock.after(world.clock.takes("image"), partial(_available, world, image))


def _available(world: World, image: Image) -> None:
    if image.status in {"Creating", "Waiting"} and image.id in world.region(image.region).images:
        image.status = "Available"


@operation(ECS, tokens=True)
def copy_image(world: World, call: Call) -> Answer:
    call.need("RegionId", "ImageId", "DestinationRegionId")
    image = image_of(world, call.region, call.get("ImageId"))
    if image.owner != "self" or image.status != "Available":
        raise Problem("IncorrectImageStatus", "The current status of the image does not support this.", 403)
    there = world.region(call.get("DestinationRegionId"))
    if there.name == call.region:
        raise Problem("InvalidDestinationRegionId.MalFormed", "The destination region is the source region.")
    name = _name(world, there.name, call.get("DestinationImageName"))
    laws.dry_run(call)
    made = Image(
        world.new_id("m"), there.name, name=name, tags=call.tags, made=world.clock.now(), status="Waiting",
        arch=image.arch, copied_from=call.region, copy_of=image.id,
    )  # fmt: skip
    source = world.region(call.region).snapshots
    for id_, device, kind, size in image.snapshots:
        snapshot = Snapshot(
            world.new_id("s"), there.name, name=name, made=made.made, status="progressing", kind=kind,
            size=size, work=dict(source[id_].work), origin=source[id_].origin,
        )  # fmt: skip
        there.snapshots[snapshot.id] = snapshot
        made.snapshots.append((snapshot.id, device, kind, size))
        if world.rig:
            world.rig.call("copy", snapshot.id, id_)
    there.images[made.id] = made
    world.clock.after(0.0, partial(_copy, world, made))
    return {"ImageId": made.id}


def _copy(world: World, image: Image) -> float | None:
    """Five at a time; the others wait."""
    there = world.region(image.region)
    if image.id not in there.images:
        return None
    if sum(i.status == "Creating" and bool(i.copied_from) for i in there.images.values()) >= COPIES_AT_ONCE:
        return 5.0
    image.status = "Creating"

    def done() -> None:
        if image.id in there.images:
            for id_, _, _, _ in image.snapshots:
                there.snapshots[id_].status = "accomplished"
            _available(world, image)

    world.clock.after(world.clock.takes("copy"), done)
    return None


def row(world: World, image: Image) -> Answer:
    progress = {"Available": "100%", "CreateFailed": "0%"}.get(image.status, "50%")
    return {
        "ImageId": image.id,
        "ImageName": image.name,
        "ImageFamily": image.family,
        "ImageOwnerAlias": image.owner,
        "Description": "",
        "Status": image.status,
        "Progress": progress,
        "CreationTime": second(image.made),
        "Size": max(size for _, _, _, size in image.snapshots) if image.snapshots else 0,
        "Architecture": image.arch,
        "OSType": "linux",
        "Platform": "Ubuntu",
        "OSName": "Ubuntu 24.04 64bit",
        "IsCopied": bool(image.copied_from),
        "IsSupportCloudinit": True,
        "DiskDeviceMappings": {
            "DiskDeviceMapping": [
                {"SnapshotId": id_, "Device": device, "Type": kind, "Size": str(size), "Progress": progress}
                for id_, device, kind, size in image.snapshots
            ]
        },
        "Tags": laws.tag_list(image.tags),
    }


@operation(ECS)
def describe_images(world: World, call: Call) -> Answer:
    """Without Status only Available ones are listed; ALL is every status, alone."""
    call.need("RegionId")
    wanted = set((call.get("Status") or "Available").split(","))
    if "ALL" in wanted and len(wanted) > 1:
        raise Problem("InvalidStatus.Conflict", "Status ALL cannot be combined.")
    found = laws.listed(world, call, list(world.region(call.region).images.values()))
    ids = call.get("ImageId").split(",") if call.get("ImageId") else None
    name = call.get("ImageName")
    found = [
        i
        for i in found
        if (wanted == {"ALL"} or i.status in wanted)
        and (ids is None or i.id in ids)
        and call.get("ImageOwnerAlias") in {"", i.owner}
        and call.get("ImageFamily") in {"", i.family}
        and call.get("Architecture") in {"", i.arch}
        and (not name or i.name == name or (name.endswith("*") and i.name.startswith(name[:-1])))
    ]
    rows, more = laws.number_page(call, found)
    return {"RegionId": call.region, "Images": {"Image": [row(world, i) for i in rows]}, **more}


@operation(ECS)
def delete_image(world: World, call: Call) -> Answer:
    """Its snapshots stay, and are paid. An unknown one is a success; one that is being copied cannot go."""
    call.need("RegionId", "ImageId")
    region = world.region(call.region)
    image = region.images.get(call.get("ImageId"))
    if image is None or image.owner != "self":
        return {}
    copying = [i for r in world.regions.values() for i in r.images.values() if i.copy_of == image.id]
    if any(i.status in {"Creating", "Waiting"} for i in copying):
        raise Problem("IncorrectImageStatus", "The image is being copied.", 403)
    if not call.flag("Force") and any(m.image == image.id for m in world.every("instance")):
        raise Problem("InvalidImage.InUse", "The specified image is used by instances.", 403)
    del region.images[image.id]
    return {}


# ---- snapshots ---------------------------------------------------------------------------------------


@operation(ECS)
def describe_snapshots(world: World, call: Call) -> Answer:
    call.need("RegionId")
    found = laws.listed(world, call, list(world.region(call.region).snapshots.values()))
    if (ids := laws.ids(call, "SnapshotIds")) is not None:
        found = [s for s in found if s.id in ids]
    rows, more = laws.token_page(call, found)
    used = {id_ for r in world.regions.values() for i in r.images.values() for id_, *_ in i.snapshots}
    return {
        "Snapshots": {
            "Snapshot": [
                {
                    "SnapshotId": s.id,
                    "SnapshotName": s.name,
                    "SourceDiskId": s.disk,
                    "SourceDiskType": s.kind,
                    "SourceDiskSize": str(s.size),
                    "Status": s.status,
                    "Progress": {"accomplished": "100%"}.get(s.status, "50%"),
                    "Available": s.status == "accomplished",
                    "CreationTime": second(s.made),
                    "Usage": "image" if s.id in used else "none",
                    "RegionId": s.region,
                    "Tags": laws.tag_list(s.tags),
                }
                for s in rows
            ]
        },
        **more,
    }


@operation(ECS)
def delete_snapshot(world: World, call: Call) -> Answer:
    """One of a living image cannot be deleted; one that made disks only with Force. Unknown: a success."""
    call.need("SnapshotId")
    snapshot = world.anywhere(call.get("SnapshotId"))
    if not isinstance(snapshot, Snapshot):
        return {}
    region = world.region(snapshot.region)
    if any(snapshot.id == id_ for i in region.images.values() for id_, *_ in i.snapshots):
        raise Problem("SnapshotCreatedImage", "The snapshot has been used to create an image.", 403)
    if any(d.snapshot == snapshot.id for d in region.disks.values()) and not call.flag("Force"):
        raise Problem("SnapshotCreatedDisk", "The snapshot has been used to create a disk.", 403)
    world.gone.append((snapshot, world.clock.now()))
    del region.snapshots[snapshot.id]
    if world.rig:
        world.rig.call("forget", snapshot.id)
    return {}


# ---- tags --------------------------------------------------------------------------------------------


@operation(ECS)
def tag_resources(world: World, call: Call) -> Answer:
    call.need("RegionId", "ResourceType", "ResourceId", "Tag")
    things = world.region(call.region).kinds().get(call.get("ResourceType"), {})
    found = [things.get(id_) for id_ in call.many("ResourceId")]
    if any(thing is None for thing in found):
        raise Problem("InvalidResourceId.NotFound", "The specified ResourceIds are not found.", 404)
    for thing in found:
        laws.check_tags(call.tags, thing.tags)
    for thing in found:
        thing.tags |= call.tags
    return {}


@operation(ECS)
def untag_resources(world: World, call: Call) -> Answer:
    call.need("RegionId", "ResourceType", "ResourceId")
    things = world.region(call.region).kinds().get(call.get("ResourceType"), {})
    for id_ in call.many("ResourceId"):
        if id_ not in things:
            raise Problem("InvalidResourceId.NotFound", "The specified ResourceIds are not found.", 404)
        for key in call.many("TagKey"):
            things[id_].tags.pop(key, None)
    return {}


@operation(ECS)
def list_tag_resources(world: World, call: Call) -> Answer:
    call.need("RegionId", "ResourceType")
    things = world.region(call.region).kinds().get(call.get("ResourceType"), {})
    rows = [
        {"ResourceId": t.id, "ResourceType": call.get("ResourceType"), "TagKey": key, "TagValue": value}
        for t in laws.listed(world, call, list(things.values()))
        for key, value in sorted(t.tags.items())
    ]
    page, more = laws.token_page(call, rows, default=50)
    return {"TagResources": {"TagResource": page}, **more}
