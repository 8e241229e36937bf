"""One desk, two computers: each may be behind, and neither starts, ends or loses what the other relies on."""

from __future__ import annotations

import pytest

from hotdesk.core.model import Goal, Market, Offer, Phase
from hotdesk.core.steps import Launch, Start
from tests.laptop import HERE, SPOT, Laptop, a_desk, reach
from tests.sim import Cloud

OFFERS = {Market.ON_DEMAND: HERE, Market.SPOT: SPOT}


def both_know_it(cloud: Cloud, laptop: Laptop, offers: tuple[Offer, ...]) -> Laptop:
    """Up at one, and up again at the other: two rows that say "running", each with a proven login."""
    other = Laptop(cloud)
    reach(laptop, Goal.RUNNING, offers)
    cloud.clock.sleep(200.0)
    reach(other, Goal.RUNNING, offers)
    assert len(cloud.machines()) == 1
    return other


def by_turns(*laptops: Laptop, rounds: int = 400) -> None:
    """Watchers at several computers, until none of them has anything to do."""
    for _ in range(rounds):
        pauses = [laptop.reconciler.tick({"blue"}).seconds for laptop in laptops]
        if all(pause is None for pause in pauses):
            return
        laptops[0].clock.sleep(min(pause for pause in pauses if pause is not None))
    raise AssertionError("two watchers work against each other without end")


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("goal", [Goal.PARKED, Goal.STOPPED])
@pytest.mark.parametrize("seed", range(12))
def test_left_at_one_while_the_other_watches(market: Market, goal: Goal, seed: int) -> None:
    """1. Running, known at both. 2. Left at one. 3. The other's watcher looks all the while."""
    cloud, laptop = a_desk(seed)
    other = both_know_it(cloud, laptop, OFFERS[market])
    acts = len(other.store.rows("blue"))
    laptop.want("blue", goal)
    by_turns(laptop, other)
    cloud.quiet()
    by_turns(laptop, other)
    laptop.check("blue", goal)
    assert not [r for r in other.store.rows("blue")[acts:] if isinstance(r.step, Launch | Start)]
    assert other.store.desk("blue").goal is not Goal.RUNNING
    reach(other, Goal.RUNNING, OFFERS[market])


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("days", [0.01, 0.2, 3.0])
@pytest.mark.parametrize("lists_ended", [True, False])
def test_a_row_that_is_days_old_starts_nothing(market: Market, days: float, lists_ended: bool) -> None:
    """1. Running, known at both. 2. One is closed. 3. Parked at the other. 4. It watches."""
    for seed in range(6):
        cloud, laptop = a_desk(seed, lists_ended=lists_ended)
        asleep = both_know_it(cloud, laptop, OFFERS[market])
        reach(laptop, Goal.PARKED)
        cloud.clock.sleep(86_400.0 * days)
        made = cloud.calls.count("launch")
        assert asleep.settle("blue") is None
        assert cloud.calls.count("launch") == made
        assert cloud.machines() == []
        assert asleep.store.desk("blue").goal is Goal.PARKED
        laptop.check("blue", Goal.PARKED)


def test_parked_and_resumed_at_the_other_it_is_the_same_desk() -> None:
    for seed in range(12):
        cloud, laptop = a_desk(seed)
        asleep = both_know_it(cloud, laptop, HERE)
        reach(laptop, Goal.PARKED)
        reach(laptop, Goal.RUNNING, SPOT)
        cloud.clock.sleep(5000.0)
        made = cloud.calls.count("launch")
        assert asleep.settle("blue") is None
        assert (cloud.calls.count("launch"), len(cloud.machines())) == (made, 1)
        asleep.work("blue")  # its login was proven anew


def test_an_interruption_is_still_recovered_from_by_whoever_watches() -> None:
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, SPOT)
    [machine] = cloud.machines()
    cloud.interrupt(machine.value.id)
    cloud.quiet()
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)


def test_stopped_in_the_console_it_stays_off_until_it_is_asked_for() -> None:
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    [machine] = cloud.machines()
    cloud._halt(machine, "User initiated shutdown", machine.value.started_at)
    cloud.quiet()
    assert laptop.settle("blue") is None
    assert machine.value.phase is Phase.STOPPED
    assert laptop.store.desk("blue").goal is Goal.STOPPED
    reach(laptop, Goal.RUNNING, HERE)
    assert machine.value.phase is Phase.READY


def test_up_at_both_at_once_is_one_machine_or_a_question() -> None:
    """Nothing but luck keeps two computers from launching in one moment: the younger machine goes, unused."""
    one, asked, both = 0, 0, 0
    for seed in range(40):
        cloud, laptop = a_desk(seed, lag_seconds=60.0)
        other = Laptop(cloud)
        for each in (laptop, other):
            each.want("blue", Goal.RUNNING, HERE)
            cloud.clock.sleep(0.7)
        asks = []
        for _ in range(300):
            both += len(cloud.machines()) > 1
            ticks = [each.reconciler.tick({"blue"}) for each in (laptop, other)]
            asks = [t.asks["blue"] for t in ticks if "blue" in t.asks]
            cloud.violations = [v for v in cloud.violations if not v.startswith("two machines")]
            if all(t.seconds is None for t in ticks):
                break
            cloud.clock.sleep(min(t.seconds for t in ticks if t.seconds is not None))
        cloud.quiet()
        assert cloud.violations == []
        if asks:
            asked += 1
            assert all("Two machines" in a.what for a in asks)
        else:
            one += 1
            assert len(cloud.machines()) == 1
    assert both, "they never met"
    assert one >= 38, f"one machine {one} times, a question {asked} times"


def test_a_twin_that_was_withdrawn_is_no_lost_work_at_the_other_computer() -> None:
    """1. Two computers launch at once; the younger machine goes, unused. 2. The other parks, and resumes."""
    met = 0
    for seed in range(40):
        cloud, laptop = a_desk(seed, lag_seconds=20.0)
        other = Laptop(cloud)
        for each in (laptop, other):
            each.want("blue", Goal.RUNNING, HERE)
            cloud.clock.sleep(0.7)
        met_here = False
        for _ in range(300):
            if len(cloud.machines()) > 1:
                met_here = True
            ticks = [each.reconciler.tick({"blue"}) for each in (laptop, other)]
            cloud.violations = [v for v in cloud.violations if not v.startswith("two machines")]
            if all(t.seconds is None for t in ticks):
                break
            cloud.clock.sleep(min(t.seconds for t in ticks if t.seconds is not None))
        if not met_here or len(cloud.machines()) != 1:
            continue
        met += 1
        for each in (laptop, other):
            for goal in (Goal.PARKED, Goal.RUNNING):
                each.want("blue", goal, HERE)
                assert each.settle("blue") is None
            cloud.quiet()
    assert met > 10, "they seldom met"
