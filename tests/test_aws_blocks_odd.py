"""A capacity block's end where what is known of it is wrong, old or missing: no desk is parked for that."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.core.lifecycle.ending import LEAVE_SECONDS, SAID_SECONDS
from hotdesk.core.model import Goal
from hotdesk.core.notices import Notify, of_row
from hotdesk.services.notices import Notices
from tests.aws_desk import Laptop
from tests.test_aws_blocks import HOUR, WANT, block, ends_at, sleep_until, there, watch

pytestmark = pytest.mark.slow
BLOCK = "cr-00000000000000000"


def goal(laptop: Laptop) -> Goal:
    return laptop.store.desk("blue").goal


def tag(laptop: Laptop, value: str | None) -> None:
    [machine] = laptop.machines()
    ec2 = laptop.fake.client("ec2", machine["region"])
    if value is None:
        ec2.delete_tags(Resources=[machine["id"]], Tags=[{"Key": "hotdesk:ends"}])
    else:
        ec2.create_tags(Resources=[machine["id"]], Tags=[{"Key": "hotdesk:ends", "Value": value}])
    laptop.crash()


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
def test_an_extended_block_is_not_left_because_one_question_fails(
    fake: FakeEc2, tmp_path: Path, code: str
) -> None:
    """The tag tells of the end as it was; the cloud has told of the later one before."""
    laptop = there(fake, tmp_path)
    ends = ends_at(laptop)
    fake.post("reservation", id=BLOCK, ends=ends + 1800.0 + 24 * HOUR)
    sleep_until(laptop, ends - 3600.0)
    watch(laptop)
    assert ends_at(laptop) > ends + HOUR
    fake.post("refuse", action="DescribeCapacityReservations", code=code, times=100)
    sleep_until(laptop, ends - LEAVE_SECONDS + 60.0)
    laptop.crash()
    watch(laptop)
    assert goal(laptop) is Goal.RUNNING
    [machine] = laptop.aws.survey().instances
    assert machine.usd_per_hour == 0.0, "it is paid for as before"


def test_a_machine_that_runs_after_its_end_was_not_ended(fake: FakeEc2, tmp_path: Path) -> None:
    """The block was extended, and these credentials may not ask."""
    laptop = there(fake, tmp_path)
    ends = ends_at(laptop)
    fake.post("reservation", id=BLOCK, ends=ends + 1800.0 + 24 * HOUR)
    fake.post("refuse", action="DescribeCapacityReservations", code="UnauthorizedOperation", times=1000)
    sleep_until(laptop, ends + 3 * HOUR)
    laptop.crash()
    laptop.aws.account.recalled.drop("reserved")
    watch(laptop)
    assert goal(laptop) is Goal.RUNNING
    assert laptop.do(Goal.RUNNING) is None


@pytest.mark.parametrize("value", ["1", "-5", "nan", "soon", "1e300", ""])
def test_a_damaged_tag_parks_nothing_and_asks_nothing(fake: FakeEc2, tmp_path: Path, value: str) -> None:
    laptop = there(fake, tmp_path)
    fake.post("refuse", action="DescribeCapacityReservations", code="UnauthorizedOperation", times=1000)
    tag(laptop, value)
    laptop.aws.account.recalled.drop("reserved")
    watch(laptop)
    assert goal(laptop) is Goal.RUNNING
    assert laptop.do(Goal.RUNNING) is None


def test_without_the_tag_nothing_is_paid_for_elsewhere_after_the_end(fake: FakeEc2, tmp_path: Path) -> None:
    """It is in this computer's journal when the machine was to be ended."""
    laptop = there(fake, tmp_path)
    ends = ends_at(laptop)
    tag(laptop, None)
    sleep_until(laptop, ends + HOUR - 600.0)
    watch(laptop)
    assert goal(laptop) is Goal.PARKED
    laptop.check("blue", Goal.PARKED)


def test_a_machine_that_was_moved_out_of_its_block_is_not_left(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    ends = ends_at(laptop)
    [machine] = laptop.machines()
    fake.post("machine", id=machine["id"], unreserved=True)
    laptop.crash()
    assert ends_at(laptop) == 0.0
    sleep_until(laptop, ends - LEAVE_SECONDS + 60.0)
    watch(laptop)
    assert goal(laptop) is Goal.RUNNING


def test_what_another_computer_has_saved_is_not_launched_elsewhere(fake: FakeEc2, tmp_path: Path) -> None:
    """1. The laptop sleeps over the end. 2. Another computer saves the desk. 3. The laptop wakes."""
    laptop = there(fake, tmp_path / "one")
    ends = ends_at(laptop)
    sleep_until(laptop, ends + 300.0)
    other = Laptop(fake, tmp_path / "two")
    assert other.do(Goal.PARKED) is None
    laptop.time.at = other.time.at
    sleep_until(laptop, ends + 3 * HOUR)
    laptop.crash()
    watch(laptop)
    assert laptop.machines() == []
    assert goal(laptop) is Goal.PARKED


def test_an_end_that_was_put_off_is_announced_when_it_comes(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    ends = ends_at(laptop)
    later = ends + 24 * HOUR
    fake.post("reservation", id=BLOCK, ends=later + 1800.0)
    notices = Notices(
        store=laptop.store, clock=laptop.time, settings=Notify(bell=True), hear=lambda access: None,
        reach=lambda desk: None, warn=lambda desk: None, ends=lambda desk: ends_at(laptop),
        on_failed=lambda text: None,
    )  # fmt: skip

    def told() -> int:
        notices.round(["blue"])
        found = [of_row(row) for row in laptop.store.rows("blue")]
        return sum(notice is not None and notice.event == "interruption" for notice in found)

    sleep_until(laptop, ends - SAID_SECONDS + 60.0)
    assert told() == 0
    sleep_until(laptop, later - SAID_SECONDS + 60.0)
    assert (told(), told()) == (1, 1)


def test_who_cannot_be_asked_whose_it_is_launches_as_ever(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = Laptop(fake, tmp_path)
    block(fake)
    fake.post("refuse", action="GetCallerIdentity", code="AccessDenied", times=1000)
    laptop.aws.account.recalled.drop("account/")
    assert [o for o in laptop.aws.offers(WANT) if not o.reservation]
    assert not [o for o in laptop.aws.offers(WANT) if o.reservation]
