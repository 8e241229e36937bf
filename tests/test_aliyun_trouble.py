"""What goes wrong on Alibaba Cloud, and what hotdesk makes of it: money and work come first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import Kind, NotAllowed, Refused
from hotdesk.core.model import EndedBy, Goal, Market, Phase, Want
from hotdesk.core.steps import Launch
from hotdesk.market.ranking import rank
from hotdesk.providers.aliyun import inventory
from tests.aliyun_desk import HOME, Laptop, at_home, offer, paid
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs

ELSEWHERE = offer("ecs.gn6i-c4g1.xlarge", "cn-hangzhou-j")
LOCAL_DISK = offer("ecs.gn5-c4g1.xlarge", scratch_gib=440.0)
pytestmark = pytest.mark.slow
PAGE = "<html><body>502 Bad Gateway</body></html>"


@pytest.fixture
def fake(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    return at_home(ecs, monkeypatch)


@pytest.fixture
def mine(fake: FakeEcs, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path)
    yield laptop
    laptop.store.close()


# ---- what a stopped machine costs --------------------------------------------------------------------


def test_a_shutdown_from_within_goes_on_costing_and_is_parked_at_once(mine: Laptop) -> None:
    """It is shown as charged; the image ends the cost, so the next look takes one."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    [machine] = mine.machines()
    life.shut_down_inside(mine.fake.world, machine)
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    assert (shown.phase, shown.charged_while_off, shown.ended_by) == (Phase.STOPPED, True, EndedBy.GUEST)
    assert "does not end the charge" in shown.reason
    mine.settle()
    mine.check("blue", Goal.PARKED)
    assert paid(mine.fake) == {"snapshot": 1}


def test_a_type_with_a_local_disk_is_stopped_without_an_error_and_charged_all_the_same(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING, (LOCAL_DISK,)) is None
    assert mine.do(Goal.STOPPED) is None
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    assert (shown.charged_while_off, shown.retypable, shown.scratch_gib) == (True, False, 440.0)
    assert mine.do(Goal.PARKED) is None
    assert paid(mine.fake) == {"snapshot": 1}


def test_a_machine_that_stopped_itself_is_known_by_its_tag_and_start(mine: Laptop) -> None:
    """What the agent writes before it stops its machine; after the next start it says nothing."""
    from tests.fake_ecs.wire import minute

    assert mine.do(Goal.RUNNING) is None
    [machine] = mine.machines()
    machine.tags["hotdesk:left"] = minute(machine.started)
    life.stop(mine.fake.world, machine, "StopCharging")
    mine.time.sleep(120.0)
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    assert (shown.ended_by, shown.charged_while_off) == (EndedBy.GUEST, False)
    mine.settle()  # its owner asked for nothing: it is wanted parked, and saved
    mine.check("blue", Goal.PARKED)


def test_a_machine_that_was_stopped_in_the_console_is_not_started_again(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    [machine] = mine.machines()
    life.stop(mine.fake.world, machine, "StopCharging")
    mine.time.sleep(120.0)
    mine.settle()
    mine.check("blue", Goal.STOPPED)
    assert paid(mine.fake) == {"off": 1, "disk": 1}


# ---- the account -------------------------------------------------------------------------------------


def test_in_arrears_a_machine_that_the_cloud_stopped_is_parked_and_a_start_says_why(mine: Laptop) -> None:
    """Start, stop and launch are refused; an image and a deletion are not."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    [machine] = mine.machines()
    life.stop(mine.fake.world, machine, "StopCharging")
    mine.time.sleep(120.0)
    machine.locks = ["financial"]
    mine.fake.world.arrears = True
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "balance is too low" in asked.why
    assert "充值" in asked.fix
    assert mine.do(Goal.PARKED) is None
    assert paid(mine.fake) == {"snapshot": 1}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("real_name", False, "name is verified"), ("quota", 0, "its quota is 0")],
)
def test_what_keeps_an_account_from_renting_is_said_in_plain_words(
    mine: Laptop, field: str, value: object, words: str
) -> None:
    setattr(mine.fake.world, field, value)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert words in asked.why
    assert paid(mine.fake) == {}


def test_an_empty_listing_without_the_right_to_list_is_not_believed(mine: Laptop) -> None:
    """The cloud shows nothing to those who may not look: nothing may be concluded from that."""
    mine.fake.world.blind = {"DescribeInstances"}
    mine.aliyun._regions.will_make_in(HOME)
    with pytest.raises(Refused, match="may not do ecs:DescribeInstances") as no:
        mine.aliyun.survey()
    assert no.value.kind is Kind.DENIED
    assert paid(mine.fake) == {}


def test_a_limit_in_dollars_is_not_judged_without_a_rate(fake: FakeEcs, tmp_path: Path) -> None:
    from hotdesk.core.money import Money
    from hotdesk.providers.aliyun.provider import Aliyun

    laptop = Laptop(fake, tmp_path)
    plain = Aliyun(
        tmp_path, None, keys=laptop.keys, clock=laptop.time, settings=laptop.settings, money=Money()
    )
    offers = plain.offers(Want(gpu="A10"))
    assert str(offers[0].told_per_hour).endswith(" CNY")
    with pytest.raises(NotAllowed, match="cannot be compared with prices in CNY"):
        plain.offers(Want(gpu="A10", usd_per_hour_max=3.0))
    laptop.store.close()


# ---- stock -------------------------------------------------------------------------------------------


def test_sold_out_in_one_zone_is_launched_in_the_next(mine: Laptop) -> None:
    mine.fake.world.sold_out = {("cn-hangzhou-i", "*", "*")}
    assert mine.do(Goal.RUNNING, (offer(), ELSEWHERE)) is None
    [machine] = mine.machines()
    assert machine.zone == "cn-hangzhou-j"


def test_sold_out_everywhere_says_so_and_nothing_is_paid(mine: Laptop) -> None:
    mine.fake.world.sold_out = {("*", "*", "*")}
    asked = mine.do(Goal.RUNNING, (offer(), ELSEWHERE))
    assert asked is not None
    assert "sold out" in f"{asked.what} {asked.why}"
    assert paid(mine.fake) == {}


def test_a_disk_that_no_zone_sells_is_refused_for_a_day_and_nothing_is_paid(mine: Laptop) -> None:
    code = "InvalidSystemDiskCategory.ValueNotSupported"
    mine.fake.world.harm("RunInstances", code=code, message="Not sold here.", times=None)
    told = mine.do(Goal.RUNNING)
    assert told is not None
    assert f"Not sold here. ({code})" in told.why
    assert "# again in 24 h, or with other hardware" in told.fix
    assert paid(mine.fake) == {}


def disks(mine: Laptop) -> set[str]:
    return {disk.category for disk in mine.fake.world.every("disk")}


def test_where_the_usual_disk_is_not_sold_the_next_kind_is_launched_with(mine: Laptop) -> None:
    """It is looked up before the launch: nothing is refused."""
    mine.fake.world.disks_sold = {"cn-hangzhou-i": {"cloud_efficiency", "cloud_essd_entry"}}
    assert mine.do(Goal.RUNNING) is None
    assert disks(mine) == {"cloud_essd_entry"}
    assert [c["action"] for c in mine.fake.world.log].count("RunInstances") == 1
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    assert disks(mine) == {"cloud_essd_entry"}


def test_a_kind_of_disk_that_is_refused_all_the_same_is_followed_by_the_next(mine: Laptop) -> None:
    """The listing has it, and the launch does not: the next is asked for under the same token, at once."""
    code = "InvalidSystemDiskCategory.ValueNotSupported"
    mine.fake.world.harm("RunInstances", code=code, message="Not sold here.", times=2)
    assert mine.do(Goal.RUNNING) is None
    assert disks(mine) == {"cloud_auto"}
    assert len(mine.machines()) == 1


def test_an_offer_says_which_disk_it_has_instead_and_what_that_changes(mine: Laptop) -> None:
    want = Want(instance_type=offer().instance_type, regions=("cn-hangzhou",))
    assert all("ESSD" not in one.why for one in mine.aliyun.offers(want))
    mine.aliyun.account.recalled.drop("disks-")
    mine.fake.world.disks_sold = {"cn-hangzhou-i": {"cloud_efficiency"}}
    said = {one.zone: one.why for one in mine.aliyun.offers(want)}
    assert (
        "no ESSD PL1 disk there, but ultra disk (117.5 CNY a month ($16.79) less for 100 GiB)"
        in said["cn-hangzhou-i"]
    )
    assert "ESSD" not in said["cn-hangzhou-j"]
    [first] = [
        o
        for o in rank(want, mine.aliyun.offers(want)).offers
        if o.zone == "cn-hangzhou-i" and o.market == "on-demand"
    ]
    assert "no ESSD PL1 disk there" in first.why, "whatever its rank"


def test_where_it_is_not_known_which_disks_are_sold_the_usual_one_is_asked_for(mine: Laptop) -> None:
    mine.fake.world.harm("DescribeAvailableResource", code="Forbidden.RAM", status=403, times=None)
    assert mine.do(Goal.RUNNING) is None
    assert disks(mine) == {"cloud_essd"}


def test_a_stopped_machine_whose_stock_is_gone_is_saved_and_launched_elsewhere(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING, (offer(), ELSEWHERE)) is None
    mine.work("monday")
    assert mine.do(Goal.STOPPED) is None
    mine.fake.world.sold_out = {("cn-hangzhou-i", "*", "*")}
    assert mine.do(Goal.RUNNING) is None
    [machine] = mine.machines()
    assert machine.zone == "cn-hangzhou-j"


def test_a_machine_that_vanishes_after_the_answer_is_launched_again(mine: Laptop) -> None:
    """The stock ran out after RunInstances had answered: the id is gone, and only an event tells."""
    mine.fake.world.vanish = 1
    assert mine.do(Goal.RUNNING) is None
    assert [e["type"] for e in mine.fake.world.events] == ["SystemFailure.Delete"]
    assert len(mine.machines()) == 1


# ---- spot --------------------------------------------------------------------------------------------


def test_a_spot_machine_that_was_taken_back_is_started_again_where_it_is(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING, (offer(market=Market.SPOT),)) is None
    mine.work("monday")
    [machine] = mine.machines()
    assert machine.behavior == "Stop"
    life.reclaim(mine.fake.world, machine)
    mine.time.sleep(400.0)
    assert machine.status == "Stopped"
    assert mine.do(Goal.RUNNING) is None
    assert [m.id for m in mine.machines()] == [machine.id]


# ---- the wire ----------------------------------------------------------------------------------------

CHANGES = (
    *("RunInstances", "StopInstances", "CreateImage", "TagResources", "DeleteInstances"),
    *("DeleteImage", "DeleteSnapshot"),
)


@pytest.mark.parametrize("harm", ["lost before", "lost after", "502 before", "502 after", "throttled"])
@pytest.mark.parametrize("action", CHANGES)
def test_a_change_whose_answer_never_comes_is_done_once(mine: Laptop, action: str, harm: str) -> None:
    """A day in which the first call of each kind goes wrong in this way ends as every day does."""
    how: dict[str, object] = {
        "lost before": {"lose": "before"},
        "lost after": {"lose": "after"},
        "502 before": {"status": 502, "body": PAGE},
        "502 after": {"status": 502, "body": PAGE, "late": True, "code": "late"},
        "throttled": {"code": "Throttling.User", "status": 400},
    }[harm]
    mine.fake.world.harm(action, **how)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.GONE) is None
    assert paid(mine.fake) == {}
    assert not any(h.times for h in mine.fake.world.harms), "it never happened"


def test_a_launch_that_is_still_worked_on_is_asked_for_again_and_not_anew(mine: Laptop) -> None:
    """With a new token, both machines would come."""
    mine.fake.world.harm("RunInstances", lose="before")
    mine.fake.world.harm("RunInstances", code="IdempotentProcessing", status=400)
    assert mine.do(Goal.RUNNING) is None
    launches = [row.step for row in mine.store.rows("blue") if isinstance(row.step, Launch)]
    assert len(launches) > 1
    assert len({step.order.token for step in launches}) == 1


@pytest.mark.parametrize("spoilt", ["failed", "short-disk"])
def test_a_spoilt_image_is_taken_anew_and_its_snapshots_are_not_left(mine: Laptop, spoilt: str) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    mine.fake.world.spoil = [spoilt]
    assert mine.do(Goal.PARKED) is None
    assert paid(mine.fake) == {"snapshot": 1}


def test_the_snapshots_of_an_interrupted_deletion_are_found(mine: Laptop) -> None:
    """An image's snapshots outlive it, have no tags of their own, and are paid."""
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None
    mine.fake.world.harm("DeleteSnapshot", code="InternalError", status=500)
    assert mine.do(Goal.GONE) is None
    assert paid(mine.fake) == {}


def test_a_bake_waits_for_the_end_of_the_starts_minute(mine: Laptop) -> None:
    """Times of starts are minutes: an image of this minute could be of the start before, too."""
    from tests.conformance import bake_for

    assert mine.do(Goal.RUNNING) is None
    [machine] = mine.machines()
    now = mine.fake.world.clock.now()
    machine.started = now - now % 60
    mine.fake.world.clock.set(machine.started + 30)
    machine.status, machine.mode = "Stopped", "StopCharging"
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    assert shown.started_at == machine.started + 60
    for call in (lambda: mine.aliyun.bake(bake_for(shown)), lambda: mine.aliyun.power(shown.id, True)):
        with pytest.raises(Refused, match="within this minute") as no:
            call()
        assert (no.value.kind, 30 <= no.value.seconds <= 32) == (Kind.NOT_READY, True)
    mine.fake.world.clock.set(machine.started + 61)
    assert mine.aliyun.bake(bake_for(shown))


def test_what_a_dead_process_made_is_read_again_once_it_must_be_listed() -> None:
    """Its snapshot may be listed 30 s late, and the answers of a region are kept for 120 s."""
    memory = inventory.Memory(lag_seconds=30.0)
    nothing = inventory.Found("cn-beijing", [], [], [], [], [])
    assert memory.of("cn-beijing", 1000.0) is None
    memory.keep(nothing, 1000.0)
    assert memory.of("cn-beijing", 1029.0) == nothing
    assert memory.of("cn-beijing", 1030.0) is None
    later = nothing._replace(snapshots=[{"SnapshotId": "s-1"}])
    memory.keep(later, 1030.0)
    assert memory.of("cn-beijing", 1030.0 + inventory.QUIET_SECONDS - 1.0) == later
    assert memory.of("cn-beijing", 1030.0 + inventory.QUIET_SECONDS) is None


@pytest.mark.parametrize("action", ["AuthorizeSecurityGroup", "RevokeSecurityGroup"])
@pytest.mark.parametrize("lose", ["before", "after"])
def test_letting_a_new_address_in_outlives_a_lost_answer(mine: Laptop, action: str, lose: str) -> None:
    """It is no step, so no journal would know of it: the same request again has no second effect."""
    assert mine.do(Goal.RUNNING) is None
    mine.settings = replace(mine.settings, address="198.51.100.9/32")
    mine.store.close()
    mine.open()  # a new process, which asks again who is admitted
    mine.fake.world.harm(action, lose=lose)
    assert mine.do(Goal.RUNNING) is None
    [group] = [g for r in mine.fake.world.regions.values() for g in r.groups.values() if g.rules]
    assert [rule["SourceCidrIp"] for rule in group.rules] == ["198.51.100.9/32"]
