"""The least that hotdesk must be allowed to do in an account, as an IAM policy document.

What it makes carries the tag `hotdesk=1` in the call that makes it, and what it changes or deletes must
carry that tag already: it cannot touch anything else in the account.
"""

from __future__ import annotations

from typing import Any

TAGGED = {"StringEquals": {"aws:ResourceTag/hotdesk": "1"}}
TAGGING = {"StringEquals": {"aws:RequestTag/hotdesk": "1"}}
#: A key is used by EC2 only, in our name (EC2 user guide, "Requirements for EBS encryption").
THROUGH_EC2 = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
FOR_AWS = {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def policy() -> dict[str, Any]:
    """The policy. Every action in it is used, and no other is (a test compares it with real traffic).

    What AWS does in our name is no traffic of ours: it uses a KMS key, makes a role for spot machines.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow(
                "Look",
                [
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
                ],
                [
                    _arn(kind, own=kind not in {"image", "snapshot"})
                    for kind in (
                        *("image", "instance", "key-pair", "network-interface", "security-group"),
                        *("snapshot", "spot-instances-request", "volume"),
                    )
                ],
                TAGGING,
            ),
            _allow(
                "OutOfWhatIsThere",  # public images, the network, and the source of an image
                ["ec2:CopyImage", "ec2:CreateSecurityGroup", "ec2:RegisterImage", "ec2:RunInstances"],
                [
                    _arn(kind, own=kind not in {"image", "snapshot"})
                    for kind in ("image", "key-pair", "security-group", "snapshot", "subnet", "vpc")
                ],
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
                        ]
                    }
                },
            ),
            _allow(  # (ModifyInstanceAttribute also puts our machines into our groups: both are)
                "ChangeAndDeleteWhatIsTagged",
                [
                    *("ec2:AuthorizeSecurityGroupIngress", "ec2:CreateTags", "ec2:DeleteKeyPair"),
                    *("ec2:DeleteSecurityGroup", "ec2:DeleteSnapshot", "ec2:DeleteVolume"),
                    *("ec2:DeregisterImage", "ec2:GetConsoleOutput", "ec2:ModifyInstanceAttribute"),
                    *("ec2:RevokeSecurityGroupIngress", "ec2:StartInstances", "ec2:StopInstances"),
                    *("ec2:CancelSpotInstanceRequests", "ec2:DeleteLaunchTemplate", "ec2:ReleaseAddress"),
                    "ec2:TerminateInstances",
                ],
                "*",
                TAGGED,
            ),
            # Where disks are encrypted with a key of the customer's; AWS's own needs nothing of this.
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
                "FirstSpotMachine",
                ["iam:CreateServiceLinkedRole"],
                "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
                {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
            ),
        ],
    }


def actions() -> frozenset[str]:
    """Every action that the policy allows."""
    return frozenset(action for statement in policy()["Statement"] for action in statement["Action"])


def _allow(
    sid: str, action: list[str], resource: str | list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def _arn(kind: str, *, own: bool = True) -> str:
    """Things of one kind. The ARNs of images and snapshots name no account."""
    return f"arn:aws:ec2:*:{'*' if own else ''}:{kind}/*"
