"""Stories: one thing goes wrong at every place where it can, and the day ends well or with a question.

Each test opens with its story. `live_through` checks after every act that the goal is reached in truth, that
all work is where a resume finds it, and that nothing else is paid for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from hotdesk.core.errors import OFFER_KINDS, Kind, Refused
from hotdesk.core.model import Disk, Goal, Market
from hotdesk.core.steps import Launch, Verify
from tests.laptop import HERE, SPOT, THERE, CrashAt, Laptop, a_desk, reach, until
from tests.sim import Cloud, Crash, offers


def short_day(laptop: Laptop, where: tuple, asks_max: int = 0) -> None:
    """Up, work, park, resume in another region, work, down."""
    elsewhere = THERE if where[0].market is Market.ON_DEMAND else offers(market=Market.SPOT, region="r2")
    reach(laptop, Goal.RUNNING, where, asks_max)
    reach(laptop, Goal.PARKED, (), asks_max)
    reach(laptop, Goal.RUNNING, elsewhere, asks_max)
    reach(laptop, Goal.GONE, (), asks_max)


def counted(where: tuple, seed: int = 0) -> tuple[int, int]:
    """How many boundaries and how many acting calls a short day has."""
    cloud, laptop = a_desk(seed)
    cloud.boundary = count = CrashAt()
    short_day(laptop, where)
    return count.count, len(cloud.calls)


# ---- one thing, at every place -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("where", [HERE, SPOT], ids=["on-demand", "spot"])
def test_a_change_of_mind_at_every_boundary(where: tuple) -> None:
    """The command is killed, and the next one wants something else. Every other goal has its turn."""
    total, _ = counted(where)
    for at, goal in zip(range(3, total), itertools.cycle(Goal), strict=False):
        cloud, laptop = a_desk()
        cloud.boundary = CrashAt(at)
        settle = laptop.reconciler.settle
        try:
            for wish, place in [(Goal.RUNNING, where), (Goal.PARKED, ()), (Goal.RUNNING, THERE)]:
                laptop.want("blue", wish, place)
                settle(laptop.store.desk("blue"))
                laptop.work("blue")
        except Crash:
            laptop.crash()
        cloud.boundary = lambda label: None
        reach(laptop, goal)
        reach(laptop, Goal.RUNNING, HERE, asks_max=1, fresh=cloud.lost_by_choice)
        reach(laptop, Goal.GONE)


@pytest.mark.parametrize("where", [HERE, SPOT], ids=["on-demand", "spot"])
@pytest.mark.parametrize("fault", ["lost", "never"])
def test_a_reply_is_lost_at_every_call(where: tuple, fault: str) -> None:
    _, calls = counted(where)
    for at in range(1, calls + 1):
        cloud, laptop = a_desk(seed=at)
        cloud.fault_at = {at: fault}
        short_day(laptop, where)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.slow
def test_a_refusal_at_every_call_ends_well_or_in_a_question(kind: Kind) -> None:
    for where in (HERE, SPOT):
        _, calls = counted(where)
        for at in range(1, calls + 1):
            cloud, laptop = a_desk(seed=at)
            cloud.fault_at = {at: Refused(kind, "no", seconds=100.0 if kind in OFFER_KINDS else 5000.0)}
            short_day(laptop, where, asks_max=1)


@pytest.mark.slow
@pytest.mark.parametrize("stoppable", [False, True])
def test_an_interruption_at_every_boundary(stoppable: bool) -> None:
    """The cloud takes the spot machine back just then; its disk is left, is saved, and the desk goes on."""
    total, _ = counted(SPOT)
    for at in range(1, total, 2):
        cloud, laptop = a_desk(stoppable_spot=stoppable)
        at_boundary(cloud, at, lambda cloud=cloud: [cloud.interrupt(m.value.id) for m in cloud.machines()])
        hook = cloud.boundary
        for goal in (Goal.RUNNING, Goal.PARKED, Goal.RUNNING, Goal.GONE):
            cloud.boundary = hook
            laptop.want("blue", goal, SPOT)
            assert laptop.settle("blue") is None
            cloud.boundary = lambda label: None
            laptop.clock.sleep(100.0)  # it may have happened in the last look
            assert laptop.settle("blue") is None
            laptop.check("blue", goal)
            laptop.work("blue")


def at_boundary(cloud: Cloud, at: int, happen: Callable[[], object]) -> None:
    counter = itertools.count(1)

    def boundary(label: str) -> None:
        if next(counter) == at:
            happen()

    cloud.boundary = boundary


def test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it() -> None:
    """1. No answer, and the lag passes. 2. It is asked again. 3. The first request arrives after all."""
    for operation, seed in itertools.product(["launch", "bake", "stop", "start", "delete", "copy"], range(8)):
        cloud, laptop = a_desk(seed)
        cloud.script = {operation: ["late"]}
        for goal, where in [(Goal.RUNNING, HERE), (Goal.STOPPED, ()), (Goal.RUNNING, ()), (Goal.PARKED, ())]:
            reach(laptop, goal, where)
        reach(laptop, Goal.RUNNING, THERE)
        cloud.quiet()
        reach(laptop, Goal.RUNNING)


def test_a_name_that_is_used_again_is_a_new_desk() -> None:
    for seed in range(6):
        cloud, laptop = a_desk(seed, lists_ended=bool(seed % 2))
        for where in (HERE, HERE, SPOT, THERE):
            short_day(laptop, where)
            cloud.quiet()


def test_a_machine_that_ended_before_anybody_logged_in_is_replaced() -> None:
    """Nothing can be on it; the next one is another order, although all but its number is the same."""
    for seed in range(6):
        cloud, laptop = a_desk(seed, lists_ended=bool(seed % 2))
        laptop.want("blue", Goal.RUNNING, HERE)
        laptop.reconciler.tick()
        cloud.console_delete(cloud.machines()[0].value.id)
        cloud.quiet()
        reach(laptop, Goal.RUNNING)


def test_calls_that_take_longer_than_the_listing_lags() -> None:
    for seed in range(25):
        cloud, laptop = a_desk(seed, lag_seconds=6.0, seconds=60.0)
        short_day(laptop, SPOT if seed % 2 else HERE)
        assert cloud.violations == []


@pytest.mark.parametrize("goal", [Goal.RUNNING, Goal.GONE])
@pytest.mark.slow
def test_killed_while_launching_and_then_something_else_is_wanted(goal: Goal) -> None:
    """The request has its effect, slowly, and the process dies before it hears of it."""
    for at, seed, lag_seconds in itertools.product(range(3, 11), range(24), [15.0, 90.0]):
        cloud, laptop = a_desk(seed, lag_seconds, seconds=200.0)
        cloud.boundary = CrashAt(at)
        try:
            laptop.want("blue", Goal.RUNNING, HERE)
            laptop.reconciler.settle(laptop.store.desk("blue"))
        except Crash:
            laptop.crash()
        cloud.boundary = lambda label: None
        cloud.faults.seconds = 1.0
        reach(laptop, goal, THERE)
        cloud.quiet()
        if goal is Goal.GONE:
            assert cloud.billed() == []
        else:
            reach(laptop, goal)


@pytest.mark.parametrize("goal", [Goal.RUNNING, Goal.PARKED, Goal.GONE])
@pytest.mark.parametrize("worked", [True, False])
def test_an_interrupted_machine_whose_disk_is_listed_late(goal: Goal, worked: bool) -> None:
    """Nothing is said of a desk, neither lost nor parked nor gone, before a late disk would be listed."""
    for seed in range(40):
        cloud, laptop = a_desk(seed, lag_seconds=90.0, seconds=1.0)
        laptop.want("blue", Goal.RUNNING, SPOT)
        if worked:
            reach(laptop, Goal.RUNNING)
        else:
            laptop.reconciler.tick()
        cloud.clock.time += 200.0
        cloud.interrupt(cloud.machines()[0].value.id)
        cloud.clock.time += seed * 4
        reach(laptop, goal)
        if goal is not Goal.RUNNING:
            cloud.quiet()
            assert not [t for t in cloud.billed() if isinstance(t.value, Disk)]


def test_a_clock_set_back_or_ahead_at_every_act() -> None:
    for error, seed in itertools.product([-7200.0, 7200.0, -15.0], range(4)):
        cloud, laptop = a_desk(seed)
        reach(laptop, Goal.RUNNING, HERE)
        laptop.clock.error = error
        reach(laptop, Goal.PARKED)
        laptop.crash()
        reach(laptop, Goal.RUNNING, THERE)
        laptop.clock.error = 0.0
        reach(laptop, Goal.GONE)
        assert cloud.violations == []


# ---- images --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "where"), list(itertools.product(["failed", "rotten"], [HERE, SPOT])))
def test_images_that_fail_again_and_again_are_a_question_and_nothing_is_lost(
    fault: str, where: tuple
) -> None:
    """1. Every image fails, or is rotten. 2. The desk asks, its disk untouched. 3. Mended, parked."""
    for seed in range(6):
        cloud, laptop = a_desk(seed)
        reach(laptop, Goal.RUNNING, where)
        setattr(cloud.faults, fault, 1.0)
        laptop.want("blue", Goal.PARKED)
        ask = laptop.settle("blue")
        assert ask
        assert "Nothing was deleted" in ask.what
        assert cloud.violations == []
        setattr(cloud.faults, fault, 0.0)
        reach(laptop, Goal.PARKED)


@pytest.mark.parametrize("fault", ["failed", "rotten"])
def test_one_bad_image_is_no_question(fault: str) -> None:
    for lag_seconds, seed in itertools.product([0.0, 20.0], range(10)):
        cloud, laptop = a_desk(seed, lag_seconds)
        cloud.script = {"image": [fault]}
        reach(laptop, Goal.RUNNING, HERE)
        laptop.want("blue", Goal.PARKED)
        ask = laptop.settle("blue")
        assert ask is None or ask.kind in {Kind.NO_SPACE, Kind.UNREADABLE}, ask
        reach(laptop, Goal.PARKED)
        cloud.script = {"image": [fault]}
        reach(laptop, Goal.RUNNING, THERE)


def saved_and_woken_again(seed: int, lag_seconds: float = 20.0) -> tuple[Cloud, Laptop]:
    """A desk that was parked until its image was verified, then wanted again, and worked on."""
    cloud, laptop = a_desk(seed, lag_seconds, seconds=1.0, stoppable_spot=True)
    reach(laptop, Goal.RUNNING, SPOT)
    laptop.want("blue", Goal.PARKED)
    until(laptop, Verify)
    cloud.quiet()
    reach(laptop, Goal.RUNNING)
    return cloud, laptop


@pytest.mark.slow
def test_parked_again_right_after_it_was_woken() -> None:
    """A look of before the start shows a machine that is off, and a verified image of it."""
    for seed in range(60):
        _, laptop = saved_and_woken_again(seed, lag_seconds=120.0)
        reach(laptop, Goal.PARKED)
        reach(laptop, Goal.RUNNING)


def test_the_disk_of_a_machine_that_was_woken_holds_more_than_its_image() -> None:
    """1. Saved and woken again. 2. Somebody ends the machine; its disk is left. 3. It is saved once more."""
    for seed in range(12):
        cloud, laptop = saved_and_woken_again(seed)
        cloud.console_delete(cloud.machines()[0].value.id)
        reach(laptop, Goal.PARKED)
        reach(laptop, Goal.RUNNING)


def test_an_image_from_before_the_work_is_not_taken_for_it() -> None:
    """1. Saved and woken again. 2. Machine and disk are deleted. 3. Asked, not resumed without a word."""
    cloud, laptop = saved_and_woken_again(0)
    [machine] = cloud.machines()
    machine.keeps_disk = False
    cloud.console_delete(machine.value.id)
    laptop.want("blue", Goal.RUNNING)
    ask = laptop.settle("blue")
    assert ask
    assert "from before that" in ask.why


def test_a_copy_that_fails_again_and_again_is_a_question() -> None:
    for fault, seed in itertools.product(["failed", "rotten"], range(4)):
        cloud, laptop = a_desk(seed)
        reach(laptop, Goal.RUNNING, HERE)
        reach(laptop, Goal.PARKED)
        setattr(cloud.faults, fault, 1.0)
        laptop.want("blue", Goal.RUNNING, THERE)
        ask = laptop.settle("blue")
        assert ask
        assert "copying" in ask.what
        setattr(cloud.faults, fault, 0.0)
        reach(laptop, Goal.RUNNING, THERE)
        reach(laptop, Goal.PARKED)


@pytest.mark.slow
def test_an_image_from_before_the_last_start_is_not_the_save() -> None:
    """1. Parking is killed when the image is there. 2. Resumed, and worked on. 3. Parked after all."""
    total, _ = counted(HERE)
    for at in range(1, total):
        cloud, laptop = a_desk()
        reach(laptop, Goal.RUNNING, HERE)
        cloud.boundary = CrashAt(at)
        try:
            laptop.want("blue", Goal.PARKED)
            laptop.reconciler.settle(laptop.store.desk("blue"))
            return
        except Crash:
            laptop.crash()
        cloud.boundary = lambda label: None
        reach(laptop, Goal.RUNNING)
        reach(laptop, Goal.PARKED)
        reach(laptop, Goal.RUNNING)


@pytest.mark.parametrize("lag", [0.0, 10.0, 60.0])
@pytest.mark.parametrize("then", [Goal.RUNNING, Goal.PARKED, Goal.GONE])
def test_a_launch_that_is_stuck_on_its_way_and_a_change_of_mind(then: Goal, lag: float) -> None:
    """1. A launch gets no reply. 2. Something else is wanted. 3. The launch is carried out after all."""
    for seed in range(20):
        cloud, laptop = a_desk(seed, lag_seconds=lag)
        cloud.faults.seconds = 20.0
        cloud.fault_at = {cloud._acts + 1: "late"}
        laptop.want("blue", Goal.RUNNING, HERE)
        laptop.reconciler.tick()
        assert cloud.machines() == []
        laptop.want("blue", then, THERE)
        assert laptop.settle("blue") is None
        for _ in range(3):
            assert cloud.violations == []
            laptop.clock.sleep(60.0)
        laptop.check("blue", then)
        if then is not Goal.GONE:
            reach(laptop, Goal.GONE)


def test_a_launch_without_a_reply_is_repeated_at_once() -> None:
    """The same order cannot make a second machine: only the listing is waited for."""
    for fault, seed in itertools.product(["never", "late"], range(6)):
        cloud, laptop = a_desk(seed, lag_seconds=10.0, seconds=1.0)
        cloud.script = {"launch": [fault]}
        reach(laptop, Goal.RUNNING, HERE)
        first, second = [row for row in laptop.store.rows(limit=None) if isinstance(row.step, Launch)]
        assert first.step.key == second.step.key
        assert abs(second.at - first.at) < 30.0, "not as long as the request may be on its way"
