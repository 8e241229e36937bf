"""Capacity that the account has reserved, also in blocks. Tests set it by /_fake/reservation."""

from __future__ import annotations

import math
from typing import Any

from fake_ec2 import catalogue, machine
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.filters import keep, page, stamp
from fake_ec2.things import Instance
from fake_ec2.world import ACCOUNT, World

TAKING = {"pending", "running", "stopping", "shutting-down"}  # states in which a machine takes up a slot
BLOCK = "capacity-block"
ENDED_SECONDS = 1800.0  # before a block's end, when its instances are terminated
ENDED = ("Server.CapacityBlockEnded", "Server.CapacityBlockEnded: The Capacity Block has ended")


def make(world: World, ask: dict[str, Any]) -> dict[str, Any]:
    """Reserve: `type` in `zone`, for `count` machines; `targeted`, or of any launch that fits; a `block`.

    `owner`: the account that shares it. `told`: more of its row. With the `id` of one: cancel it, or,
    with `ends`, extend it.
    """
    if "id" in ask:
        [found] = [row for row in world.settings.reservations if row["id"] == ask["id"]]
        if "ends" in ask:  # it was extended
            found |= {"ends": float(ask["ends"]), "over": float(ask["ends"])}
            until_end(world, found)
            return found
        found |= {"state": "cancelled", "over": world.clock.now()}
        return found
    found = {
        "id": f"cr-0{len(world.settings.reservations):016x}",
        "type": ask["type"],
        "zone": ask["zone"],
        "count": int(ask.get("count", 1)),
        "targeted": bool(ask.get("targeted")) or bool(ask.get("block")),
        "block": bool(ask.get("block")),
        "state": ask.get("state", "active"),
        "created": world.clock.now(),
        "ends": ask.get("ends"),
        "over": ask.get("ends"),  # when its instances begin to be billed as all others are
        "owner": ask.get("owner", ACCOUNT),
        "told": ask.get("told", {}),
    }
    world.settings.reservations.append(found)
    if found["block"] and found["ends"]:
        until_end(world, found)
    return found


def until_end(world: World, row: dict[str, Any]) -> None:
    """A block's instances are terminated half an hour before it ends: nothing on them announces that.

    (EC2 user guide, "Capacity Blocks for ML". What the state reason says then is not documented.)
    """
    ends = row["ends"]

    def end_all() -> None:
        if row["ends"] != ends:  # it was extended
            return
        for instance in list(world.region(row["zone"][:-1]).instances.values()):
            if instance.capacity_reservation == row["id"] and instance.alive:
                machine.end(world, instance, ENDED)

    world.clock.after(max(0.0, ends - ENDED_SECONDS - world.clock.now()), end_all)


def left(world: World, region: str, row: dict[str, Any]) -> int:
    """Machines that it still has room for."""
    used = sum(
        i.capacity_reservation == row["id"] and i.state in TAKING
        for i in world.region(region).instances.values()
    )
    return int(int(row["count"]) - used)


def free_until(world: World, instance: Instance) -> float:
    """When its instances begin to cost something: at once, if another account owns the reservation."""
    found = (row for row in world.settings.reservations if row["id"] == instance.capacity_reservation)
    row = next(found, None)
    if row is None or row["owner"] != ACCOUNT:
        return 0.0
    return math.inf if row["over"] is None else float(row["over"])


def _state(world: World, row: dict[str, Any]) -> str:
    return "expired" if row["ends"] and row["ends"] <= world.clock.now() else str(row["state"])


def joined(world: World, region: str, order: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any] | None:
    """The reservation that a launch goes into: the one it names, else an open one that fits."""
    spec = order.get("CapacityReservationSpecification") or {}
    named = (spec.get("CapacityReservationTarget") or {}).get("CapacityReservationId")
    rows = [row for row in world.settings.reservations if row["zone"][:-1] == region]
    if not named:
        open_ = plan["market"] == "on-demand" and spec.get("CapacityReservationPreference") != "none"
        rows = [row for row in rows if not row["targeted"] and _state(world, row) == "active"]
        fits = (row for row in rows if open_ and _fits(row, plan))
        return next((row for row in fits if left(world, region, row) > 0), None)
    row = next((row for row in rows if row["id"] == named), None)
    if row is None:
        raise Problem(
            "InvalidCapacityReservationId.NotFound", f"The capacity reservation '{named}' does not exist."
        )
    is_block = (order.get("InstanceMarketOptions") or {}).get("MarketType") == BLOCK
    apart = row["told"].get("PlacementGroupArn") or row["told"].get("Interruptible")
    if not _fits(row, plan) or is_block != row["block"] or apart:
        raise Problem(
            "InvalidParameterCombination",
            f"The capacity reservation '{named}' does not match the attributes of the instance.",
        )
    if _state(world, row) != "active" or left(world, region, row) < 1:
        raise Problem(
            "ReservationCapacityExceeded",
            "The requested reservation does not have sufficient compatible and available capacity for this "
            "request.",
        )
    return row


def _fits(row: dict[str, Any], plan: dict[str, Any]) -> bool:
    return bool(row["type"] == plan["type"] and plan["zone"] in {None, row["zone"]})


@action("DescribeCapacityReservations")
def describe(world: World, call: Call) -> dict[str, Any]:
    rows = [_row(world, call.region, r) for r in world.settings.reservations if r["zone"][:-1] == call.region]
    if wanted := call.get("CapacityReservationIds"):
        known = {row["CapacityReservationId"] for row in rows}
        if lost := [one for one in wanted if one not in known]:
            raise Problem(
                "InvalidCapacityReservationId.NotFound",
                f"The capacity reservation '{lost[0]}' does not exist.",
            )
        rows = [row for row in rows if row["CapacityReservationId"] in wanted]
    fields = {
        "instance-type": "InstanceType",
        "owner-id": "OwnerId",
        "instance-platform": "InstancePlatform",
        "availability-zone": "AvailabilityZone",
        "tenancy": "Tenancy",
        "state": "State",
        "instance-match-criteria": "InstanceMatchCriteria",
        "end-date-type": "EndDateType",
    }
    return page(keep(rows, call, fields), call, "CapacityReservations")


def _row(world: World, region: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "CapacityReservationId": row["id"],
        "CapacityReservationArn": f"arn:aws:ec2:{region}:{row['owner']}:capacity-reservation/{row['id']}",
        "OwnerId": row["owner"],
        "InstanceType": row["type"],
        "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": row["zone"],
        "AvailabilityZoneId": catalogue.zones(region).get(row["zone"]),
        "Tenancy": "default",
        "TotalInstanceCount": row["count"],
        "AvailableInstanceCount": left(world, region, row) if _state(world, row) == "active" else 0,
        "EbsOptimized": False,
        "EphemeralStorage": False,
        "State": _state(world, row),
        "StartDate": stamp(row["created"]),
        "CreateDate": stamp(row["created"]),
        "EndDate": stamp(row["ends"]),
        "EndDateType": "limited" if row["ends"] else "unlimited",
        "InstanceMatchCriteria": "targeted" if row["targeted"] else "open",
        "ReservationType": BLOCK if row["block"] else "default",
        "CapacityAllocations": [],
        "Tags": [],
        **row["told"],
    }
