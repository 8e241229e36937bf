"""Find or create an instance's surroundings, which cost nothing: subnet, security group, key pair.

All are identified by name, so that repeating is harmless: the group is called `hotdesk` (one per VPC), and a
key pair's name contains the hash of its public key, so a name never stands for another key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import all_of
from hotdesk.providers.aws import subnets, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers, code
from hotdesk.providers.aws.settings import NAME
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.address import own_address
from hotdesk.providers.cloud.admitting import is_over
from hotdesk.providers.cloud.caller import Computer

GROUP = "hotdesk"
SHARED = {"name": GROUP}  # its tags: it belongs to no single desk
SAID = "hotdesk: ssh from the addresses of the owners of desks only"
SSH = 22
NOTEBOOK = 8888

Group = Mapping[str, Any]  # a security group, as EC2 describes it


#: Subnets as EC2 describes them, each with why a machine in it could not be reached, if so.
Subnets = list[tuple[Mapping[str, Any], Any]]


def list_subnets(account: Account, region: str) -> Subnets:
    """The configured subnets, else the default ones of all zones."""
    settings = account.settings
    ask: dict[str, Any]
    if settings.subnet:
        ask = {"SubnetIds": [settings.subnet]}
    else:
        where = {"vpc-id": settings.vpc} if settings.vpc else {"default-for-az": "true"}
        ask = {"Filters": [{"Name": name, "Values": [value]} for name, value in where.items()]}

    def listed() -> list[Any]:
        with answers():
            return list(account.ec2(region).describe_subnets(**ask)["Subnets"])

    found, routes = all_of(listed, lambda: subnets.find_routes(account, region, settings.vpc))
    return [(s, subnets.unreachable(region, s, routes)) for s in found]


def find_subnet(account: Account, region: str, zone: str, listed: Subnets | None = None) -> tuple[str, str]:
    """Subnet and VPC to launch into: the configured ones, else the default subnet of `zone` ("": any zone).

    Only subnets in which an instance can be reached: see subnets.py. Raises `Refused` (unsupported) when only
    this zone lacks one, (bad-request) when no zone has one. `listed`: as just listed.
    """
    settings = account.settings
    checked = list_subnets(account, region) if listed is None else listed
    usable = [s for s, why in checked if why is None]
    here = [s for s in usable if zone in {"", s["AvailabilityZone"]}]
    if here:  # the lowest id: a repeated order must go to the same subnet
        chosen = min(here, key=lambda s: str(s["SubnetId"]))
        return chosen["SubnetId"], chosen["VpcId"]
    cut_off = [why for s, why in checked if why and s["AvailabilityZone"] == zone]
    if usable:
        zones = ", ".join(sorted({s["AvailabilityZone"] for s in usable}))
        said, fix = f"There is no subnet in {zone}; there are subnets in {zones}.", ""
        if cut_off:
            said, fix = f"A machine in {zone} could not be reached: {cut_off[0].what}.", cut_off[0].fix
        raise Refused(Kind.UNSUPPORTED, said, fix=fix, seconds=3600)
    for why in [*cut_off, *(why for _, why in checked if why)]:
        what = f"A machine in {region} could not be reached: {why.what}."
        raise Refused(Kind.BAD_REQUEST, what, fix=why.fix)
    if settings.vpc or settings.subnet:
        raise Refused(
            Kind.BAD_REQUEST,
            f"{settings.subnet or settings.vpc} has no subnet in {region}.",
            fix=f"aws ec2 describe-subnets --region {region}   # then set vpc or subnet in hotdesk.toml",
        )
    raise Refused(
        Kind.BAD_REQUEST,
        f"{region} has no default VPC, so a machine would have no network.",
        fix=f"aws ec2 create-default-vpc --region {region}   # or set vpc under [aws] in hotdesk.toml",
    )


def find_groups(account: Account, region: str, *names: str) -> list[Group]:
    """All security groups of these names in a region; by default, those called `hotdesk`."""
    with answers():
        found = account.ec2(region).describe_security_groups(
            Filters=[{"Name": "group-name", "Values": list(names or (GROUP,))}]
        )
    return list(found["SecurityGroups"])


def group_request(vpc: str, told: vocabulary.Tags = SHARED, said: str = SAID) -> dict[str, Any]:
    """The arguments of CreateSecurityGroup."""
    return {
        "GroupName": told["name"],
        "Description": said,
        "VpcId": vpc,
        "TagSpecifications": tags.specifications(["security-group"], told),
    }


def ensure_group(
    account: Account,
    region: str,
    vpc: str,
    groups: Sequence[Group],
    *,
    told: vocabulary.Tags = SHARED,
    said: str = SAID,
) -> Group:
    """The VPC's group of that name, out of `groups`; created if there is none.

    `told`: its tags, including its name; `said`: its description.
    """
    name = told["name"]
    here = [g for g in groups if g["VpcId"] == vpc]
    if here:
        if not tags.is_ours(here[0].get("Tags")):
            raise Refused(
                Kind.BAD_REQUEST,
                f"{here[0]['GroupId']} in {region} is named {name} and was not made by hotdesk.",
                fix=f"aws ec2 create-tags --region {region} --resources {here[0]['GroupId']} "
                "--tags Key=hotdesk,Value=1   # if hotdesk may use it",
            )
        return here[0]
    try:
        with answers():
            made = account.ec2_once(region).create_security_group(**group_request(vpc, told, said))
    except Refused as no:
        if code(no.__cause__ or no) == "InvalidGroup.Duplicate":  # another command was faster
            listed = [g for g in find_groups(account, region, name) if g["VpcId"] == vpc]
            if listed:
                return listed[0]
            raise Refused(Kind.NOT_READY, "The security group was made moments ago and is not listed yet.",
                          seconds=5) from no  # fmt: skip
        raise
    return {"GroupId": made["GroupId"], "VpcId": vpc, "IpPermissions": []}


def admit(account: Account, region: str, group: Group, cidr: str, who: Computer) -> None:
    """Let `cidr` connect by ssh, and revoke earlier rules of the same computer (`who`).

    A rule under its bare host name is from an older hotdesk: one for our own address is ours and is renamed;
    another may belong to a second computer of that name, and is kept for a while (`GRACE_SECONDS`).
    """
    change, listed = account.ec2_once(region), ranges(group, SSH)
    old = [r for r in listed if r.get("Description") == f"hotdesk: {who.host}"]
    taken = [r for r in old if cidr_of(r) == cidr or who.outlived_the_old]
    taken += [r for r in listed if is_over(str(r.get("Description")), who.now)]
    for rule in taken:
        revoke(change, group, SSH, rule)
    kept = [r for r in listed if r not in taken]
    set_rules(change, group, SSH, f"hotdesk: {who.name}", {cidr}, listed=kept)


def open_to(groups: Sequence[Group]) -> tuple[str, ...]:
    """The address ranges that can reach Jupyter's port through these groups, whoever admitted them."""
    return tuple(sorted({cidr_of(r) for group in groups for r in ranges(group, NOTEBOOK)}))


# ---- rules -------------------------------------------------------------------------------------------


def ranges(group: Group, port: int) -> list[Mapping[str, Any]]:
    """The address ranges that a group admits to a port, as EC2 describes them."""
    return [
        r
        for rule in group.get("IpPermissions", ())
        if rule.get("IpProtocol") == "tcp" and rule.get("FromPort") == port == rule.get("ToPort")
        for r in [*rule.get("IpRanges", ()), *rule.get("Ipv6Ranges", ())]
    ]


def cidr_of(listed: Mapping[str, Any]) -> str:
    return str(listed.get("CidrIp") or listed["CidrIpv6"])


def set_rules(
    change: Any,
    group: Group,
    port: int,
    mine: str,
    wanted: set[str],
    *,
    listed: Sequence[Mapping[str, Any]],
) -> None:
    """Make the port's rules with the description `mine` exactly the wanted ones; other rules stay."""
    for cidr in sorted(wanted - {cidr_of(r) for r in listed}):
        try:
            with answers():
                change.authorize_security_group_ingress(
                    GroupId=group["GroupId"], IpPermissions=[rule_request(cidr, mine, port)]
                )
        except Refused as no:
            if code(no.__cause__ or no) != "InvalidPermission.Duplicate":
                raise
    for old in (r for r in listed if r.get("Description") == mine and cidr_of(r) not in wanted):
        revoke(change, group, port, old)


def revoke(change: Any, group: Group, port: int, listed: Mapping[str, Any]) -> None:
    """Revoke a rule, whoever made it; idempotent."""
    rule = rule_request(cidr_of(listed), str(listed.get("Description") or ""), port)
    try:
        with answers():
            change.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    except Refused as no:
        if code(no.__cause__ or no) != "InvalidPermission.NotFound":
            raise


def rule_request(cidr: str, description: str, port: int) -> dict[str, Any]:
    six = ":" in cidr
    place = {"CidrIpv6" if six else "CidrIp": cidr, **({"Description": description} if description else {})}
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "Ipv6Ranges" if six else "IpRanges": [place],
    }


# ---- the key pair ------------------------------------------------------------------------------------


def key_name(desk: str, public: str) -> str:
    """The key pair's name in EC2; it contains the hash of the key, so it is unique to it."""
    blob = base64.b64decode(public.split()[1])
    return f"hotdesk-{desk}-{hashlib.sha256(blob).hexdigest()[:12]}"


def key_request(order: LaunchOrder, public: str) -> dict[str, Any]:
    """The arguments of ImportKeyPair."""
    name = key_name(order.desk, public)
    return {
        "KeyName": name,
        "PublicKeyMaterial": public.encode(),
        "TagSpecifications": tags.specifications(
            ["key-pair"], vocabulary.of(order.desk, name, born=order.born)
        ),
    }


def ensure_key(
    account: Account, region: str, order: LaunchOrder, public_key_path: Path, known: Sequence[Any] = ()
) -> str:
    """Import the desk's public key; return its name. An existing one of that name is the same key.

    `known`: key pairs as just listed. If that one was deleted since, EC2 refuses the launch (not-ready).
    """
    public = public_key_path.read_text("ascii").strip()
    name = key_name(order.desk, public)
    if any(pair["KeyName"] == name for pair in known):
        return name
    try:
        with answers():
            account.ec2_once(region).import_key_pair(**key_request(order, public))
    except Refused as no:
        if code(no.__cause__ or no) != "InvalidKeyPair.Duplicate":
            raise
    return name


def callers_address(account: Account, region: str) -> str:
    """The CIDR that may connect: see cloud/address.py. Raises `Refused`."""
    settings = account.settings
    return own_address(
        account.ec2(region).meta.endpoint_url, settings.address, settings.address_url, section=NAME
    )
