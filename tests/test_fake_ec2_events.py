"""What happens in the fake EC2 behind our back, what it costs, and who else is there."""

from __future__ import annotations

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")


from fake_ec2.checks import SPOT, TAGS, Cloud, refused, root, specs, states
from fake_ec2.fixtures import cloud, fake  # noqa: F401
from fake_ec2.process import FakeEc2

# ── what happens behind our back ─────────────────────────────────────────────────────────────────────────


def test_an_interruption_leaves_the_kept_disk(fake: FakeEc2, cloud: Cloud) -> None:
    keep = root(80, DeleteOnTermination=False)
    tags = specs("instance", "volume")
    instance_id = cloud.running(InstanceMarketOptions=SPOT, BlockDeviceMappings=keep, TagSpecifications=tags)
    fake.post("interrupt", id=instance_id)
    request = cloud.ec2.describe_spot_instance_requests()["SpotInstanceRequests"][0]
    assert request["Status"]["Code"] == "marked-for-termination"
    assert states(cloud) == ["running"], "two minutes' warning"
    cloud.pass_time(121)
    cloud.pass_time(60)
    gone = cloud.machine(instance_id)
    assert gone["State"]["Name"] == "terminated"
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    (disk,) = cloud.ec2.describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]
    assert disk["Tags"] == TAGS
    request = cloud.ec2.describe_spot_instance_requests()["SpotInstanceRequests"][0]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")


def test_a_persistent_request_starts_another_machine(fake: FakeEc2, cloud: Cloud) -> None:
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "terminate"}
    instance_id = cloud.running(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    cloud.pass_time(100)
    alive = [i for i in fake.get("things", kind="instance") if i["state"] in {"pending", "running"}]
    assert len(alive) == 1, "money is spent while nobody looks, unless the request was cancelled first"


def test_console_actions(fake: FakeEc2, cloud: Cloud) -> None:
    instance_id = cloud.running()
    fake.post("console", id=instance_id, do="stop")
    cloud.pass_time(60)
    assert states(cloud) == ["stopped"]
    image = cloud.ec2.create_image(InstanceId=instance_id, Name="mine", NoReboot=True)["ImageId"]
    cloud.pass_time(3600)
    fake.post("console", id=image, do="deregister", with_snapshots=True)
    assert cloud.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "deregistered"
    cloud.pass_time(60)
    refused(lambda: cloud.ec2.describe_images(ImageIds=[image]), "InvalidAMIID.NotFound")
    fake.post("console", id=instance_id, do="terminate")
    cloud.pass_time(60)
    assert cloud.machine(instance_id)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


@pytest.mark.parametrize(("behavior", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_shutdown_from_inside(fake: FakeEc2, cloud: Cloud, behavior: str, state: str) -> None:
    instance_id = cloud.running(InstanceInitiatedShutdownBehavior=behavior)
    fake.post("console", id=instance_id, do="shutdown")
    cloud.pass_time(60)
    found = cloud.machine(instance_id)
    assert found["State"]["Name"] == state
    assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


@pytest.mark.parametrize(
    "how", ["failed", "snapshot-error", "stuck", "missing-disk", "short-disk", "wrong-source"]
)
def test_images_can_be_spoiled_silently(fake: FakeEc2, cloud: Cloud, how: str) -> None:
    instance_id = cloud.stopped(BlockDeviceMappings=root(80))
    fake.post("spoil", action="CreateImage", how=how)
    image = cloud.ec2.create_image(InstanceId=instance_id, Name="spoiled", NoReboot=True)["ImageId"]
    cloud.pass_time(600)
    cloud.pass_time(600)
    found = cloud.ec2.describe_images(ImageIds=[image])["Images"][0]
    expected = {"failed": "failed", "snapshot-error": "failed", "stuck": "pending"}.get(how, "available")
    assert found["State"] == expected
    sizes = [m["Ebs"]["VolumeSize"] for m in found["BlockDeviceMappings"]]
    assert sizes == {"missing-disk": [], "short-disk": [79]}.get(how, [80])
    assert (found["SourceInstanceId"] == instance_id) == (how != "wrong-source")


def test_work_that_was_not_flushed_is_in_no_image(fake: FakeEc2, cloud: Cloud) -> None:
    instance_id = cloud.running()
    fake.post("write", id=instance_id, name="a.txt", text="1", flush=True)
    fake.post("write", id=instance_id, name="b.txt", text="2")
    cloud.ec2.create_image(InstanceId=instance_id, Name="hasty", NoReboot=True)
    cloud.ec2.stop_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    cloud.ec2.create_image(InstanceId=instance_id, Name="patient", NoReboot=True)
    cloud.pass_time(3600)
    works = {row["id"]: row["work"] for row in fake.get("things", kind="snapshot")}
    images = {row["name"]: works[row["snapshots"][0]] for row in fake.get("things", kind="image")}
    assert images == {"hasty": {"a.txt": "1"}, "patient": {"a.txt": "1", "b.txt": "2"}}
    image = next(r["id"] for r in fake.get("things", kind="image") if r["name"] == "patient")
    again = cloud.running(ImageId=image)
    (disk,) = [v for v in fake.get("things", kind="volume") if v["attached_to"] == again]
    assert disk["work"] == {"a.txt": "1", "b.txt": "2"}


def test_a_launch_can_be_accepted_and_then_fail(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post(
        "spoil", action="RunInstances", code="Client.VolumeLimitExceeded", message="Volume limit exceeded"
    )
    instance_id = cloud.launch()["InstanceId"]
    cloud.pass_time(10)
    assert cloud.machine(instance_id)["State"]["Name"] == "shutting-down"
    cloud.pass_time(60)
    found = cloud.machine(instance_id)
    assert (found["State"]["Name"], found["StateReason"]["Code"]) == (
        "terminated",
        "Client.VolumeLimitExceeded",
    )
    assert cloud.ec2.describe_volumes()["Volumes"] == []
    assert fake.get("costs")["usd_per_hour"] == 0


def test_a_persistent_spot_machine_stops_and_starts(fake: FakeEc2, cloud: Cloud) -> None:
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
    instance_id = cloud.stopped(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})
    request = cloud.ec2.describe_spot_instance_requests()["SpotInstanceRequests"][0]
    assert (request["State"], request["Status"]["Code"]) == ("disabled", "instance-stopped-by-user")
    fake.post("capacity", market="spot", free=0)
    refused(lambda: cloud.ec2.start_instances(InstanceIds=[instance_id]), "InsufficientInstanceCapacity")
    fake.delete("capacity")
    cloud.ec2.start_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    fake.post("interrupt", id=instance_id, notice=False)
    cloud.pass_time(60)
    assert cloud.machine(instance_id)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    assert states(cloud) == ["stopped"]


# ── money and other people ───────────────────────────────────────────────────────────────────────────────


def test_costs_are_per_second_with_a_minute_at_least(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("clock", durations={"pending": 0, "stopping": 0})
    tags = specs("instance", "volume")
    instance_id = cloud.launch(TagSpecifications=tags, BlockDeviceMappings=root(100))["InstanceId"]
    cloud.ec2.stop_instances(InstanceIds=[instance_id])
    machine, disk = (fake.get("things", kind=k)[0] for k in ("instance", "volume"))
    assert machine["usd_so_far"] == pytest.approx(1.006 / 60, rel=1e-3)
    assert machine["usd_per_hour"] == 0
    assert disk["usd_per_hour"] == pytest.approx(100 * 0.08 / 730, rel=1e-3)
    cloud.ec2.start_instances(InstanceIds=[instance_id])
    cloud.pass_time(7200)
    machine = fake.get("things", kind="instance")[0]
    assert machine["usd_so_far"] == pytest.approx(1.006 * (2 + 1 / 60) + 2 * 0.005, rel=1e-3)
    costs = fake.get("costs")
    assert costs["by_tag"]["blue"]["usd_so_far"] == pytest.approx(costs["usd_so_far"])
    assert costs["usd_per_hour"] == pytest.approx(1.006 + 0.005 + 100 * 0.08 / 730, rel=1e-3)


def test_a_crowded_account(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("crowd", count=3, regions=["us-east-1", "eu-west-1"])
    assert len(states(cloud)) == 3
    mine = cloud.running()
    ours = [r["id"] for r in fake.get("things", crowd=0, kind="instance")]
    assert ours == [mine]
    assert len(cloud.ec2.describe_images(Owners=["self"])["Images"]) == 3
    assert len(fake.get("things")) > 30


def test_the_log_tells_calls_with_parameters(fake: FakeEc2, cloud: Cloud) -> None:
    fake.delete("log")
    cloud.launch(ClientToken="seen")
    (entry,) = fake.get("log", action="RunInstances")
    assert entry["params"]["ClientToken"] == "seen"
    assert (entry["status"], entry["code"], entry["region"]) == (200, None, "us-east-1")


def test_mistakes_in_a_control_are_told(fake: FakeEc2) -> None:
    with pytest.raises(ValueError, match="no such control"):
        fake.post("no-such-thing")
    with pytest.raises(ValueError, match="i-none"):
        fake.post("interrupt", id="i-none")
    with pytest.raises(ValueError, match="unexpected keyword"):
        fake.post("refuse", acton="RunInstances")


def test_an_idle_address_costs(fake: FakeEc2, cloud: Cloud) -> None:
    made = cloud.ec2.allocate_address(Domain="vpc", TagSpecifications=specs("elastic-ip"))["AllocationId"]
    instance_id = cloud.stopped()
    tie = cloud.ec2.associate_address(AllocationId=made, InstanceId=instance_id)["AssociationId"]
    assert cloud.machine(instance_id)["PublicIpAddress"]
    refused(lambda: cloud.ec2.release_address(AllocationId=made), "InvalidIPAddress.InUse")
    cloud.ec2.disassociate_address(AssociationId=tie)
    cloud.pass_time(7200)
    (row,) = fake.get("things", kind="elastic-ip")
    assert row["usd_so_far"] == pytest.approx(0.01, rel=0.05)
    assert cloud.ec2.describe_addresses()["Addresses"][0]["Tags"] == TAGS
    cloud.ec2.release_address(AllocationId=made)
    assert cloud.ec2.describe_addresses()["Addresses"] == []
