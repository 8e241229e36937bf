"""Elastic addresses: allocated, tied to a machine, paid for while they exist."""

from __future__ import annotations

from typing import Any

from fake_ec2 import network
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, not_found
from fake_ec2.filters import keep, page, tag_list
from fake_ec2.things import Address, Instance
from fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for

FILTERS = {
    "allocation-id": "AllocationId",
    "association-id": "AssociationId",
    "instance-id": "InstanceId",
    "public-ip": "PublicIp",
    "domain": "Domain",
}


def address_row(world: World, address: Address) -> dict[str, Any]:
    return {
        "AllocationId": address.id,
        "PublicIp": address.public_ip,
        "Domain": "vpc",
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": address.region,
        "InstanceId": address.instance_id or ("" if address.association_id else None),
        "AssociationId": address.association_id,
        "Tags": tag_list(world.seen_tags(address)),
    }


@action("AllocateAddress")
def allocate_address(world: World, call: Call) -> dict[str, Any]:
    check_tag_kinds(call.get("TagSpecifications"), {"elastic-ip"})
    call.dry_run()
    now = world.clock.now()
    address = Address(
        id=world.new_id("elastic-ip"),
        region=call.region,
        owner=ACCOUNT,
        created=now,
        states=[(now, "available")],
        public_ip=network.public_address(world, call.region),
    )
    world.put_tags(address, tags_for(call.get("TagSpecifications"), "elastic-ip"))
    world.region(call.region).addresses[address.id] = address
    return address_row(world, address)


@action("DescribeAddresses")
def describe_addresses(world: World, call: Call) -> dict[str, Any]:
    found = world.listed(call.region, "elastic-ip", call.get("AllocationIds"))
    if wanted := call.get("PublicIps"):
        found = [a for a in found if a.public_ip in wanted]
    return {"Addresses": page(keep([address_row(world, a) for a in found], call, FILTERS), call, "A")["A"]}


def named(world: World, call: Call) -> Address:
    if call.get("AllocationId"):
        return world.find(call.region, "elastic-ip", call.get("AllocationId"))  # type: ignore[no-any-return]
    for address in world.region(call.region).addresses.values():
        if address.gone is None and address.public_ip == call.get("PublicIp"):
            return address
    raise not_found("elastic-ip", str(call.get("PublicIp")))


def let_go(world: World, address: Address) -> None:
    instance = world.region(address.region).instances.get(address.instance_id or "")
    if instance is not None:
        instance.address_id = instance.public_ip = None
    address.instance_id = address.association_id = None


@action("AssociateAddress")
def associate_address(world: World, call: Call) -> dict[str, Any]:
    instance: Instance = world.instance(call.region, call.get("InstanceId") or "")
    address = named(world, call)
    if address.instance_id and call.get("AllowReassociation") is False:
        raise Problem(
            "Resource.AlreadyAssociated", f"{address.id} is already associated with {address.instance_id}"
        )
    call.dry_run()
    let_go(world, address)
    address.instance_id, address.association_id = instance.id, world.new_id("eipassoc")
    instance.address_id, instance.public_ip = address.id, address.public_ip
    return {"AssociationId": address.association_id}


@action("DisassociateAddress")
def disassociate_address(world: World, call: Call) -> dict[str, Any]:
    for address in world.region(call.region).addresses.values():
        if address.association_id and address.association_id == call.get("AssociationId"):
            call.dry_run()
            let_go(world, address)
            return {"Return": True}
    wanted = call.get("AssociationId")
    raise Problem("InvalidAssociationID.NotFound", f"The association ID '{wanted}' does not exist")


@action("ReleaseAddress")
def release_address(world: World, call: Call) -> None:
    address = named(world, call)
    if address.association_id:
        raise Problem("InvalidIPAddress.InUse", f"Address {address.public_ip} is in use.")
    call.dry_run()
    address.gone = world.clock.now()
