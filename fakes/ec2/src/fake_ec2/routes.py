"""How packets get into a subnet: gateways, routes, IPv6-only subnets, Local Zones, Block Public Access.

moto keeps networks, gateways and route tables. It gives the default network no way to the internet, which
EC2 does (EC2 guide, "Default VPC components"), and knows nothing of VPC Block Public Access.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from fake_ec2 import outage
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, missing, not_found
from fake_ec2.filters import keep, page, tag_list
from fake_ec2.things import Instance
from fake_ec2.world import ACCOUNT, World

ANYWHERE = "0.0.0.0/0"
TRUE = (True, "true")

#: One zone at the edge for regions where tests need one; EC2 lists them once they are opted in.
LOCAL_ZONES = {
    "us-west-2": {"us-west-2-lax-1a": "usw2-lax1-az1"},
    "us-east-1": {"us-east-1-bos-1a": "use1-bos1-az1"},
}

SUBNET_FILTERS = {
    "subnet-id": "SubnetId",
    "subnetId": "SubnetId",
    "vpc-id": "VpcId",
    "vpcId": "VpcId",
    "availability-zone": "AvailabilityZone",
    "availabilityZone": "AvailabilityZone",
    "availability-zone-id": "AvailabilityZoneId",
    "cidr-block": "CidrBlock",
    "cidrBlock": "CidrBlock",
    "default-for-az": "DefaultForAz",
    "defaultForAz": "DefaultForAz",
    "state": "State",
    "owner-id": "OwnerId",
    "map-public-ip-on-launch": "MapPublicIpOnLaunch",
    "ipv6-native": "Ipv6Native",
    "available-ip-address-count": "AvailableIpAddressCount",
    "subnet-arn": "SubnetArn",
    "ipv6-cidr-block-association.ipv6-cidr-block": "Ipv6CidrBlockAssociationSet[].Ipv6CidrBlock",
}


def connect_default(backend: Any) -> None:
    """An internet gateway for the default network, and the main table's route to it."""
    vpc = backend.get_default_vpc()
    if vpc is None:
        return
    gateway = backend.create_internet_gateway()
    backend.attach_internet_gateway(gateway.id, vpc.id)
    backend.create_route(main_table(backend, vpc.id).id, ANYWHERE, gateway_id=gateway.id)


def drop_default(backend: Any) -> None:
    """An account without default network has no gateway of it either."""
    for vpc in [v for v in backend.vpcs.values() if v.is_default in TRUE]:
        backend.vpcs.pop(vpc.id)
        for zone in backend.subnets.values():
            for subnet in [s for s in zone.values() if s.vpc_id == vpc.id]:
                zone.pop(subnet.id)
        for gateway in [g for g in backend.internet_gateways.values() if g.vpc is vpc]:
            backend.internet_gateways.pop(gateway.id)


def main_table(backend: Any, vpc_id: str) -> Any:
    tables = [t for t in backend.route_tables.values() if t.vpc_id == vpc_id]
    return next(t for t in tables if t.main_association_id)


@action("CreateDefaultVpc")
def create_default_vpc(world: World, call: Call) -> dict[str, Any]:
    backend = world.moto(call.region)
    if backend.get_default_vpc() is not None:
        raise Problem(
            "DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region."
        )
    call.dry_run()
    world.default_made.add(call.region)
    vpc = backend.create_default_vpc()
    connect_default(backend)
    row = {"VpcId": vpc.id, "CidrBlock": vpc.cidr_block, "IsDefault": True, "State": "available"}
    return {"Vpc": row | {"OwnerId": ACCOUNT, "InstanceTenancy": "default", "DhcpOptionsId": "default"}}


# ── subnets ──────────────────────────────────────────────────────────────────────────────────────────────


def every_subnet(world: World, region: str) -> list[Any]:
    return [s for zone in world.moto(region).subnets.values() for s in zone.values()]


def subnet_row(world: World, region: str, subnet: Any) -> dict[str, Any]:
    native = subnet.ipv6_native in TRUE
    zone = subnet.availability_zone
    used = sum(i.subnet_id == subnet.id and i.alive for i in world.region(region).instances.values())
    return {
        "SubnetId": subnet.id,
        "SubnetArn": subnet.arn,
        "VpcId": subnet.vpc_id,
        "OwnerId": ACCOUNT,
        "State": subnet.state,
        "AvailabilityZone": zone,
        "AvailabilityZoneId": LOCAL_ZONES.get(region, {}).get(zone) or subnet.availability_zone_id,
        "CidrBlock": None if native else subnet.cidr_block,
        "AvailableIpAddressCount": 0 if native else max(0, subnet.available_ip_address_count - used),
        "DefaultForAz": subnet.default_for_az in TRUE,
        "MapPublicIpOnLaunch": subnet.map_public_ip_on_launch in TRUE,
        "AssignIpv6AddressOnCreation": subnet.assign_ipv6_address_on_creation in TRUE,
        "Ipv6Native": native,
        "Ipv6CidrBlockAssociationSet": [
            {
                "AssociationId": told["associationId"],
                "Ipv6CidrBlock": told["ipv6CidrBlock"],
                "Ipv6CidrBlockState": {"State": "associated"},
            }
            for told in subnet.ipv6_cidr_block_association_set
        ],
        "PrivateDnsNameOptionsOnLaunch": subnet.private_dns_name_options_on_launch,
        "EnableDns64": False,
        "MapCustomerOwnedIpOnLaunch": False,
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": block_mode(world, region, subnet)},
        "Tags": tag_list({t["key"]: t["value"] for t in subnet.get_tags()}),
    }


@action("DescribeSubnets")
def describe_subnets(world: World, call: Call) -> dict[str, Any]:
    subnets = every_subnet(world, call.region)
    wanted = call.get("SubnetIds") or []
    for subnet_id in wanted:
        if not subnet_id.startswith("subnet-"):
            raise Problem("InvalidSubnetID.Malformed", f'Invalid id: "{subnet_id}" (expecting "subnet-...")')
        if all(s.id != subnet_id for s in subnets):
            raise not_found("subnet", subnet_id)
    call.dry_run()
    rows = [subnet_row(world, call.region, s) for s in subnets if not wanted or s.id in wanted]
    return page(keep(rows, call, SUBNET_FILTERS), call, "Subnets")


@action("CreateSubnet")
def create_subnet(world: World, call: Call) -> dict[str, Any]:
    """As moto makes one, never as the default of its zone; and in a Local Zone."""
    if not call.get("VpcId"):
        raise missing("vpcId")
    backend, zone = world.moto(call.region), call.get("AvailabilityZone")
    from fake_ec2.catalogue import zones

    ordinary, edge = zones(call.region), LOCAL_ZONES.get(call.region, {})
    if zone and zone not in ordinary and zone not in edge:
        raise Problem(
            "InvalidParameterValue",
            f"Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be "
            f"created in the following availability zones: {', '.join(ordinary)}.",
        )
    if call.get("VpcId") not in backend.vpcs:
        raise not_found("vpc", call.get("VpcId"))
    native = bool(call.get("Ipv6Native"))
    if not native and not call.get("CidrBlock"):
        raise missing("cidrBlock")
    call.dry_run()
    stands = zone if zone in ordinary or call.get("AvailabilityZoneId") else min(ordinary)
    tags = {spec["ResourceType"]: {t["Key"]: t["Value"] for t in spec["Tags"]}
            for spec in call.get("TagSpecifications") or []}  # fmt: skip
    try:
        subnet = backend.create_subnet(
            call.get("VpcId"), call.get("CidrBlock"), call.get("Ipv6CidrBlock"), stands,
            call.get("AvailabilityZoneId"), ipv6_native=native, tags=tags.get("subnet"),
        )  # fmt: skip
    except Exception as bad:
        raise Problem(*_words(bad)) from bad
    if zone in edge:
        subnet._availability_zone = _at_the_edge(subnet._availability_zone, zone, edge[zone])
        backend.subnets[stands].pop(subnet.id)
        backend.subnets[zone][subnet.id] = subnet
    subnet.default_for_az = subnet.map_public_ip_on_launch = False
    return {"Subnet": subnet_row(world, call.region, subnet)}


def _words(error: Exception) -> tuple[str, str]:
    """moto's refusal as a code and a message."""
    kind = getattr(error, "error_type", None) or getattr(error, "code", None) or "InvalidParameterValue"
    return str(kind), str(getattr(error, "message", None) or error)


def _at_the_edge(ordinary: Any, name: str, zone_id: str) -> Any:
    return type(ordinary)(name=name, region_name=ordinary.region_name, zone_id=zone_id)


# ── VPC Block Public Access ──────────────────────────────────────────────────────────────────────────────


def block_mode(world: World, region: str, subnet: Any) -> str:
    """off, block-bidirectional or block-ingress, as the account and its exclusions have it for a subnet."""
    mode = world.blocked.get(region, {}).get("mode", "off")
    if mode == "off":
        return "off"
    for told in world.blocked[region]["exclusions"].values():
        if subnet.arn == told["ResourceArn"] or told["ResourceArn"].endswith(f":vpc/{subnet.vpc_id}"):
            return "off" if told["InternetGatewayExclusionMode"] == "allow-bidirectional" else "block-ingress"
    return str(mode)


def _options(world: World, region: str) -> dict[str, Any]:
    mode = world.blocked.get(region, {}).get("mode", "off")
    return {
        "AwsAccountId": ACCOUNT, "AwsRegion": region,
        "State": "default-state" if mode == "off" else "update-complete",
        "InternetGatewayBlockMode": mode, "ManagedBy": "account", "ExclusionsAllowed": "allowed",
    }  # fmt: skip


@action("ModifyVpcBlockPublicAccessOptions")
def modify_block(world: World, call: Call) -> dict[str, Any]:
    mode = call.get("InternetGatewayBlockMode")
    if mode not in {"off", "block-bidirectional", "block-ingress"}:
        raise Problem(
            "InvalidParameterValue", f"Value ({mode}) for parameter InternetGatewayBlockMode is invalid."
        )
    call.dry_run()
    world.blocked.setdefault(call.region, {"exclusions": {}})["mode"] = mode
    return {"VpcBlockPublicAccessOptions": _options(world, call.region)}


@action("DescribeVpcBlockPublicAccessOptions")
def describe_block(world: World, call: Call) -> dict[str, Any]:
    return {"VpcBlockPublicAccessOptions": _options(world, call.region)}


@action("CreateVpcBlockPublicAccessExclusion")
def exclude(world: World, call: Call) -> dict[str, Any]:
    mode = call.get("InternetGatewayExclusionMode")
    if mode not in {"allow-bidirectional", "allow-egress"}:
        raise Problem(
            "InvalidParameterValue", f"Value ({mode}) for parameter InternetGatewayExclusionMode is invalid."
        )
    backend, subnet_id, vpc_id = world.moto(call.region), call.get("SubnetId"), call.get("VpcId")
    if bool(subnet_id) == bool(vpc_id):
        raise Problem("InvalidParameterCombination", "Exactly one of SubnetId and VpcId must be given.")
    subnet = next((s for s in every_subnet(world, call.region) if s.id == subnet_id), None)
    if subnet_id and subnet is None:
        raise not_found("subnet", subnet_id)
    if vpc_id and vpc_id not in backend.vpcs:
        raise not_found("vpc", vpc_id)
    call.dry_run()
    arn = subnet.arn if subnet is not None else f"arn:aws:ec2:{call.region}:{ACCOUNT}:vpc/{vpc_id}"
    made = {
        "ExclusionId": world.new_id("vpcbpa-exclude"), "InternetGatewayExclusionMode": mode,
        "ResourceArn": arn, "State": "create-complete",
    }  # fmt: skip
    held = world.blocked.setdefault(call.region, {"mode": "off", "exclusions": {}})["exclusions"]
    held[made["ExclusionId"]] = made
    return {"VpcBlockPublicAccessExclusion": made}


@action("DescribeVpcBlockPublicAccessExclusions")
def describe_exclusions(world: World, call: Call) -> dict[str, Any]:
    rows = list(world.blocked.get(call.region, {}).get("exclusions", {}).values())
    wanted = call.get("ExclusionIds")
    rows = [r for r in rows if not wanted or r["ExclusionId"] in wanted]
    return page(rows, call, "VpcBlockPublicAccessExclusions")


# ── whether a packet arrives ─────────────────────────────────────────────────────────────────────────────


def table_of(backend: Any, subnet: Any) -> Any:
    """The subnet's own route table, else its network's main one."""
    for table in backend.route_tables.values():
        if subnet.id in table._associations.values():
            return table
    return main_table(backend, subnet.vpc_id)


def no_way(world: World, instance: Instance, address: str) -> str:
    """Why no packet gets from that address to a machine, as far as its subnet goes; "" if one does."""
    if why := outage.no_way(world, instance.zone):
        return why
    region = instance.region
    subnet = next((s for s in every_subnet(world, region) if s.id == instance.subnet_id), None)
    if subnet is None:
        return "its subnet is gone"
    if (mode := block_mode(world, region, subnet)) != "off":
        return f"VPC Block Public Access is {mode} for {subnet.id}"
    if subnet.ipv6_native in TRUE:
        return f"{subnet.id} has no IPv4 addresses"
    backend, sender = world.moto(region), ipaddress.ip_address(address)
    best: tuple[int, Any] = (-1, None)
    for route in table_of(backend, subnet).routes:
        to = route.destination_cidr_block or route.destination_ipv6_cidr_block
        if to and sender.version == (there := ipaddress.ip_network(to)).version and sender in there:
            best = max(best, (there.prefixlen, route), key=lambda found: found[0])
    gateway = getattr(best[1], "gateway", None)
    held = backend.internet_gateways.get(getattr(gateway, "id", "") or "")
    if held is None or held.vpc is None or held.vpc.id != subnet.vpc_id:
        return f"{subnet.id} has no route to an internet gateway for {address}"
    return ""
