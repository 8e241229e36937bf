"""What EC2 refuses, or shows late, and a fake that is too kind would hide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aws import errors, instances, inventory, network
from tests.aws_desk import HOME, Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")


def order(**more: Any) -> LaunchOrder:
    return LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer(), **more)


def test_a_launch_whose_answer_was_lost_and_whose_machine_has_ended_is_made_anew(
    fake: FakeEc2, tmp_path: Path
) -> None:
    """1. up; the answer is lost. 2. The machine ends, with its disk and its tags, before anybody looks.
    3. Its token is refused for ever, so the next attempt has another: one machine, and not a question."""
    fake.post("lose", action="RunInstances", when="after")
    fake.post("lag", instance=20.0)
    fake.post("clock", durations={"untag": 0.0, "shutting-down": 0.0})
    mine = Laptop(fake, tmp_path, lag_seconds=30.0)
    ended: list[str] = []

    def ends() -> None:
        for machine in mine.things("instance"):
            if not ended:
                ended.append(machine["id"])
                fake.post("console", id=machine["id"], do="terminate")
        for disk in mine.things("volume"):
            if disk["state"] == "available":
                fake.post("console", id=disk["id"], do="delete")
        mine.machines_boot()

    mine.time.while_asleep = ends
    assert mine.do(Goal.RUNNING) is None
    assert len({m["id"] for m in mine.machines()} - {*ended}) == 1
    codes = [call["code"] for call in fake.get("log", action="RunInstances")]
    assert codes == [None, "IdempotentInstanceTerminated", None]


def test_the_token_of_a_machine_that_has_ended_is_a_name_that_is_used_up(
    fake: FakeEc2, tmp_path: Path
) -> None:
    mine = Laptop(fake, tmp_path)
    made = mine.aws.launch(order())
    mine.time.sleep(30.0)
    mine.aws.delete(made)
    mine.time.sleep(30.0)
    with pytest.raises(Refused) as no:
        mine.aws.launch(order())
    assert (no.value.kind, no.value.seconds) == (Kind.MISMATCH, 0.0)


def test_a_machine_whose_disks_are_not_attached_yet_is_not_ended_without_them(
    fake: FakeEc2, tmp_path: Path
) -> None:
    mine = Laptop(fake, tmp_path)
    made = mine.aws.launch(order())
    with pytest.raises(Refused, match="its disks are not attached yet") as no:
        mine.aws.delete(made)
    assert no.value.kind is Kind.NOT_READY
    mine.time.sleep(30.0)
    mine.aws.delete(made)
    mine.time.sleep(60.0)
    assert [t["id"] for t in mine.things("volume")] == []


@pytest.mark.parametrize("seconds", [10.0, 600.0])  # of the fake's own, times its pace
def test_what_was_deleted_and_is_still_listed_is_neither_shown_nor_deleted_again(
    fake: FakeEc2, tmp_path: Path, seconds: float
) -> None:
    """1. up, parked: its image has a snapshot, its disk is deleted. 2. down. Each is deleted once."""
    fake.post("clock", durations={"linger": seconds})
    mine = Laptop(fake, tmp_path)
    for goal in (Goal.RUNNING, Goal.PARKED, Goal.GONE):
        assert mine.do(goal) is None
    seen = mine.aws.survey()
    assert not [*seen.images, *seen.disks, *(x for x in seen.leftovers if x.kind == "snapshot")]
    for action in ("DeleteVolume", "DeregisterImage", "DeleteSnapshot"):
        calls = fake.get("log", action=action)
        assert {call["code"] for call in calls} <= {None}, f"{action} of what is no more"
        asked = [str(call["params"]) for call in calls]
        assert len(asked) == len({*asked}), f"{action} was asked for twice: {asked}"


def test_more_leftovers_than_a_filter_takes(fake: FakeEc2, tmp_path: Path) -> None:
    """250 snapshots of ours whose images are gone, and a disk that somebody made of the last of them."""
    ec2 = fake.client("ec2", HOME)
    tags = [{"Key": "hotdesk", "Value": "1"}, {"Key": "hotdesk:desk", "Value": "blue"}]
    volume = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1)["VolumeId"]
    fake.post("clock", advance=60)
    made = [
        ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])[
            "SnapshotId"
        ]
        for _ in range(250)
    ]
    fake.post("clock", advance=600)
    disk = ec2.create_volume(AvailabilityZone=f"{HOME}a", SnapshotId=max(made))["VolumeId"]
    fake.post("clock", advance=60)
    mine = Laptop(fake, tmp_path)
    found, unread = mine.aws.sweep(mine.aws.survey())
    assert unread == []
    assert [left.id for left in found if left.kind == "disk"] == [f"{HOME}/{disk}"]


# ---- deliberate faults: each of these lines, broken on purpose, is noticed -------------------------------


def _listed_is_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inventory, "LINGERS_SECONDS", 0.0)


def _ended_without_its_disks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(instances, "_with_its_disks", instances.describe)


def _any_other_no(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(errors.CODES, "IdempotentInstanceTerminated")


def _an_apostrophe(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(network.ensure_group.__kwdefaults__, "said", "ssh from the desks' owners only")


def _lingering(fake: FakeEc2, folder: Path) -> None:
    test_what_was_deleted_and_is_still_listed_is_neither_shown_nor_deleted_again(fake, folder, 600.0)


def _up(fake: FakeEc2, folder: Path) -> None:
    assert Laptop(fake, folder).do(Goal.RUNNING) is None


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Callable[[FakeEc2, Path], None]]] = {
    "what is listed is there": (_listed_is_there, _lingering),
    "a starting machine is ended without its disks": (
        _ended_without_its_disks,
        test_a_machine_whose_disks_are_not_attached_yet_is_not_ended_without_them,
    ),
    "a used-up token is any other no": (
        _any_other_no,
        test_a_launch_whose_answer_was_lost_and_whose_machine_has_ended_is_made_anew,
    ),
    "an apostrophe in a description": (_an_apostrophe, _up),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_noticed(
    fake: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    broken, story = FAULTS[fault]
    with monkeypatch.context() as patch:
        broken(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            story(fake, tmp_path)
