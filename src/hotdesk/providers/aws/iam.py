"""The least privileges that hotdesk needs in an account, as an IAM policy document.

Everything it creates gets the tag `hotdesk=1` in the same call, and everything it changes or deletes must
have that tag already: it cannot touch anything else in the account.
"""

from __future__ import annotations

from functools import cache
from typing import Any

TAGGED = {"StringEquals": {"aws:ResourceTag/hotdesk": "1"}}
TAGGING = {"StringEquals": {"aws:RequestTag/hotdesk": "1"}}
#: KMS keys are used through EC2 only (EC2 user guide, "Requirements for EBS encryption").
THROUGH_EC2 = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
FOR_AWS = {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def policy() -> dict[str, Any]:
    """The policy, with exactly the actions that are used (a test compares it with real traffic).

    Actions that AWS takes in our name are not in that traffic: it uses a KMS key, and creates the role for
    spot instances.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow(
                "Look",
                [
                    "ec2:DescribeCapacityReservations",
                    *("ec2:DescribeAvailabilityZones", "ec2:DescribeImages", "ec2:DescribeInstances"),
                    *("ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes"),
                    *("ec2:DescribeKeyPairs", "ec2:DescribeRegions", "ec2:DescribeRouteTables"),
                    *("ec2:DescribeSnapshots", "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets"),
                    *("ec2:DescribeAddresses", "ec2:DescribeSecurityGroups", "ec2:DescribeLaunchTemplates"),
                    *("ec2:DescribeSpotInstanceRequests", "ec2:DescribeTags", "ec2:DescribeVolumes"),
                    *("ec2:GetAllowedImagesSettings", "ec2:ListImagesInRecycleBin"),
                    *("ec2:ListSnapshotsInRecycleBin", "ec2:ListVolumesInRecycleBin"),
                    *("pricing:GetProducts", "servicequotas:GetServiceQuota"),
                    "freetier:GetAccountPlanState",
                ],
                "*",
            ),
            _allow("NewestPublicImages", ["ssm:GetParameter"], "arn:aws:ssm:*::parameter/aws/service/*"),
            _allow(
                "MakeWhatIsTagged",
                [
                    *("ec2:CopyImage", "ec2:CreateImage", "ec2:CreateSecurityGroup", "ec2:CreateSnapshot"),
                    *("ec2:ImportKeyPair", "ec2:RegisterImage", "ec2:RunInstances"),
                    *("ec2:CreateFleet", "ec2:CreateLaunchTemplate"),
                ],
                [
                    _arn(kind, own=kind not in {"image", "snapshot"})
                    for kind in (
                        *("image", "instance", "key-pair", "network-interface", "security-group"),
                        *("snapshot", "spot-instances-request", "volume", "fleet", "launch-template"),
                    )
                ],
                TAGGING,
            ),
            _allow(
                "OutOfWhatIsThere",  # public images, network, what is reserved, the source of an image
                [
                    *("ec2:CopyImage", "ec2:CreateFleet", "ec2:CreateSecurityGroup", "ec2:RegisterImage"),
                    "ec2:RunInstances",
                ],
                [
                    _arn(kind, own=kind not in {"image", "snapshot"})
                    for kind in (
                        *("capacity-reservation", "image", "key-pair", "security-group", "snapshot"),
                        *("subnet", "vpc"),
                    )
                ],
            ),
            _allow(  # an instant fleet launches in its caller's name
                "FromATemplateThatIsTagged",
                ["ec2:CreateFleet", "ec2:RunInstances"],
                [_arn("launch-template")],
                TAGGED,
            ),
            _allow(
                "SaveWhatIsTagged",
                ["ec2:CreateImage", "ec2:CreateSnapshot"],
                [_arn("instance"), _arn("volume")],
                TAGGED,
            ),
            _allow(
                "TagInTheMaking",
                ["ec2:CreateTags"],
                "*",
                {
                    "StringEquals": {
                        "ec2:CreateAction": [
                            *("CopyImage", "CreateImage", "CreateSecurityGroup", "CreateSnapshot"),
                            *("ImportKeyPair", "RegisterImage", "RunInstances"),
                            *("CreateFleet", "CreateLaunchTemplate"),
                        ]
                    }
                },
            ),
            _allow(  # (ModifyInstanceAttribute also sets security groups; instance and groups are tagged)
                "ChangeAndDeleteWhatIsTagged",
                [
                    *("ec2:AuthorizeSecurityGroupIngress", "ec2:CreateTags", "ec2:DeleteKeyPair"),
                    "ec2:DeleteTags",
                    *("ec2:DeleteSecurityGroup", "ec2:DeleteSnapshot", "ec2:DeleteVolume"),
                    *(
                        "ec2:DeregisterImage",
                        "ec2:GetConsoleOutput",
                        "ec2:ModifyInstanceAttribute",
                        "ec2:ModifyVolume",
                    ),
                    *("ec2:RevokeSecurityGroupIngress", "ec2:StartInstances", "ec2:StopInstances"),
                    *("ec2:CancelSpotInstanceRequests", "ec2:DeleteLaunchTemplate", "ec2:ReleaseAddress"),
                    *("ec2:ModifyVolume", "ec2:TerminateInstances"),
                ],
                "*",
                TAGGED,
            ),
            # For disks encrypted with a customer managed key; AWS's own key needs none of this.
            _allow("KeyOfTheDisks", ["kms:CreateGrant"], "*", {**THROUGH_EC2, **FOR_AWS}),
            _allow(
                "UseOfThatKey",
                [
                    *("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"),
                    *("kms:ReEncryptFrom", "kms:ReEncryptTo"),
                ],
                "*",
                THROUGH_EC2,
            ),
            _allow(
                "FirstSpotMachineAndFirstFleet",
                ["iam:CreateServiceLinkedRole"],
                [
                    "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
                    "arn:aws:iam::*:role/aws-service-role/ec2fleet.amazonaws.com/AWSServiceRoleForEC2Fleet",
                ],
                {"StringEquals": {"iam:AWSServiceName": ["spot.amazonaws.com", "ec2fleet.amazonaws.com"]}},
            ),
        ],
    }


@cache
def actions() -> frozenset[str]:
    """Every action that the policy allows."""
    return frozenset(action for statement in policy()["Statement"] for action in statement["Action"])


def _allow(
    sid: str, action: list[str], resource: str | list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def _arn(kind: str, *, own: bool = True) -> str:
    """The ARN of all resources of a kind. Those of images and snapshots contain no account."""
    return f"arn:aws:ec2:*:{'*' if own else ''}:{kind}/*"
