"""Manage a desk's own security group, which allows to reach its Jupyter without a tunnel.

It is created when the desk is opened, attached only to the desk's machine, and deleted when the desk is
closed. When the machine is released, the group is a leftover of its desk, which the planner deletes.
"""

from __future__ import annotations

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import all_of
from hotdesk.providers.aliyun import instances, network, tags
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.errors import GONE, code
from hotdesk.providers.aliyun.network import NOTEBOOK
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.caller import Computer


def group_name(desk: str) -> str:
    return f"hotdesk-{desk}-notebook"


def open_to(
    account: Account,
    region: str,
    bare: str,
    desk: str,
    *,
    who: Computer,
    own: set[str],
    wider: set[str],
    now: float,
) -> None:
    """Make `own` addresses and `wider` ranges exactly those that `who` allows to reach the machine's Jupyter.

    Rules of other computers stay while the group is attached; old rules of one that is attached to nothing
    are revoked.
    """
    name = group_name(desk)
    machine, groups = all_of(
        lambda: instances.describe(account, region, bare),
        lambda: network.find_groups(account, region, name),
    )
    if machine["Status"] not in {"Running", "Stopped", "Starting", "Stopping"}:
        raise Refused(Kind.NOT_READY, f"{bare} is {machine['Status']}.")
    vpc = str((machine.get("VpcAttributes") or {}).get("VpcId") or "")
    told = vocabulary.of(desk, name, born=tags.read(machine.get("Tags")).get("born", ""))
    here = sorted(str(g["SecurityGroupId"]) for g in groups if g["VpcId"] == vpc)
    said = f"hotdesk: who may reach the Jupyter of {desk} without a tunnel"
    group = here[0] if here else network.make_group(account, region, vpc, told=told, said=said, now=now)
    attached = [str(id_) for id_ in machine["SecurityGroupIds"]["SecurityGroupId"]]
    if group not in attached and here:
        stale = [
            r
            for r in network.rules(account, region, group, NOTEBOOK)
            if network.cidr_of(r) not in own | wider
        ]
        network.revoke(account, region, group, NOTEBOOK, stale)
    network.set_rules(account, region, group, NOTEBOOK, mine=_own(who), wanted=own)
    network.set_rules(account, region, group, NOTEBOOK, mine=_wider(who), wanted=wider - own)
    if group not in attached:
        account.tell(region, "ModifyInstanceAttribute", InstanceId=bare, SecurityGroupIds=[*attached, group])


def close(account: Account, region: str, bare: str, desk: str) -> None:
    """Revoke all access to the machine's Jupyter through the desk's group, whoever allowed it."""
    groups = [str(g["SecurityGroupId"]) for g in network.find_groups(account, region, group_name(desk))]
    try:
        machine = instances.describe(account, region, bare)
        attached = [str(id_) for id_ in machine["SecurityGroupIds"]["SecurityGroupId"]]
    except Refused as no:
        if no.__cause__:
            raise
        attached = []  # it is not listed: it is gone
    rest = [id_ for id_ in attached if id_ not in groups]
    if rest and len(rest) < len(attached):
        account.tell(region, "ModifyInstanceAttribute", InstanceId=bare, SecurityGroupIds=rest)
    for group in groups:
        try:
            account.tell(region, "DeleteSecurityGroup", SecurityGroupId=group)
        except Refused as no:
            if code(no) not in GONE | {"DependencyViolation"}:
                raise
            if code(no) == "DependencyViolation":  # it opens nothing, and goes with the machine at the latest
                network.revoke(
                    account, region, group, NOTEBOOK, network.rules(account, region, group, NOTEBOOK)
                )


def _own(who: Computer) -> str:
    return f"hotdesk: {who.name} notebooks"


def _wider(who: Computer) -> str:
    return f"hotdesk: {who.name} notebooks wider"
