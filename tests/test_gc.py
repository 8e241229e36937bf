"""What is left over: found, priced, and deleted only where nothing can be lost."""

from __future__ import annotations

import cProfile
import json
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.core.lifecycle.descent import mark
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Leftover, Phase, Survey
from hotdesk.services.orphans import things
from tests.conftest import Command


def image(id_: str, desk: str = "blue", generation: int = 1, **more: object) -> Image:
    return Image(id=id_, name=id_, desk=desk, generation=generation, phase=Phase.READY, provider="sim",
                 region="r1", taken_at=1000.0 * generation, usd_per_month=2.0, verified=True, **more)  # type: ignore[arg-type]  # fmt: skip


def survey(**kinds: object) -> Survey:
    return Survey(provider="sim", **kinds)  # type: ignore[arg-type]


def test_an_older_image_may_go_and_the_newest_may_not() -> None:
    old = image("old", machine="blue-g1-aa", started_at=900.0, line=())
    new = image("new", generation=2, machine="blue-g2-bb", started_at=1900.0, line=(mark(old),))
    found = things(survey(images=(old, new)), [], 10_000.0)
    assert [(t.id, t.safe, t.usd_per_month, t.age_seconds) for t in found] == [
        ("old", True, 2.0, 9000.0),
        ("new", False, 2.0, 8000.0),
    ]
    assert "resume blue" in found[1].fix


def test_never_the_last_copy() -> None:
    """An unverified newer image is no reason to let a verified one go."""
    newer = Image(id="newer", name="newer", desk="blue", generation=2, phase=Phase.READY, provider="sim",
                  region="r1", taken_at=5000.0)  # fmt: skip
    found = things(survey(images=(image("whole"), newer)), [], 10_000.0)
    assert not [t for t in found if t.safe]
    disk = Disk(id="d", desk="green", generation=3, phase=Phase.READY, provider="sim", region="r1")
    assert not [t for t in things(survey(disks=(disk,)), [], 1e4) if t.safe]


def test_a_running_machine_may_be_another_computers() -> None:
    machine = Instance(id="i-1", name="n", desk="blue", generation=1, phase=Phase.READY, provider="sim",
                       region="r1", zone="r1a", instance_type="t", usd_per_hour=1.0)  # fmt: skip
    [thing] = things(survey(instances=(machine,)), [], 1e4)
    assert (thing.kind, thing.safe, thing.usd_per_month) == ("machine", False, 730.0)


def test_known_desks_are_left_to_the_planner_and_leftovers_go() -> None:
    desk = Desk(name="blue", goal=Goal.PARKED, since=0, created_at=0)
    left = Leftover(id="sg-1", kind="security group", provider="sim", region="r1", desk="gone", why="unused")
    found = things(survey(images=(image("old"), image("new", generation=2)), leftovers=(left,)), [desk], 1e4)
    assert [(t.id, t.kind, t.safe, t.why) for t in found] == [("sg-1", "security group", True, "unused")]


def test_what_many_things_cost_to_judge_grows_with_their_number() -> None:
    """Counted in calls of functions, which are the same on a busy computer."""

    def calls(number: int) -> int:
        many = tuple(image(f"m{n}", desk=f"d{n // 7}", generation=1 + n % 7) for n in range(number))
        profile = cProfile.Profile()
        found = profile.runcall(things, survey(images=many), [], 1e5)
        assert len(found) == number
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(2000) < 5 * calls(500)


def test_the_command_shows_first_and_deletes_only_when_told(hotdesk: Command, tmp_path: Path) -> None:
    assert "Nothing is left over" in hotdesk("gc").stdout
    half = tmp_path / "state" / "local" / "machines" / "hotdesk-gone-g1-12345678"
    half.mkdir(parents=True)
    [thing] = json.loads(hotdesk("gc", "--json").stdout)["things"]
    assert (thing["kind"], thing["safe"], thing["deleted"]) == ("half-made machine", True, False)
    assert "hotdesk gc --yes" in hotdesk("gc").stdout
    assert half.exists()
    done = hotdesk("gc", "--yes")
    assert "1 of 1 deleted." in done.stdout, done.stderr
    log = json.loads(hotdesk("log", "gone", "--json").stdout)
    assert [r["step"] for r in log] == ["delete"]


# ---- a crowded account ---------------------------------------------------------------------------------


@pytest.fixture
def crowded(home: Path, fake: FakeEc2) -> FakeEc2:
    from tests.aws_desk import HOME

    fake.post("crowd", regions=[HOME], count=6)
    return fake


def test_everything_of_ours_that_is_left_and_nothing_of_theirs(crowded: object, home: Path) -> None:
    """A crowded account: things with our tag of every kind, what descends from them, and look-alikes."""
    from tests.aws_desk import HOME

    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\nregions = ["us-west-2"]\n')
    ec2 = crowded.client("ec2", HOME)  # type: ignore[attr-defined]

    def tagged(kind: str, *tags: tuple[str, str]) -> list[dict[str, object]]:
        return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags]}]

    ours = (("hotdesk", "1"), ("hotdesk:desk", "old"), ("hotdesk:name", "hotdesk-old-g1"))
    base = next(i["ImageId"] for i in ec2.describe_images(Owners=["099720109477"])["Images"]
                if i["Architecture"] == "x86_64")  # fmt: skip

    def machine(spot: str, *tags: tuple[str, str]) -> str:
        options = {"SpotInstanceType": spot, "InstanceInterruptionBehavior": "stop"}
        market = {"MarketType": "spot", "SpotOptions": options}
        made = ec2.run_instances(
            ImageId=base, InstanceType="t3.micro", MinCount=1, MaxCount=1,
            InstanceMarketOptions=market if spot else {},
            TagSpecifications=[*tagged("instance", *tags), *tagged("spot-instances-request", *tags)]
            if spot else tagged("instance", *tags),
        ) if spot else ec2.run_instances(
            ImageId=base, InstanceType="t3.micro", MinCount=1, MaxCount=1,
            TagSpecifications=tagged("instance", *tags),
        )  # fmt: skip
        return str(made["Instances"][0]["InstanceId"])

    alive = machine("", *ours)
    again = machine("persistent", ("hotdesk", "1"), ("hotdesk:desk", "spotty"))
    crowded.post("clock", advance=300)  # type: ignore[attr-defined]
    address = ec2.allocate_address(TagSpecifications=tagged("elastic-ip", *ours))["AllocationId"]
    template = ec2.create_launch_template(
        LaunchTemplateName="hotdesk-old", LaunchTemplateData={"InstanceType": "t3.micro"},
        TagSpecifications=tagged("launch-template", *ours),
    )["LaunchTemplate"]["LaunchTemplateId"]  # fmt: skip
    image = ec2.create_image(InstanceId=alive, Name="by hand")[
        "ImageId"
    ]  # no tag: only its description tells
    crowded.post("clock", advance=900)  # type: ignore[attr-defined]
    [snapshot] = [m["Ebs"]["SnapshotId"] for m in ec2.describe_images(ImageIds=[image])["Images"][0]
                  ["BlockDeviceMappings"] if "Ebs" in m]  # fmt: skip
    ec2.deregister_image(ImageId=image)
    disk = ec2.create_volume(AvailabilityZone=f"{HOME}a", SnapshotId=snapshot, VolumeType="gp3")["VolumeId"]
    # Look-alikes: other values of the mark, other spellings, our names, our desk's name without the mark.
    theirs = [
        ec2.allocate_address(TagSpecifications=tagged("elastic-ip", ("hotdesk", "0")))["AllocationId"],
        ec2.allocate_address(TagSpecifications=tagged("elastic-ip", ("Hotdesk", "1")))["AllocationId"],
        ec2.allocate_address(TagSpecifications=tagged("elastic-ip", ("hotdesk:desk", "old")))["AllocationId"],
        ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=9, VolumeType="gp3",
                          TagSpecifications=tagged("volume", ("Name", "hotdesk-old-g1")))["VolumeId"],
        ec2.create_volume(AvailabilityZone=f"{HOME}a", SnapshotId=snapshot, VolumeType="gp3",
                          TagSpecifications=tagged("volume", ("owner", "alice")))["VolumeId"],
    ]  # fmt: skip
    crowded.post("clock", advance=300)  # type: ignore[attr-defined]
    with Hotdesk() as desks:
        found, unread = desks.services.cleanup.leftovers()
        assert unread == []
        by = {t.id.partition("/")[2]: t for t in found}
        assert not {*theirs} & by.keys()
        request = next(t for t in found if t.kind == "spot request")
        kinds = {by[i].kind: by[i] for i in (alive, address, template, snapshot, disk)}
        assert kinds.keys() == {"machine", "address", "launch template", "snapshot", "disk"}
        assert (by[address].safe, by[template].safe, request.safe) == (True, True, True)
        assert (by[alive].safe, by[again].safe) == (False, False), "it runs: somebody may be at it"
        assert (by[snapshot].safe, by[disk].safe) == (False, False), (
            "perhaps the last copy of somebody's work"
        )
        assert by[address].usd_per_month == pytest.approx(3.65)
        assert by[disk].usd_per_month > 0
        assert by[disk].age_seconds is not None
        assert all(t.why for t in found)
        before = {r["id"] for r in crowded.get("things")}  # type: ignore[attr-defined]
        done = desks.services.cleanup.delete_leftovers(found)
        assert set(done.values()) == {""}
        gone = before - {r["id"] for r in crowded.get("things")}  # type: ignore[attr-defined]
        assert gone == {address, template}
        left, _ = desks.services.cleanup.leftovers()
        assert not [t for t in left if t.safe]
        assert {*theirs} <= before


def test_other_peoples_things_are_not_even_seen(crowded: object, home: Path) -> None:
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\nregions = ["us-west-2"]\n')
    rows = crowded.get("things")  # type: ignore[attr-defined]
    before = {r["id"] for r in rows if r["crowd"]}
    assert len(before) > 20
    with Hotdesk() as desks:
        found, unread = desks.services.cleanup.leftovers()
        assert (found, unread) == ([], [])
        desks.services.cleanup.delete_leftovers(found)
    assert before <= {r["id"] for r in crowded.get("things")}  # type: ignore[attr-defined]


def test_nothing_here_says_where_to_look(crowded: object, home: Path) -> None:
    """1. A desk on AWS. 2. The state folder is lost, and no hotdesk.toml names the cloud. 3. gc finds it."""
    ours = [{"Key": "hotdesk", "Value": "1"}, {"Key": "hotdesk:desk", "Value": "lost"}]
    disk = crowded.client("ec2", "us-west-2").create_volume(  # type: ignore[attr-defined]
        AvailabilityZone="us-west-2a", Size=500, TagSpecifications=[{"ResourceType": "volume", "Tags": ours}]
    )["VolumeId"]
    crowded.post("clock", advance=300)  # type: ignore[attr-defined]
    assert not (home / "hotdesk.toml").exists()
    with Hotdesk() as desks:
        assert desks.services.clouds.in_use() == {"local"}
        found, _ = desks.services.cleanup.leftovers()
    [thing] = [t for t in found if t.desk == "lost"]
    assert (thing.id, thing.safe, thing.usd_per_month) == (f"us-west-2/{disk}", False, 40.0)
