"""What everything costs and has cost: per second, sixty seconds at least for each start of a machine."""

from __future__ import annotations

from typing import Any

from fake_ec2 import prices, recycle, reservations
from fake_ec2.things import Address, Image, Instance, Snapshot, Thing, Volume
from fake_ec2.world import ACCOUNT, World

MINIMUM_SECONDS = 60.0
HOUR = 3600.0
PUBLIC = prices.USD_PER_ADDRESS_HOUR


def usd_per_hour(world: World, thing: Thing) -> float:
    """What it costs now."""
    if thing.owner != ACCOUNT:
        return 0.0
    if thing.gone is not None:
        return still_usd_per_hour(thing) if recycle.until(world, thing) is not None else 0.0
    if isinstance(thing, Instance):
        if thing.state not in {"pending", "running"}:
            return 0.0
        computing = machine_usd_per_hour(world, thing, world.clock.now()) if thing.state == "running" else 0.0
        return computing + (PUBLIC if thing.public_ip and not thing.address_id else 0.0)
    return still_usd_per_hour(thing)


def machine_usd_per_hour(world: World, instance: Instance, at: float) -> float:
    if instance.market == "spot":
        return world.spot.at(instance.type, instance.zone, at)
    if at < reservations.free_until(world, instance):  # whose hours are paid whether or not they are used
        return 0.0
    return prices.on_demand(instance.type, instance.region)


def still_usd_per_hour(thing: Thing) -> float:
    """What a disk, a snapshot or an address costs as long as it exists."""
    if isinstance(thing, Address):
        return PUBLIC
    factor = prices.region_factor(thing.region)
    if isinstance(thing, Volume):
        month = thing.size_gib * prices.USD_PER_GIB_MONTH[thing.type]
        if thing.type == "gp3":
            month += max(0, (thing.iops or 0) - 3000) * prices.USD_PER_GP3_IOPS_MONTH
            month += max(0, (thing.throughput or 0) - 125) * prices.USD_PER_GP3_MIBPS_MONTH
        return month * factor / prices.HOURS_PER_MONTH
    if isinstance(thing, Snapshot):
        return thing.used_gib * prices.USD_PER_SNAPSHOT_GIB_MONTH * factor / prices.HOURS_PER_MONTH
    return 0.0


def usd_so_far(world: World, thing: Thing) -> float:
    """What it has cost until now, or until it went."""
    if thing.owner != ACCOUNT:
        return 0.0
    now = world.clock.now()
    if not isinstance(thing, Instance):
        until = recycle.billed_until(world, thing) or now
        return still_usd_per_hour(thing) * (until - thing.created) / HOUR
    total = 0.0
    for begun, ended in thing.runs:
        assert begun is not None
        until = ended if ended is not None else now
        total += run_usd(world, thing, begun, max(until, begun + MINIMUM_SECONDS))
        if thing.wants_public_ip and not thing.address_id:
            total += PUBLIC * (until - begun) / HOUR
    return total


def run_usd(world: World, instance: Instance, begun: float, until: float) -> float:
    """A spot machine pays, in each hour of its own, the price at that hour's beginning."""
    if instance.market != "spot":
        begun = min(max(begun, reservations.free_until(world, instance)), until)
        return prices.on_demand(instance.type, instance.region) * (until - begun) / HOUR
    total, at = 0.0, begun
    while at < until:
        step = min(HOUR, until - at)
        total += world.spot.at(instance.type, instance.zone, at) * step / HOUR
        at += step
    return total


def listing(world: World, gone: bool = False) -> list[dict[str, Any]]:
    """Everything in the account, with owner, tags and money; `gone`: also what is no more."""
    rows = []
    for kind, thing in world.everything():
        if thing.owner != ACCOUNT or (thing.gone is not None and not gone):
            continue
        row: dict[str, Any] = {
            "kind": kind,
            "id": thing.id,
            "region": thing.region,
            "state": thing.state,
            "created": thing.created,
            "gone": thing.gone,
            "tags": dict(thing.tags),
            "crowd": thing.crowd,
            "usd_per_hour": round(usd_per_hour(world, thing), 6),
            "usd_so_far": round(usd_so_far(world, thing), 6),
        }
        if isinstance(thing, Instance):
            row |= {
                "type": thing.type,
                "zone": thing.zone,
                "market": thing.market,
                "token": thing.token,
                "image_id": thing.image_id,
                "public_ip": thing.public_ip,
                "disks": [a.volume_id for a in thing.disks.values()],
            }
        if isinstance(thing, Volume):
            row |= {
                "zone": thing.zone,
                "size_gib": thing.size_gib,
                "attached_to": thing.attached_to,
                "work": dict(thing.work),
                "unsynced": dict(thing.unsynced),
            }
        if isinstance(thing, Snapshot):
            row |= {"size_gib": thing.volume_size_gib, "volume_id": thing.volume_id, "work": dict(thing.work)}
        if isinstance(thing, Image):
            row |= {"name": thing.name, "snapshots": snapshot_ids(thing)}
        rows.append(row)
    return rows + network_listing(world)


def snapshot_ids(image: Image) -> list[str]:
    return [m["Ebs"]["SnapshotId"] for m in image.mappings if (m.get("Ebs") or {}).get("SnapshotId")]


def network_listing(world: World) -> list[dict[str, Any]]:
    """Keys, groups and launch templates, which moto keeps."""
    from moto.ec2.models import ec2_backends

    rows = []
    for region, backend in list(ec2_backends[ACCOUNT].items()):
        found: list[tuple[str, str, str]] = [
            ("key-pair", pair.id, str(pair.key_name)) for pair in backend.key_pairs.values()
        ]
        found += [
            ("security-group", group.id, str(group.name))
            for groups in backend.groups.values()
            for group in groups.values()
            if group.name != "default"
        ]
        found += [("launch-template", str(t.id), str(t.name)) for t in backend.launch_templates.values()]
        for kind, thing_id, name in found:
            tags = {t["key"]: t["value"] for t in backend.describe_tags(filters={"resource-id": [thing_id]})}
            rows.append(
                {
                    "kind": kind,
                    "id": thing_id,
                    "name": name,
                    "region": region,
                    "state": "available",
                    "gone": None,
                    "tags": tags,
                    "crowd": "crowd" in tags,
                    "usd_per_hour": 0.0,
                    "usd_so_far": 0.0,
                }
            )
    return rows
