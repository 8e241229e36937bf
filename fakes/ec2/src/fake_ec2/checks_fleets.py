"""Launch templates and instant fleets."""

from __future__ import annotations

from typing import Any

from fake_ec2.checks import TAGS, Cloud, check, refused, specs


def template(cloud: Cloud, **more: Any) -> str:
    data = {"ImageId": cloud.image, "TagSpecifications": specs("instance", "volume"), **more}
    made = cloud.ec2.create_launch_template(
        LaunchTemplateName=f"t-{next(cloud.numbers)}", LaunchTemplateData=data
    )
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def order(
    cloud: Cloud, count: int, *pools: tuple[str, str], market: str = "spot", **more: Any
) -> dict[str, Any]:
    """An instant fleet's request. `pools`: type and zone of each."""
    spec = {"LaunchTemplateId": more.pop("template", None) or template(cloud), "Version": "1"}
    overrides = [{"InstanceType": kind, "AvailabilityZone": zone} for kind, zone in pools]
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": spec, "Overrides": overrides}],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count, "DefaultTargetCapacityType": market
        },
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
        **more,
    }  # fmt: skip


def ids(reply: dict[str, Any]) -> list[str]:
    return [i for row in reply["Instances"] for i in row["InstanceIds"]]


HERE = (("c5.large", "us-east-1a"), ("c5.large", "us-east-1b"))


@check(moto="InvalidLaunchTemplateName.AlreadyExistsException")
def a_template_is_made_once_for_its_token(cloud: Cloud) -> None:
    ask = {
        "LaunchTemplateName": "mine",
        "LaunchTemplateData": {"InstanceType": "c5.large"},
        "ClientToken": "a",
    }
    first = cloud.ec2.create_launch_template(**ask)["LaunchTemplate"]
    assert cloud.ec2.create_launch_template(**ask)["LaunchTemplate"] == first
    other = {**ask, "LaunchTemplateData": {"InstanceType": "c5.xlarge"}}
    refused(lambda: cloud.ec2.create_launch_template(**other), "IdempotentParameterMismatch")
    other["ClientToken"] = "b"
    refused(
        lambda: cloud.ec2.create_launch_template(**other), "InvalidLaunchTemplateName.AlreadyExistsException"
    )
    cloud.ec2.delete_launch_template(LaunchTemplateName="mine")
    refused(
        lambda: cloud.ec2.delete_launch_template(LaunchTemplateName="mine"),
        "InvalidLaunchTemplateName.NotFoundException",
    )


@check(moto="machines")
def a_fleet_is_launched_once_for_its_token(cloud: Cloud) -> None:
    ask = order(cloud, 3, *HERE, ClientToken="once")
    made = ids(cloud.ec2.create_fleet(**ask))
    assert len({*made}) == 3, f"{len(made)} machines"
    assert ids(cloud.ec2.create_fleet(**ask)) == made, "machines were launched again"
    more = {
        **ask,
        "TargetCapacitySpecification": {**ask["TargetCapacitySpecification"], "TotalTargetCapacity": 4},
    }
    refused(lambda: cloud.ec2.create_fleet(**more), "IdempotentParameterMismatch")
    found = [cloud.machine(one) for one in made]
    assert {m["InstanceLifecycle"] for m in found} == {"spot"}
    ours = {(tag["Key"], tag["Value"]) for tag in TAGS}
    told = [{(tag["Key"], tag["Value"]) for tag in m["Tags"]} for m in found]
    assert all(ours <= tags and "aws:ec2:fleet-id" in dict(tags) for tags in told)


@check(moto="Errors")
def what_a_pool_lacks_is_an_error_of_the_reply(cloud: Cloud) -> None:
    """An unknown type is refused for its pool only; nothing at all is still an answer."""
    ask = order(cloud, 2, ("c5.large", "us-east-1a"), ("c9z.large", "us-east-1a"))
    reply = cloud.ec2.create_fleet(**ask)
    assert len(ids(reply)) == 2
    assert [e["ErrorCode"] for e in reply.get("Errors", ())], "no Errors"
    nothing = cloud.ec2.create_fleet(**order(cloud, 1, ("c9z.large", "us-east-1a")))
    assert (nothing["Instances"], len(nothing["Errors"])) == ([], 1)


@check(moto="DeleteOnTermination")
def what_the_template_says_of_disks_holds(cloud: Cloud) -> None:
    disk = {
        "DeviceName": "/dev/sda1",
        "Ebs": {"VolumeSize": 70, "VolumeType": "gp3", "DeleteOnTermination": True},
    }
    made = template(cloud, BlockDeviceMappings=[disk], InstanceInitiatedShutdownBehavior="terminate")
    [machine] = ids(cloud.ec2.create_fleet(**order(cloud, 1, HERE[0], template=made)))
    cloud.pass_time(60)
    [held] = cloud.machine(machine)["BlockDeviceMappings"]
    volume = held["Ebs"]["VolumeId"]
    size = cloud.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"]
    assert (held["Ebs"]["DeleteOnTermination"], size) == (True, 70), f"DeleteOnTermination of {size} GiB"
    cloud.ec2.terminate_instances(InstanceIds=[machine])
    cloud.pass_time(120)
    left = [v for v in cloud.ec2.describe_volumes()["Volumes"] if v["VolumeId"] == volume]
    assert not left or left[0]["State"] == "deleting"


@check(moto="not refused")
def what_a_fleet_refuses(cloud: Cloud) -> None:
    ec2 = cloud.ec2
    refused(
        lambda: ec2.create_fleet(**order(cloud, 1, HERE[0], template="lt-0123456789abcdef0")),
        "InvalidLaunchTemplateId.NotFound",
    )
    unversioned = order(cloud, 1, HERE[0])
    del unversioned["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"]
    refused(lambda: ec2.create_fleet(**unversioned), "MissingParameter")
    refused(lambda: ec2.create_fleet(**order(cloud, 10_001, HERE[0])), "InvalidParameterValue")
