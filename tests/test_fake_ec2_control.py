"""The fake EC2's control address: what a test sets there happens, and what exists there is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from botocore.exceptions import ClientError, ConnectionClosedError  # type: ignore[import-untyped]

from tests.fake_ec2.checks import DEEP, TAGS, Cloud, refused, root, specs
from tests.fake_ec2.process import FakeEc2

SPOT = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeEc2]:
    with FakeEc2(seed=11, pace=1) as running:
        yield running


@pytest.fixture
def fake(server: FakeEc2) -> FakeEc2:
    """As new, with the clock standing still."""
    server.post("reset")
    server.post("clock", rate=0)
    return server


@pytest.fixture
def cloud(fake: FakeEc2, tmp_path: Path) -> Cloud:
    image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
    return Cloud(fake.client, image, lambda seconds: fake.post("clock", advance=seconds), tmp_path)


def states(cloud: Cloud) -> list[str]:
    found = cloud.ec2.describe_instances()["Reservations"]
    return [i["State"]["Name"] for r in found for i in r["Instances"]]


# ── time and sight ───────────────────────────────────────────────────────────────────────────────────────


def test_by_default_nothing_takes_longer_than_a_test_can_wait() -> None:
    begun = time.monotonic()
    with FakeEc2() as fake:
        started = time.monotonic() - begun
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        cloud = Cloud(fake.client, image, lambda seconds: time.sleep(0.02), Path())
        clock = fake.get("clock")
        instance_id = cloud.launch()["InstanceId"]
        while cloud.machine(instance_id)["State"]["Name"] != "running":
            time.sleep(0.02)
        assert fake.get("clock")["now"] - clock["now"] < 30
        longest = max(s for name, s in clock["durations"].items() if name != "forget") * clock["pace"]
        assert longest < 2
    assert started < 30  # 1.5 s on an idle machine: measured, see docs/aws.md


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
    made = cloud.ec2.run_instances(ImageId=cloud.image, InstanceType="g5.xlarge", MinCount=1, MaxCount=5)
    assert len(made["Instances"]) == 2, "8 vCPUs are two of four"
    refused(cloud.launch, "VcpuLimitExceeded")
    refused(lambda: cloud.launch(InstanceMarketOptions=SPOT), "MaxSpotInstanceCountExceeded")
    cloud.launch(InstanceType="m5.large")
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


# ── any client, any number of servers, real machines ─────────────────────────────────────────────────────


@pytest.mark.skipif(
    shutil.which("aws", path=str(Path(sys.executable).parent)) is None, reason="no aws: pip install awscli"
)
def test_the_aws_command_line_works(fake: FakeEc2, cloud: Cloud, tmp_path: Path) -> None:
    def aws(*words: str) -> Any:
        run = subprocess.run(
            [str(Path(sys.executable).parent / "aws"), *words, "--output", "json"],
            env=os.environ | fake.environment("us-east-1") | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout) if run.stdout.strip() else None

    order = ["--image-id", cloud.image, "--instance-type", "g5.xlarge", "--client-token", "cli"]
    made = aws("ec2", "run-instances", *order)["Instances"][0]["InstanceId"]
    assert aws("ec2", "run-instances", *order)["Instances"][0]["InstanceId"] == made
    cloud.pass_time(60)
    found = aws("ec2", "describe-instances", "--query", "Reservations[].Instances[].State.Name")
    assert found == ["running"]


def test_one_seed_is_one_history_and_servers_do_not_share(fake: FakeEc2) -> None:
    def history(server: FakeEc2) -> list[Any]:
        server.post("reset", seed=5)
        server.post("clock", rate=0, set="2026-11-20T00:00:00Z")
        image = server.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        cloud = Cloud(server.client, image, lambda seconds: server.post("clock", advance=seconds), Path())
        cloud.running(TagSpecifications=specs("instance"))
        prices = cloud.ec2.describe_spot_price_history(InstanceTypes=["g6.xlarge"], MaxResults=50)
        return [fake_ids(server), [(r["SpotPrice"], str(r["Timestamp"])) for r in prices["SpotPriceHistory"]]]

    def fake_ids(server: FakeEc2) -> list[str]:
        return [r["id"] for r in server.get("things") if r["kind"] in {"instance", "volume"}]

    with FakeEc2(seed=5, pace=1) as other:
        assert other.get("things", kind="instance") == []
        assert history(fake) == history(other)


def test_a_rig_stands_behind_the_machines(tmp_path: Path) -> None:
    """Hooks are called with what a real machine needs, and the instance waits for them."""
    with FakeEc2(rig="tests.fake_ec2.paper_rig:machines") as fake:
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        cloud = Cloud(fake.client, image, lambda seconds: time.sleep(0.05), tmp_path)

        def wait(instance_id: str, state: str) -> dict[str, Any]:
            for _ in range(400):
                if (found := cloud.machine(instance_id))["State"]["Name"] == state:
                    return found
                time.sleep(0.05)
            raise AssertionError(f"never {state}: {found['State']}")

        instance_id = cloud.launch(UserData="#!/bin/sh\ntrue\n")["InstanceId"]
        assert wait(instance_id, "running")["PublicIpAddress"] == "127.0.0.9"
        output = cloud.ec2.get_console_output(InstanceId=instance_id, Latest=True)["Output"]
        assert f"{instance_id} booted with 15 bytes of user data" in output
        cloud.ec2.stop_instances(InstanceIds=[instance_id])
        wait(instance_id, "stopped")
        made = cloud.ec2.create_image(InstanceId=instance_id, Name="papers", NoReboot=True)["ImageId"]
        for _ in range(400):
            if cloud.ec2.describe_images(ImageIds=[made])["Images"][0]["State"] == "available":
                break
            time.sleep(0.05)
        cloud.ec2.terminate_instances(InstanceIds=[instance_id])
        wait(instance_id, "terminated")
        output = cloud.ec2.get_console_output(InstanceId=instance_id)["Output"]
        assert [line.split()[1] for line in output.splitlines()] == ["booted", "halted", "ended"]
        again = cloud.launch(ImageId=made)["InstanceId"]
        wait(again, "running")
        snapshot = cloud.ec2.describe_images(ImageIds=[made])["Images"][0]["BlockDeviceMappings"][0]["Ebs"][
            "SnapshotId"
        ]
        assert f"from {snapshot}, kept" in cloud.ec2.get_console_output(InstanceId=again)["Output"]
        broken = cloud.launch(UserData="broken")["InstanceId"]
        assert wait(broken, "terminated")["StateReason"]["Code"] == "Server.InternalError"
