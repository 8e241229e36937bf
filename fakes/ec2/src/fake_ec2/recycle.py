"""The Recycle Bin: what a retention rule keeps after its deletion, and bills until the retention ends.

Rules are of the service `rbin`; here they are set by the control `recycle`. What is kept is told by EC2's own
List…InRecycleBin, without tags and (of snapshots) without a size, as there. It is billed as before (EBS user
guide, "Recycle Bin", Pricing) and cannot be deleted earlier.
"""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.filters import page, stamp
from fake_ec2.things import Image, Snapshot, Thing, Volume
from fake_ec2.world import ACCOUNT, World

DAY = 86400.0


def kind_of(thing: Thing) -> str:
    return type(thing).__name__.lower()


def until(world: World, thing: Thing) -> float | None:
    """When something that is gone leaves the bin; None for what is not in it."""
    days = world.retention.get(thing.region, {}).get(kind_of(thing))
    if thing.gone is None or days is None or thing.owner != ACCOUNT:
        return None
    end = thing.gone + days * DAY
    return end if end > world.clock.now() else None


def billed_until(world: World, thing: Thing) -> float | None:
    """When something stops being billed that is gone."""
    days = world.retention.get(thing.region, {}).get(kind_of(thing))
    if thing.gone is None or days is None:
        return thing.gone
    return min(thing.gone + days * DAY, world.clock.now())


def kept(world: World, call: Call, things: dict[str, Any], ids: list[str] | None) -> list[Any]:
    held = [t for t in things.values() if until(world, t) is not None]
    return [t for t in held if not ids or t.id in ids]


def times(world: World, thing: Thing) -> dict[str, Any]:
    return {"RecycleBinEnterTime": stamp(thing.gone), "RecycleBinExitTime": stamp(until(world, thing))}


@action("ListImagesInRecycleBin")
def list_images(world: World, call: Call) -> dict[str, Any]:
    images: list[Image] = kept(world, call, world.region(call.region).images, call.get("ImageIds"))
    rows = [
        {"ImageId": i.id, "Name": i.name, "Description": i.description or None} | times(world, i)
        for i in images
    ]
    return page(rows, call, "Images")


@action("ListSnapshotsInRecycleBin")
def list_snapshots(world: World, call: Call) -> dict[str, Any]:
    held: list[Snapshot] = kept(world, call, world.region(call.region).snapshots, call.get("SnapshotIds"))
    rows = [
        {"SnapshotId": s.id, "VolumeId": s.volume_id, "Description": s.description} | times(world, s)
        for s in held
    ]
    return page(rows, call, "Snapshots")


@action("ListVolumesInRecycleBin")
def list_volumes(world: World, call: Call) -> dict[str, Any]:
    held: list[Volume] = kept(world, call, world.region(call.region).volumes, call.get("VolumeIds"))
    rows = [
        {"VolumeId": v.id, "VolumeType": v.type, "State": "recycled", "Size": v.size_gib, "Iops": v.iops,
         "Throughput": v.throughput, "AvailabilityZone": v.zone, "SnapshotId": v.snapshot_id,
         "CreateTime": stamp(v.created)} | times(world, v)
        for v in held
    ]  # fmt: skip
    return page(rows, call, "Volumes")


@action("RestoreImageFromRecycleBin", "RestoreSnapshotFromRecycleBin", "RestoreVolumeFromRecycleBin")
def restore(world: World, call: Call) -> dict[str, Any]:
    region = world.region(call.region)
    everything: dict[str, Any] = {**region.images, **region.snapshots, **region.volumes}
    wanted = call.get("ImageId") or call.get("SnapshotId") or call.get("VolumeId") or ""
    thing = everything.get(wanted)
    if thing is None or until(world, thing) is None:
        raise Problem("InvalidParameterValue", f"{wanted} is not in the Recycle Bin.")
    call.dry_run()
    thing.gone = None
    thing.become("completed" if isinstance(thing, Snapshot) else "available", world.clock.now())
    return {"Return": True}
