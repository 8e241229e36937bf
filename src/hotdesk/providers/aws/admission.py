"""Who may connect to a desk's machine by ssh: this computer, and for an hour the other end of a way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hotdesk.core.errors import Refused
from hotdesk.providers.aws import exposure, instances, network
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import GONE, code, reaching
from hotdesk.providers.aws.network import Group
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.ids import split


def groups_of(raw: Mapping[str, Any], desk: str) -> dict[str, str]:
    """The groups of ours that a desk's machine is in: names by id."""
    names = {network.GROUP, exposure.group_name(desk)}
    return {g["GroupId"]: g["GroupName"] for g in raw.get("SecurityGroups", ()) if g["GroupName"] in names}


def admit_through(
    account: Account, region: str, through: Mapping[str, str], known: Sequence[Group], who: Computer
) -> bool:
    """Admit this computer's present address to these groups; whether any was looked at.

    `known`: groups as listed just now, or not all of them.
    """
    if not through.keys() <= {group["GroupId"] for group in known}:
        known = network.find_groups(account, region, *sorted({*through.values()}))
    found = [group for group in known if group["GroupId"] in through]
    for group in found:
        allow = network.admit if group["GroupName"] == network.GROUP else exposure.follow
        allow(account, region, group, network.callers_address(account, region), who)
    return bool(found)


@reaching()
def let_in(account: Account, machine_id: str, cidr: str, note: str) -> None:
    """Let these addresses connect to a machine by ssh, by a rule with that note."""
    region, bare = split(machine_id)
    inside = {g["GroupId"] for g in instances.describe(account, region, bare)["SecurityGroups"]}
    for group in network.find_groups(account, region):
        if group["GroupId"] in inside:
            listed = network.ranges(group, network.SSH)
            network.set_rules(account.ec2_once(region), group, network.SSH, note, {cidr}, listed=listed)


@reaching()
def shut_out(account: Account, machine_id: str, note: str) -> None:
    """Take the rules with that note away, also where the machine is gone."""
    region, _ = split(machine_id)
    for group in network.find_groups(account, region):
        for rule in network.ranges(group, network.SSH):
            if rule.get("Description") == note:
                try:
                    network.revoke(account.ec2_once(region), group, network.SSH, rule)
                except Refused as no:
                    if code(no.__cause__ or no) not in GONE:
                        raise
