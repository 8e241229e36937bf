"""Capacity per zone and market, spot requests, spot price history and placement scores."""

from __future__ import annotations

from typing import Any

from fake_ec2 import catalogue, prices
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, missing, no_capacity
from fake_ec2.filters import keep, page, stamp, tag_list
from fake_ec2.things import Instance, SpotRequest
from fake_ec2.world import World, matches

HOLDING = {"pending", "running"}  # states in which a machine takes up capacity


# ── capacity ─────────────────────────────────────────────────────────────────────────────────────────────


def free(world: World, region: str, zone: str, kind: str, market: str) -> int | None:
    """Machines that still fit, by the capacity rows a test has set; None: no row speaks of this pool."""
    best: int | None = None
    for row in world.settings.capacity:
        if not (
            matches(row.get("region"), region)
            and matches(row.get("zone"), zone)
            and matches(row.get("type"), kind)
            and matches(row.get("market"), market)
        ):
            continue
        left = int(row["most"]) - taken(world, row, region)
        best = left if best is None else min(best, left)
    return best


def taken(world: World, row: dict[str, Any], region: str) -> int:
    """Machines now running that the row counts."""
    return sum(
        1
        for i in world.region(region).instances.values()
        if i.state in HOLDING
        and matches(row.get("zone"), i.zone)
        and matches(row.get("type"), i.type)
        and matches(row.get("market"), i.market)
    )


def place(  # noqa: PLR0917
    world: World, call: Call, kind: str, market: str, zone: str | None, least: int, most: int
) -> tuple[str, int]:
    """(zone, how many) for a launch; raises Unsupported or InsufficientInstanceCapacity."""
    region = call.region
    sold = catalogue.offered(region).get(kind, ())
    if market == "spot":
        sold = prices.pools(kind, region)
    if zone and zone not in sold:
        raise Problem(
            "Unsupported",
            f"Your requested instance type ({kind}) is not supported in your requested Availability Zone "
            f"({zone}). Please retry your request by not specifying an Availability Zone or choosing "
            f"{', '.join(sold)}.",
        )
    standing = {
        s.availability_zone
        for z in world.moto(region).subnets.values()
        for s in z.values()
        if s.default_for_az
    }
    open_zones = [zone] if zone else [z for z in sold if z in standing]
    if not zone:
        world.chance.shuffle(open_zones)
    refused: Problem | None = None
    for candidate in open_zones:
        problem = world.rules.late_refusal(call, candidate, market, kind)
        if problem is not None:
            refused = problem
            continue
        room = free(world, region, candidate, kind, market)
        if room is None or room >= least:
            return candidate, most if room is None else min(most, room)
    if refused is not None:
        raise refused
    others = [z for z in sold if z not in open_zones and (free(world, region, z, kind, market) or 0) >= least]
    raise no_capacity(kind, zone or ", ".join(open_zones) or region, others)


# ── spot ─────────────────────────────────────────────────────────────────────────────────────────────────


def check_max_price(world: World, order: dict[str, Any], plan: dict[str, Any]) -> None:
    options = (order.get("InstanceMarketOptions") or {}).get("SpotOptions") or {}
    if not options.get("MaxPrice"):
        return
    region = plan["image"].region
    now = world.clock.now()
    zones = [plan["zone"]] if plan["zone"] else list(prices.pools(plan["type"], region))
    lowest = min((world.spot.at(plan["type"], z, now) for z in zones), default=0.0)
    if float(options["MaxPrice"]) < lowest:
        raise Problem(
            "SpotMaxPriceTooLow",
            f"Your Spot request price of {options['MaxPrice']} is lower than the minimum required Spot "
            f"request fulfillment price of {lowest:.4f}.",
        )


def request_ends(world: World, instance: Instance) -> None:
    """The machine is gone: a one-time request closes, a persistent one starts another."""
    request = world.region(instance.region).spot_requests.get(instance.spot_request_id or "")
    if request is None or request.state not in {"active", "disabled"}:
        return
    now = world.clock.now()
    request.updated = now
    if request.type == "persistent":
        request.become("open", now)
        request.instance_id, request.status = None, "pending-evaluation"
        world.clock.after(world.clock.takes("relaunch"), lambda: relaunch(world, request))
        return
    request.become("closed", now)


def relaunch(world: World, request: SpotRequest) -> None:
    from fake_ec2.launch import build, check_order

    if request.state != "open" or request.gone is not None:
        return
    call = Call("ec2", "RunInstances", request.region, dict(request.order))
    try:
        plan = check_order(world, request.region, call.params)
        zone, _ = place(world, call, plan["type"], "spot", plan["zone"], 1, 1)
    except Problem:
        world.clock.after(world.clock.takes("relaunch"), lambda: relaunch(world, request))
        return
    instance = build(world, call, call.params, plan, zone, world.new_id("r"), 0)
    world.region(request.region).spot_requests.pop(instance.spot_request_id or "")
    instance.spot_request_id, request.instance_id = request.id, instance.id
    request.status = "fulfilled"
    request.become("active", world.clock.now())


def request_row(world: World, request: SpotRequest) -> dict[str, Any]:
    return {
        "SpotInstanceRequestId": request.id,
        "State": request.state,
        "Status": {"Code": request.status, "Message": request.message, "UpdateTime": stamp(request.updated)},
        "Type": request.type,
        "InstanceId": request.instance_id,
        "InstanceInterruptionBehavior": request.behavior,
        "SpotPrice": request.max_price or f"{prices.on_demand(request.instance_type, request.region):.6f}",
        "CreateTime": stamp(request.created),
        "LaunchedAvailabilityZone": request.zone,
        "ProductDescription": "Linux/UNIX",
        "LaunchSpecification": {"InstanceType": request.instance_type, "ImageId": request.image_id},
        "Tags": tag_list(world.seen_tags(request)),
    }


@action("DescribeSpotInstanceRequests")
def describe_spot_requests(world: World, call: Call) -> dict[str, Any]:
    found = world.listed(call.region, "spot-instances-request", call.get("SpotInstanceRequestIds"))
    fields = {
        "state": "State",
        "status-code": "Status.Code",
        "instance-id": "InstanceId",
        "spot-instance-request-id": "SpotInstanceRequestId",
        "type": "Type",
        "launched-availability-zone": "LaunchedAvailabilityZone",
        "launch.instance-type": "LaunchSpecification.InstanceType",
    }
    return page(keep([request_row(world, r) for r in found], call, fields), call, "SpotInstanceRequests")


@action("CancelSpotInstanceRequests")
def cancel_spot_requests(world: World, call: Call) -> dict[str, Any]:
    """Cancelling does not end the machine."""
    if not call.get("SpotInstanceRequestIds"):
        raise missing("SpotInstanceRequestId")
    found = world.listed(call.region, "spot-instances-request", call.get("SpotInstanceRequestIds"))
    call.dry_run()
    for request in found:
        alive = request.instance_id is not None and request.state == "active"
        request.status = "request-canceled-and-instance-running" if alive else "canceled-before-fulfillment"
        request.updated = world.clock.now()
        if request.state in {"open", "active", "disabled"}:
            request.become("cancelled", request.updated)
    return {
        "CancelledSpotInstanceRequests": [{"SpotInstanceRequestId": r.id, "State": r.state} for r in found]
    }


@action("RequestSpotInstances", "RequestSpotFleet")
def no_other_way(world: World, call: Call) -> dict[str, Any]:
    raise Problem(
        "UnsupportedOperation",
        f"This fake launches with RunInstances or CreateFleet, not {call.action}.",
    )


@action("GetSpotPlacementScores")
def placement_scores(world: World, call: Call) -> dict[str, Any]:
    """1 to 10 per region or zone: higher where spot is cheap. Fewer than three types score low."""
    kinds = call.get("InstanceTypes") or []
    if not call.get("TargetCapacity"):
        raise missing("TargetCapacity")
    now, rows = world.clock.now(), []
    for region in call.get("RegionNames") or sorted(world.settings.enabled_regions):
        scored = []
        for zone in catalogue.zones(region):
            pools = [k for k in kinds if k in catalogue.TYPES and zone in prices.pools(k, region)]
            if not pools:
                continue
            share = min(world.spot.at(k, zone, now) / prices.on_demand(k, region) for k in pools)
            score = max(1, min(10 if len(kinds) >= 3 else 3, round(11 - 10 * share)))
            scored.append((zone, score))
        if call.get("SingleAvailabilityZone"):
            ids = catalogue.zones(region)
            rows += [{"Region": region, "AvailabilityZoneId": ids[zone], "Score": s} for zone, s in scored]
        elif scored:
            rows.append({"Region": region, "Score": max(s for _, s in scored)})
    rows.sort(key=lambda r: -r["Score"])
    return {"SpotPlacementScores": rows[:10]}
