"""Machines: launched once, pending first, stopped and ended as EC2 allows."""

from __future__ import annotations

from fake_ec2.checks import TAGS, Cloud, check, refused, specs


@check(moto="two machines")
def one_token_is_one_machine(cloud: Cloud) -> None:
    first, second = (cloud.launch(ClientToken="t1")["InstanceId"] for _ in range(2))
    assert first == second, "two machines for one token"


@check(moto="not refused")
def a_token_is_one_exact_order(cloud: Cloud) -> None:
    cloud.launch(ClientToken="t2")
    refused(lambda: cloud.launch(ClientToken="t2", InstanceType="g5.2xlarge"), "IdempotentParameterMismatch")


@check(moto="one machine")
def a_token_belongs_to_its_zone(cloud: Cloud) -> None:
    zones = [cloud.region + letter for letter in "ab"]
    a, again, b = (
        cloud.launch(ClientToken="t3", Placement={"AvailabilityZone": z})["InstanceId"]
        for z in (zones[0], *zones)
    )
    assert a != b, "not one machine in each zone"
    assert a == again, "not one machine in each zone"


@check(moto="1 of 5")
def as_many_as_asked(cloud: Cloud) -> None:
    made = cloud.ec2.run_instances(ImageId=cloud.image, InstanceType="t3.micro", MinCount=1, MaxCount=5)
    assert len(made["Instances"]) == 5, f"{len(made['Instances'])} of 5 machines"


@check(moto="running at once")
def a_machine_is_pending_first(cloud: Cloud) -> None:
    instance = cloud.launch()
    assert cloud.machine(instance["InstanceId"])["State"]["Name"] == "pending", "running at once"
    cloud.pass_time(60)
    assert cloud.machine(instance["InstanceId"])["State"]["Name"] == "running"


@check(moto="not refused")
def architectures_must_match(cloud: Cloud) -> None:
    refused(lambda: cloud.launch(InstanceType="g5g.xlarge"), "InvalidParameterValue")


@check(moto="not refused")
def user_data_is_limited(cloud: Cloud) -> None:
    cloud.launch(UserData="x" * 16_384)
    refused(lambda: cloud.launch(UserData="x" * 16_385), "InvalidParameterValue")


@check(moto="no tags")
def network_interfaces_are_tagged(cloud: Cloud) -> None:
    instance_id = cloud.running(TagSpecifications=specs("instance", "network-interface"))
    query = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    found = cloud.ec2.describe_network_interfaces(Filters=query)["NetworkInterfaces"]
    assert found, "no tags on the interface"
    assert found[0]["TagSet"] == TAGS, "no tags on the interface"


@check(moto="HTTP 500")
def machines_are_found_by_token_and_market(cloud: Cloud) -> None:
    spot = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    instance_id = cloud.running(ClientToken="t4", InstanceMarketOptions=spot)
    query = [{"Name": "client-token", "Values": ["t4"]}, {"Name": "instance-lifecycle", "Values": ["spot"]}]
    found = cloud.ec2.describe_instances(Filters=query)["Reservations"]
    assert [r["Instances"][0]["InstanceId"] for r in found] == [instance_id], "not found"


@check(moto="not refused")
def terminated_is_for_ever(cloud: Cloud) -> None:
    instance_id = cloud.running()
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    assert cloud.machine(instance_id)["State"]["Name"] in {"shutting-down", "terminated"}
    cloud.pass_time(60)
    refused(lambda: cloud.ec2.start_instances(InstanceIds=[instance_id]), "IncorrectInstanceState")


@check(moto="not refused")
def one_time_spot_cannot_stop(cloud: Cloud) -> None:
    instance_id = cloud.running(InstanceMarketOptions={"MarketType": "spot"})
    refused(lambda: cloud.ec2.stop_instances(InstanceIds=[instance_id]), "UnsupportedOperation")


@check(moto="no request")
def spot_has_a_request(cloud: Cloud) -> None:
    tags = specs("instance", "spot-instances-request")
    instance_id = cloud.running(InstanceMarketOptions={"MarketType": "spot"}, TagSpecifications=tags)
    request = cloud.machine(instance_id).get("SpotInstanceRequestId")
    assert request, "no request beside the spot machine"
    found = cloud.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])[
        "SpotInstanceRequests"
    ]
    assert found[0]["InstanceId"] == instance_id
    assert found[0]["State"] == "active"
    assert found[0]["Tags"] == TAGS


@check(moto="same LaunchTime")
def a_start_is_a_new_launch_time(cloud: Cloud) -> None:
    instance_id = cloud.stopped()
    before = cloud.machine(instance_id)["LaunchTime"]
    cloud.pass_time(3600)
    cloud.ec2.start_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    assert cloud.machine(instance_id)["LaunchTime"] > before, "same LaunchTime after a start"


@check(moto="stop")
def shutdown_behavior_can_change(cloud: Cloud) -> None:
    instance_id = cloud.running()
    ask = {"InstanceId": instance_id}
    cloud.ec2.modify_instance_attribute(**ask, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    found = cloud.ec2.describe_instance_attribute(**ask, Attribute="instanceInitiatedShutdownBehavior")
    value = found["InstanceInitiatedShutdownBehavior"]["Value"]
    assert value == "terminate", f"still {value}"


@check(moto="not refused")
def a_group_in_use_stays(cloud: Cloud) -> None:
    name = f"desk-{next(cloud.numbers)}"
    group = cloud.ec2.create_security_group(GroupName=name, Description="x")["GroupId"]
    instance_id = cloud.running(SecurityGroupIds=[group])
    refused(lambda: cloud.ec2.delete_security_group(GroupId=group), "DependencyViolation")
    cloud.ec2.stop_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    refused(lambda: cloud.ec2.delete_security_group(GroupId=group), "DependencyViolation")
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    cloud.ec2.delete_security_group(GroupId=group)


@check(moto="not refused")
def an_interface_has_five_groups_at_most(cloud: Cloud) -> None:
    made = [
        cloud.ec2.create_security_group(GroupName=f"desk-{next(cloud.numbers)}", Description="x")["GroupId"]
        for _ in range(6)
    ]
    instance_id = cloud.running(SecurityGroupIds=made[:1])
    cloud.ec2.modify_instance_attribute(InstanceId=instance_id, Groups=made[:5])
    assert {g["GroupId"] for g in cloud.machine(instance_id)["SecurityGroups"]} == set(made[:5])
    refused(
        lambda: cloud.ec2.modify_instance_attribute(InstanceId=instance_id, Groups=made),
        "SecurityGroupsPerInterfaceLimitExceeded",
    )
    assert len(cloud.machine(instance_id)["SecurityGroups"]) == 5, "all or nothing"


@check(moto="not refused")
def a_group_is_of_the_machines_own_network(cloud: Cloud) -> None:
    """(Two networks may each have a group of one name; one network may not.)"""
    elsewhere = cloud.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    name = f"desk-{next(cloud.numbers)}"
    make = cloud.ec2.create_security_group
    here = make(GroupName=name, Description="x")["GroupId"]
    there = make(GroupName=name, Description="x", VpcId=elsewhere)["GroupId"]
    refused(lambda: make(GroupName=name, Description="x"), "InvalidGroup.Duplicate")
    instance_id = cloud.running(SecurityGroupIds=[here])
    refused(
        lambda: cloud.ec2.modify_instance_attribute(InstanceId=instance_id, Groups=[here, there]),
        "InvalidParameter",
    )


@check(moto="not refused")
def a_group_goes_when_its_machine_was_let_go(cloud: Cloud) -> None:
    names = [f"desk-{next(cloud.numbers)}" for _ in range(2)]
    groups = [cloud.ec2.create_security_group(GroupName=n, Description="x")["GroupId"] for n in names]
    instance_id = cloud.running(SecurityGroupIds=groups)
    refused(lambda: cloud.ec2.delete_security_group(GroupId=groups[1]), "DependencyViolation")
    cloud.ec2.modify_instance_attribute(InstanceId=instance_id, Groups=groups[:1])
    cloud.ec2.delete_security_group(GroupId=groups[1])
    refused(lambda: cloud.ec2.delete_security_group(GroupId=groups[0]), "DependencyViolation")
