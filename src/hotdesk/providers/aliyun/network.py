"""Find or create a machine's surroundings, which cost nothing: VPC, vSwitch, security group.

All of them are hotdesk's own, found by their tags. Creating one answers at once and takes some seconds: until
then a launch is refused as not ready, and the next attempt goes on. Tokens are the same for ten minutes, so
that two commands at once make one of each; if they make two all the same, both use the one of the lowest id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import all_of
from hotdesk.providers.aliyun import tags
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.errors import GONE, code
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.admitting import is_over
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.kept import HOUR

NAME = "hotdesk"
FLEET = "hotdesk-fleet"  # of machines that reach each other
SHARED = {"name": NAME}  # its tags: it belongs to no single desk
BLOCK = "172.29.0.0/16"  # private, and seldom anybody's own
SSH = 22
NOTEBOOK = 8888
#: All ports of a cluster of Ray's, with those of its workers: see guest/ray_node.py.
CLUSTER = (6379, 6499)
SAID = "hotdesk: ssh from the addresses of the owners of desks only"
TOKEN_SECONDS = 600.0

Rule = Mapping[str, Any]


class Place(NamedTuple):
    """Where a machine is launched."""

    vpc: str
    vswitch: str
    group: str


def find_place(
    account: Account,
    region: str,
    zone: str,
    cidr: str,
    *,
    who: Computer,
    now: float,
    known: Sequence[Mapping[str, Any]] = (),
) -> Place:
    """The vSwitch of a zone and the security group, which admits `cidr`; created if there are none.

    A vSwitch that was found is kept for an hour. `known`: the region's groups, as a survey of just now has
    them. Raises `Refused` (not-ready) while something is being made.
    """
    key = f"vswitch/{account.who}/{region}/{zone}/{account.settings.vswitch}"
    groups = [g for g in known if g["SecurityGroupName"] == NAME]

    def in_network() -> tuple[str, str, str]:
        place = _find_place(account, region, zone, groups, now)
        return place.vpc, place.vswitch, place.group

    vpc, switch, group = account.recalled.of(key, HOUR, tuple[str, str, str], in_network)
    if groups and not any(g["SecurityGroupId"] == group for g in groups):
        group = _ensure_group(account, region, vpc, groups, now)
    admit(account, region, group, cidr, who)
    return Place(vpc, switch, group)


def _find_place(
    account: Account, region: str, zone: str, groups: Sequence[Mapping[str, Any]], now: float
) -> Place:
    switches, groups = all_of(
        lambda: _switches(account, region), lambda: groups or find_groups(account, region, NAME)
    )
    here = [s for s in switches if zone in {"", s["ZoneId"]}]
    if account.settings.vswitch and not here:
        raise Refused(
            Kind.UNSUPPORTED,
            f"{account.settings.vswitch} is not in {zone}.",
            fix="hotdesk doctor   # or set another vswitch under [aliyun] in hotdesk.toml",
        )
    if here:
        chosen = min(here, key=lambda s: str(s["VSwitchId"]))
        vpc, switch = str(chosen["VpcId"]), str(chosen["VSwitchId"])
    else:
        vpc = _ensure_vpc(account, region, now)
        switch = _make_switch(account, region, zone, vpc=vpc, others=switches, now=now)
        chosen = {"Status": "Pending"}
    group = _ensure_group(account, region, vpc, groups, now)
    if chosen["Status"] != "Available":
        raise _being_made(f"the vSwitch in {zone}")
    return Place(vpc, switch, group)


def _switches(account: Account, region: str) -> list[dict[str, Any]]:
    """The configured vSwitch, or hotdesk's own ones."""
    own = account.settings.vswitch
    asked: dict[str, Any] = {"VSwitchId": own} if own else {"Tag": tags.OURS}
    return account.pages(
        region, "DescribeVSwitches", "VSwitches", "VSwitch", of="vpc", PageNumber=1, PageSize=50, **asked
    )


def _ensure_vpc(account: Account, region: str, now: float) -> str:
    found = account.pages(
        region, "DescribeVpcs", "Vpcs", "Vpc", of="vpc", PageNumber=1, PageSize=50, Tag=tags.OURS
    )
    if found:
        vpc = min(found, key=lambda v: str(v["VpcId"]))
        if vpc["Status"] != "Available":
            raise _being_made(f"the network in {region}")
        return str(vpc["VpcId"])
    account.tell(
        region, "CreateVpc", of="vpc", CidrBlock=BLOCK, VpcName=NAME, Description=SAID,
        Tag=tags.written(SHARED), ClientToken=_token("vpc", region, now),
    )  # fmt: skip
    raise _being_made(f"the network in {region}")


def _make_switch(
    account: Account, region: str, zone: str, *, vpc: str, others: Sequence[Mapping[str, Any]], now: float
) -> str:
    """One of 256 blocks of the network: a zone's own by its name, or the next that is free."""
    taken = {str(s.get("CidrBlock")) for s in others}
    first = hashlib.sha256(zone.encode()).digest()[0]
    blocks = [f"172.29.{(first + n) % 256}.0/24" for n in range(256)]
    block = next(b for b in blocks if b not in taken)
    told = {"name": f"{NAME}-{zone}"}
    made = account.tell(
        region, "CreateVSwitch", of="vpc", ZoneId=zone, VpcId=vpc, CidrBlock=block, VSwitchName=told["name"],
        Tag=tags.written(told), ClientToken=_token("vswitch", f"{zone} {vpc}", now),
    )  # fmt: skip
    return str(made["VSwitchId"])


def find_groups(account: Account, region: str, *names: str) -> list[dict[str, Any]]:
    """hotdesk's security groups; of these names, if any are given."""
    found = account.pages(
        region, "DescribeSecurityGroups", "SecurityGroups", "SecurityGroup", MaxResults=100, Tag=tags.OURS
    )
    return [g for g in found if not names or g["SecurityGroupName"] in names]


def _ensure_group(
    account: Account, region: str, vpc: str, groups: Sequence[Mapping[str, Any]], now: float
) -> str:
    here = [g for g in groups if g["VpcId"] == vpc]
    if here:
        return min(str(g["SecurityGroupId"]) for g in here)
    return make_group(account, region, vpc, told=SHARED, said=SAID, now=now)


def make_group(
    account: Account, region: str, vpc: str, *, told: vocabulary.Tags, said: str, now: float
) -> str:
    """A new security group whose members cannot reach each other; its id."""
    made = account.tell(
        region, "CreateSecurityGroup", SecurityGroupName=told["name"], VpcId=vpc, Description=said,
        Tag=tags.written(told), ClientToken=_token("group", f"{told['name']} {vpc}", now),
    )  # fmt: skip
    group = str(made["SecurityGroupId"])
    account.tell(region, "ModifySecurityGroupPolicy", SecurityGroupId=group, InnerAccessPolicy="Drop")
    return group


def _being_made(what: str) -> Refused:
    return Refused(Kind.NOT_READY, f"{what} is being made, which takes some seconds.", seconds=3.0)


def _token(what: str, where: str, now: float) -> str:
    said = f"{what} {where} {now // TOKEN_SECONDS:.0f}"
    return hashlib.sha256(said.encode()).hexdigest()[:32]


# ---- rules -------------------------------------------------------------------------------------------


def rules(account: Account, region: str, group: str, port: int) -> list[Rule]:
    """The rules of a group that admit addresses to a port."""
    told = account.ask(region, "DescribeSecurityGroupAttribute", SecurityGroupId=group, Direction="ingress")
    return [r for r in told["Permissions"]["Permission"] if r["PortRange"] == f"{port}/{port}"]


def cidr_of(rule: Rule) -> str:
    """With its length: the service leaves out a /32."""
    told = str(rule.get("SourceCidrIp") or rule.get("Ipv6SourceCidrIp") or "")
    return told if "/" in told else f"{told}/{128 if ':' in told else 32}"


def admit(account: Account, region: str, group: str, cidr: str, who: Computer) -> None:
    """Let `cidr` connect by ssh, and revoke earlier rules of the same computer (`who`)."""
    listed = rules(account, region, group, SSH)
    over = [r for r in listed if is_over(str(r.get("Description")), who.now)]
    revoke(account, region, group, SSH, over)  # first: one may admit our own address
    kept = [r for r in listed if r not in over]
    set_rules(account, region, group, SSH, mine=f"hotdesk: {who.name}", wanted={cidr}, listed=kept)


def let_in(account: Account, region: str, inside: Collection[str], cidr: str, note: str) -> None:
    """Let these addresses connect by ssh through hotdesk's groups of these, by a rule with that note."""
    for group in find_groups(account, region, NAME):
        if (id_ := str(group["SecurityGroupId"])) in inside:
            set_rules(account, region, id_, SSH, mine=note, wanted={cidr})


def shut_out(account: Account, region: str, note: str) -> None:
    """Take the rules with that note away."""
    for group in find_groups(account, region, NAME):
        set_rules(account, region, str(group["SecurityGroupId"]), SSH, mine=note, wanted=set())


def set_rules(
    account: Account,
    region: str,
    group: str,
    port: int,
    *,
    mine: str,
    wanted: set[str],
    listed: Sequence[Rule] | None = None,
) -> None:
    """Make the port's rules with the description `mine` exactly the wanted ones; other rules stay.

    An address that another rule admits needs no second one: the service would ignore it. `listed`: its rules,
    where they are known.
    """
    listed = rules(account, region, group, port) if listed is None else listed
    if new := sorted(wanted - {cidr_of(r) for r in listed}):
        asked = [rule_request(cidr, mine, port) for cidr in new]
        # twice is once, so it is sent as a question is: logging in has no journal for what is unknown
        account.ask(region, "AuthorizeSecurityGroup", SecurityGroupId=group, Permissions=asked)
    old = [r for r in listed if r.get("Description") == mine and cidr_of(r) not in wanted]
    revoke(account, region, group, port, old)


def let_itself_in(account: Account, region: str, group: str) -> None:
    """One rule: the cluster's ports, from the group itself. One that is there already is a silent success."""
    first, last = CLUSTER
    rule = {
        "IpProtocol": "TCP",
        "PortRange": f"{first}/{last}",
        "SourceGroupId": group,
        "Policy": "accept",
        "Priority": "1",
        "Description": "hotdesk: from this group itself",
    }
    account.tell(region, "AuthorizeSecurityGroup", SecurityGroupId=group, Permissions=[rule])


def revoke(account: Account, region: str, group: str, port: int, old: Sequence[Rule]) -> None:
    """Revoke rules, whoever made them; idempotent."""
    if not old:
        return
    asked = [rule_request(cidr_of(r), str(r.get("Description") or ""), port) for r in old]
    try:
        account.ask(region, "RevokeSecurityGroup", SecurityGroupId=group, Permissions=asked)
    except Refused as no:
        if code(no) not in GONE:
            raise


def rule_request(cidr: str, description: str, port: int) -> dict[str, Any]:
    return {
        "IpProtocol": "TCP",
        "PortRange": f"{port}/{port}",
        "Ipv6SourceCidrIp" if ":" in cidr else "SourceCidrIp": cidr,
        "Policy": "accept",
        "Priority": "1",
        **({"Description": description} if description else {}),
    }
