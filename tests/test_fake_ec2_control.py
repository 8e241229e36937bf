"""The fake EC2's control address: time, sight, refusals and losses come as a test sets them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from botocore.exceptions import ClientError, ConnectionClosedError  # type: ignore[import-untyped]

from fake_ec2.checks import DEEP, SPOT, TAGS, Cloud, refused, specs, states
from fake_ec2.clock import NEVER_PACED
from fake_ec2.fixtures import cloud, fake  # noqa: F401
from fake_ec2.process import FakeEc2

pytestmark = pytest.mark.slow

# ── time and sight ───────────────────────────────────────────────────────────────────────────────────────


def seconds_of_computing(fake: FakeEc2) -> float:
    """What the start has cost the processor; the wall clock would measure what else runs."""
    stat = Path(f"/proc/{fake.process.pid if fake.process else 0}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_by_default_nothing_takes_longer_than_a_test_can_wait() -> None:
    with FakeEc2() as fake:
        assert seconds_of_computing(fake) < 8  # 1.5 s from start to `ready` where nothing else runs
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        cloud = Cloud(fake.client, image, lambda seconds: time.sleep(0.02), Path())
        clock = fake.get("clock")
        instance_id = cloud.launch()["InstanceId"]
        while cloud.machine(instance_id)["State"]["Name"] != "running":
            time.sleep(0.02)
        longest = max(s for name, s in clock["durations"].items() if name not in NEVER_PACED) * clock["pace"]
        assert longest < 2


def test_a_new_machine_cannot_be_seen_for_a_while(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("lag", seconds=60)
    instance_id = cloud.launch(ClientToken="a", TagSpecifications=specs("instance"))["InstanceId"]
    assert states(cloud) == []
    refused(lambda: cloud.machine(instance_id), "InvalidInstanceID.NotFound")
    refused(lambda: cloud.ec2.terminate_instances(InstanceIds=[instance_id]), "InvalidInstanceID.NotFound")
    again = cloud.launch(ClientToken="a", TagSpecifications=specs("instance"))
    assert again["InstanceId"] == instance_id, "the token knows what the listing does not show yet"
    cloud.pass_time(61)
    assert cloud.machine(instance_id)["State"]["Name"] == "running"
    assert len(fake.get("things", kind="instance")) == 1


def test_tags_images_and_snapshots_lag_too(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("lag", tags=30)
    instance_id = cloud.running(TagSpecifications=specs("instance"))
    cloud.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "late", "Value": "1"}])
    assert cloud.machine(instance_id)["Tags"] == TAGS
    cloud.pass_time(31)
    assert len(cloud.machine(instance_id)["Tags"]) == 3
    fake.post("lag", tags=0, image=50, snapshot=20)
    image = cloud.ec2.create_image(InstanceId=instance_id, Name="lagging", NoReboot=True)["ImageId"]
    mine = {"OwnerIds": ["self"]}
    assert cloud.ec2.describe_snapshots(**mine)["Snapshots"] == []
    cloud.pass_time(21)
    assert len(cloud.ec2.describe_snapshots(**mine)["Snapshots"]) == 1
    refused(lambda: cloud.ec2.describe_images(ImageIds=[image]), "InvalidAMIID.NotFound")
    again = {"InstanceId": instance_id, "Name": "lagging", "NoReboot": True}
    refused(lambda: cloud.ec2.create_image(**again), "InvalidAMIName.Duplicate")
    cloud.pass_time(60)
    assert cloud.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available"


def test_a_new_group_can_lag(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("lag", group=30)
    group = cloud.ec2.create_security_group(GroupName="late", Description="x")["GroupId"]
    query = [{"Name": "group-name", "Values": ["late"]}]
    assert cloud.ec2.describe_security_groups(Filters=query)["SecurityGroups"] == []
    refused(lambda: cloud.launch(SecurityGroupIds=[group]), "InvalidGroup.NotFound")
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
    allow = {"GroupId": group, "IpPermissions": [ssh]}
    refused(lambda: cloud.ec2.authorize_security_group_ingress(**allow), "InvalidGroup.NotFound")
    again = {"GroupName": "late", "Description": "x"}
    refused(lambda: cloud.ec2.create_security_group(**again), "InvalidGroup.Duplicate")
    cloud.pass_time(31)
    cloud.ec2.authorize_security_group_ingress(**allow)
    cloud.launch(SecurityGroupIds=[group])
    assert len(cloud.ec2.describe_security_groups(Filters=query)["SecurityGroups"]) == 1


def test_a_machine_is_as_old_as_whole_seconds_tell(fake: FakeEc2, cloud: Cloud) -> None:
    """LaunchTime has no more; of a cloud at a tenth of the pace, tenths: whole lives pass within a second."""
    for pace, told in ((1, "08:00:00.000"), (0.1, "08:00:00.200"), (0.001, "08:00:00.257")):
        fake.post("clock", set="2026-11-20T08:00:00.257Z", pace=pace)
        launched = cloud.launch()["LaunchTime"]
        assert launched.isoformat(timespec="milliseconds").endswith(f"T{told}+00:00")


def test_states_can_be_old(fake: FakeEc2, cloud: Cloud) -> None:
    instance_id = cloud.running()
    fake.post("lag", state=40)
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    assert states(cloud) == ["running"], "as it was 40 s ago"
    cloud.pass_time(50)
    assert states(cloud) == ["shutting-down"]
    cloud.pass_time(50)
    assert states(cloud) == ["terminated"]
    cloud.pass_time(3700)
    assert states(cloud) == [], "forgotten after an hour"


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"code": "UnauthorizedOperation"}, "UnauthorizedOperation"),
        ({"code": "ExpiredCredentials"}, "RequestExpired"),
        ({"code": "InvalidCredentials"}, "AuthFailure"),
        ({"code": "InsufficientInstanceCapacity", "type": "g5.*"}, "InsufficientInstanceCapacity"),
        ({"code": "PendingVerification", "message": "wait"}, "PendingVerification"),
        ({"code": "RequestLimitExceeded", "region": "us-*"}, "RequestLimitExceeded"),
    ],
)
def test_refuses_as_told_and_then_no_more(
    fake: FakeEc2, cloud: Cloud, rule: dict[str, Any], code: str
) -> None:
    fake.post("refuse", action="RunInstances", times=1, **rule)
    with pytest.raises(ClientError) as error:
        cloud.launch()
    assert error.value.response["Error"]["Code"] == code
    if code == "UnauthorizedOperation":
        assert "ec2:RunInstances" in str(error.value)
    status = error.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert status == {"InsufficientInstanceCapacity": 500, "RequestLimitExceeded": 503}.get(code, status)
    cloud.launch()
    assert len(fake.get("things", kind="instance")) == 1


def test_a_zone_without_capacity_is_avoided_unless_named(fake: FakeEc2, cloud: Cloud) -> None:
    for letter in "bcdf":
        fake.post("capacity", zone=f"us-east-1{letter}", type="g5.*", free=0)
    fake.post("capacity", zone="us-east-1a", type="g5.xlarge", market="spot", free=1)
    assert cloud.launch()["Placement"]["AvailabilityZone"] == "us-east-1a"
    named = {"Placement": {"AvailabilityZone": "us-east-1b"}}
    refused(lambda: cloud.launch(**named), "InsufficientInstanceCapacity")
    first = cloud.running(InstanceMarketOptions=SPOT)
    refused(lambda: cloud.launch(InstanceMarketOptions=SPOT), "InsufficientInstanceCapacity")
    cloud.ec2.terminate_instances(InstanceIds=[first])
    cloud.pass_time(60)
    cloud.launch(InstanceMarketOptions=SPOT)
    refused(lambda: cloud.launch(Placement={"AvailabilityZone": "us-east-1e"}), "Unsupported")


def test_a_repeated_launch_is_answered_though_capacity_is_gone(fake: FakeEc2, cloud: Cloud) -> None:
    first = cloud.launch(ClientToken="x")["InstanceId"]
    fake.post("capacity", free=0)
    fake.post("refuse", action="RunInstances", code="InsufficientInstanceCapacity", times=None)
    assert cloud.launch(ClientToken="x")["InstanceId"] == first
    refused(lambda: cloud.launch(ClientToken="y"), "InsufficientInstanceCapacity")


def test_quotas_count_vcpus_per_class_and_market(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("quota", type="g5.xlarge", vcpus=8)
    fake.post("quota", type="g5.xlarge", market="spot", vcpus=0)
    cloud.launch(InstanceType="m5.xlarge")  # of another class: it takes nothing away
    made = cloud.ec2.run_instances(ImageId=cloud.image, InstanceType="g5.xlarge", MinCount=1, MaxCount=5)
    assert len(made["Instances"]) == 2, "8 vCPUs are two of four"
    refused(cloud.launch, "VcpuLimitExceeded")
    refused(lambda: cloud.launch(InstanceMarketOptions=SPOT), "MaxSpotInstanceCountExceeded")
    quotas = fake.client("service-quotas")
    told = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")["Quota"]
    assert told["Value"] == 8
    asked = quotas.request_service_quota_increase(ServiceCode="ec2", QuotaCode="L-DB2E81BA", DesiredValue=64)[
        "RequestedQuota"
    ]
    assert asked["Status"] == "PENDING"


def test_no_default_network_and_regions_that_are_not_enabled(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("network", default_vpc=False)
    assert cloud.ec2.describe_vpcs()["Vpcs"] == []
    refused(cloud.launch, "VPCIdNotSpecified")
    refused(lambda: fake.client("ec2", "af-south-1").describe_instances(), "AuthFailure")
    fake.post("regions", enable=["af-south-1"], disable=["us-west-1"])
    assert fake.client("ec2", "af-south-1").describe_instances()["Reservations"] == []
    told = {r["RegionName"]: r["OptInStatus"] for r in cloud.ec2.describe_regions(AllRegions=True)["Regions"]}
    assert (told["af-south-1"], told["eu-south-1"]) == ("opted-in", "not-opted-in")
    assert "eu-south-1" not in {r["RegionName"] for r in cloud.ec2.describe_regions()["Regions"]}


def test_dry_runs_ask_for_permission_only(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("capacity", free=0)
    refused(lambda: cloud.launch(DryRun=True), "DryRunOperation")
    fake.post("refuse", action="RunInstances", code="UnauthorizedOperation")
    refused(lambda: cloud.launch(DryRun=True), "UnauthorizedOperation")
    assert fake.get("things", kind="instance") == []


# ── lost replies, delays, throttling ─────────────────────────────────────────────────────────────────────


def test_a_lost_reply_has_its_effect_and_a_lost_request_has_none(fake: FakeEc2, cloud: Cloud) -> None:
    fake.post("lose", action="RunInstances", when="after")
    with pytest.raises(ConnectionClosedError):
        cloud.launch(ClientToken="lost")
    assert len(fake.get("things", kind="instance")) == 1
    fake.post("lose", action="RunInstances", when="before")
    with pytest.raises(ConnectionClosedError):
        cloud.launch(ClientToken="other")
    assert len(fake.get("things", kind="instance")) == 1
    cloud.launch(ClientToken="lost")
    assert len(fake.get("things", kind="instance")) == 1
    assert [e["lost"] for e in fake.get("log", action="RunInstances")] == ["after", "before", None]


def test_botocore_retries_what_is_lost_or_throttled(fake: FakeEc2, cloud: Cloud) -> None:
    patient = fake.client("ec2", retries=3)
    fake.post("lose", action="RunInstances", when="after")
    order = {"ImageId": cloud.image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    patient.run_instances(**order)
    fake.post("refuse", action="DescribeInstances", code="RequestLimitExceeded", times=2)
    assert len(patient.describe_instances()["Reservations"]) == 1
    assert [e["code"] for e in fake.get("log", action="DescribeInstances")] == [
        "RequestLimitExceeded",
        "RequestLimitExceeded",
        None,
    ]


def test_latency_is_added_and_calls_run_side_by_side(fake: FakeEc2, cloud: Cloud) -> None:
    cloud.ec2.describe_instances()
    fake.post("latency", milliseconds=300)
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cloud.ec2.describe_volumes(), range(8)))
    together = time.monotonic() - begun
    assert 0.3 <= together < 8 * 0.3
    fake.post("latency", milliseconds=0)
    fake.post("delay", action="DescribeRegions", seconds=0.4)
    begun = time.monotonic()
    cloud.ec2.describe_regions()
    assert time.monotonic() - begun >= 0.4


def test_the_documentation_names_every_control() -> None:
    from fake_ec2.control import CONTROLS

    text = (Path(__file__).parents[1] / "fakes" / "ec2" / "README.md").read_text()
    said = text[text.index("## The control address") : text.index("## One seed")]
    posts, gets = said.split("| GET |")
    for method, name in CONTROLS:
        if method == "POST":
            assert f"| `{name}` |" in posts, name
        elif method == "GET" and name:
            assert f"| `{name}` |" in gets, name
        elif name:
            assert f"{method} /_fake/{name}" in said or f"{method} " in said, (method, name)
