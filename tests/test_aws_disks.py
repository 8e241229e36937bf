"""A desk with several disks on EC2: whatever becomes of its machine, one image holds them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal, Market, Want
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aws import disks
from tests.aws_desk import HOME, TWO_DISKS, Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")

ROOT, DATA = "/dev/sda1", "/dev/sdf"
SPOT = (offer(market=Market.SPOT),)
THERE = (offer("g5.xlarge", "us-west-2b", gpu="A10G"),)
WANT = Want(image=TWO_DISKS)


def at_work(fake: FakeEc2, folder: Path, *offers: Any, image: str = TWO_DISKS) -> Laptop:
    """A desk that is up, with work on both of its disks."""
    mine = Laptop(fake, folder, offers=offers)
    assert mine.do(Goal.RUNNING, want=Want(image=image)) is None
    mine.work("monday")
    mine.work("monday's data", device=DATA)
    return mine


def image_of(mine: Laptop) -> dict[str, Any]:
    ec2 = mine.fake.client("ec2", HOME)
    [image] = ec2.describe_images(Owners=["self"])["Images"]
    return dict(image)


def delete_disk(mine: Laptop, work: str) -> str:
    """A hand in the console deletes the disk with that work; the id of the one that is left."""
    volumes = mine.things("volume")
    for volume in volumes:
        if work in volume["work"]:
            mine.fake.post("console", id=volume["id"], do="delete")
            mine.acknowledged -= {*volume["work"]}
    return str(next(v["id"] for v in volumes if work not in v["work"]))


def end_in_the_console(mine: Laptop) -> None:
    mine.fake.post("console", id=mine.machines()[0]["id"], do="terminate")
    mine.time.sleep(60.0)


def test_spot_is_taken_back(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up on spot; 2. taken back; 3. resume elsewhere; 4. more work; 5. park; 6. spot again; 7. down."""
    mine = at_work(fake, tmp_path, *SPOT)
    fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    assert mine.do(Goal.RUNNING, THERE) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data"]}
    mine.work("tuesday's data", device=DATA)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, SPOT) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data", "tuesday's data"]}
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, THERE) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data", "tuesday's data"]}
    assert mine.do(Goal.GONE) is None


def test_what_the_image_says_of_itself(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up on spot; 2. park: the image boots as the first one did, and names each disk at its device."""
    mine = at_work(fake, tmp_path, *SPOT)
    assert mine.do(Goal.PARKED) is None
    image = image_of(mine)
    assert (image["RootDeviceName"], image["BootMode"], image["TpmSupport"]) == (ROOT, "uefi", "v2.0")
    sizes = {m["DeviceName"]: m["Ebs"]["VolumeSize"] for m in image["BlockDeviceMappings"]}
    assert sizes == {ROOT: 65, DATA: 50}
    [seen] = mine.aws.survey().images
    assert seen.size_gib == 115
    snapshots = fake.client("ec2", HOME).describe_snapshots(OwnerIds=["self"])["Snapshots"]
    told = [{t["Key"]: t["Value"] for t in s["Tags"]}["hotdesk:device"] for s in snapshots]
    assert sorted(told) == [ROOT, DATA]
    with pytest.raises(Exception, match=r"InvalidSnapshot\.InUse"):  # as AWS, to everybody
        fake.post("console", id=snapshots[0]["SnapshotId"], do="delete")


def test_terminated_in_the_console(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up on demand. 2. Terminated in the console: one disk in the survey, of both. 3. park, resume."""
    mine = at_work(fake, tmp_path)
    end_in_the_console(mine)
    [disk] = mine.aws.survey().disks
    assert (disk.size_gib, len(disk.parts), disk.lacks) == (115, 1, "")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data"]}


def test_a_copy_abroad_has_both(fake: FakeEc2, tmp_path: Path) -> None:
    """1. spot, parked. 2. Resumed in another region. 3. Taken back there, and resumed again."""
    fake.post("regions", enable=["us-east-1"])
    mine = at_work(fake, tmp_path, *SPOT)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, (offer(zone="us-east-1b", market=Market.SPOT),)) is None
    fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    assert mine.do(Goal.PARKED) is None
    held_now = {work for s in mine.things("snapshot") for work in s["work"]}
    assert held_now == {"monday", "monday's data"}


@pytest.mark.parametrize("failed", ["CreateSnapshot", "RegisterImage", "DeleteVolume", "CreateTags"])
@pytest.mark.parametrize("how", ["before", "after", "refuse"])
def test_one_call_of_it_goes_wrong(fake: FakeEc2, tmp_path: Path, failed: str, how: str) -> None:
    """The answer of a call is lost, or it is refused: the same command goes on, and both disks are saved."""
    mine = at_work(fake, tmp_path, *SPOT)
    if how == "refuse":
        fake.post("refuse", action=failed, code="RequestLimitExceeded", times=1)
    else:
        fake.post("lose", action=failed, when=how, times=1)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data"]}


@pytest.mark.parametrize("how", ["missing-disk", "short-disk", "failed", "snapshot-error"])
def test_an_image_that_lacks_a_disk_is_not_the_save(fake: FakeEc2, tmp_path: Path, how: str) -> None:
    mine = at_work(fake, tmp_path, *SPOT)
    fake.post("spoil", action="RegisterImage", how=how)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data"]}


def test_a_disk_is_missing(fake: FakeEc2, tmp_path: Path) -> None:
    """1. Terminated, and its data disk deleted, by hand. 2. Asked about. 3. --fresh goes on without it."""
    mine = at_work(fake, tmp_path)
    end_in_the_console(mine)
    delete_disk(mine, "monday's data")
    for goal in (Goal.PARKED, Goal.RUNNING):
        asked = mine.do(goal, want=WANT)
        assert asked is not None
        assert DATA in asked.what
        assert asked.fix.startswith("hotdesk up blue --fresh ")
        assert [v["work"] for v in mine.things("volume")] == [{"monday": "monday"}]
    assert mine.do(Goal.RUNNING, want=WANT, fresh=True) is None
    assert mine.on_devices() == {ROOT: ["monday"]}
    mine.work("tuesday")
    end_in_the_console(mine)
    assert mine.do(Goal.PARKED) is None


def test_the_root_disk_is_missing(fake: FakeEc2, tmp_path: Path) -> None:
    """1. Terminated, and its root disk deleted, by hand. 2. No machine starts from the other: left alone."""
    mine = at_work(fake, tmp_path)
    end_in_the_console(mine)
    other = delete_disk(mine, "monday")
    for fresh, said in ((False, ROOT), (True, "is not the disk that its machine started from")):
        asked = mine.do(Goal.RUNNING, want=WANT, fresh=fresh)
        assert asked is not None
        assert said in asked.what + asked.why
        assert [v["id"] for v in mine.things("volume")] == [other]
    assert mine.things("snapshot") == []
    assert mine.do(Goal.GONE) is None


def test_a_disk_that_comes_back_is_not_taken_for_saved(fake: FakeEc2, tmp_path: Path) -> None:
    """1. The data disk is in use elsewhere. 2. --fresh. 3. It is back before the root disk goes: saved."""
    mine = at_work(fake, tmp_path)
    end_in_the_console(mine)
    ec2 = fake.client("ec2", HOME)
    theirs = ec2.run_instances(
        ImageId=ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"],
        InstanceType="t3.micro", MinCount=1, MaxCount=1, Placement={"AvailabilityZone": "us-west-2a"},
    )["Instances"][0]["InstanceId"]  # fmt: skip
    fake.post("clock", advance=60)
    data = next(v["id"] for v in mine.things("volume") if "monday's data" in v["work"])
    ec2.attach_volume(VolumeId=data, InstanceId=theirs, Device="/dev/sdz")
    mine.want("blue", Goal.PARKED, want=WANT)
    asked = mine.settle()
    assert asked is not None
    assert DATA in asked.what
    mine.want("blue", Goal.PARKED, want=WANT, fresh=True)
    while not any(i["tags"].get("hotdesk:verified") for i in mine.things("image")):
        mine.time.sleep(mine.reconciler.tick({"blue"}).seconds or 0.0)
    assert len(mine.things("snapshot")) == 1
    ec2.terminate_instances(InstanceIds=[theirs])
    mine.time.sleep(60.0)
    [disk] = mine.aws.survey().disks
    assert disk.id.endswith(data), "known by what the image lacks"
    assert mine.settle() is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.on_devices() == {ROOT: ["monday"], DATA: ["monday's data"]}


def alike(fake: FakeEc2) -> str:
    """An image with two disks that come empty: nothing tells them apart later."""
    ec2 = fake.client("ec2", HOME)
    [theirs] = ec2.describe_images(ImageIds=[TWO_DISKS])["Images"]
    root = theirs["BlockDeviceMappings"][0]
    more = [{"DeviceName": f"/dev/sd{x}", "Ebs": {"VolumeSize": 50}} for x in "fg"]
    copied = ec2.copy_snapshot(
        SourceRegion=HOME, SourceSnapshotId=root["Ebs"]["SnapshotId"],
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "hotdesk", "Value": "1"}]}],
    )["SnapshotId"]  # fmt: skip
    fake.post("clock", advance=600)
    made = ec2.register_image(
        Name="alike", Architecture="x86_64", RootDeviceName=ROOT, VirtualizationType="hvm", BootMode="uefi",
        BlockDeviceMappings=[{"DeviceName": ROOT, "Ebs": {"SnapshotId": copied}}, *more],
    )  # fmt: skip
    fake.post("clock", advance=600)
    return str(made["ImageId"])


def test_disks_that_cannot_be_told_apart_stay_a_question(fake: FakeEc2, tmp_path: Path) -> None:
    """1. Spot is refused, before anything is made. 2. On demand, terminated in the console: asked about."""
    image = alike(fake)
    mine = Laptop(fake, tmp_path)
    order = LaunchOrder(
        desk="blue", born=1.0, generation=1, attempt=0, offer=SPOT[0], base_image=image, disk_gib=65
    )
    with pytest.raises(Refused, match="cannot be told apart") as no:
        mine.aws.launch(order)
    assert no.value.kind is Kind.UNSUPPORTED
    mine.want("blue", Goal.RUNNING, want=Want(image=image))
    assert mine.settle() is None
    [machine] = mine.machines()
    fake.post("console", id=machine["id"], do="terminate")
    mine.time.sleep(60.0)
    mine.want("blue", Goal.PARKED)
    asked = mine.settle()
    assert asked is not None
    assert all(disk in asked.what for disk in machine["disks"])
    assert len(mine.things("volume")) == 3
    mine.want("blue", Goal.GONE)
    assert mine.settle() is None
    assert mine.things("volume") == []


# ---- the tag -----------------------------------------------------------------------------------------


def volume(bare: str, snapshot: str, parts: str, name: str = "hotdesk-blue-g1") -> dict[str, Any]:
    told = [{"Key": "hotdesk:name", "Value": name}, {"Key": "hotdesk:parts", "Value": parts}]
    return {"VolumeId": bare, "SnapshotId": snapshot, "Tags": told}


def test_the_devices_are_read_back_as_they_were_written() -> None:
    made_from = {ROOT: "snap-0a", DATA: "snap-0b", "/dev/sdg": ""}
    parts = disks.written(made_from)
    assert disks.devices({"parts": parts}) == made_from
    assert disks.tells_apart(parts)
    assert [disks.device_of(volume("vol-1", snap, parts)) for snap in made_from.values()] == [*made_from]
    assert disks.device_of(volume("vol-1", "snap-0c", parts)) == ""
    assert disks.devices({}) == {}


def test_what_a_tag_does_not_hold_is_not_written() -> None:
    many = {f"/dev/sd{letter}": f"snap-0123456789abcdef{letter}" for letter in "abcdefghijkl"}
    assert disks.written(many) == ""
    assert not disks.tells_apart("")
    few = dict([*many.items()][:8])
    assert disks.tells_apart(disks.written(few))


def test_equal_disks_are_each_by_themselves() -> None:
    parts = disks.written({ROOT: "snap-0a", DATA: "", "/dev/sdg": ""})
    assert not disks.tells_apart(parts)
    volumes = [volume("vol-1", "snap-0a", parts), volume("vol-2", "", parts), volume("vol-3", "", parts)]
    assert disks.by_machine(volumes) == [{ROOT: volumes[0]}, {"": volumes[1]}, {"": volumes[2]}]
    other = volume("vol-4", "snap-0a", parts, name="hotdesk-blue-g1-another")
    assert disks.by_machine([volumes[0], other]) == [{ROOT: volumes[0]}, {ROOT: other}]
