"""Security groups, keys, subnets, network interfaces: moto keeps them, what it has wrong is mended here."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, missing, not_found
from fake_ec2.filters import keep, page, stamp, tag_list
from fake_ec2.things import Instance
from fake_ec2.world import ACCOUNT, World, tags_for

ADDRESSES = "127.0.0.0/8"  # loopback: whatever logs in there reaches this computer and nobody's else
BELOW = 65_536  # those are in use by all kinds of things


def groups_in_use(world: World, region: str) -> dict[str, str]:
    """{group id: an instance that uses it}. A machine holds its groups until it is terminated."""
    return {
        group: instance.id
        for instance in world.region(region).instances.values()
        if instance.state != "terminated"
        for group in instance.groups
    }


def let_groups_lag(world: World, backend: Any) -> None:
    """The one place where moto itself is changed (this backend's methods, not its classes): it keeps the
    groups, and knows no window in which a new one cannot be seen."""
    make, get, describe = (
        backend.create_security_group,
        backend.get_security_group_from_id,
        backend.describe_security_groups,
    )

    def hidden(group: Any) -> bool:
        return group is not None and world.groups_visible.get(group.id, 0.0) > world.clock.now()

    def create_security_group(*words: Any, **more: Any) -> Any:
        group = make(*words, **more)
        if lag := world.lag_of("group"):
            world.groups_visible[group.id] = world.clock.now() + lag
        return group

    def get_security_group_from_id(group_id: str) -> Any:
        group = get(group_id)
        return None if hidden(group) else group

    def describe_security_groups(*words: Any, **more: Any) -> Any:
        return [group for group in describe(*words, **more) if not hidden(group)]

    backend.create_security_group = create_security_group
    backend.get_security_group_from_id = get_security_group_from_id
    backend.describe_security_groups = describe_security_groups


@action("DeleteSecurityGroup")
def delete_security_group(world: World, call: Call) -> dict[str, Any]:
    # moto deletes a group that machines still use; AWS says DependencyViolation.
    backend = world.moto(call.region)
    group_id, name = call.get("GroupId"), call.get("GroupName")
    group = backend.get_security_group_from_id(group_id) if group_id else None
    if group is None and name:
        group = backend.get_security_group_from_name(name)
    if group is None:
        raise not_found("group", group_id or name or "")
    if group.name == "default":
        raise Problem(
            "CannotDelete", f"the specified group: {group.id} name: default cannot be deleted by a user"
        )
    call.dry_run()
    spare = {g.id for eni in backend.enis.values() for g in eni.group_set}
    if group.id in {*groups_in_use(world, call.region), *spare}:
        raise Problem("DependencyViolation", f"resource {group.id} has a dependent object")
    for other in (g for groups in backend.groups.values() for g in groups.values() if g.id != group.id):
        for rule in [*other.ingress_rules, *other.egress_rules]:
            if (rule.source_group or {}).get("GroupId") == group.id:
                raise Problem("DependencyViolation", f"resource {group.id} has a dependent object")
    backend.delete_security_group(group_id=group.id)
    return {"Return": True, "GroupId": group.id}


# ── keys: moto's fingerprint of an ed25519 key is hex; AWS gives the base64 SHA-256 that ssh-keygen prints ─


def fingerprint(public_key: str) -> str | None:
    """As AWS shows it for ed25519, with the padding; None for other types."""
    fields = public_key.split()
    if not fields or fields[0] != "ssh-ed25519":
        return None
    return base64.b64encode(hashlib.sha256(base64.b64decode(fields[1])).digest()).decode()


@action("ImportKeyPair", "CreateKeyPair")
def make_key(world: World, call: Call) -> dict[str, Any]:
    backend = world.moto(call.region)
    name = call.get("KeyName") or ""
    if not name:
        raise missing("KeyName")
    if name in backend.key_pairs:
        raise Problem("InvalidKeyPair.Duplicate", f"The keypair '{name}' already exists.")
    call.dry_run()
    tags = tags_for(call.get("TagSpecifications"), "key-pair")
    if call.action == "ImportKeyPair":
        material = call.get("PublicKeyMaterial") or b""
        try:
            pair = backend.import_key_pair(name, material, tags)
        except Exception as bad:
            raise Problem("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from bad
    else:
        pair = backend.create_key_pair(name, call.get("KeyType") or "rsa", tags)
    pair.key_fingerprint = fingerprint(pair.public_key) or pair.key_fingerprint
    answer = {
        "KeyName": name,
        "KeyPairId": pair.id,
        "KeyFingerprint": pair.key_fingerprint,
        "Tags": tag_list(tags),
    }
    return answer if call.action == "ImportKeyPair" else answer | {"KeyMaterial": pair.key_material}


def public_key(world: World, region: str, name: str | None) -> str:
    pair = world.moto(region).key_pairs.get(name) if name else None
    return str(pair.public_key) if pair else ""


# ── where a machine stands ───────────────────────────────────────────────────────────────────────────────


def subnet_of(world: World, region: str, subnet_id: str | None, zone: str | None) -> Any:
    """The subnet for a machine: the named one, else the default one of the zone."""
    backend = world.moto(region)
    subnets = [s for per_zone in backend.subnets.values() for s in per_zone.values()]
    if subnet_id:
        for subnet in subnets:
            if subnet.id == subnet_id:
                return subnet
        raise not_found("subnet", subnet_id)
    defaults = [s for s in subnets if s.default_for_az in (True, "true")]
    if not defaults:
        raise Problem(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
        )
    for subnet in defaults:
        if zone in (None, subnet.availability_zone):
            return subnet
    raise Problem("MissingInput", f"No default subnet for availability zone: '{zone}'.")


GROUPS_PER_INTERFACE = 5  # unless the account's quota is raised


def resolve_groups(world: World, region: str, ids: list[str], names: list[str], vpc_id: str) -> list[str]:
    """Ids of the groups a launch names; the default group of the network when it names none."""
    backend = world.moto(region)
    found: list[str] = []
    for group_id in ids:
        group = backend.get_security_group_from_id(group_id)
        if group is None:
            raise not_found("group", group_id)
        if group.vpc_id != vpc_id:
            raise Problem(
                "InvalidParameter", f"Security group {group_id} and subnet belong to different networks."
            )
        found.append(group.id)
    for name in names:
        group = backend.get_security_group_from_name(name, vpc_id)
        if group is None:
            raise Problem(
                "InvalidGroup.NotFound",
                f"The security group '{name}' does not exist in default VPC '{vpc_id}'",
            )
        found.append(group.id)
    if not found:
        default = backend.get_default_security_group(vpc_id)
        found = [default.id] if default else []
    found = list(dict.fromkeys(found))
    if len(found) > GROUPS_PER_INTERFACE:
        raise Problem(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )
    return found


def lets_in(world: World, instance: Instance, address: str, port: int) -> list[str]:
    """The groups through which a packet from that address reaches a port of a machine; none: it does not.

    Of a machine in a subnet that no packet gets into there are none either.
    """
    from fake_ec2 import routes

    if instance.state != "running" or not instance.public_ip or routes.no_way(world, instance, address):
        return []
    backend, sender = world.moto(instance.region), ipaddress.ip_address(address)
    return [
        group_id
        for group_id in instance.groups
        if (group := backend.get_security_group_from_id(group_id))
        and any(_matches(rule, sender, port) for rule in group.ingress_rules)
    ]


def _matches(rule: Any, sender: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
    every = rule.ip_protocol == "-1"
    if not every and not (rule.ip_protocol == "tcp" and int(rule.from_port) <= port <= int(rule.to_port)):
        return False
    named = rule.cidr_ipv4 or rule.cidr_ipv6  # (a rule may name another group instead)
    return named is not None and sender in ipaddress.ip_network(named)


def group_rows(world: World, region: str, ids: list[str]) -> list[dict[str, str]]:
    backend = world.moto(region)
    rows = []
    for group_id in ids:
        group = backend.get_security_group_from_id(group_id)
        rows.append({"GroupId": group_id, "GroupName": group.name if group else group_id})
    return rows


def private_address(world: World, region: str, cidr: str) -> str:
    if not cidr:  # a subnet for IPv6 only
        return ""
    taken = {i.private_ip for i in world.region(region).instances.values() if i.state != "terminated"}
    network = ipaddress.IPv4Network(cidr, strict=False)
    for _ in range(10_000):
        address = str(network[world.chance.randrange(4, network.num_addresses - 1)])
        if address not in taken:
            return address
    raise Problem(
        "InsufficientFreeAddressesInSubnet", f"There are not enough free addresses in subnet {cidr}."
    )


def public_address(world: World, region: str) -> str:
    taken = {i.public_ip for r in world.regions.values() for i in r.instances.values()}
    network = ipaddress.IPv4Network(world.settings.addresses or ADDRESSES)
    first = BELOW if network.is_loopback and network.num_addresses > 2 * BELOW else 2
    for _ in range(10_000):
        address = str(network[world.chance.randrange(first, network.num_addresses - 1)])
        if address not in taken:
            return address
    raise Problem("InsufficientAddressCapacity", "Insufficient addresses.")


# ── network interfaces: moto drops their tags, and does not know our machines ────────────────────────────


def interface_row(world: World, instance: Instance, region: str) -> dict[str, Any]:
    public = instance.public_ip
    association = {"PublicIp": public, "IpOwnerId": "amazon", "PublicDnsName": ""} if public else None
    return {
        "NetworkInterfaceId": instance.eni_id,
        "SubnetId": instance.subnet_id,
        "VpcId": instance.vpc_id,
        "AvailabilityZone": instance.zone,
        "Description": "",
        "OwnerId": ACCOUNT,
        "RequesterManaged": False,
        "Status": "in-use",
        "MacAddress": instance.mac,
        "PrivateIpAddress": instance.private_ip,
        "SourceDestCheck": True,
        "InterfaceType": "interface",
        "Groups": group_rows(world, region, instance.groups),
        "Attachment": {
            "AttachmentId": instance.eni_id.replace("eni-", "eni-attach-"),
            "DeleteOnTermination": True,
            "DeviceIndex": 0,
            "InstanceId": instance.id,
            "InstanceOwnerId": ACCOUNT,
            "Status": "attached",
            "AttachTime": stamp(instance.created),
        },
        "Association": association,
        "PrivateIpAddresses": [
            {"Primary": True, "PrivateIpAddress": instance.private_ip, "Association": association}
        ],
        "TagSet": tag_list(instance.eni_tags),
    }


@action("DescribeNetworkInterfaces")
def describe_network_interfaces(world: World, call: Call) -> dict[str, Any]:
    backend = world.moto(call.region)
    rows = [
        interface_row(world, i, call.region)
        for i in world.region(call.region).instances.values()
        if i.state not in {"terminated"} and world.visible(i)
    ]
    for eni in backend.enis.values():  # made by CreateNetworkInterface, attached to nothing
        rows.append(
            {
                "NetworkInterfaceId": eni.id,
                "SubnetId": eni.subnet.id,
                "VpcId": eni.subnet.vpc_id,
                "AvailabilityZone": eni.subnet.availability_zone,
                "Description": eni.description or "",
                "OwnerId": ACCOUNT,
                "Status": "available",
                "PrivateIpAddress": eni.private_ip_address,
                "Groups": group_rows(world, call.region, [g.id for g in eni.group_set]),
                "TagSet": [{"Key": t["key"], "Value": t["value"]} for t in eni.get_tags()],
            }
        )
    wanted = call.get("NetworkInterfaceIds") or []
    lost = set(wanted) - {r["NetworkInterfaceId"] for r in rows}
    if lost:
        raise Problem(
            "InvalidNetworkInterfaceID.NotFound",
            f"The networkInterface ID '{sorted(lost)[0]}' does not exist",
        )
    rows = [r for r in rows if not wanted or r["NetworkInterfaceId"] in wanted]
    fields = {
        "status": "Status",
        "group-id": "Groups[].GroupId",
        "subnet-id": "SubnetId",
        "vpc-id": "VpcId",
        "attachment.instance-id": "Attachment.InstanceId",
        "network-interface-id": "NetworkInterfaceId",
        "availability-zone": "AvailabilityZone",
        "private-ip-address": "PrivateIpAddress",
    }
    rows = keep(rows, call, fields, tags="TagSet")
    return page(rows, call, "NetworkInterfaces")
