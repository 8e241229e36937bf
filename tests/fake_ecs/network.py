"""VPCs, vSwitches and security groups. What is made answers with an id, and goes on by itself."""

from __future__ import annotations

import ipaddress
from functools import partial

from tests.fake_ecs import laws
from tests.fake_ecs.laws import ECS, VPC, Answer, operation
from tests.fake_ecs.wire import Call, Problem, second
from tests.fake_ecs.world import Group, Network, World


def address(switch: Network) -> str:
    """The next private address of a vSwitch."""
    switch.last += 1
    return str(ipaddress.ip_network(switch.cidr)[switch.last])


def _later(world: World, thing: Network) -> None:
    world.clock.after(world.clock.takes("network"), partial(setattr, thing, "status", "Available"))


@operation(VPC, tokens=True)
def create_vpc(world: World, call: Call) -> Answer:
    call.need("RegionId")
    made = Network(
        world.new_id("vpc"), call.region, name=call.get("VpcName"), tags=call.tags, made=world.clock.now(),
        status="Pending", cidr=call.get("CidrBlock", "172.16.0.0/12"),
    )  # fmt: skip
    world.region(call.region).vpcs[made.id] = made
    _later(world, made)
    return {"VpcId": made.id, "VRouterId": "vrt-1", "RouteTableId": "vtb-1"}


@operation(VPC)
def describe_vpcs(world: World, call: Call) -> Answer:
    call.need("RegionId")
    found = laws.tagged(call, list(world.region(call.region).vpcs.values()))
    if call.get("VpcId"):
        found = [v for v in found if v.id in call.get("VpcId").split(",")]
    rows, more = laws.number_page(call, found, most=50)
    told = [
        {
            "VpcId": v.id,
            "VpcName": v.name,
            "RegionId": v.region,
            "Status": v.status,
            "CidrBlock": v.cidr,
            "IsDefault": False,
            "CreationTime": second(v.made),
            "Tags": {"Tag": [{"Key": key, "Value": value} for key, value in v.tags.items()]},
        }
        for v in rows
    ]
    return {"Vpcs": {"Vpc": told}, **more}


@operation(VPC, tokens=True)
def create_vswitch(world: World, call: Call) -> Answer:
    call.need("ZoneId", "CidrBlock", "VpcId")
    region = world.region(call.region)
    vpc = region.vpcs.get(call.get("VpcId"))
    if vpc is None:
        raise Problem("InvalidVpcId.NotFound", "The specified VpcId does not exist.", 404)
    if vpc.status != "Available":
        raise Problem("IncorrectVpcStatus", "The current status of the VPC does not support this.")
    siblings = [s for s in region.vswitches.values() if s.vpc == vpc.id]
    if any(s.status == "Pending" for s in siblings):
        raise Problem("OperationDenied.OtherSubnetCreating", "Another vSwitch of this VPC is being created.")
    block = ipaddress.ip_network(call.get("CidrBlock"))
    if not block.subnet_of(ipaddress.ip_network(vpc.cidr)):  # type: ignore[arg-type]
        raise Problem("InvalidCidrBlock.Malformed", "The specified CidrBlock is not in the VPC.")
    if any(block.overlaps(ipaddress.ip_network(s.cidr)) for s in siblings):
        raise Problem("InvalidCidrBlock.Overlapped", "The specified CidrBlock overlaps with another.")
    made = Network(
        world.new_id("vsw"), call.region, name=call.get("VSwitchName"), tags=call.tags,
        made=world.clock.now(), status="Pending", cidr=call.get("CidrBlock"),
        zone=call.get("ZoneId"), vpc=vpc.id,
    )  # fmt: skip
    region.vswitches[made.id] = made
    _later(world, made)
    return {"VSwitchId": made.id}


@operation(VPC)
def describe_vswitches(world: World, call: Call) -> Answer:
    found = laws.tagged(call, list(world.region(call.region).vswitches.values()))
    for name, read in (("VpcId", "vpc"), ("ZoneId", "zone"), ("VSwitchId", "id")):
        if call.get(name):
            found = [s for s in found if getattr(s, read) in call.get(name).split(",")]
    rows, more = laws.number_page(call, found, most=50)
    told = [
        {
            "VSwitchId": s.id,
            "VSwitchName": s.name,
            "VpcId": s.vpc,
            "ZoneId": s.zone,
            "Status": s.status,
            "CidrBlock": s.cidr,
            "IsDefault": False,
            "CreationTime": second(s.made),
            "AvailableIpAddressCount": 200,
            "Tags": {"Tag": [{"Key": key, "Value": value} for key, value in s.tags.items()]},
        }
        for s in rows
    ]
    return {"VSwitches": {"VSwitch": told}, **more}


@operation(VPC)
def delete_vswitch(world: World, call: Call) -> Answer:
    call.need("VSwitchId")
    switch = world.anywhere(call.get("VSwitchId"))
    if switch is None:
        raise Problem("InvalidVSwitchId.NotFound", "The specified VSwitchId does not exist.", 404)
    if any(m.vswitch == switch.id for m in world.every("instance")):
        raise Problem("DependencyViolation", "Specified object has dependent resources.")
    del world.region(switch.region).vswitches[switch.id]
    return {}


@operation(VPC)
def delete_vpc(world: World, call: Call) -> Answer:
    call.need("VpcId")
    vpc = world.anywhere(call.get("VpcId"))
    if vpc is None:
        raise Problem("InvalidVpcId.NotFound", "The specified VpcId does not exist.", 404)
    region = world.region(vpc.region)
    if any(s.vpc == vpc.id for s in region.vswitches.values()):
        raise Problem("DependencyViolation.VSwitch", "Specified object has dependent resources.")
    if any(g.vpc == vpc.id for g in region.groups.values()):
        raise Problem("DependencyViolation.SecurityGroup", "Specified object has dependent resources.")
    del region.vpcs[vpc.id]
    return {}


# ---- security groups ---------------------------------------------------------------------------------


@operation(ECS, tokens=True)
def create_security_group(world: World, call: Call) -> Answer:
    """Names are not unique here."""
    call.need("RegionId")
    region = world.region(call.region)
    vpc = region.vpcs.get(call.get("VpcId"))
    if vpc is None or vpc.status != "Available":
        raise Problem("InvalidVpcId.NotFound", "The specified VpcId does not exist.", 404)
    made = Group(
        world.new_id("sg"), call.region, name=call.get("SecurityGroupName"), tags=call.tags,
        made=world.clock.now(), vpc=call.get("VpcId"),
    )  # fmt: skip
    region.groups[made.id] = made
    return {"SecurityGroupId": made.id}


def _group(world: World, call: Call) -> Group:
    call.need("RegionId", "SecurityGroupId")
    found = world.region(call.region).groups.get(call.get("SecurityGroupId"))
    if found is None:
        raise Problem("InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.", 404)
    return found


@operation(ECS)
def describe_security_groups(world: World, call: Call) -> Answer:
    call.need("RegionId")
    found = laws.tagged(call, list(world.region(call.region).groups.values()))
    if call.get("SecurityGroupName"):
        found = [g for g in found if g.name == call.get("SecurityGroupName")]
    if call.get("VpcId"):
        found = [g for g in found if g.vpc == call.get("VpcId")]
    if (ids := laws.ids(call, "SecurityGroupIds")) is not None:
        found = [g for g in found if g.id in ids]
    rows, more = laws.token_page(call, found)
    told = [
        {
            "SecurityGroupId": g.id,
            "SecurityGroupName": g.name,
            "VpcId": g.vpc,
            "SecurityGroupType": "normal",
            "CreationTime": second(g.made),
            "Tags": laws.tag_list(g.tags),
        }
        for g in rows
    ]
    return {"RegionId": call.region, "SecurityGroups": {"SecurityGroup": told}, **more}


@operation(ECS)
def describe_security_group_attribute(world: World, call: Call) -> Answer:
    group = _group(world, call)
    rules = [
        {
            "IpProtocol": r["IpProtocol"].upper(),
            "PortRange": r["PortRange"],
            "SourceCidrIp": r.get("SourceCidrIp", ""),
            "SourceGroupId": r.get("SourceGroupId", ""),
            "Ipv6SourceCidrIp": r.get("Ipv6SourceCidrIp", ""),
            "Policy": "Accept",
            "Priority": r.get("Priority", "1"),
            "Direction": "ingress",
            "Description": r.get("Description", ""),
            "CreateTime": second(world.clock.now()),
        }
        for r in group.rules
    ]
    return {
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.name,
        "VpcId": group.vpc,
        "RegionId": group.region,
        "InnerAccessPolicy": group.inner,
        "Permissions": {"Permission": rules},
    }


def _rules(call: Call) -> list[dict[str, str]]:
    found = [dict(one) for one in call.params.get("Permissions") or []]
    for rule in found:
        if rule.get("IpProtocol", "").lower() not in {"tcp", "udp", "icmp", "all"}:
            raise Problem(
                "InvalidIpProtocol.ValueNotSupported", "The parameter IpProtocol must be specified."
            )
        if not any(rule.get(key) for key in ("SourceCidrIp", "Ipv6SourceCidrIp", "SourceGroupId")):
            raise Problem("MissingParameter.Source", "One of the parameters SourceCidrIp is mandatory.")
        if not 1 <= len(rule.get("Description", "x")) <= 512:
            raise Problem("InvalidSecurityGroupDiscription.Malformed", "The description is not valid.")
    return found


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    keys = ("IpProtocol", "PortRange", "SourceCidrIp", "Ipv6SourceCidrIp", "SourceGroupId")
    return all(one.get(key, "").lower() == other.get(key, "").lower() for key in keys)


@operation(ECS, tokens=True)
def authorize_security_group(world: World, call: Call) -> Answer:
    """A rule that is there already is a silent success, and keeps its description."""
    group = _group(world, call)
    for rule in _rules(call):
        if not any(_same(rule, old) for old in group.rules):
            group.rules.append(rule)
    return {}


@operation(ECS, tokens=True)
def revoke_security_group(world: World, call: Call) -> Answer:
    group = _group(world, call)
    for rule in _rules(call):
        group.rules = [old for old in group.rules if not _same(rule, old)]
    return {}


@operation(ECS)
def modify_security_group_policy(world: World, call: Call) -> Answer:
    group = _group(world, call)
    group.inner = call.get("InnerAccessPolicy")
    return {}


@operation(ECS)
def delete_security_group(world: World, call: Call) -> Answer:
    group = _group(world, call)
    if any(group.id in m.groups for m in world.every("instance")):
        raise Problem(
            "DependencyViolation", "There is still instance(s) in the specified security group.", 403
        )
    del world.region(call.region).groups[group.id]
    return {}
