"""The end of a capacity block: announced, and left before it comes, with the work saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.core.lifecycle.ending import LEAVE_SECONDS, MOVE_SECONDS, SAID_SECONDS, known_end
from hotdesk.core.model import Goal, Want
from hotdesk.core.notices import Notify, of_row
from hotdesk.core.steps import Stop, Vacate
from hotdesk.loop import watcher
from hotdesk.services.notices import Notices
from tests.aws_desk import Laptop, offer
from tests.boundaries import Boundaries, Enough, first_of_each, worth_a_crash
from tests.test_spot_live import CHANGEOVER, OFFERS, Live

pytestmark = pytest.mark.slow
WANT = Want(instance_type="g4dn.xlarge", regions=("us-west-2",))
HOUR = 3600.0
ELSEWHERE = offer("g5.xlarge", "us-west-2a", gpu="A10G", price=1.0)


def block(fake: FakeEc2, hours: float = 3.0) -> str:
    ends = float(fake.get("clock")["now"]) + hours * HOUR
    return str(fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b", block=True, ends=ends)["id"])


def there(fake: FakeEc2, folder: Path, *at: int) -> Laptop:
    """A desk that works in a capacity block, and could be launched elsewhere for money."""
    laptop = Laptop(fake, folder, Boundaries(*at))
    block(fake)
    [first] = [one for one in laptop.aws.offers(WANT) if one.reservation]
    assert laptop.do(Goal.RUNNING, (first, ELSEWHERE)) is None
    laptop.work("once")
    return laptop


def ends_at(laptop: Laptop) -> float:
    [shown] = laptop.aws.survey().instances
    return shown.ends_at


def sleep_until(laptop: Laptop, at: float) -> None:
    """By our clock, which is five minutes behind the cloud's."""
    while laptop.time.at < at:
        laptop.time.slept = 0.0
        laptop.time.sleep(min(600.0, at - laptop.time.at))
    laptop.time.slept = 0.0


def watch(laptop: Laptop) -> None:
    """What a watcher does until nothing is left to do."""
    while (tick := laptop.reconciler.tick(["blue"])).seconds is not None:
        laptop.time.sleep(tick.seconds)
    laptop.time.slept = 0.0


def test_it_is_known_from_the_launch_and_shown(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    ends = float(fake.get("clock")["now"]) + 3 * HOUR - 1800.0
    assert ends_at(laptop) == pytest.approx(ends, abs=300.0)
    assert known_end(laptop.store.past(laptop.store.desk("blue"))) == pytest.approx(ends_at(laptop), abs=1.0)
    [machine] = laptop.machines()
    assert float(machine["tags"]["hotdesk:ends"]) == pytest.approx(ends_at(laptop), abs=1.0)
    fake.post("refuse", action="DescribeCapacityReservations", code="UnauthorizedOperation")
    laptop.aws.account.recalled.drop("reserved-")
    assert ends_at(laptop) == float(machine["tags"]["hotdesk:ends"]), "its tag tells, to who may not ask"


def test_a_desk_is_parked_before_it_and_nothing_is_launched_elsewhere(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    ends = ends_at(laptop)
    sleep_until(laptop, ends - LEAVE_SECONDS - 60.0)
    watch(laptop)
    laptop.check("blue", Goal.RUNNING)
    sleep_until(laptop, ends - LEAVE_SECONDS + 1.0)
    watch(laptop)
    assert laptop.store.desk("blue").goal is Goal.PARKED
    laptop.check("blue", Goal.PARKED)
    steps = [row.step for row in laptop.store.rows("blue")]
    assert [type(step) for step in steps].count(Vacate) == 1
    assert any(isinstance(step, Stop) for step in steps), "it was stopped in good order, by us"
    launched = [m for m in laptop.things("instance", gone=True) if m["tags"].get("hotdesk:desk") == "blue"]
    assert [m["type"] for m in launched] == ["g4dn.xlarge"]


@pytest.mark.parametrize("listed", [True, False])
def test_where_nobody_looked_it_is_saved_and_not_paid_for_elsewhere(
    fake: FakeEc2, tmp_path: Path, *, listed: bool
) -> None:
    """1. The laptop sleeps over the end. 2. It wakes minutes, or hours, later."""
    laptop = there(fake, tmp_path)
    sleep_until(laptop, ends_at(laptop) + (600.0 if listed else 3 * HOUR))
    watch(laptop)
    laptop.check("blue", Goal.PARKED)
    assert laptop.store.desk("blue").goal is Goal.PARKED


def test_who_wants_it_after_the_end_has_it_elsewhere(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    sleep_until(laptop, ends_at(laptop) + 600.0)
    assert laptop.do(Goal.RUNNING, (ELSEWHERE,)) is None
    [machine] = laptop.machines()
    assert machine["type"] == "g5.xlarge"


def test_who_wants_it_in_its_last_minutes_is_asked(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    sleep_until(laptop, ends_at(laptop) - LEAVE_SECONDS / 2)
    asked = laptop.do(Goal.RUNNING, (ELSEWHERE,))
    assert asked is not None
    assert "The cloud ends the machine of blue at" in asked.what
    assert asked.fix.startswith("hotdesk park blue && hotdesk resume blue")
    assert [m["type"] for m in laptop.machines()] == ["g4dn.xlarge"]
    assert laptop.do(Goal.PARKED) is None
    laptop.check("blue", Goal.PARKED)


def test_a_block_that_was_extended_is_not_left(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    ends, id_ = ends_at(laptop), "cr-00000000000000000"
    fake.post("reservation", id=id_, ends=ends + 1800.0 + 24 * HOUR)
    sleep_until(laptop, ends - 60.0)
    watch(laptop)
    laptop.check("blue", Goal.RUNNING)
    assert ends_at(laptop) == pytest.approx(ends + 24 * HOUR, abs=1.0)
    live = laptop.aws.survey().of("blue").live
    assert live is not None
    assert laptop.aws.access(live).ends_at == live.ends_at, "so the agent there is told"
    sleep_until(laptop, ends + HOUR)
    watch(laptop)
    laptop.check("blue", Goal.RUNNING)


def test_it_is_told_once_an_hour_before(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    notices = Notices(
        store=laptop.store, clock=laptop.time, settings=Notify(bell=True), hear=lambda access: None,
        reach=lambda desk: None, warn=lambda desk: None, ends=lambda desk: ends_at(laptop),
        on_failed=lambda text: None,
    )  # fmt: skip

    def told() -> list[Any]:
        notices.round(["blue"])
        found = [of_row(row) for row in laptop.store.rows("blue")]
        return [notice for notice in found if notice and notice.event == "interruption"]

    assert told() == []
    sleep_until(laptop, ends_at(laptop) - SAID_SECONDS + 1.0)
    told()
    [notice] = told()
    assert notice.title == "the machine of blue is about to be ended"
    assert "its cloud ends the machine at" in notice.text


def test_a_watcher_stays_for_it(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = there(fake, tmp_path)
    (tmp_path / "watcher").write_text("while there is work")
    assert not watcher.enough(laptop.store)
    laptop.store.put(replace(laptop.store.desk("blue"), goal=Goal.PARKED))
    assert watcher.enough(laptop.store)


# ---- crashes -----------------------------------------------------------------------------------------


def crashing(fake: FakeEc2, folder: Path, *at: int) -> Laptop:
    """The whole history, from the moment at which the desk is to be left."""
    laptop = there(fake, folder)
    sleep_until(laptop, ends_at(laptop) - LEAVE_SECONDS + 1.0)
    laptop.boundaries = Boundaries(*at)
    laptop.crashes = 0
    laptop.store.close()
    laptop.open()
    try:
        assert laptop.settle() is None
        laptop.check("blue", Goal.PARKED)
    except Enough:
        pass
    finally:
        laptop.store.close()
    return laptop


def test_a_crash_at_every_call_loses_nothing(fake: FakeEc2, tmp_path: Path) -> None:
    whole = crashing(fake, tmp_path / "whole")
    assert whole.crashes == 0
    points = worth_a_crash(whole.boundaries, lagging=False)
    first = first_of_each(points, whole.boundaries.labels)
    assert len(first) > 8
    for at in first:
        fake.post("reset")
        fake.post("clock", rate=0, pace=0.1)
        crashed = crashing(fake, tmp_path / str(at), at)
        assert crashed.crashes == 1, at


# ---- jobs --------------------------------------------------------------------------------------------


def in_block(fake: FakeEc2, folder: Path, *, deadline: bool = True) -> tuple[Live, float]:
    """A job that works in a capacity block, with spot elsewhere."""
    live = Live(fake, folder)
    if not deadline:
        live.store.put_job(live.job.number, deadline_at=None)
    live.on(True, True, True)
    ends = float(fake.get("clock")["now"]) + 3 * HOUR
    id_ = fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b", block=True, ends=ends)["id"]
    free = offer(
        zone="us-west-2b", price=0.0, reservation=id_, source="capacity block", why="paid",
        reserved_until=ends, ends_at=ends - 1800.0,
    )  # fmt: skip
    live.offers = (free, *OFFERS)
    live.store.put(replace(live.store.desk("blue"), offers=live.offers))
    live.look()
    [machine] = live.alive()
    assert machine["zone"] == "us-west-2b"
    live.clock.to(live.clock.at + CHANGEOVER)
    live.becomes_ready()
    return live, ends - 1800.0


@pytest.mark.parametrize("deadline", [True, False])
def test_a_job_is_asked_for_a_checkpoint_and_moved(fake: FakeEc2, tmp_path: Path, *, deadline: bool) -> None:
    live, ends = in_block(fake, tmp_path, deadline=deadline)
    live.clock.to(ends - MOVE_SECONDS - 60.0)
    live.happened()
    live.look()
    assert live.alive()[0]["zone"] == "us-west-2b"
    live.clock.to(ends - MOVE_SECONDS + 1.0)
    live.happened()
    live.look()
    [machine] = live.alive()
    assert "CapacityReservationId" not in machine
    assert machine["usd_per_hour"] > 0.05, "it is paid for there"
    assert live.store.desk("blue").goal is Goal.RUNNING


def test_a_desk_whose_job_was_not_moved_in_time_is_not_parked(fake: FakeEc2, tmp_path: Path) -> None:
    """1. The laptop wakes in the last quarter of an hour. 2. The loop of desks looks before that of jobs."""
    live, ends = in_block(fake, tmp_path)
    live.clock.to(ends - LEAVE_SECONDS + 60.0)
    live.happened()
    live.settles()
    assert live.store.desk("blue").goal is Goal.RUNNING
    live.look()
    assert live.alive()[0]["usd_per_hour"] > 0.05


def test_a_job_that_has_nowhere_else_to_go_is_saved_with_its_desk(fake: FakeEc2, tmp_path: Path) -> None:
    live, ends = in_block(fake, tmp_path)
    live.offers = live.offers[:1]
    live.runs.placing._priced.clear()
    live.store.put(replace(live.store.desk("blue"), offers=live.offers))
    live.clock.to(ends - LEAVE_SECONDS + 60.0)
    live.happened()
    live.settles()
    assert live.store.desk("blue").goal is Goal.PARKED
