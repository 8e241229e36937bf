"""The last line of defence on Alibaba Cloud: it deletes what nobody renews, if that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.core.model import Desk, Goal
from hotdesk.core.ports import Access
from hotdesk.loop.leases import Leases
from hotdesk.services.limits import SPARE_SECONDS, Staying, release_seconds
from tests.aliyun_desk import HOME, Laptop, at_home, paid
from tests.conftest import typed
from tests.fake_ecs import life, machines
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import Machine

HOUR, DAY = 3600.0, 86_400.0
pytestmark = pytest.mark.slow


@pytest.fixture
def fake(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    return at_home(ecs, monkeypatch)


@pytest.fixture
def mine(fake: FakeEcs, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path, auto_release=True)
    assert laptop.do(Goal.RUNNING, lease_hours=4.0) is None
    yield laptop
    laptop.store.close()


def test_show_says_when(mine: Laptop, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert put_off(mine) > 0
    (home / "hotdesk.toml").write_text(
        f'[defaults]\nprovider = "aliyun"\n[aliyun]\nendpoint = "{mine.fake.url}"\nregions = ["{HOME}"]\n'
        'address = "203.0.113.7/32"\nauto_release = true\n'
    )
    monkeypatch.setenv("HOTDESK_CONFIG", str(home / "hotdesk.toml"))
    monkeypatch.setenv("HOTDESK_STATE", str(mine.folder))
    mine.store.close()
    shown = typed("show", "blue", TZ="UTC")
    when = datetime.fromtimestamp(the(mine).release, UTC)
    assert f"{when:%Y-%m-%d %H:%M} UTC, with its disk, unless its lease is renewed" in shown.stdout, shown
    mine.open()


def nobody(desk: Desk) -> Access:
    raise AssertionError("it is not logged in")


def staying(mine: Laptop) -> Staying:
    mine.reconciler.clouds.survey("aliyun")
    return Staying(store=mine.store, clock=mine.time, clouds=mine.reconciler.clouds, reach=nobody)


def put_off(mine: Laptop, stays: float = 0.0, **limits: float) -> float:
    """Seconds from now, by the cloud's clock, until the machine is deleted; 0: never."""
    staying(mine).put_off(replace(mine.store.desk("blue"), **limits), stays)
    release = the(mine).release
    return release - mine.fake.world.clock.now() if release else 0.0


def the(mine: Laptop) -> Machine:
    [machine] = mine.machines()
    return machine


def hours(mine: Laptop, count: float) -> None:
    mine.fake.advance(count * HOUR)
    mine.time.at += count * HOUR


def test_it_is_off_unless_it_is_asked_for(fake: FakeEcs, tmp_path: Path) -> None:
    other = Laptop(fake, tmp_path / "other")
    assert other.do(Goal.RUNNING, lease_hours=4.0) is None
    assert put_off(other) == 0.0
    assert other.do(Goal.PARKED) is None
    assert "ModifyInstanceAutoReleaseTime" not in {entry["action"] for entry in fake.world.log}
    other.store.close()


@pytest.mark.parametrize(
    ("limits", "stays", "until"),
    [
        ({}, 0.0, 4),
        ({"lease_hours": 0.0}, 0.0, None),
        ({}, 100 * HOUR, 100),
        ({"lease_hours": 30.0}, 0.0, 30),
    ],
)
def test_a_day_after_the_lease_by_the_clouds_clock(
    mine: Laptop, limits: dict[str, float], stays: float, until: float | None
) -> None:
    """Ours is five minutes behind, and times are told to the minute."""
    after = put_off(mine, stays, **limits)
    if until is None:
        assert after == 0.0
    else:
        assert until * HOUR + DAY <= after <= until * HOUR + DAY + 120.0


def test_a_hard_end_counts_like_a_lease(mine: Laptop) -> None:
    after = put_off(mine, lease_hours=0.0, stop_at=mine.time.now() + 10 * HOUR)
    assert 10 * HOUR + DAY - 1.0 <= after <= 10 * HOUR + DAY + 120.0
    assert release_seconds(mine.store.desk("blue"), 0.0) == 4 * HOUR + SPARE_SECONDS


def test_each_renewal_puts_it_off_and_none_brings_it_forward(mine: Laptop) -> None:
    first = put_off(mine)
    hours(mine, 3.0)
    told: list[str] = []
    renewing = staying(mine)

    def tell(access: Access, desk: Desk, now: float) -> None:
        renewing.put_off(desk)
        told.append(desk.name)

    Leases(store=mine.store, clock=mine.time, access=mine.reconciler.clouds.reached, tell=tell).round(
        ["blue"]
    )
    assert told == ["blue"]
    assert the(mine).release - mine.fake.world.clock.now() == pytest.approx(first, abs=120.0)
    before = the(mine).release
    put_off(mine, lease_hours=0.1)
    assert the(mine).release == before
    put_off(mine, lease_hours=0.0)
    assert the(mine).release == 0.0, "without a lease there is no end"


def test_a_desk_that_cannot_be_reached_is_put_off_all_the_same(mine: Laptop) -> None:
    with pytest.raises(AssertionError, match="not logged in"):
        staying(mine).renew(mine.store.desk("blue"))
    assert the(mine).release > mine.fake.world.clock.now() + DAY


def test_what_is_switched_off_again_is_cancelled(mine: Laptop) -> None:
    assert put_off(mine) > 0
    mine.aliyun.settings = replace(mine.settings, auto_release=False)
    assert put_off(mine) == 0.0


def test_a_stopped_desk_is_never_deleted(mine: Laptop) -> None:
    assert put_off(mine) > 0
    assert mine.do(Goal.STOPPED) is None
    assert the(mine).release == 0.0
    hours(mine, 24.0 * 60)
    mine.check("blue", Goal.STOPPED)
    assert put_off(mine) == 0.0, "only one that runs gets an end"


@pytest.mark.parametrize("denied", [False, True])
def test_a_machine_that_left_is_put_off_before_it_is_saved(mine: Laptop, denied: bool) -> None:
    """It would be deleted while its image is being taken. Where that cannot be put off, it is saved at once
    all the same."""
    mine.work("monday")
    machine = the(mine)
    life.stop(mine.fake.world, machine, "StopCharging")
    mine.time.sleep(120.0)
    machine.release = mine.fake.world.clock.now() + (5 * HOUR if denied else 30.0)
    with mine.fake.world.lock:
        machines._at_release(mine.fake.world, machine)
    mine.fake.world.denied = {"ModifyInstanceAutoReleaseTime"} if denied else set()
    assert mine.do(Goal.PARKED) is None
    assert paid(mine.fake) == {"snapshot": 1}


def test_what_nobody_renews_is_deleted_and_costs_nothing_any_more(mine: Laptop) -> None:
    after = put_off(mine)
    seen = mine.aliyun.survey().of("blue").live
    assert seen is not None
    assert seen.released_at == the(mine).release, "it is said while it lasts"
    hours(mine, after / HOUR - 0.1)
    assert mine.machines()
    hours(mine, 0.2)
    assert paid(mine.fake) == {}
