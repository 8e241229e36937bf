"""The account's own bill: what each machine, disk and snapshot cost in a month, those that are gone too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.fake_ecs import market
from tests.fake_ecs.laws import BSS, Answer, operation
from tests.fake_ecs.wire import Call, Problem
from tests.fake_ecs.world import Disk, Machine, Snapshot, World

SNAPSHOT_CNY = 0.12 / 730  # a GiB and hour
MOST, USUAL = 300, 20


def month(text: str) -> tuple[float, float]:
    try:
        begin = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise Problem("InvalidParameter", "The billing cycle is not valid.") from None
    after = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin.timestamp(), after.timestamp()


def costs(world: World, begin: float, end: float) -> Iterator[tuple[Any, float]]:
    """What each thing cost in that time, in the account's currency."""
    now = world.clock.now()
    for region in world.regions.values():
        for kind in ("machines", "disks", "snapshots"):
            for thing in getattr(region, kind).values():
                yield thing, _cost(world, thing, begin, min(end, now), now)
    for thing, at in world.gone:
        yield thing, _cost(world, thing, begin, min(end, at), at)


def _cost(world: World, thing: Any, begin: float, end: float, now: float) -> float:
    if isinstance(thing, Machine):
        spans = [(a or 0.0, now if b is None else b) for a, b in thing.paid]
        return sum(_compute(world, thing, max(a, begin), min(b, end)) for a, b in spans)
    hours = max(0.0, end - max(thing.made, begin)) / 3600
    if isinstance(thing, Disk):
        return thing.size * market.disk_cny(thing.category, thing.level) * hours
    assert isinstance(thing, Snapshot)
    return thing.size * SNAPSHOT_CNY * hours


def _compute(world: World, machine: Machine, begin: float, end: float) -> float:
    """Spot at the price of each hour."""
    if machine.strategy == "NoSpot":
        return max(0.0, end - begin) / 3600 * market.on_demand(machine.region, machine.type)
    paid, at = 0.0, begin
    while at < end:
        after = min(end, (math.floor(at / 3600) + 1) * 3600.0)
        hour = math.floor(at / 3600) * 3600.0
        paid += (after - at) / 3600 * market.spot(world, machine.zone, machine.type, hour)
        at = after
    return paid


@operation(BSS)
def describe_instance_bill(world: World, call: Call) -> Answer:
    """A refusal of the billing service itself comes with the status 200."""
    call.need("BillingCycle")
    if world.no_bill:
        return {"Code": world.no_bill, "Message": "It is not to be had.", "Success": False, "Data": None}
    begin, end = month(call.get("BillingCycle"))
    rows = [
        {
            "InstanceID": thing.id,
            "ProductCode": "ecs",
            "SubscriptionType": "PayAsYouGo",
            "Item": "PayAsYouGoBill",
            "Region": thing.region,
            "Currency": world.currency,
            "PretaxGrossAmount": round(cost, 6),
            "PretaxAmount": round(cost * world.discount, 6),
            "PaymentAmount": 0.0,
            "Tag": "; ".join(f"key:{k} value:{v}" for k, v in sorted(thing.tags.items())),
        }
        for thing, cost in costs(world, begin, end)
        if cost
    ]
    size = min(MOST, int(call.get("MaxResults") or USUAL))
    start = int(call.get("NextToken") or 0)
    after = str(start + size) if start + size < len(rows) else ""
    return {
        "Code": "Success",
        "Message": "Successful!",
        "Success": True,
        "Data": {
            "BillingCycle": call.get("BillingCycle"),
            "TotalCount": len(rows),
            "MaxResults": size,
            "NextToken": after,
            "Items": rows[start : start + size],
        },
    }
