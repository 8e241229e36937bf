"""What the journal tells: where spot is, how long a changeover takes, what a place that was left needs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hotdesk.core import jobs
from hotdesk.core.errors import Kind
from hotdesk.core.jobs import Job, Result
from hotdesk.core.lifecycle import moving, plan
from hotdesk.core.lifecycle.adopt import adoptable
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.loopback import usual_port
from hotdesk.core.model import (
    Desk,
    Disk,
    EndedBy,
    Former,
    Goal,
    Hidden,
    Image,
    Instance,
    Leftover,
    Market,
    Offer,
    Phase,
    Seen,
    Survey,
    Want,
)
from hotdesk.core.spot import availability, changeovers, prices
from hotdesk.core.spot.availability import DOWN_SECONDS, FORGET_SECONDS, UNKNOWN_SECONDS
from hotdesk.core.steps import (
    Ask,
    Bake,
    BakeOrder,
    Begin,
    Delete,
    Done,
    Entry,
    Grow,
    Launch,
    LaunchOrder,
    Outcome,
    Prove,
    Refusal,
    Row,
    Unsure,
    Wait,
)


def offer(zone: str, market: Market = Market.SPOT) -> Offer:
    return Offer(
        provider="aws", region=f"r-{zone}", zone=zone, instance_type="g6.xlarge", market=market,
        usd_per_hour=0.3, vcpus=4,
    )  # fmt: skip


A, B, FIRM = offer("a"), offer("b"), offer("a", Market.ON_DEMAND)


def row(at: float, step: Entry, outcome: Outcome | None = None, desk: str = "blue") -> Row:
    return Row(id=int(at), desk=desk, at=at, step=step, ended_at=at + 10, outcome=outcome or Done())


def launch(at: float, of: Offer, outcome: Outcome | None = None) -> Row:
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=1, offer=of)
    return row(at, Launch(order=order, why=""), outcome or Done(id=f"i-{at:.0f}"))


def bake(at: float, source: str) -> Row:
    order = BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=1, source_id=source, started_at=1.0, region="r"
    )
    return row(at, Bake(order=order, why=""))


# ---- zones -------------------------------------------------------------------------------------------


def test_a_machine_that_nobody_ended_was_taken_when_the_next_was_launched() -> None:
    found = availability.events([launch(100, A), launch(900, B)])
    assert found == {A.key: [(110, True), (900, False)], B.key: [(910, True)]}
    ended = availability.events([launch(100, A), row(500, Delete(id="i-100", why="")), launch(900, B)])
    assert ended[A.key] == [(110, True)], "what we end ourselves says nothing of the zone"
    other = availability.events([launch(100, A), row(500, Delete(id="i-9", why="")), launch(900, B)])
    assert other[A.key][-1] == (900, False)


def test_an_image_of_a_disk_that_was_left_tells_that_the_machine_was_taken() -> None:
    assert availability.events([launch(100, A), bake(700, "vol-1")])[A.key][-1] == (700, False)
    assert availability.events([launch(100, A), bake(700, "i-100")])[A.key] == [(110, True)]


def test_only_a_refusal_of_the_offer_says_that_there_is_none() -> None:
    sold = launch(100, A, Refusal(kind=Kind.NO_CAPACITY))
    assert availability.events([sold]) == {A.key: [(110, False)]}
    for outcome in (Refusal(kind=Kind.DENIED), Unsure(message="cut")):
        assert availability.events([launch(100, A, outcome)]) == {}


def test_a_zone_is_there_until_it_was_seen_not_to_be_and_then_not_for_a_while() -> None:
    seen = {A.key: [(0.0, True), (500.0, True), (900.0, False)]}

    def of(now: float, **more: object) -> tuple[bool, float]:
        zone = availability.zones([A, FIRM], seen, now, **more)[0]  # type: ignore[arg-type]
        return zone.up, zone.seconds

    assert len(availability.zones([A, FIRM], seen, 1.0)) == 1, "on demand is no zone of spot"
    assert availability.zones([B], seen, 1.0)[0].seconds == UNKNOWN_SECONDS
    assert of(900.0 + DOWN_SECONDS - 1) == (False, DOWN_SECONDS - 1)
    assert of(900.0 + DOWN_SECONDS) == (True, 0.0), "worth another try"
    assert of(900.0 + FORGET_SECONDS) == (True, UNKNOWN_SECONDS)
    assert of(1000.0, running=A.key) == (True, 0.0), "a machine works there, whatever was seen"
    assert of(1000.0, taken=A.key) == (False, 100.0)
    fresh = {A.key: [(0.0, True), (500.0, True)]}
    assert availability.zones([A], fresh, 800.0)[0].seconds == 800.0, "since the first of them"
    assert availability.zones([A], fresh, 800.0, refused=[A.key])[0].up is False


def test_the_files_of_a_desk_cost_money_on_their_way_to_another_region() -> None:
    zones = availability.zones([A, B], {}, 1.0, region="r-a", disk_gib=100.0)
    assert [z.move_usd for z in zones] == [0.0, pytest.approx(2.0)]


def test_a_spell_ends_with_what_was_seen_or_goes_on() -> None:
    seen = {
        "x": [(0.0, True), (50.0, True), (300.0, False), (400.0, False), (500.0, True)],
        "y": [(0.0, True)],
    }
    assert availability.spells(seen, 900.0) == ((300.0, True), (400.0, False), (900.0, False))
    assert availability.spells({"y": [(0.0, True)]}, FORGET_SECONDS) == ()


# ---- changeovers -------------------------------------------------------------------------------------


def test_a_changeover_is_from_the_request_to_the_next_attempt() -> None:
    rows = [
        row(0, Begin(id="1", attempt=1, why="")),
        launch(100, A), row(690, Begin(id="1", attempt=2, why="")),
        row(900, Begin(id="1", attempt=3, why="")),  # without another machine
        launch(1000, A), row(1290, Begin(id="2", attempt=1, why="")),  # it may have waited for its turn
        launch(2000, A), row(2000 + 5 * 3600, Begin(id="1", attempt=4, why="")),  # somebody slept
        launch(30_000, A, Refusal(kind=Kind.QUOTA)), row(30_100, Begin(id="1", attempt=5, why="")),
    ]  # fmt: skip
    assert changeovers.seen(rows) == {"blue": (600.0,)}
    guess, known = changeovers.believed(()), changeovers.believed([300.0] * 30)
    assert (guess.seconds, guess.margin_seconds) == (720.0, 720.0)
    assert known.seconds == 360.0
    assert known.margin_seconds < guess.margin_seconds


def test_what_other_desks_took_is_a_first_guess() -> None:
    """Begun on another desk: of its own it has nothing yet, and expects what that one took."""
    rows = [launch(100, A), row(390, Begin(id="1", attempt=2, why=""))]
    rows += [
        replace(launch(1000, A), desk="red"), row(2190, Begin(id="2", attempt=2, why=""), desk="red"),
    ]  # fmt: skip
    assert changeovers.seen(rows) == {"blue": (300.0,), "red": (1200.0,)}


def test_on_demand_that_was_refused_lately_may_be_refused_again() -> None:
    """In one zone it was refused twice and granted once, in another it was only granted: nothing is expected
    while one has always been had; ten minutes where each was refused as often as it was granted, and more."""
    firm_b = replace(FIRM, zone="b")
    no = Refusal(kind=Kind.NO_CAPACITY)
    rows = [launch(100, FIRM, no), launch(800, FIRM, no), launch(1500, FIRM)]
    seen = availability.events(rows)
    assert availability.sold_out_seconds((FIRM, A), seen, 2000.0) == DOWN_SECONDS
    assert availability.sold_out_seconds((FIRM, firm_b), seen, 2000.0) == 0.0
    assert availability.sold_out_seconds((FIRM,), seen, 2000.0 + FORGET_SECONDS) == 0.0


# ---- adopting ----------------------------------------------------------------------------------------


def machine(phase: Phase, ended_by: EndedBy = EndedBy.UNKNOWN) -> Instance:
    return Instance(
        id="i", name="n", desk="blue", generation=1, phase=phase, provider="sim", region="r", zone="a",
        instance_type="t", market=Market.SPOT, usd_per_hour=1.0, started_at=1.0, ended_by=ended_by,
    )  # fmt: skip


def test_what_is_adopted_launches_nothing_in_doubt() -> None:
    def goal(seen: Seen, name: str = "blue") -> Goal | None:
        desk = adoptable(name, seen, "sim", 5.0)
        return desk and desk.goal

    image = Image(id="m", name="m", desk="blue", generation=1, phase=Phase.READY, provider="sim", region="r",
                  taken_at=1.0)  # fmt: skip
    disk = Disk(id="d", desk="blue", generation=1, phase=Phase.READY, provider="sim", region="r", zone="a")
    assert goal(Seen()) is None
    assert goal(Seen(images=(image,)), "no name") is None
    assert goal(Seen(images=(image,))) is Goal.PARKED
    assert goal(Seen(disks=(disk,))) is Goal.PARKED
    assert goal(Seen(instances=(machine(Phase.READY),))) is Goal.RUNNING
    assert goal(Seen(instances=(machine(Phase.STOPPED),))) is Goal.STOPPED
    assert goal(Seen(instances=(machine(Phase.STOPPED, EndedBy.GUEST),))) is Goal.PARKED, "it left by itself"


def test_a_port_is_the_same_each_time_and_none_that_the_system_gives_away() -> None:
    ports = {usual_port("tunnel", f"desk-{n}") for n in range(200)}
    assert ports == {usual_port("tunnel", f"desk-{n}") for n in range(200)}
    assert len(ports) > 190
    assert all(20_000 <= port < 32_768 for port in ports)


# ---- a place that was left ---------------------------------------------------------------------------

KEPT = Former(provider="aws", at=100.0, until=500.0, image="m-1")


def left(
    *former: Former, goal: Goal = Goal.RUNNING, proven_at: float = 0.0, now: float = 200.0, carried: str = ""
) -> Goal | None:
    """What is wanted of the desk at the place that it has left; None where nothing is to be done there."""
    desk = Desk(name="blue", goal=goal, since=1.0, created_at=1.0, provider="local")
    desk = replace(desk, former=former, carried=carried)
    rows = [row(proven_at, Prove(id="i", generation=1, started_at=1.0, why=""))] if proven_at else []
    found = moving.left_behind(desk, Past(rows), now)
    return found and found[1].goal


def test_what_a_desk_left_stays_until_it_was_proven_elsewhere() -> None:
    assert left(KEPT) is None
    assert left(KEPT, proven_at=50.0) is None, "that was before it left"
    assert left(KEPT, proven_at=150.0) is Goal.PARKED
    assert left(KEPT, proven_at=150.0, carried="m-2") is None, "its work is on its way"
    parked = replace(KEPT, parked=True)
    assert left(parked, proven_at=150.0) is None
    assert left(parked, proven_at=150.0, now=500.0) is Goal.GONE
    assert left(parked, now=900.0) is None, "its time is over, and still it may be the last copy"
    assert left(parked, goal=Goal.GONE) is Goal.GONE, "with the desk, everything goes"


def test_the_row_remembers_a_place_until_nothing_is_left_there() -> None:
    desk = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="local", former=(KEPT,))
    there = replace(desk, provider="aws", goal=Goal.PARKED)
    assert [one.parked for one in moving.settled(desk, KEPT, there).former] == [True]
    assert moving.settled(desk, KEPT, replace(there, goal=Goal.GONE)).former == ()


# ---- a disk that grows -------------------------------------------------------------------------------


def test_a_disk_grows_once_and_a_refusal_is_not_asked_again_by_who_opens_the_desk() -> None:
    live = replace(machine(Phase.READY), growable_gib=50.0)
    desk = Desk(name="blue", goal=Goal.RUNNING, since=100.0, created_at=1.0, want=Want(disk_gib=80))
    [step] = plan._grow(live, desk, Past(), 200.0)
    assert isinstance(step, Grow)
    assert step.gib == 80
    no = row(90.0, step, Refusal(kind=Kind.QUOTA, until=1000.0))
    assert plan._grow(live, desk, Past([no]), 200.0) == []
    assert plan._grow(live, replace(desk, since=80.0), Past([no]), 200.0) == [step], "they ask anew"
    assert plan._grow(live, desk, Past([no]), 1001.0) == [step]
    assert plan._grow(replace(live, growable_gib=80.0), desk, Past(), 200.0) == []
    assert plan._grow(replace(live, growable_gib=0.0), desk, Past(), 200.0) == [], "its cloud cannot"


def test_a_region_that_is_denied_is_a_question_and_one_that_is_silent_is_waited_for() -> None:
    desk = Desk(name="blue", goal=Goal.GONE, since=1.0, created_at=1.0)
    [ask] = plan.plan(desk, Seen(unread=("r-1",), closed="no right", closed_fix="hotdesk iam"), Past(), 5.0)
    assert isinstance(ask, Ask)
    assert (ask.why, ask.fix, ask.kind) == ("no right", "hotdesk iam", Kind.DENIED)
    [wait] = plan.plan(desk, Seen(unread=("r-1",)), Past(), 5.0)
    assert isinstance(wait, Wait)


# ---- small answers -----------------------------------------------------------------------------------


def test_other_owners_are_named_by_desk_and_what_has_ended_is_nobodys() -> None:
    hers = replace(machine(Phase.READY), owner="eve")
    ended = replace(machine(Phase.ENDED), owner="mal", desk="red")
    hidden = Hidden(id="h", desk="blue", owner="ann", zone="a")
    mine = replace(hers, owner="me")
    survey = Survey(provider="sim", owner="me", instances=(hers, ended, mine), hidden=(hidden,))
    assert survey.others() == {"blue": ("ann", "eve")}


def test_a_job_whose_desk_is_gone_is_over() -> None:
    job = Job(number=1, id="1-a", desk="blue", command=("x",), created_at=10.0)
    desk = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0)
    for gone in (None, replace(desk, goal=Goal.GONE), replace(desk, created_at=11.0)):
        act = jobs.plan_jobs(gone, [job], None)
        assert isinstance(act, jobs.Record)
        assert "gone" in act.why
        over = replace(job, result=Result(at=12.0, exit_status=0, why=""))
        assert isinstance(jobs.plan_jobs(gone, [over], None), jobs.Settle)


def test_a_share_is_never_said_to_be_all_or_nothing_where_it_is_not() -> None:
    assert [prices._percent(share) for share in (0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "0 %", "under 1 %", "50 %", "over 99 %", "100 %",
    ]  # fmt: skip


@pytest.mark.parametrize("goal", [Goal.GONE, Goal.PARKED])
def test_what_is_half_deleted_goes_first_and_is_given_up_after_some_tries(goal: Goal) -> None:
    half = Leftover(id="vol-9", kind="disk", provider="sim", region="r", desk="blue", of="i", why="half of i")
    seen = Seen(instances=(machine(Phase.ENDING),), leftovers=(half,))
    desk = Desk(name="blue", goal=goal, since=1.0, created_at=1.0)
    [step] = plan._steps(desk, seen, Past(), 50.0)
    assert isinstance(step, Delete)
    assert (step.id, step.why) == ("vol-9", "half of i")
    tries = [row(10.0 + n, step, Unsure(message="cut")) for n in range(plan.TRIES)]
    [ask] = plan._steps(desk, seen, Past(tries), 50.0)
    assert isinstance(ask, Ask)
    assert "deleting i" in ask.what
