"""Manage a desk's own security group, which allows to reach its Jupyter without a tunnel.

It is created when the desk is opened, attached only to the desk's instance, and deleted when the desk is
closed. When the instance ends, the group is attached to nothing: then it is a leftover of its desk, which the
survey shows and the planner deletes. So parking, deleting and shutting down need nothing from this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import all_of, side_by_side
from hotdesk.providers.aws import instances, network, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import GONE, answers, code
from hotdesk.providers.aws.network import NOTEBOOK, Group
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.caller import Computer

#: Error codes for an instance that can be in no further group, and the quota's code.
_FULL = frozenset({"SecurityGroupsPerInterfaceLimitExceeded", "SecurityGroupsPerInstanceLimitExceeded"})
_GROUPS_PER_INTERFACE = "L-2AFB9258"

_OVER = frozenset({"shutting-down", "terminated"})


def group_name(desk: str) -> str:
    return f"hotdesk-{desk}-notebook"


def group_request(vpc: str, desk: str, born: str) -> dict[str, Any]:
    """The arguments of CreateSecurityGroup."""
    return network.group_request(vpc, _told(desk, born), _said(desk))


def _told(desk: str, born: str) -> vocabulary.Tags:
    return vocabulary.of(desk, group_name(desk), born=born)


def _said(desk: str) -> str:
    return f"hotdesk: who may reach the Jupyter of {desk} without a tunnel"


def open_to(account: Account, region: str, bare: str, desk: str, who: Computer, *, own: set[str],
            wider: set[str]) -> None:  # fmt: skip
    """Make `own` addresses and `wider` ranges exactly those that `who` allows to reach the machine's Jupyter.

    Rules of other computers stay while the group is attached; one that is attached to nothing is left over
    from an earlier opening, and its old rules are revoked.
    """
    name = group_name(desk)
    machine, groups = all_of(
        lambda: instances.describe(account, region, bare),
        lambda: network.find_groups(account, region, name),
    )
    if machine["State"]["Name"] in _OVER:
        raise Refused(Kind.NOT_READY, f"{bare} is {machine['State']['Name']}.")
    told, said = _told(desk, tags.read(machine.get("Tags")).get("born", "")), _said(desk)
    group = network.ensure_group(account, region, machine["VpcId"], groups, told=told, said=said)
    attached = [g["GroupId"] for g in machine["SecurityGroups"]]
    at_work = group["GroupId"] in attached
    change, ranges = account.ec2_once(region), network.ranges(group, NOTEBOOK)
    if not at_work:
        for old in (r for r in ranges if network.cidr_of(r) not in own | wider):
            network.revoke(change, group, NOTEBOOK, old)
        ranges = [r for r in ranges if network.cidr_of(r) in own | wider]
    network.set_rules(change, group, NOTEBOOK, _own(who), own, listed=ranges)
    network.set_rules(change, group, NOTEBOOK, _wider(who), wider - own, listed=ranges)
    if not at_work:
        _attach(change, region, bare, [*attached, group["GroupId"]])


def _attach(change: Any, region: str, bare: str, groups: list[str]) -> None:
    try:
        with answers():
            change.modify_instance_attribute(InstanceId=bare, Groups=groups)
    except Refused as no:
        if code(no.__cause__ or no) not in _FULL:
            raise
        raise Refused(
            Kind.QUOTA,
            f"{bare} is in {len(groups) - 1} security groups already, and the account allows no more.",
            fix=f"aws service-quotas request-service-quota-increase --region {region} --service-code vpc "
            f"--quota-code {_GROUPS_PER_INTERFACE} --desired-value {len(groups)}",
        ) from no


def close(account: Account, region: str, bare: str, desk: str) -> None:
    """Revoke all access to the machine's Jupyter through groups of ours, whoever allowed it.

    The group is detached from the machine before it is deleted. While EC2 still sees the two together, the
    group stays: it opens nothing, is shown as a leftover, and is deleted with the machine at the latest.
    """
    seen, groups = side_by_side([
        lambda: [instances.describe(account, region, bare)],
        lambda: network.find_groups(account, region, network.GROUP, group_name(desk)),
    ])  # fmt: skip
    if isinstance(groups, Exception):
        raise groups
    if isinstance(seen, Exception):
        if code(seen.__cause__ or seen) not in GONE:
            raise seen
        seen = []
    attached = {
        g["GroupId"]: g["GroupName"]
        for machine in seen
        if machine["State"]["Name"] not in _OVER
        for g in machine["SecurityGroups"]
    }
    ours = [g for g in groups if tags.is_ours(g.get("Tags"))]
    change = account.ec2_once(region)
    for shared in (g for g in ours if g["GroupName"] == network.GROUP and g["GroupId"] in attached):
        _close_shared(change, shared, "hotdesk: ")
    rest = [group_id for group_id, name in attached.items() if name != group_name(desk)]
    own = [g for g in ours if g["GroupName"] == group_name(desk)]
    if attached and not rest:  # it was removed from all other groups by hand, and needs at least one
        for group in own:
            _close_shared(change, group, "")
        return
    if len(rest) < len(attached):
        with answers():
            change.modify_instance_attribute(InstanceId=bare, Groups=rest)
    for group in own:
        try:
            with answers():
                change.delete_security_group(GroupId=group["GroupId"])
        except Refused as no:
            if code(no.__cause__ or no) not in GONE | {"DependencyViolation"}:
                raise


def follow(account: Account, region: str, group: Group, cidr: str, who: Computer) -> None:
    """Replace this computer's own address in the group, if it has a rule there, by `cidr`."""
    ranges = network.ranges(group, NOTEBOOK)
    if any(r.get("Description") == _own(who) for r in ranges):
        network.set_rules(account.ec2_once(region), group, NOTEBOOK, _own(who), {cidr}, listed=ranges)


def _own(who: Computer) -> str:
    return f"hotdesk: {who.name} notebooks"


def _wider(who: Computer) -> str:
    return f"hotdesk: {who.name} notebooks wider"


# ---- earlier versions: one group for all desks of a network -----------------------------------------------


def opened_for_all(groups: Sequence[Group], who: Computer) -> bool:
    """Whether an older hotdesk on this computer opened Jupyter's port for all desks of a network."""
    return any(
        str(r.get("Description", "")).startswith(_before(who))
        for group in groups
        if group.get("GroupName") == network.GROUP
        for r in network.ranges(group, NOTEBOOK)
    )


def close_for_all(account: Account, region: str, who: Computer) -> None:
    """Revoke the rules that `opened_for_all` finds."""
    for group in network.find_groups(account, region):
        if tags.is_ours(group.get("Tags")):
            _close_shared(account.ec2_once(region), group, _before(who))


def _close_shared(change: Any, group: Mapping[str, Any], described: str) -> None:
    for old in network.ranges(group, NOTEBOOK):
        if str(old.get("Description", "")).startswith(described):
            network.revoke(change, group, NOTEBOOK, old)


def _before(who: Computer) -> str:
    return f"hotdesk: {who.host} notebooks"
