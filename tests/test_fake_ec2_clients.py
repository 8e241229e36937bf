"""Any client speaks to the fake EC2, any number of servers runs, and real machines may stand behind it."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")


from fake_ec2.checks import DEEP, Cloud, specs
from fake_ec2.fixtures import cloud, fake  # noqa: F401
from fake_ec2.process import FakeEc2

pytestmark = pytest.mark.slow


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
    state = "Reservations[].Instances[].State.Name"
    assert aws("ec2", "describe-instances", "--query", state) == ["running"]
    aws("ec2", "stop-instances", "--instance-ids", made)
    cloud.pass_time(60)
    assert aws("ec2", "describe-instances", "--instance-ids", made, "--query", state) == ["stopped"]
    image = aws("ec2", "create-image", "--instance-id", made, "--name", "evening")["ImageId"]
    cloud.pass_time(600)
    listed = aws("ec2", "describe-images", "--owners", "self")["Images"]
    assert [(i["ImageId"], i["Name"], i["State"]) for i in listed] == [(image, "evening", "available")]
    aws("ec2", "terminate-instances", "--instance-ids", made)
    cloud.pass_time(60)
    assert aws("ec2", "describe-instances", "--query", state) == ["terminated"]


def test_the_catalogue_comes_through_whole(cloud: Cloud) -> None:
    """Every field of a type survives the way through XML."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    query = [{"Name": "instance-type", "Values": ["g5.*", "p5.*", "t3.micro"]}]
    found = cloud.ec2.describe_instance_types(Filters=query)["InstanceTypes"]
    assert len(found) > 8
    assert {t["InstanceType"]: t for t in found} == {
        t["InstanceType"]: INSTANCE_TYPES[t["InstanceType"]] for t in found
    }


def test_price_history_comes_in_pages_without_gaps(cloud: Cloud) -> None:
    ask = {
        "InstanceTypes": ["g5.xlarge", "g6.xlarge"],
        "StartTime": dt.datetime.now(dt.UTC) - dt.timedelta(days=9),
    }
    whole = cloud.ec2.describe_spot_price_history(**ask)["SpotPriceHistory"]
    pages = cloud.ec2.get_paginator("describe_spot_price_history").paginate(
        **ask, PaginationConfig={"PageSize": 37}
    )
    paged = [row for page in pages for row in page["SpotPriceHistory"]]
    assert len(whole) > 100
    assert paged == whole


def test_one_seed_is_one_history_and_servers_do_not_share(fake: FakeEc2) -> None:
    def history(server: FakeEc2) -> list[Any]:
        server.post("reset", seed=5)
        server.post("clock", rate=0, pace=1, set="2026-11-20T00:00:00Z")
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
    with FakeEc2(rig="fake_ec2.paper_rig:machines") as fake:
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        cloud = Cloud(fake.client, image, lambda seconds: time.sleep(0.05), tmp_path)

        def wait(instance_id: str, state: str) -> dict[str, Any]:
            for _ in range(400):
                found = cloud.machine(instance_id)
                # What is shown while it boots is what it gets: Ray keeps the first address that it sees.
                assert found.get("PublicIpAddress") in {None, "127.0.0.9"}
                if found["State"]["Name"] == state:
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


def test_the_server_leaves_when_its_starter_has_gone(tmp_path: Path) -> None:
    """However it went: a killed test leaves nothing behind."""
    script = """
import os
from fake_ec2.process import FakeEc2
fake = FakeEc2().__enter__()
print(fake.process.pid, fake.url, flush=True)
os._exit(9)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    pid = int(run.stdout.split()[0])
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return  # ended; only its parent has not asked how
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def test_a_taken_port_is_told(fake: FakeEc2, tmp_path: Path) -> None:
    port = fake.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "fake_ec2", "--port", port]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "--port 0" in run.stderr
    assert "Traceback" not in run.stderr
