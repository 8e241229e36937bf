"""The day of a desk on EC2, through the loop, the real client and HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotdesk.core.model import Goal, Market, Want
from hotdesk.core.plan import plan
from tests.aws_desk import HOME, Laptop, offer
from tests.fake_ec2.process import FakeEc2

pytest.importorskip("moto", reason="moto is not installed")


def test_a_day_on_demand(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up; 2. work; 3. park; 4. resume elsewhere; 5. work; 6. move; 7. down."""
    mine = Laptop(fake, tmp_path)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", "us-west-2b", gpu="A10G"),)) is None
    [machine] = mine.machines()
    assert (machine["type"], machine["zone"]) == ("g5.xlarge", "us-west-2b")
    mine.work("tuesday")
    assert mine.do(Goal.RUNNING, (offer("g6.xlarge", "us-west-2a", gpu="L4"),), move=True) is None
    assert mine.machines()[0]["type"] == "g6.xlarge"
    assert mine.do(Goal.GONE) is None


def test_a_name_that_is_used_again(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up, down. 2. up by the same name, while EC2 still lists the ended machine: nothing is missing."""
    mine = Laptop(fake, tmp_path)
    for text in ("monday", "tuesday"):
        assert mine.do(Goal.RUNNING) is None
        mine.work(text)
        assert mine.do(Goal.GONE) is None
        assert mine.aws.survey().instances != (), "an ended machine is listed for about an hour"
    assert mine.do(Goal.RUNNING, (offer(market=Market.SPOT),)) is None
    mine.fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(60.0)
    assert mine.do(Goal.GONE) is None
    assert mine.do(Goal.RUNNING) is None


def test_a_day_on_spot(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up on spot; 2. work; 3. park (it cannot be stopped); 4. resume on demand; 5. park; 6. spot again."""
    spot = (offer(market=Market.SPOT),)
    mine = Laptop(fake, tmp_path, offers=spot)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, (offer(zone="us-west-2c"),)) is None
    mine.work("tuesday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, spot) is None
    assert mine.do(Goal.GONE) is None


def test_a_restored_disk_is_loaded_at_a_rate_when_that_is_asked_for(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up: nothing is restored. 2. resume at a rate. 3. AWS has no more of it: said, with the way on."""
    mine = Laptop(fake, tmp_path)
    fast = Want(initialization_rate=300)

    def rates() -> list[object]:
        volumes = fake.client("ec2", HOME).describe_volumes()["Volumes"]
        return [v.get("VolumeInitializationRate") for v in volumes]

    assert mine.do(Goal.RUNNING, want=fast) is None
    assert rates() == [None]
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    mine.want("blue", Goal.RUNNING, want=fast)
    desk = mine.store.desk("blue")
    [launch] = plan(desk, mine.aws.survey().of("blue"), mine.store.past(desk), mine.time.now())
    assert "is loaded at 300 MiB/s" in launch.why
    assert mine.settle() is None
    assert rates() == [300]
    assert mine.do(Goal.PARKED) is None
    fake.post("refuse", action="RunInstances", code="InvalidParameterValue", status=400, times=1,
              message="You have exceeded the volume initialization rate of this Region.")  # fmt: skip
    asked = mine.do(Goal.RUNNING, want=fast)
    assert asked is not None
    assert "without --initialization-rate" in asked.fix
    assert mine.do(Goal.RUNNING, want=Want()) is None
    assert rates() == [None]


def test_a_machine_of_several_disks_that_is_gone(fake: FakeEc2, tmp_path: Path) -> None:
    """1. A machine with two disks. 2. Terminated in the console. 3. An image of one would lack the other."""
    mine = Laptop(fake, tmp_path)
    want = Want(image=two_disks(fake))
    mine.want("blue", Goal.RUNNING, want=want)
    assert mine.settle() is None
    [machine] = mine.machines()
    assert len(machine["disks"]) == 2
    for device in ("/dev/sda1", "/dev/sdf"):
        fake.post("write", id=machine["id"], name=device, text="monday", device=device)
    fake.post("console", id=machine["id"], do="terminate")
    mine.time.sleep(60.0)
    for goal in (Goal.PARKED, Goal.RUNNING):
        mine.want("blue", goal, want=want)
        asked = mine.settle()
        assert asked is not None
        assert all(disk in asked.what for disk in machine["disks"])
        held = [t["work"] for t in mine.things("volume")]
        assert sorted(work for works in held for work in works) == ["/dev/sda1", "/dev/sdf"]
    ec2 = fake.client("ec2", HOME)
    ec2.delete_volume(VolumeId=next(t["id"] for t in mine.things("volume") if "/dev/sdf" in t["work"]))
    mine.want("blue", Goal.PARKED, want=want)
    assert mine.settle() is None, "the one that is left is saved"
    assert [t["work"] for t in mine.things("snapshot") if t["tags"]] == [{"/dev/sda1": "monday"}]
    mine.want("blue", Goal.GONE)
    assert mine.settle() is None


def two_disks(fake: FakeEc2) -> str:
    """An image of a machine with a second disk, made by somebody else."""
    ec2 = fake.client("ec2", HOME)
    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    base = fake.client("ssm", HOME).get_parameter(Name=name)["Parameter"]["Value"]
    more = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 50, "DeleteOnTermination": True}}]
    made = ec2.run_instances(
        ImageId=base, InstanceType="t3.micro", MinCount=1, MaxCount=1, BlockDeviceMappings=more
    )
    machine = made["Instances"][0]["InstanceId"]
    fake.post("clock", advance=60)
    ec2.stop_instances(InstanceIds=[machine])
    fake.post("clock", advance=60)
    image = str(ec2.create_image(InstanceId=machine, Name="two disks", NoReboot=True)["ImageId"])
    fake.post("clock", advance=600)
    ec2.terminate_instances(InstanceIds=[machine])
    return image
