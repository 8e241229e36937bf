"""DescribeInstanceTypes and the listings of regions and zones."""

from __future__ import annotations

from functools import cache
from typing import Any

from fake_ec2 import catalogue, wire
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.filters import keep
from fake_ec2.world import World


@cache
def type_xml(name: str) -> str:
    """One type, serialized once in the life of the server."""
    return wire.serialize_member("DescribeInstanceTypes", "InstanceTypes", catalogue.TYPES[name])


@action("DescribeInstanceTypes")
def describe_instance_types(world: World, call: Call) -> dict[str, Any]:
    names, token = catalogue.type_page(call.params, call.region)
    return wire.join_members("instanceTypeSet", [type_xml(n) for n in names], token)


@action("DescribeInstanceTypeOfferings")
def describe_offerings(world: World, call: Call) -> dict[str, Any]:
    return catalogue.offerings(call.params, call.region)


@action("DescribeRegions")
def describe_regions(world: World, call: Call) -> dict[str, Any]:
    """Those that are enabled; with AllRegions also those the account has not opted in to."""
    rows = []
    wanted = call.get("RegionNames") or []
    if unknown := [r for r in wanted if r not in catalogue.all_regions()]:
        raise Problem("InvalidParameterValue", f"Invalid region names: [{', '.join(unknown)}]")
    for name in catalogue.all_regions():
        enabled = name in world.settings.enabled_regions
        if (wanted and name not in wanted) or not (enabled or call.get("AllRegions")):
            continue
        always = name in catalogue.ALWAYS_ENABLED
        status = "opt-in-not-required" if always and enabled else ("opted-in" if enabled else "not-opted-in")
        rows.append({"RegionName": name, "Endpoint": f"ec2.{name}.amazonaws.com", "OptInStatus": status})
    fields = {"region-name": "RegionName", "endpoint": "Endpoint", "opt-in-status": "OptInStatus"}
    return {"Regions": keep(rows, call, fields)}


@action("DescribeAvailabilityZones")
def describe_zones(world: World, call: Call) -> dict[str, Any]:
    rows = [
        {
            "ZoneName": zone,
            "ZoneId": zone_id,
            "ZoneType": "availability-zone",
            "RegionName": call.region,
            "State": "available",
            "OptInStatus": "opt-in-not-required",
            "GroupName": f"{call.region}-zg-1",
            "NetworkBorderGroup": call.region,
            "Messages": [],
        }
        for zone, zone_id in catalogue.zones(call.region).items()
    ]
    for field, key in (("ZoneNames", "ZoneName"), ("ZoneIds", "ZoneId")):
        wanted = call.get(field) or []
        if unknown := set(wanted) - {r[key] for r in rows}:
            raise Problem("InvalidParameterValue", f"Invalid availability zone: [{min(unknown)}]")
        rows = [r for r in rows if not wanted or r[key] in wanted]
    fields = {
        "zone-name": "ZoneName",
        "zone-id": "ZoneId",
        "zone-type": "ZoneType",
        "region-name": "RegionName",
        "state": "State",
        "opt-in-status": "OptInStatus",
        "group-name": "GroupName",
    }
    return {"AvailabilityZones": keep(rows, call, fields)}
