"""Disks: what a machine writes, what goes with it, and the operations on them."""

from __future__ import annotations

from typing import Any

from tests.fake_ecs import laws
from tests.fake_ecs.laws import ECS, Answer, operation
from tests.fake_ecs.wire import Call, Problem, second
from tests.fake_ecs.world import Disk, Machine, World

CATEGORIES = {"cloud_essd", "cloud_auto", "cloud_essd_entry", "cloud_efficiency", "cloud_ssd", "cloud"}


def check(world: World, zone: str, asked: list[tuple[str, dict[str, Any]]]) -> None:
    """Raises `Problem` for a category that the zone does not sell: nothing is made then."""
    for kind, one in asked:
        if str(one.get("Category") or "") not in world.disks_sold.get(zone, CATEGORIES):
            raise Problem(
                f"Invalid{'System' if kind == 'system' else 'Data'}DiskCategory.ValueNotSupported",
                "The specified disk category is not supported.",
            )


def make(
    world: World,
    machine: Machine,
    *,
    kind: str,
    device: str,
    asked: dict[str, Any],
    size: int,
    snapshot: str = "",
) -> Disk:
    """A disk of a new machine, from a snapshot or empty. It has its machine's tags."""
    category = str(asked.get("Category") or "")
    region = world.region(machine.region)
    made = Disk(
        world.new_id("d"), machine.region, name=f"{machine.name}-{kind}", tags=dict(machine.tags),
        made=world.clock.now(), status="In_use", zone=machine.zone, size=size, category=category,
        level=str(asked.get("PerformanceLevel") or ("PL1" if category == "cloud_essd" else "")),
        bursting=str(asked.get("BurstingEnabled") or "").lower() == "true",
        kind=kind, device=device, instance=machine.id, snapshot=snapshot,
        goes_with_it=str(asked.get("DeleteWithInstance") or "true").lower() == "true",
    )  # fmt: skip
    made.origin = made.id
    if snapshot in region.snapshots:
        made.work, made.origin = dict(region.snapshots[snapshot].work), region.snapshots[snapshot].origin
    if world.rig and snapshot:
        world.rig.call("restore", made.id, snapshot)
    region.disks[made.id] = made
    machine.disks.append(made.id)
    return made


def held(world: World, machine: Machine) -> list[Disk]:
    return [world.region(machine.region).disks[id_] for id_ in machine.disks]


def sync(world: World, machine: Machine) -> None:
    """A clean shutdown writes everything to the disks."""
    for disk in held(world, machine):
        disk.work |= disk.unsynced
        disk.unsynced = {}


def cut_off(world: World, machine: Machine) -> None:
    """A power cut: what was not written is lost."""
    for disk in held(world, machine):
        disk.unsynced = {}


def release(world: World, machine: Machine) -> None:
    """Its machine is released: it goes too, or stays as a data disk that nothing holds.

    A security-locked machine takes every disk with it.
    """
    for disk in held(world, machine):
        if disk.goes_with_it or "security" in machine.locks:
            drop(world, disk)
        else:
            disk.status, disk.instance, disk.device, disk.kind = "Available", "", "", "data"
    machine.disks = []


def drop(world: World, disk: Disk) -> None:
    world.gone.append((disk, world.clock.now()))
    del world.region(disk.region).disks[disk.id]
    if world.rig:
        world.rig.call("forget", disk.id)


def row(disk: Disk) -> Answer:
    return {
        "DiskId": disk.id,
        "DiskName": disk.name,
        "RegionId": disk.region,
        "ZoneId": disk.zone,
        "Size": disk.size,
        "Category": disk.category,
        "PerformanceLevel": disk.level,
        "BurstingEnabled": disk.bursting,
        "Type": disk.kind,
        "Status": disk.status,
        "InstanceId": disk.instance,
        "Device": disk.device,
        "DeleteWithInstance": disk.goes_with_it,
        "Portable": disk.kind == "data",
        "SourceSnapshotId": disk.snapshot,
        "CreationTime": second(disk.made),
        "DiskChargeType": "PostPaid",
        "Tags": laws.tag_list(disk.tags),
    }


@operation(ECS)
def describe_disks(world: World, call: Call) -> Answer:
    call.need("RegionId")
    found = laws.listed(world, call, list(world.region(call.region).disks.values()))
    wanted = laws.ids(call, "DiskIds")
    if wanted is not None:
        found = [d for d in found if d.id in wanted]
    if machine := call.get("InstanceId"):
        found = [d for d in found if d.instance == machine]
    rows, more = laws.token_page(call, found, most=500)
    return {"Disks": {"Disk": [row(d) for d in rows]}, **more}


@operation(ECS)
def modify_disk_attribute(world: World, call: Call) -> Answer:
    wanted = [call.get("DiskId")] if call.get("DiskId") else call.many("DiskIds")
    for id_ in wanted:
        disk = world.anywhere(id_)
        if not isinstance(disk, Disk):
            raise Problem("InvalidDiskId.NotFound", "The specified disk does not exist.", 404)
        if "DeleteWithInstance" in call.flat:
            disk.goes_with_it = call.flag("DeleteWithInstance")
    return {}


@operation(ECS)
def delete_disk(world: World, call: Call) -> Answer:
    """An unknown one is a success."""
    call.need("DiskId")
    disk = world.anywhere(call.get("DiskId"))
    if isinstance(disk, Disk):
        if disk.status != "Available":
            raise Problem(
                "IncorrectDiskStatus",
                "The current status of the resource does not support this operation.",
                403,
            )
        drop(world, disk)
    return {}
