"""Launch templates and instant fleets: CreateLaunchTemplate and CreateFleet, with their tokens.

An instant fleet is one synchronous request for several machines out of several pools. What a pool refuses
stands in the list of errors, and the reply is a success although nothing may have been launched (EC2 API
reference, CreateFleet; EC2 user guide, "Configure an EC2 Fleet of type instant"). Kept by moto: templates.
"""

from __future__ import annotations

import copy
import json
import time
from typing import Any

from fake_ec2 import market, prices, quotas
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, missing
from fake_ec2.filters import stamp, tag_list
from fake_ec2.launch import build, check_order, exact_order
from fake_ec2.things import Instance
from fake_ec2.world import USER_ARN, World, check_tag_kinds, tags_for

#: Resources that an instant fleet's request may tag (botocore, CreateFleetRequest$TagSpecifications).
TAGGABLE = {"fleet", "instance", "volume", "network-interface"}
#: What a template may tag at a launch (botocore, LaunchTemplateTagSpecificationRequest$ResourceType).
OF_A_LAUNCH = {"instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu"}
#: Options of an instant fleet that this fake does not know; they are refused and not passed over.
UNKNOWN_OPTIONS = {
    *("SingleInstanceType", "SingleAvailabilityZone", "MinTargetCapacity", "MaxTotalPrice"),
    *("MaintenanceStrategies", "InstancePoolsToUseCount", "CapacityReservationOptions"),
}


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────


@action("CreateLaunchTemplate")
def create_template(world: World, call: Call) -> dict[str, Any]:
    """Of one name once. The same request with the same token answers with what it made; moto refuses it."""
    check_tag_kinds(call.get("TagSpecifications"), {"launch-template"})
    data = call.get("LaunchTemplateData") or {}
    check_tag_kinds(data.get("TagSpecifications"), OF_A_LAUNCH)
    known = call.raw.get("ClientToken")
    key = ("CreateLaunchTemplate", "", known or "")
    backend, tokens = world.moto(call.region), world.region(call.region).tokens
    if known and (past := tokens.get(key)) is not None:
        if past[0] != exact_order(call):
            raise mismatch()
        if (template := backend.launch_templates.get(past[1])) is not None:
            return {"LaunchTemplate": row(template)}
    call.dry_run()
    name = call.params["LaunchTemplateName"]
    if name in backend.launch_template_name_to_ids:
        raise Problem(
            "InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use."
        )
    from moto.core.types import Base64EncodedString

    kept = copy.deepcopy(data)
    if kept.get("UserData"):
        kept["UserData"] = Base64EncodedString(kept["UserData"])
    tags = {"launch-template": tags_for(call.get("TagSpecifications"), "launch-template")}
    template = backend.create_launch_template(name, call.get("VersionDescription") or "", kept, tags)
    if known:
        tokens[key] = (exact_order(call), template.id)
    return {"LaunchTemplate": row(template)}


@action("DeleteLaunchTemplate")
def delete_template(world: World, call: Call) -> dict[str, Any]:
    """By its id or its name; moto takes an unknown name for none."""
    id_, name = call.get("LaunchTemplateId"), call.get("LaunchTemplateName")
    if not id_ and not name:
        raise missing("LaunchTemplateId")
    if id_ and name:
        raise Problem("InvalidParameterCombination", "Give an id or a name of a launch template, not both.")
    backend = world.moto(call.region)
    template = backend.launch_templates.get(id_ or backend.launch_template_name_to_ids.get(name))
    if template is None:
        raise not_there(id_, name)
    call.dry_run()
    shown = row(template)
    backend.delete_launch_template(template.name, None)
    return {"LaunchTemplate": shown}


def not_there(id_: str | None, name: str | None) -> Problem:
    code = "InvalidLaunchTemplateId.NotFound" if id_ else "InvalidLaunchTemplateName.NotFoundException"
    return Problem(code, f"The specified launch template, {id_ or name}, does not exist.")


def row(template: Any) -> dict[str, Any]:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": stamp(template.create_time.timestamp()),
        "CreatedBy": USER_ARN,
        "DefaultVersionNumber": template.default_version_number,
        "LatestVersionNumber": template.latest_version_number,
        "Tags": tag_list({t["key"]: t["value"] for t in template.get_tags()}),
    }


def mismatch() -> Problem:
    return Problem(
        "IdempotentParameterMismatch",
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    )


# ── fleets ───────────────────────────────────────────────────────────────────────────────────────────────


@action("CreateFleet")
def create_fleet(world: World, call: Call) -> dict[str, Any]:
    if call.get("Type", "maintain") != "instant":
        raise Problem("UnsupportedOperation", "This fake makes fleets of type instant only.")
    check_tag_kinds(call.get("TagSpecifications"), TAGGABLE)
    for options in ("SpotOptions", "OnDemandOptions"):
        if unknown := UNKNOWN_OPTIONS & {k for k, v in (call.get(options) or {}).items() if v is not None}:
            raise Problem("UnsupportedOperation", f"This fake knows no {', '.join(sorted(unknown))}.")
    wanted = capacities(call)
    pools = read_pools(world, call)
    token = call.raw.get("ClientToken")
    key = ("CreateFleet", "", token or "")
    tokens = world.region(call.region).tokens
    if token and (past := tokens.get(key)) is not None:
        if past[0] != exact_order(call):
            raise mismatch()
        return copy.deepcopy(past[1])
    call.dry_run()
    if not world.rules.machines_allowed(sum(wanted.values()), time.monotonic()):
        raise Problem("RequestLimitExceeded", "Request limit exceeded.")
    fleet = f"fleet-{''.join(world.chance.choices('0123456789abcdef', k=8))}-" + "-".join(
        "".join(world.chance.choices("0123456789abcdef", k=k)) for k in (4, 4, 4, 12)
    )
    made: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for buys, count in wanted.items():
        fill(world, call, fleet, buys, count, pools, made, errors)
    reply = {"FleetId": fleet, "Errors": errors, "Instances": made}
    if token:
        tokens[key] = (exact_order(call), copy.deepcopy(reply))
    return reply


def capacities(call: Call) -> dict[str, int]:
    """How many of each market; what neither says is of the default one."""
    asked = call.params["TargetCapacitySpecification"]
    total = int(asked["TotalTargetCapacity"])
    if not 1 <= total <= 10_000:  # EC2 user guide, "Quotas for EC2 Fleet": target capacity per fleet
        raise Problem("InvalidParameterValue", f"The target capacity {total} is not from 1 to 10,000.")
    if asked.get("TargetCapacityUnitType"):
        raise Problem("UnsupportedOperation", "This fake counts machines only.")
    spot, on_demand = int(asked.get("SpotTargetCapacity") or 0), int(asked.get("OnDemandTargetCapacity") or 0)
    if spot + on_demand > total:
        raise Problem("InvalidParameterCombination", "The parts are more than the total target capacity.")
    rest = total - spot - on_demand
    default = asked.get("DefaultTargetCapacityType") or "on-demand"
    if default not in {"spot", "on-demand"}:
        raise Problem("UnsupportedOperation", f"This fake launches nothing of {default}.")
    spot, on_demand = (spot + rest, on_demand) if default == "spot" else (spot, on_demand + rest)
    return {buys: count for buys, count in (("on-demand", on_demand), ("spot", spot)) if count}


def read_pools(world: World, call: Call) -> list[dict[str, Any]]:
    """Each override with its template's data. Raises for a template that is not there."""
    found = []
    for config in call.params["LaunchTemplateConfigs"]:
        named = config.get("LaunchTemplateSpecification") or {}
        if not named.get("Version"):
            raise missing("LaunchTemplateConfigs.LaunchTemplateSpecification.Version")
        try:
            version = world.moto(call.region)._get_template_from_args(named)
        except Exception as lost:
            raise not_there(named.get("LaunchTemplateId"), named.get("LaunchTemplateName")) from lost
        if version.data.get("InstanceMarketOptions"):
            raise Problem(
                "InvalidLaunchTemplate",
                "A launch template that asks for Spot Instances cannot be used to configure an EC2 Fleet.",
            )
        for override in config.get("Overrides") or [{}]:
            if "," in (override.get("SubnetId") or ""):
                raise Problem("UnsupportedOperation", "This fake takes one subnet in an override.")
            spec = {"LaunchTemplateId": version.template.id, "Version": str(version.number)}
            found.append({"order": merged(version, override), "override": override, "template": spec})
    return found


def merged(version: Any, override: dict[str, Any]) -> dict[str, Any]:
    """RunInstances' parameters of one pool."""
    data: dict[str, Any] = json.loads(json.dumps(dict(version.data), default=str))
    data |= {k: v for k, v in override.items() if k in {"InstanceType", "ImageId", "Placement"} and v}
    if zone := override.get("AvailabilityZone"):
        data["Placement"] = {**(data.get("Placement") or {}), "AvailabilityZone": zone}
    if subnet := override.get("SubnetId"):
        if data.get("NetworkInterfaces"):
            data["NetworkInterfaces"][0]["SubnetId"] = subnet
        else:
            data["SubnetId"] = subnet
    data["_template"] = (version.template.id, str(version.number))
    return data


def fill(  # noqa: PLR0917
    world: World,
    call: Call,
    fleet: str,
    buys: str,
    count: int,
    pools: list[dict[str, Any]],
    made: list[dict[str, Any]],
    errors: list[dict[str, Any]],
) -> None:
    """Launch up to `count` out of the pools, best first; what a pool refuses is an error of the reply."""
    usable: list[tuple[Any, int, dict[str, Any], dict[str, Any], Any]] = []
    for pool in pools:
        try:
            order = dict(pool["order"])
            if buys == "spot":
                order["InstanceMarketOptions"] = {"MarketType": "spot"}
            plan = check_order(world, call.region, order)
            usable.append((rank(world, call, plan, buys, count), len(usable), pool, order, plan))
        except Problem as problem:
            errors.append(error(pool, buys, problem))
    usable.sort(key=lambda one: one[:2])
    left = count
    for _, _, pool, order, plan in usable:
        if not left:
            break
        try:
            kind = plan["type"]
            if no := world.rules.late_refusal(call, None, buys, kind):
                raise no
            allowed = quotas.check_quota(world, call.region, kind, buys, left)
            zone, number = market.place(world, call, kind, buys, plan["zone"], 1, allowed)
        except Problem as problem:
            errors.append(error(pool, buys, problem))
            continue
        ids = launch(world, call, fleet, order, plan, zone, number)
        made.append(
            {
                "LaunchTemplateAndOverrides": said(pool),
                "Lifecycle": buys,
                "InstanceIds": ids,
                "InstanceType": kind,
            }
        )
        left -= number
        if left and number < allowed:  # the pool is empty now
            full = Problem("InsufficientInstanceCapacity", f"There is no Spot capacity available in {zone}.")
            errors.append(error(pool, buys, full))


def rank(world: World, call: Call, plan: dict[str, Any], buys: str, count: int) -> tuple[bool, float]:
    """price-capacity-optimized: pools with room for all first, then by price; else by price alone."""
    kind, zone = plan["type"], plan["zone"] or f"{call.region}a"
    if buys == "on-demand":
        return False, prices.on_demand(kind, call.region)
    strategy = (call.get("SpotOptions") or {}).get("AllocationStrategy") or "lowest-price"
    if strategy not in {"lowest-price", "price-capacity-optimized"}:
        raise Problem("UnsupportedOperation", f"This fake does not know the strategy {strategy}.")
    room = market.free(world, call.region, zone, kind, "spot")
    short = strategy == "price-capacity-optimized" and room is not None and room < count
    price = world.spot.at(kind, zone, world.clock.now()) if zone in prices.pools(kind, call.region) else 0.0
    return short, price


def launch(  # noqa: PLR0917
    world: World, call: Call, fleet: str, order: dict[str, Any], plan: dict[str, Any], zone: str, number: int
) -> list[str]:
    specs = [*(order.get("TagSpecifications") or []), *(call.get("TagSpecifications") or [])]
    order = {**order, "TagSpecifications": specs}
    reservation = world.new_id("r")
    ids = []
    for index in range(number):
        machine: Instance = build(world, call, order, plan, zone, reservation, index)
        template, version = order["_template"]
        system = {"aws:ec2:fleet-id": fleet, "aws:ec2launchtemplate:id": template}
        world.put_tags(machine, {**system, "aws:ec2launchtemplate:version": version})
        ids.append(machine.id)
    return ids


def error(pool: dict[str, Any], buys: str, problem: Problem) -> dict[str, Any]:
    return {
        "LaunchTemplateAndOverrides": said(pool),
        "Lifecycle": buys,
        "ErrorCode": problem.code,
        "ErrorMessage": problem.message,
    }


def said(pool: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in pool["override"].items() if v is not None}
    return {"LaunchTemplateSpecification": pool["template"], "Overrides": kept}
