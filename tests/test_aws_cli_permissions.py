"""One permission is missing, each in its turn: the action is named, nothing half made is paid for unseen, and
with the permission the same command ends well."""

from __future__ import annotations

import pytest

from fake_ec2.keys import NEEDED as OF_KEYS
from fake_ec2.process import FakeEc2
from hotdesk.providers.aws.iam import actions
from tests.aws_cli import NEEDED, ON_DEMAND, SPOT, Ask, as_new, ask, cloud, lit, paid, told, well  # noqa: F401

pytestmark = NEEDED

LAUNCHING = [
    *(
        "DescribeRegions",
        "DescribeAvailabilityZones",
        "DescribeInstanceTypeOfferings",
        "DescribeInstanceTypes",
    ),
    *("DescribeTags", "DescribeInstances", "DescribeVolumes", "DescribeImages", "DescribeSnapshots"),
    *("DescribeKeyPairs", "DescribeSecurityGroups", "DescribeSubnets", "ImportKeyPair"),
    *("CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "GetParameter", "RunInstances"),
]
#: Verb by verb, what the permission is missing for, in the order in which the verb comes to it.
PARKING = ["DescribeInstances", "StopInstances", "CreateImage", "CreateTags", "ModifyInstanceAttribute",
           "TerminateInstances"]  # fmt: skip
FROM_A_DISK = ["TerminateInstances", "CreateSnapshot", "RegisterImage", "CreateTags", "DeleteVolume"]
AWAY = ["CopyImage", "CreateTags", "RunInstances"]
CHANGING = ["StopInstances", "ModifyInstanceAttribute", "CreateTags", "StartInstances"]
DELETING = ["DeregisterImage", "DeleteKeyPair"]
CONNECTING = ["GetConsoleOutput"]

SERVICES = {"GetParameter": "ssm"}
#: Asked only beside the verbs above, in other tests: prices that are nice to have, a quota's name after a
#: refusal, what gc sweeps, another address of this computer (tests/test_aws_trouble.py), AWS's own doing; and
#: what an older policy lacks, without which all goes on as before (tests/test_aws_subnets.py and others).
ELSEWHERE = {
    *("pricing:GetProducts", "servicequotas:GetServiceQuota", "ec2:DescribeSpotPriceHistory"),
    *("ec2:DescribeAddresses", "ec2:DescribeLaunchTemplates", "ec2:DescribeSpotInstanceRequests"),
    *("ec2:CancelSpotInstanceRequests", "ec2:DeleteLaunchTemplate", "ec2:ReleaseAddress"),
    *("ec2:DeleteSecurityGroup", "ec2:DeleteSnapshot", "ec2:RevokeSecurityGroupIngress"),
    *("iam:CreateServiceLinkedRole", *OF_KEYS),
    *("ec2:DescribeRouteTables", "ec2:GetAllowedImagesSettings", "freetier:GetAccountPlanState"),
    *("ec2:ListImagesInRecycleBin", "ec2:ListSnapshotsInRecycleBin", "ec2:ListVolumesInRecycleBin"),
    "ec2:DeleteTags",  # tests/test_sweep_holds.py
    "ec2:ModifyVolume",  # tests/test_disk.py
    "ec2:DescribeCapacityReservations",  # tests/test_aws_reservations.py
    *("ec2:CreateFleet", "ec2:CreateLaunchTemplate"),  # tests/test_sweep_machines.py
}


def without(cloud: FakeEc2, ask: Ask, action: str, *words: str) -> str:
    """The command without that one permission."""
    service = SERVICES.get(action, "ec2")
    more: dict[str, object] = {"code": "UnauthorizedOperation"}
    if service != "ec2":
        who = f"User: arn:aws:iam::1:user/me is not authorized to perform: {service}:{action} on resource: *"
        more = {"code": "AccessDeniedException", "message": who, "status": 400}
    cloud.post("refuse", action=action, times=None, **more)
    done = ask(*words)
    cloud.delete("rules")
    return told(done, 3, f"{service}:{action}", "hotdesk iam")


def test_every_action_of_the_policy_is_taken_away_in_some_story() -> None:
    stories = [LAUNCHING, PARKING, FROM_A_DISK, AWAY, CHANGING, DELETING, CONNECTING]
    named = {f"{SERVICES.get(action, 'ec2')}:{action}" for story in stories for action in story}
    assert named | ELSEWHERE == actions()


@pytest.mark.long
def test_up(cloud: FakeEc2, ask: Ask) -> None:
    for action in LAUNCHING:
        as_new(cloud)
        without(cloud, ask, action, *ON_DEMAND)
        assert paid(cloud) == {}, f"without {action}"
    said = without(cloud, ask, CONNECTING[0], *ON_DEMAND)
    assert "blue's machine is on, for $0.526/h" in said
    well(ask(*ON_DEMAND))
    assert paid(cloud) == {"instance": 1, "volume": 1}


@pytest.mark.long
def test_park_resume_elsewhere_and_down(cloud: FakeEc2, ask: Ask) -> None:
    well(ask(*ON_DEMAND))
    well(ask("ssh", "blue", "--", "echo monday > work.txt"))
    for action in PARKING:
        said = without(cloud, ask, action, "park", "blue")
        off = action in PARKING[2:]
        assert paid(cloud)["off" if off else "instance"] == 1, action
        assert ("machine is off" if off else "is billed" if action[0] == "D" else "machine is on") in said
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}
    for action in AWAY:
        without(cloud, ask, action, "resume", "blue", "--region", "us-east-1")
        assert "instance" not in paid(cloud)
    well(ask("resume", "blue", "--region", "us-east-1"))
    assert ask("ssh", "blue", "--", "cat work.txt").stdout == "monday\n"
    for action in DELETING:
        without(cloud, ask, action, "down", "blue", "--yes")
    well(ask("down", "blue", "--yes"))
    assert paid(cloud) == {}


def test_park_from_a_disk(cloud: FakeEc2, ask: Ask) -> None:
    well(ask(*SPOT))
    for action in FROM_A_DISK:
        without(cloud, ask, action, "park", "blue")
        there = paid(cloud)
        assert there.get("volume") == 1, action
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}


@pytest.mark.long
def test_move_in_the_zone(cloud: FakeEc2, ask: Ask) -> None:
    move = ("move", "blue", "--type", "m7i.xlarge", "--zone", "us-west-2a")
    well(ask("up", "blue", "--type", "m7i.large", "--market", "on-demand", "--zone", "us-west-2a"))
    for action in CHANGING:
        without(cloud, ask, action, *move)
        assert paid(cloud)["volume"] == 1
    well(ask(*move))
    assert only_type(cloud) == "m7i.xlarge"


def only_type(cloud: FakeEc2) -> str:
    [machine] = [t for t in cloud.get("things", kind="instance") if t["state"] == "running"]
    return str(machine["type"])
