"""What a sweep does about its machines in a cloud, told as stories: pure, so without a cloud."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import Kind
from hotdesk.core.fleet import FleetOrder, FleetReply, Launched, Shortage
from hotdesk.core.model import EndedBy, Instance, Market, MarketChoice, Offer, Phase
from hotdesk.core.sweep import group as plan
from hotdesk.core.sweep import plan as tasks
from hotdesk.core.sweep.group import BOOT_SECONDS, Asked, Group, Member, Wanted
from hotdesk.core.sweep.model import Ended, Machine, State, Sweep, Task, Wish


def offer(zone: str, market: Market = Market.SPOT, usd: float = 0.3) -> Offer:
    return Offer(
        provider="aws", region="r", zone=zone, instance_type="g6.xlarge", market=market,
        usd_per_hour=usd, vcpus=4,
    )  # fmt: skip


FIRM, A, B, DEAR = offer("a", Market.ON_DEMAND, 0.8), offer("a"), offer("b", usd=0.4), offer("c", usd=0.7)
WANTED = Wanted(
    fleet="s1", desk="blue", image_id="ami", names=("s1-1", "s1-2", "s1-3"), pools=(A, B, DEAR, FIRM),
    lag_seconds=60.0, burst=(10, 0.5),
)  # fmt: skip


def asked(group: Group, order: FleetOrder, now: float) -> Group:
    return replace(group, asked=(*group.asked, Asked(order=order, at=now)))


def shown(id_: str, phase: Phase = Phase.READY, of: Offer = A) -> Instance:
    return Instance(id=id_, name="", desk="s1", generation=1, phase=phase, provider="aws", region="r",
                    zone=of.zone, instance_type=of.instance_type, market=of.market, started_at=0.0,
                    usd_per_hour=of.usd_per_hour, ended_by=EndedBy.UNKNOWN)  # fmt: skip


def up(group: Group) -> Group:
    return replace(group, members=tuple(replace(m, up=True) for m in group.members))


def launched(now: float = 0.0) -> Group:
    """A head on demand and two on spot, which all work."""
    group = Group()
    for ids in (("i-1",), ("i-2", "i-3")):
        order = plan.next_order(group, WANTED, now)
        assert order is not None
        group = asked(group, order, now)
        machines = tuple(Launched(id=id_, offer=order.offers[0]) for id_ in ids)
        group = plan.bound(plan.replied(group, order, FleetReply(machines=machines), now), WANTED.names)
    return up(group)


def test_the_head_first_and_on_demand_then_the_others_on_spot() -> None:
    group = launched()
    first, second = (a.order for a in group.asked)
    assert (first.count, first.offers) == (1, (FIRM,))
    assert (second.count, second.offers) == (2, (A, B)), "what costs more than twice as much is left alone"
    assert [(m.name, m.id) for m in group.members] == [("s1-1", "i-1"), ("s1-2", "i-2"), ("s1-3", "i-3")]
    assert plan.next_order(group, WANTED, 1.0) is None, "all are there"
    assert group.usd(3600.0) == pytest.approx(0.8 + 2 * 0.3)


def test_an_order_without_an_answer_is_sent_again_word_for_word_and_its_answer_counts_once() -> None:
    order = plan.next_order(Group(), WANTED, 0.0)
    assert order is not None
    group = asked(Group(), order, 0.0)
    assert plan.next_order(group, WANTED, 500.0) == order
    reply = FleetReply(machines=(Launched(id="i-1", offer=FIRM),))
    group = plan.replied(group, order, reply, 5.0)
    assert plan.replied(group, order, reply, 9.0) == group
    assert group.unanswered is None


def test_a_machine_that_no_answer_told_of_is_adopted_with_the_price_it_was_asked_at() -> None:
    order = plan.next_order(launched(), replace(WANTED, names=(*WANTED.names, "s1-4")), 9.0)
    assert order is not None
    group = asked(launched(), order, 9.0)
    there = [shown(m.id, of=m.offer) for m in group.members]
    group = plan.looked(group, [*there, shown("i-9", of=B), shown("i-x", Phase.ENDED)], WANTED, 20.0)
    assert {m.id: m.offer for m in group.members}["i-9"] == B
    assert len(group.members) == 4, "one that has ended already is nobody's"
    strange = shown("i-8", of=offer("z", usd=0.5))
    assert plan.looked(group, [*there, strange], WANTED, 21.0).members[-1].offer.usd_per_hour == 0.5


def test_a_machine_that_is_not_listed_has_ended_only_after_the_lag_or_once_it_was_seen() -> None:
    group = launched()
    assert all(m.alive for m in plan.looked(group, [], WANTED, 30.0).members), (
        "an answer may be ahead of a listing"
    )
    gone = plan.looked(group, [], WANTED, 61.0)
    assert not gone.alive
    seen = plan.looked(group, [shown(m.id, of=m.offer) for m in group.members], WANTED, 5.0)
    assert not plan.looked(seen, [], WANTED, 6.0).alive
    ending = plan.looked(seen, [shown("i-1", Phase.ENDING), shown("i-2", Phase.ENDED)], WANTED, 7.0)
    assert [(m.stays, m.alive) for m in ending.members] == [(False, True), (False, False), (False, False)]


def test_a_machine_that_a_listing_lacked_is_ended_or_used_once_it_is_there_again() -> None:
    group = launched()
    there = [shown(m.id, of=m.offer) for m in group.members]
    gone = plan.looked(plan.looked(group, there, WANTED, 5.0), there[:2], WANTED, 10.0)
    assert [m.id for m in gone.alive] == ["i-1", "i-2"]
    again = plan.looked(gone, there, WANTED, 15.0)
    assert [(m.id, m.name) for m in again.alive] == [("i-1", "s1-1"), ("i-2", "s1-2"), ("i-3", "s1-3")]
    assert [
        m.id for m in plan.to_end(plan.looked(gone, there, replace(WANTED, names=()), 15.0), (), 15.0, 60.0)
    ] == ["i-1", "i-2", "i-3"], "a sweep that is over leaves none"
    instead = Member(id="i-4", offer=B, since=11.0, name="s1-3", seen=True, up=True)
    both = replace(gone, members=(*gone.members, instead))
    both = plan.bound(plan.looked(both, [*there, shown("i-4", of=B)], WANTED, 15.0), WANTED.names)
    assert [m.id for m in plan.to_end(both, WANTED.names, 15.0, 60.0)] == ["i-3"], "two under one name"


def test_spot_that_costs_more_than_on_demand_is_bought_by_who_wants_nothing_else() -> None:
    firm = replace(FIRM, usd_per_hour=0.35)  # between A and B
    wanted = replace(WANTED, pools=(A, firm, B))
    lacks = plan.Short(key=A.key, kind=Kind.NO_CAPACITY, why="sold out", until=1e9)
    group = replace(launched(), short=(lacks,), members=launched().members[:1])
    orders = [
        plan.next_order(group, replace(wanted, market=market), 9.0)
        for market in (MarketChoice.CHEAPEST, MarketChoice.SPOT)
    ]
    assert [order and order.offers for order in orders] == [(firm,), (B,)]


def test_a_head_that_is_lost_is_replaced_before_all_others() -> None:
    group = plan.looked(launched(), [shown("i-3")], WANTED, 100.0)
    order = plan.next_order(group, WANTED, 100.0)
    assert order is not None
    assert (order.count, order.offers, order.number) == (1, (FIRM,), 3)
    loose = Member(id="i-7", offer=A, since=100.0)
    firm = Member(id="i-8", offer=FIRM, since=101.0)
    found = plan.bound(replace(group, members=(*group.members, loose, firm)), WANTED.names)
    assert {m.id: m.name for m in found.members if m.stays}["i-8"] == "s1-1", "the head is one that stays"


def test_what_a_pool_lacks_is_asked_of_the_others_until_it_may_be_had_again() -> None:
    order = plan.next_order(Group(), WANTED, 0.0)
    assert order is not None
    lacks = Shortage(key=A.key, kind=Kind.NO_CAPACITY, message="sold out", seconds=600.0)
    group = plan.replied(asked(Group(), order, 0.0), order, FleetReply(shortages=(lacks,)), 0.0)
    assert plan.open_pools(group, WANTED.pools, Market.SPOT, 10.0) == [B]
    assert plan.open_pools(group, WANTED.pools, Market.SPOT, 601.0) == [A, B]
    assert plan.shortage(group, WANTED.names, 10.0) == dict.fromkeys(WANTED.names, "sold out")
    assert plan.shortage(group, WANTED.names, 601.0) == {}
    assert plan.trouble(group, WANTED, 10.0) == "", "waiting may help"


def test_where_waiting_does_not_help_it_says_why() -> None:
    short = tuple(plan.Short(key=o.key, kind=Kind.QUOTA, why="a quota of 0", until=1e9) for o in WANTED.pools)
    assert plan.trouble(Group(short=short), WANTED, 1.0) == "a quota of 0"
    assert plan.trouble(Group(short=short[:-1]), WANTED, 1.0) == ""
    spot = replace(WANTED, pools=(FIRM,), names=("s1-1",), market=MarketChoice.SPOT)
    assert "nothing that fits" in plan.trouble(Group(), spot, 1.0)
    assert plan.next_order(Group(), spot, 1.0) is None, "spot only never buys on demand"
    firm = replace(WANTED, market=MarketChoice.ON_DEMAND)
    group = launched()
    order = plan.next_order(replace(group, members=group.members[:1]), firm, 1.0)
    assert order is not None
    assert order.offers == (FIRM,)


@pytest.mark.parametrize(
    ("kind", "together", "why"),
    [(Kind.QUOTA, True, "no more"), (Kind.QUOTA, False, ""), (Kind.NO_CAPACITY, True, "")],
)
def test_machines_that_are_of_use_together_only_are_given_up_where_the_rest_cannot_be_had(
    kind: Kind, together: bool, why: str
) -> None:
    wanted = replace(WANTED, names=(*WANTED.names, "s1-4"), together=together)
    group = launched()
    order = plan.next_order(group, wanted, 9.0)
    assert order is not None
    assert order.count == 1
    lacks = tuple(Shortage(key=o.key, kind=kind, message="no more", seconds=3600) for o in (A, B, FIRM))
    group = plan.replied(asked(group, order, 9.0), order, FleetReply(shortages=lacks), 9.0)
    assert plan.trouble(group, wanted, 10.0) == why
    assert plan.trouble(group, replace(wanted, names=WANTED.names), 10.0) == "", "all of them are there"
    assert plan.shortage(group, wanted.names, 10.0) == {"s1-4": "no more"}


def test_an_image_that_never_comes_up_is_given_up_after_three() -> None:
    group = replace(launched(), members=tuple(replace(m, up=False) for m in launched().members))
    late = plan.to_end(group, WANTED.names, BOOT_SECONDS, 60.0)
    assert [m.id for m in late] == ["i-1", "i-2", "i-3"]
    group = plan.ending(group, {m.id for m in late}, BOOT_SECONDS)
    assert plan.to_end(group, WANTED.names, BOOT_SECONDS + 30, 60.0) == [], "it was asked already"
    assert len(plan.to_end(group, WANTED.names, BOOT_SECONDS + 60, 60.0)) == 3
    assert not group.boots
    assert "did not answer within 15 minutes" in plan.trouble(group, WANTED, 2000.0)
    assert plan.next_order(group, WANTED, 2000.0) is None


def test_no_more_are_asked_for_at_once_than_the_cloud_takes() -> None:
    many = replace(WANTED, names=tuple(f"s1-{n}" for n in range(1, 31)))
    group = replace(launched(), members=launched().members[:1])
    order = plan.next_order(group, many, 0.0)
    assert order is not None
    assert order.count == 10 - 3, "of a burst of ten, three were launched"
    group = plan.replied(asked(group, order, 0.0), order, FleetReply(), 0.0)
    assert plan.next_order(group, many, 1.0) is None
    later = plan.next_order(group, many, 6.0)
    assert later is not None
    assert later.count == 3, "the bucket fills by half a machine a second"


def test_a_sweep_that_is_over_wants_none_and_asks_nothing_again() -> None:
    order = plan.next_order(launched(), replace(WANTED, names=(*WANTED.names, "s1-4")), 9.0)
    assert order is not None
    over, group = replace(WANTED, names=()), asked(launched(), order, 9.0)
    assert plan.next_order(group, over, 10.0) is None
    assert plan.looked(group, [], over, 20.0).unanswered is not None, "what it launched may not be listed yet"
    assert plan.looked(group, [], over, 70.0).unanswered is None
    assert len(plan.to_end(group, (), 10.0, 60.0)) == 3


# ---- answers of attempts -----------------------------------------------------------------------------

SWEEP = Sweep(
    number=1, desk="blue", image="i", provider="local", command=("x",), folder="/p", created_at=0.0,
    machines=3, retries=1,
)  # fmt: skip


def told(status: int = 1, attempt: int = 2, why: str = "") -> Ended:
    return Ended(task=1, attempt=attempt, exit_status=status, seconds=3600.0, began_at=0.0, why=why)


def test_a_success_counts_whichever_attempt_it_is_of_and_anything_else_of_the_newest_only() -> None:
    task = Task(number=1, params={}, state=State.RUNNING, attempt=2)
    late = tasks.outcome(task, told(0, attempt=1), SWEEP, None, 9000.0)
    assert late is not None
    assert late.state is State.DONE
    assert tasks.outcome(late, told(1), SWEEP, None, 9000.0) is None, "it is done"
    assert tasks.outcome(task, told(1, attempt=1), SWEEP, None, 9000.0) is None
    assert tasks.outcome(task, told(0, attempt=3), SWEEP, None, 9000.0) is None, "none was asked for"
    assert tasks.outcome(task, told(why=tasks.FENCED_WHY), SWEEP, None, 9000.0) is None
    failed = tasks.outcome(task, told(1), SWEEP, None, 9000.0)
    assert failed is not None
    assert (failed.state, failed.failed) == (State.WAITING, 1)
    again = tasks.outcome(replace(failed, state=State.RUNNING), told(1), SWEEP, None, 9000.0)
    assert again is not None
    assert again.state is State.FAILED, "one retry was allowed"


def test_an_attempt_that_its_machine_ended_is_no_failure_until_it_takes_machine_after_machine() -> None:
    task = Task(number=1, params={}, state=State.RUNNING, attempt=2)
    for why in (tasks.LOST_WHY, tasks.CANCELLED_WHY):  # nobody has cancelled it: the machine went
        found = tasks.outcome(task, told(why=why), SWEEP, None, 9000.0)
        assert found is not None
        assert (found.state, found.lost, found.failed) == (State.WAITING, 1, 0)
    cancelled = tasks.outcome(
        task, told(why=tasks.CANCELLED_WHY), replace(SWEEP, wish=Wish.CANCEL), None, 1.0
    )
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED
    last = tasks.lost(replace(task, lost=tasks.LOST_MOST - 1), 9.0)
    assert (last.state, last.why) == (State.FAILED, "its machine was lost 8 times while it ran")
    assert tasks.unbegun(task).attempt == 1


def test_a_task_pays_for_what_it_reserves_whichever_is_the_greater_part() -> None:
    box = Machine(name="s1-1", number=1, slots=8, gpus=2, usd_per_hour=4.0)
    assert tasks.usd_of(3600.0, SWEEP, box) == 0.5
    assert tasks.usd_of(3600.0, replace(SWEEP, gpus=1), box) == 2.0
    assert tasks.usd_of(3600.0, SWEEP, None) == 0.0
    assert [tasks.places_of(replace(SWEEP, gpus=n), box) for n in (0, 1, 2, 4)] == [8, 2, 1, 0]
