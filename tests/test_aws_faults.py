"""Our own lines, broken on purpose: each fault must be noticed by a story, or the line lacks a reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Unreachable
from hotdesk.core.model import Goal, Market, Want
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.providers.aws import disks, exposure, images, instances, inventory, network
from hotdesk.providers.aws import errors as words
from hotdesk.providers.aws import survey as surveying
from hotdesk.providers.aws.provider import Aws
from hotdesk.providers.aws.settings import Settings
from hotdesk.providers.cloud import hostkeys
from hotdesk.providers.cloud.caller import Computer
from tests.aws_desk import HOME, TWO_DISKS, Laptop, offer, quick

pytest.importorskip("moto", reason="moto is not installed")

SPOT = (offer(market=Market.SPOT),)
TWO = (offer(), offer(zone="us-west-2b"))
Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> FakeEc2:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    return server


# ---- stories -----------------------------------------------------------------------------------------


def laptop(fake: FakeEc2, folder: Path, **more: Any) -> Laptop:
    return Laptop(fake, folder, **more)


def launched_twice(fake: FakeEc2, folder: Path) -> None:
    """1. An order is sent. 2. Its machine is not listed yet. 3. The same order is sent again: one machine."""
    fake_again(fake, lag_seconds=20.0)
    mine = laptop(fake, folder)
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer())
    first = mine.aws.launch(order)
    assert mine.aws.survey().instances == ()
    assert mine.aws.launch(order) == first
    assert len(mine.machines()) == 1


def baked_twice(fake: FakeEc2, folder: Path) -> None:
    """1. A disk that was left is baked. 2. The answer is lost, and it is baked again: one snapshot."""
    mine = laptop(fake, folder, offers=SPOT)
    assert mine.do(Goal.RUNNING) is None
    fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    [disk] = mine.aws.survey().disks
    order = BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=0, source_id=disk.id, started_at=1.0, region=HOME
    )
    assert mine.aws.bake(order) == mine.aws.bake(order)
    assert len(mine.things("snapshot")) == 1


def interrupted(fake: FakeEc2, folder: Path) -> None:
    """1. A spot machine is taken back. 2. Its work is on the next."""
    mine = laptop(fake, folder, offers=SPOT)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    assert mine.do(Goal.RUNNING) is None


def taken_back_with_two_disks(fake: FakeEc2, folder: Path) -> None:
    """1. A spot machine with two disks is taken back. 2. Each is where it was, on the next."""
    mine = laptop(fake, folder, offers=SPOT)
    assert mine.do(Goal.RUNNING, want=Want(image=TWO_DISKS)) is None
    mine.work("monday")
    mine.work("monday's data", device="/dev/sdf")
    fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    assert mine.do(Goal.RUNNING) is None
    assert mine.on_devices() == {"/dev/sda1": ["monday"], "/dev/sdf": ["monday's data"]}


def parked_on_spot(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder, offers=SPOT)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None


def parked(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    mine.work("tuesday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.GONE) is None


def parked_in_a_short_disk(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    fake.post("spoil", action="CreateImage", how="missing-disk")
    assert mine.do(Goal.PARKED) is None


def sold_out(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder, offers=TWO)
    fake.post("capacity", zone="us-west-2a", type="*", market="*", free=0)
    assert mine.do(Goal.RUNNING) is None
    assert mine.machines()[0]["zone"] == "us-west-2b"


def one_region_silent(fake: FakeEc2, folder: Path) -> None:
    """1. up. 2. The region does not answer for a while, and up is asked again. 3. Still one machine."""
    fake_again(fake, regions=(HOME, "us-east-1"))
    mine = laptop(fake, folder, offers=(offer(zone="us-east-1b"), *TWO))
    assert mine.do(Goal.RUNNING) is None
    fake.post("lose", action="*", region="us-east-1", when="before", times=60)
    mine.want("blue", Goal.RUNNING, TWO)
    assert mine.settle() is None
    assert len(mine.machines()) == 1


def another_computer_moved(fake: FakeEc2, folder: Path) -> None:
    """1. up from a café. 2. At home the address is another; the desk must be reachable all the same."""
    cafe = laptop(fake, folder, settings=Settings(address="203.0.113.7/32", lag_seconds=0.0))
    cafe.want("blue", Goal.RUNNING)
    with pytest.raises(AssertionError, match="does not let this computer in"):
        cafe.settle()
    home = laptop(fake, folder)
    assert home.settle() is None
    assert home.admitted(home.machines()[0]) == ["127.0.0.1/32"]


def woken_and_parked_again(fake: FakeEc2, folder: Path) -> None:
    """1. park is cut off once the image is there. 2. Somebody wakes the machine and works. 3. park again."""
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    fake.post("refuse", action="TerminateInstances", code="OperationNotPermitted", times=1)
    assert mine.do(Goal.PARKED) is not None
    assert mine.do(Goal.RUNNING) is None
    mine.work("after the image")
    assert mine.do(Goal.PARKED) is None


def moved_within_the_zone(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", gpu="A10G"),), move=True) is None
    assert mine.machines()[0]["type"] == "g5.xlarge"


def everything_goes(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.GONE) is None
    mine.gc()
    assert [t for t in mine.things() if t["kind"] in {"key-pair", "security-group"}] == []


def opened_beside_another(fake: FakeEc2, folder: Path) -> None:
    """1. two desks; 2. one is opened: the other is not; 3. it is parked, and nothing is left; 4. private."""
    mine = laptop(fake, folder)
    for name in ("green", "blue"):
        assert mine.do(Goal.RUNNING, name=name) is None
    mine.publish()
    assert [mine.reached_by("127.0.0.1", name=name) for name in ("blue", "green")] == [["127.0.0.1"], []]
    assert mine.do(Goal.PARKED) is None
    assert mine.groups() == ["hotdesk"]
    mine.publish("green")
    mine.publish("green", to="")
    assert mine.reached_by("127.0.0.1", name="green") == []
    assert mine.groups() == ["hotdesk"]


def two_of_one_name(fake: FakeEc2, folder: Path) -> None:
    """Two laptops whose host names are equal connect by turns, each from its own address."""
    one = laptop(fake, folder)
    assert one.do(Goal.RUNNING) is None
    other = laptop(fake, folder / "other", settings=Settings(address="203.0.113.7/32", lag_seconds=0.0))
    for each in (other, one):
        each.crash()
        [machine] = each.aws.survey().instances
        each.aws.access(machine)
    assert one.reached_by("127.0.0.1", "203.0.113.7", port=22) == ["127.0.0.1", "203.0.113.7"]


def only_the_callers_address(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    assert mine.admitted(mine.machines()[0]) == ["127.0.0.1/32"]


def as_safe_as_it_should_be(fake: FakeEc2, folder: Path) -> None:
    mine = laptop(fake, folder)
    assert mine.do(Goal.RUNNING) is None
    ec2 = fake.client("ec2", HOME)
    [machine] = ec2.describe_instances()["Reservations"][0]["Instances"]
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert len(ec2.describe_volumes()["Volumes"]) == 1
    assert all(v["Encrypted"] for v in ec2.describe_volumes()["Volumes"])
    assert all(v["VolumeType"] == "gp3" for v in ec2.describe_volumes()["Volumes"])


def fake_again(fake: FakeEc2, **more: Any) -> None:
    with quick(fake, **more):
        pass


# ---- faults ------------------------------------------------------------------------------------------


def _request(change: Callable[[dict[str, Any]], None]) -> Break:
    def broken(patch: pytest.MonkeyPatch) -> None:
        real = instances.run_request

        def request(*args: Any, **more: Any) -> dict[str, Any]:
            made = real(*args, **more)
            change(made)
            return made

        patch.setattr(instances, "run_request", request)

    return broken


def _without_a_token(request: dict[str, Any]) -> None:
    del request["ClientToken"]  # botocore then makes a random one


def _disks_go_with_the_machine(request: dict[str, Any]) -> None:
    for disk in request["BlockDeviceMappings"]:
        disk["Ebs"]["DeleteOnTermination"] = True


def _untagged_disks(request: dict[str, Any]) -> None:
    request["TagSpecifications"] = [s for s in request["TagSpecifications"] if s["ResourceType"] != "volume"]


def _old_metadata(request: dict[str, Any]) -> None:
    request["MetadataOptions"]["HttpTokens"] = "optional"


def _plain_disks(request: dict[str, Any]) -> None:
    for disk in request["BlockDeviceMappings"]:
        disk["Ebs"]["Encrypted"] = False


def _the_usual_device(request: dict[str, Any]) -> None:
    request["BlockDeviceMappings"][0]["DeviceName"] = "/dev/xvda"


def _verified_unseen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        images,
        "verify",
        lambda account, image_id: account.ec2_once(HOME).create_tags(
            Resources=[image_id.partition("/")[2]], Tags=[{"Key": "hotdesk:verified", "Value": "1"}]
        ),
    )


def _disk_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    real = instances.end
    patch.setattr(instances, "end", lambda *args, keep_disk: real(*args, keep_disk=False))


def _snapshot_without_looking(patch: pytest.MonkeyPatch) -> None:
    real = images.all_of

    def blind(*calls: Any) -> list[Any]:
        volumes, *_ = real(*calls)
        return [volumes, [], []] if len(calls) == 3 else real(*calls)

    patch.setattr(images, "all_of", blind)


def _the_root_disk_alone(patch: pytest.MonkeyPatch) -> None:
    def alone(account: Any, region: str, volume: Any) -> dict[str, Any]:
        return {"/dev/sda1": volume}

    patch.setattr(images, "_of_one_machine", alone)
    patch.setattr(Aws, "bake", lambda self, order: images.bake(self.account, order))


def _one_disk_for_the_other(patch: pytest.MonkeyPatch) -> None:
    real = images._snapshot
    other = {"/dev/sda1": "/dev/sdf", "/dev/sdf": "/dev/sda1"}

    def swapped(account: Any, region: str, device: str, volume: Any, made: Any) -> str:
        return real(account, region, other[device], volume, made)

    patch.setattr(images, "_snapshot", swapped)


def _nothing_written_down_of_disks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disks, "written", lambda made_from: "")


def _each_disk_by_itself(patch: pytest.MonkeyPatch) -> None:
    real = surveying.by_machine

    def each(volumes: Any) -> Any:
        return [{device: disk} for left in real(volumes) for device, disk in left.items()]

    patch.setattr(surveying, "by_machine", each)


def _disks_not_surveyed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(surveying, "_disks", lambda *args: [])


def _silence_is_emptiness(patch: pytest.MonkeyPatch) -> None:
    real = inventory.look
    patch.setattr(inventory, "look", lambda *args: (real(*args)[0], []))


def _sold_out_is_a_mystery(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(words.CODES, "InsufficientInstanceCapacity")


def _never_lets_anybody_in_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Aws, "_admit", lambda self, region, desk, raw: None)


def _one_group_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exposure, "group_name", lambda desk: network.GROUP)


def _own_groups_are_nobodys(patch: pytest.MonkeyPatch) -> None:
    real = surveying._groups
    patch.setattr(surveying, "_groups", lambda found: [t for t in real(found) if not t.desk])


def _named_by_the_host(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Computer, "name", property(lambda self: self.host))


def _open_to_the_world(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network, "callers_address", lambda account, region: "0.0.0.0/0")


def _image_is_always_fresh(patch: pytest.MonkeyPatch) -> None:
    real = surveying.image_of

    def fresh(*args: Any) -> Any:
        from msgspec.structs import replace

        image = real(*args)
        return replace(image, taken_at=4e9, started_at=None) if image else None

    patch.setattr(surveying, "image_of", fresh)


def _keys_are_nobodys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(surveying, "_keys", lambda found: [])


def _groups_are_nobodys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(surveying, "_leftovers", lambda *args: [])


def _moved_before_it_is(patch: pytest.MonkeyPatch) -> None:
    def only_said(account: Any, region: str, bare: str, offer: Any, generation: int) -> None:
        told = [{"Key": "hotdesk:moved", "Value": str(generation)}]
        account.ec2_once(region).create_tags(Resources=[bare], Tags=told)

    patch.setattr(instances, "retype", only_said)


def _first_key_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(instances, "host_keys", lambda *args: ["ssh-ed25519 AAAAsomebodyelse"])


def _half_a_key_is_believed(patch: pytest.MonkeyPatch) -> None:
    def careless(text: str) -> list[str]:
        return re.findall(r"ssh-ed25519 AAAA[A-Za-z0-9+/=]+", text)[-1:]

    patch.setattr(hostkeys, "on_console", careless)


FAULTS: dict[str, tuple[Break, Callable[[FakeEc2, Path], None]]] = {
    "a random token for each launch": (_request(_without_a_token), launched_twice),
    "disks deleted with their machine": (_request(_disks_go_with_the_machine), interrupted),
    "disks without tags": (_request(_untagged_disks), interrupted),
    "metadata without a token": (_request(_old_metadata), as_safe_as_it_should_be),
    "disks that are not encrypted": (_request(_plain_disks), as_safe_as_it_should_be),
    "a root device that is assumed": (_request(_the_usual_device), as_safe_as_it_should_be),
    "an image is marked without being read": (_verified_unseen, parked_in_a_short_disk),
    "the disk of a spot machine is not kept": (_disk_is_not_kept, parked_on_spot),
    "a snapshot without looking for one first": (_snapshot_without_looking, baked_twice),
    "of two disks, the image is of the one": (_the_root_disk_alone, taken_back_with_two_disks),
    "of two disks, each is taken for the other": (_one_disk_for_the_other, taken_back_with_two_disks),
    "nobody wrote down which disk is which": (_nothing_written_down_of_disks, taken_back_with_two_disks),
    "two disks of one machine are seen as of two": (_each_disk_by_itself, taken_back_with_two_disks),
    "disks are left out of the survey": (_disks_not_surveyed, interrupted),
    "a silent region is taken for an empty one": (_silence_is_emptiness, one_region_silent),
    "sold out is not known to be definite": (_sold_out_is_a_mystery, sold_out),
    "the new address is not let in": (_never_lets_anybody_in_again, another_computer_moved),
    "the group is open to everybody": (_open_to_the_world, only_the_callers_address),
    "one group opens all desks": (_one_group_for_all, opened_beside_another),
    "the group of a desk that was opened is left behind": (_own_groups_are_nobodys, opened_beside_another),
    "a computer is known by its host name": (_named_by_the_host, two_of_one_name),
    "an old image counts as the newest work": (_image_is_always_fresh, woken_and_parked_again),
    "key pairs are left behind": (_keys_are_nobodys, everything_goes),
    "the security group is left behind": (_groups_are_nobodys, everything_goes),
    "a machine says that it was moved, and was not": (_moved_before_it_is, moved_within_the_zone),
    "any host key is pinned": (_first_key_is_believed, parked),
    "half a host key is pinned": (_half_a_key_is_believed, parked),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_noticed(
    fake: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    broken, story = FAULTS[fault]
    with quick(fake), monkeypatch.context() as patch:
        broken(patch)
        with pytest.raises(
            (AssertionError, Unreachable)
        ):  # a story that nobody gives up is given up in the end
            story(fake, tmp_path)


@pytest.mark.parametrize("story", sorted({story for _, story in FAULTS.values()}, key=lambda s: s.__name__))
def test_without_the_fault_the_story_ends_well(
    fake: FakeEc2, tmp_path: Path, story: Callable[[FakeEc2, Path], None]
) -> None:
    with quick(fake):
        story(fake, tmp_path)


def test_every_kind_of_no_has_a_code() -> None:
    assert {Kind.NO_CAPACITY, Kind.QUOTA, Kind.UNSUPPORTED, Kind.DENIED, Kind.THROTTLED, Kind.NOT_READY} <= {
        *words.CODES.values()
    }
