"""The least privileges that hotdesk needs in an account, as a RAM policy document.

Everything it creates gets the tag `hotdesk=1` in the same call, and what it changes or deletes must have that
tag already (RAM user guide, "Tag-based authorization"). Snapshots of an image get their tags after it.
"""

from __future__ import annotations

from typing import Any

TAGGED = {"StringEquals": {"acs:ResourceTag/hotdesk": "1"}}
TAGGING = {"StringEquals": {"acs:RequestTag/hotdesk": "1"}}

LOOK = (
    *("ecs:DescribeAccountAttributes", "ecs:DescribeAvailableResource", "ecs:DescribeDisks"),
    *("ecs:DescribeImages", "ecs:DescribeInstances", "ecs:DescribeInstanceTypes", "ecs:DescribePrice"),
    *("ecs:DescribeRegions", "ecs:DescribeSecurityGroupAttribute", "ecs:DescribeSecurityGroups"),
    *("ecs:DescribeSnapshots", "ecs:DescribeSpotPriceHistory", "ecs:ListTagResources"),
    *("ecs:GetInstanceConsoleOutput", "ecs:DescribeInvocationResults"),
    *("vpc:DescribeVpcs", "vpc:DescribeVSwitches"),
)
#: Asked by `hotdesk costs --compare` alone.
BILL = ("bssapi:DescribeInstanceBill",)
MAKE = (
    *("ecs:RunInstances", "ecs:CreateImage", "ecs:CopyImage", "ecs:CreateSecurityGroup"),
    *("vpc:CreateVpc", "vpc:CreateVSwitch"),
)
CHANGE = (
    "ecs:UntagResources",
    *("ecs:StartInstances", "ecs:StopInstances", "ecs:DeleteInstances", "ecs:ModifyInstanceSpec"),
    *("ecs:ModifyInstanceAttribute", "ecs:DeleteImage", "ecs:DeleteSnapshot", "ecs:DeleteDisk"),
    *("ecs:AuthorizeSecurityGroup", "ecs:RevokeSecurityGroup", "ecs:DeleteSecurityGroup"),
    *("ecs:ModifySecurityGroupPolicy", "ecs:ModifyInstanceAutoReleaseTime"),
)
#: Has a machine print its host keys. It is about two resources: the machine, and a command that has no tags.
ASSIST = ("ecs:RunCommand",)
#: What a desk's own role may do: stop its machine, after a note in its tags.
LEAVE = ("ecs:DescribeInstances", "ecs:StopInstances", "ecs:TagResources")


def policy() -> dict[str, Any]:
    """The policy for whoever uses hotdesk."""
    return _document(
        _allow(LOOK),
        _allow(BILL),
        _allow(MAKE, TAGGING),
        # out of what is there: a public image, a network, a machine; and snapshots, which have no tags yet
        _allow(("ecs:RunInstances", "ecs:CreateImage", "ecs:CopyImage", "ecs:TagResources")),
        _allow(CHANGE, TAGGED),
        _allow(ASSIST, TAGGED, "acs:ecs:*:*:instance/*"),
        _allow(ASSIST, resource="acs:ecs:*:*:command/*"),
        _allow(("ram:PassRole",)),
    )


def desk_policy() -> dict[str, Any]:
    """The policy of the role that desks have (`role` under [aliyun]), with which they stop themselves."""
    return _document(_allow(("ecs:DescribeInstances",)), _allow(LEAVE[1:], TAGGED))


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "1", "Statement": list(statements)}


def _allow(
    actions: tuple[str, ...], condition: dict[str, Any] | None = None, resource: str = "*"
) -> dict[str, Any]:
    when = {"Condition": condition} if condition else {}
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resource, **when}


def allowed() -> set[str]:
    """Every action of the policy."""
    return {action for statement in policy()["Statement"] for action in statement["Action"]}
