"""Whether a machine in a subnet can be reached from the internet, and if not, why and what to do.

EC2 launches into any subnet and bills the machine; what its routes let through is the owner's affair
(VPC user guide, "Enable internet access for a VPC using an internet gateway").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers

Raw = Mapping[str, Any]  # a subnet or a route table, as EC2 describes it

#: Suffix of an availability zone after its region; Local Zones and Wavelength Zones have longer ones.
_ZONE = re.compile(r"[a-z]")


class Unreachable(msgspec.Struct, frozen=True):
    """Why an instance in a subnet is unreachable: `what` completes "could not be reached: …"."""

    what: str
    fix: str


def find_routes(account: Account, region: str, vpc: str) -> list[Raw] | None:
    """The route tables of a region, or of its `vpc`.

    None without the permission: an IAM policy of an older hotdesk must not prevent launches.
    """
    page: dict[str, Any] = {"Filters": [{"Name": "vpc-id", "Values": [vpc]}]} if vpc else {}
    tables: list[Raw] = []
    while True:
        try:
            with answers():
                told = account.ec2(region).describe_route_tables(**page)
        except Refused as no:
            if no.kind is Kind.DENIED:
                return None
            raise
        tables += told["RouteTables"]
        if not told.get("NextToken"):
            return tables
        page["NextToken"] = told["NextToken"]


def unreachable(region: str, subnet: Raw, routes: Sequence[Raw] | None) -> Unreachable | None:
    """Why an instance in that subnet could not be reached; None if it could, as far as EC2 tells."""
    bare, vpc, zone = subnet["SubnetId"], subnet["VpcId"], subnet["AvailabilityZone"]
    if not _ZONE.fullmatch(zone.removeprefix(region)):
        return Unreachable(
            f"{bare} is in {zone}, a zone at the edge, where hotdesk launches nothing",
            _other(region, vpc),
        )
    if subnet.get("Ipv6Native"):
        return Unreachable(f"{bare} is for IPv6 only, and hotdesk connects by IPv4", _other(region, vpc))
    mode = (subnet.get("BlockPublicAccessStates") or {}).get("InternetGatewayBlockMode", "off")
    if mode != "off":
        return Unreachable(
            f"VPC Block Public Access ({mode}) keeps everybody out of {bare}",
            f"aws ec2 create-vpc-block-public-access-exclusion --region {region} --subnet-id {bare} "
            "--internet-gateway-exclusion-mode allow-bidirectional   # if the account's administrator agrees",
        )
    if routes is None:
        return None
    table = _table_of(subnet, routes)
    if table is not None and not any(_to_the_internet(route) for route in table.get("Routes", ())):
        return Unreachable(
            f"{bare} has no route to an internet gateway ({table['RouteTableId']})",
            f"aws ec2 create-route --region {region} --route-table-id {table['RouteTableId']} "
            "--destination-cidr-block 0.0.0.0/0 --gateway-id igw-…   "
            "# or name another network under [aws] in hotdesk.toml: vpc or subnet",
        )
    return None


def _other(region: str, vpc: str) -> str:
    return (
        f"aws ec2 describe-subnets --region {region} --filters Name=vpc-id,Values={vpc}   "
        "# then name another under [aws] in hotdesk.toml: subnet"
    )


def _table_of(subnet: Raw, routes: Sequence[Raw]) -> Raw | None:
    """The subnet's own route table, else the main one of its VPC."""
    main = None
    for table in routes:
        for held in table.get("Associations", ()):
            if held.get("SubnetId") == subnet["SubnetId"]:
                return table
            if held.get("Main") and table.get("VpcId") == subnet["VpcId"]:
                main = table
    return main


def _to_the_internet(route: Raw) -> bool:
    """Whether it is a default route through an existing internet gateway (else its state is blackhole)."""
    return (
        route.get("DestinationCidrBlock") == "0.0.0.0/0"
        and str(route.get("GatewayId") or "").startswith("igw-")
        and route.get("State", "active") == "active"
    )
