"""Clients that nobody here wrote, against the fake EC2: what they do on a real account, they do here.

fakes/ec2/README.md tells each client, its version and the verdict; what runs here is held against its table.
ansible, libcloud and SkyPilot are no requirements of hotdesk: without `HOTDESK_CLIENTS` they are skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="the fake EC2 is spoken to with boto3: pip install boto3 'moto[server]'")
pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")

from fake_ec2.checks import DEEP
from fake_ec2.process import FakeEc2

HERE = Path(__file__).with_name("clients")
BIN = Path(sys.executable).parent
OWN = Path(os.environ.get("HOTDESK_CLIENTS", "/nowhere")) / "bin"
SOON = {"Delay": 1, "MaxAttempts": 60}
ROOT = HERE.parents[1]
README = (ROOT / "fakes" / "ec2" / "README.md").read_text("utf-8")
#: {client: (version, how many of its parts ran)} in the README's table.
TOLD = {
    row[1]: (row[2], int(row[3]))
    for row in re.finditer(r"^\| ([\w-]+) \| (\d[\d.]+) \| (\d+) .*\|$", README, re.MULTILINE)
}


def test_the_readme_tells_the_versions_that_are_locked() -> None:
    locks = [
        ROOT / "requirements" / "dev.txt",
        ROOT / "src" / "hotdesk" / "guest" / "ray.lock",
        HERE / "requirements.txt",
    ]
    lines = re.findall(
        r"^([\w-]+)(?:\[\w+\])?==([\d.]+)", "".join(lock.read_text() for lock in locks), re.MULTILINE
    )
    assert TOLD.keys() == {"boto3", "awscli", "ansible", "apache-libcloud", "skypilot", "ray"}
    assert {client: version for client, (version, _) in TOLD.items()} == {
        client: version for client, version in lines if client in TOLD
    }


@pytest.fixture
def fake(server: FakeEc2) -> FakeEc2:
    """With a clock that runs: a machine boots in 0.15 s."""
    server.post("reset")
    return server


@pytest.fixture
def image(fake: FakeEc2) -> str:
    return str(fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return file.with_suffix(".pub")


def a_bit_of_everything(fake: FakeEc2, image: str) -> dict[str, dict[str, Any]]:
    """One of each kind that can be waited for: {waiter of boto3: what it is asked}."""
    ec2 = fake.client()
    order = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    up, off, over = (ec2.run_instances(**order)["Instances"][0]["InstanceId"] for _ in range(3))
    spot = ec2.run_instances(**order, InstanceMarketOptions={"MarketType": "spot"})["Instances"][0]
    for machine in (up, off, over):
        ec2.get_waiter("instance_running").wait(InstanceIds=[machine], WaiterConfig=SOON)
    ec2.stop_instances(InstanceIds=[off])
    ec2.terminate_instances(InstanceIds=[over])
    zone = ec2.describe_instances(InstanceIds=[up])["Reservations"][0]["Instances"][0]["Placement"]
    free, gone = (
        ec2.create_volume(AvailabilityZone=zone["AvailabilityZone"], Size=5)["VolumeId"] for _ in range(2)
    )
    used = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [up]}])["Volumes"][0]
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[off], WaiterConfig=SOON)
    ec2.get_waiter("volume_available").wait(VolumeIds=[gone], WaiterConfig=SOON)
    ec2.delete_volume(VolumeId=gone)
    made = ec2.create_image(InstanceId=off, Name="baked", NoReboot=True)["ImageId"]
    snapshot = ec2.create_snapshot(VolumeId=free)["SnapshotId"]
    group = ec2.create_security_group(GroupName="mine", Description="x")["GroupId"]
    ec2.create_key_pair(KeyName="mine")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    return {
        "instance_exists": {"InstanceIds": [up]},
        "instance_running": {"InstanceIds": [up]},
        "instance_status_ok": {"InstanceIds": [up]},
        "system_status_ok": {"InstanceIds": [up]},
        "instance_stopped": {"InstanceIds": [off]},
        "instance_terminated": {"InstanceIds": [over]},
        "image_exists": {"ImageIds": [made]},
        "image_available": {"ImageIds": [made]},
        "snapshot_completed": {"SnapshotIds": [snapshot]},
        "volume_available": {"VolumeIds": [free]},
        "volume_in_use": {"VolumeIds": [used["VolumeId"]]},
        "volume_deleted": {"VolumeIds": [gone]},
        "key_pair_exists": {"KeyNames": ["mine"]},
        "security_group_exists": {"GroupIds": [group]},
        "spot_instance_request_fulfilled": {"SpotInstanceRequestIds": [spot["SpotInstanceRequestId"]]},
        "vpc_available": {"VpcIds": [vpc]},
        "subnet_available": {"SubnetIds": [subnet]},
        "internet_gateway_exists": {"InternetGatewayIds": [gateway]},
    }


def test_the_waiters_of_boto3(fake: FakeEc2, image: str) -> None:
    ec2 = fake.client()
    known = a_bit_of_everything(fake, image)
    assert len(known) == TOLD["boto3"][1]
    for waiter, asked in known.items():
        ec2.get_waiter(waiter).wait(**asked, WaiterConfig=SOON)


@pytest.mark.long
@pytest.mark.skipif(not (BIN / "aws").exists(), reason="no aws: pip install awscli")
def test_the_waits_of_the_aws_command_line(fake: FakeEc2, image: str, tmp_path: Path) -> None:
    """Each is over at its first look: else it would sleep for 15 seconds."""
    known = a_bit_of_everything(fake, image)
    ec2 = fake.client()
    for waiter, asked in known.items():
        ec2.get_waiter(waiter).wait(**asked, WaiterConfig=SOON)

    def wait(waiter: str) -> tuple[str, int, str]:
        [(member, values)] = known[waiter].items()
        option = "--" + re.sub(r"(?<!^)(?=[A-Z])", "-", member).lower()
        words = ["ec2", "wait", waiter.replace("_", "-"), option, *values]
        environment = {**os.environ, **fake.environment("us-east-1"), "HOME": str(tmp_path)}
        run = subprocess.run(
            [BIN / "aws", *words], env=environment, capture_output=True, text=True, timeout=300
        )
        return waiter, run.returncode, run.stderr

    with ThreadPoolExecutor(3) as threads:
        rows = [*threads.map(wait, [w for w in known if "gateway" not in w])]
    assert [row for row in rows if row[1]] == []
    assert len(rows) == TOLD["awscli"][1]


def test_the_resources_of_boto3(fake: FakeEc2, image: str) -> None:
    import boto3  # type: ignore[import-untyped]

    ec2 = boto3.resource(
        "ec2", "us-east-1", endpoint_url=fake.url, aws_access_key_id="AKIAFAKEFAKEFAKEFAKE",
        aws_secret_access_key="x",
    )  # fmt: skip
    group = ec2.create_security_group(GroupName="mine", Description="x")
    group.authorize_ingress(IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8")
    group.reload()
    assert group.ip_permissions[0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]
    pair = ec2.create_key_pair(KeyName="mine")
    [machine] = ec2.create_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, KeyName="mine",
        SecurityGroupIds=[group.id],
    )  # fmt: skip
    machine.wait_until_running(WaiterConfig=SOON)
    machine.create_tags(Tags=[{"Key": "role", "Value": "x"}])
    machine.reload()
    assert machine.state["Name"] == "running"
    assert [i.id for i in ec2.instances.filter(Filters=[{"Name": "tag:role", "Values": ["x"]}])] == [
        machine.id
    ]
    assert [v.size for v in machine.volumes.all()]
    assert machine.image.id == image
    assert machine.vpc.is_default
    for attribute in ("kernel", "ramdisk", "productCodes", "sriovNetSupport", "enaSupport", "enclaveOptions"):
        machine.describe_attribute(Attribute=attribute)
    volume = ec2.create_volume(AvailabilityZone=machine.placement["AvailabilityZone"], Size=5)
    fake.client().get_waiter("volume_available").wait(VolumeIds=[volume.id], WaiterConfig=SOON)
    volume.attach_to_instance(InstanceId=machine.id, Device="/dev/sdf")
    snapshot = volume.create_snapshot(Description="mine")
    snapshot.wait_until_completed(WaiterConfig=SOON)
    snapshot.describe_attribute(Attribute="createVolumePermission")
    machine.stop()
    machine.wait_until_stopped(WaiterConfig=SOON)
    baked = machine.create_image(Name="baked")
    baked.wait_until_exists(WaiterConfig=SOON)
    fake.client().get_waiter("image_available").wait(ImageIds=[baked.id], WaiterConfig=SOON)
    baked.modify_attribute(LaunchPermission={"Add": [{"UserId": "123456789013"}]})
    shared = baked.describe_attribute(Attribute="launchPermission")["LaunchPermissions"]
    assert shared == [{"UserId": "123456789013"}]
    machine.start()
    machine.wait_until_running(WaiterConfig=SOON)
    volume.detach_from_instance()
    volume.delete()
    machine.terminate()
    machine.wait_until_terminated(WaiterConfig=SOON)
    baked.deregister()
    snapshot.delete()
    pair.delete()
    group.delete()


@pytest.mark.skipif(not (OWN / "ansible-playbook").exists(), reason="HOTDESK_CLIENTS names no ansible")
def test_ansible(fake: FakeEc2, image: str, key: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        **fake.environment("us-east-1"),
        "HOME": str(tmp_path),
        "AWS_REGION": "us-east-1",
    }
    words = ["-i", "localhost,", "-e", f"ansible_python_interpreter={OWN / 'python'}"]
    words += ["-e", f"image={image}", "-e", f"pubkey={key}", str(HERE / "ansible.yml")]
    run = subprocess.run(
        [OWN / "ansible-playbook", *words], env=environment, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert len(re.findall(r"^TASK \[(?!Gathering Facts)", run.stdout, re.MULTILINE)) == TOLD["ansible"][1]


@pytest.mark.skipif(
    not list(OWN.parent.glob("lib/*/site-packages/sky")), reason="HOTDESK_CLIENTS: no SkyPilot"
)
@pytest.mark.skipif(os.geteuid() != 0, reason="SkyPilot logs in at port 22, which only root may take")
def test_skypilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTDESK_LIGHT_PORT", "22")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAFAKEFAKEFAKEFAKE\naws_secret_access_key = fake\n"
    )
    with FakeEc2(rig="tests.light:machines", pace=0.01) as fake:
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment |= {"AWS_ENDPOINT_URL": fake.url, "AWS_DEFAULT_REGION": "us-east-1"}
        environment |= {"HOME": str(tmp_path), "PATH": f"{OWN}{os.pathsep}{os.environ['PATH']}"}
        environment |= {"SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        words = [OWN / "python", HERE / "skypilot_day.py", image]
        run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
        assert run.returncode == 0, run.stderr[-3000:]
        steps = json.loads(run.stdout)
        assert [step for step in steps if not step[1]] == []
        assert len(steps) == TOLD["skypilot"][1]
        things = fake.get("things", region="us-east-1")
        left = [t for t in things if t["kind"] in {"instance", "volume"}]
        assert [t for t in left if t["state"] not in {"terminated", "shutting-down"}] == []


@pytest.mark.skipif(
    not list(OWN.parent.glob("lib/*/site-packages/libcloud")), reason="HOTDESK_CLIENTS: no libcloud"
)
def test_libcloud(fake: FakeEc2, image: str, key: Path) -> None:
    words = [OWN / "python", HERE / "libcloud_day.py", fake.url, image, key]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    steps = json.loads(run.stdout)
    assert [step for step in steps if not step[1]] == []
    assert len(steps) == TOLD["apache-libcloud"][1]


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="Ray logs in at port 22, which only root may take")
def test_rays_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up, stopped, up again and terminated, each as it says; it keeps the first address it sees."""
    program = BIN / "ray"
    if not program.exists():
        pytest.skip("Ray is not installed: ./setup dev")
    monkeypatch.setenv("HOTDESK_LIGHT_PORT", "22")
    keeps, forgets = (tmp_path / name for name in ("keeps.yaml", "forgets.yaml"))
    with FakeEc2(rig="tests.light:machines", pace=0.01) as fake:
        for file, kept in ((keeps, "true"), (forgets, "false")):
            image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
            text = (HERE / "ray.yaml").read_text()
            file.write_text(text.format(region="us-east-1", image=image, kept=kept))
        environment = {**os.environ, **fake.environment("us-east-1"), "HOME": str(tmp_path)}
        environment |= {"TMPDIR": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
        steps = [("up", keeps, "running"), ("down", keeps, "stopped")]
        steps += [("up", keeps, "running"), ("down", forgets, "terminated")]
        assert len(steps) == TOLD["ray"][1]
        for verb, file, state in steps:
            words = [program, verb, "-y", file]
            run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
            assert run.returncode == 0, run.stdout + run.stderr
            for _ in range(100):
                seen = [m["state"] for m in fake.get("things", kind="instance", region="us-east-1")]
                if (seen or ["terminated"]) == [state]:  # EC2 forgets a machine that has ended, after a while
                    break
                time.sleep(0.1)
            assert (seen or ["terminated"]) == [state]
