"""The KMS key that encrypts disks by default: AWS's own, or one of the customer's, as in organisations.

EC2 takes a launch that may not use the key, and ends the machine on its way up; one that is started is off
again. It says no more than "Client error on launch" (AWS knowledge center: kms-iam-ec2-permission,
encrypted-volumes-stops-immediately). The permissions: EC2 user guide, "Requirements for EBS encryption".
"""

from __future__ import annotations

from fake_ec2.things import Instance
from fake_ec2.world import World

NEEDED = frozenset(
    f"kms:{action}"
    for action in (
        *("CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext"),
        *("ReEncryptFrom", "ReEncryptTo"),
    )
)
REFUSED = ("Client.InternalError", "Client.InternalError: Client error on launch")


def may_not_use(world: World, instance: Instance) -> bool:
    """Whether a disk of this machine is encrypted with a key that the caller may not use for EC2."""
    if world.settings.ebs_key != "customer" or world.settings.may >= NEEDED:
        return False
    volumes = world.region(instance.region).volumes
    return any(volumes[disk.volume_id].encrypted for disk in instance.disks.values())
