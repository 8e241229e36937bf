"""Stories: one thing goes wrong at every place where it can, and the day ends well or with a question.

Each test opens with its story. `live_through` checks after every act that the goal is reached in truth, that
all work is where a resume finds it, and that nothing else is paid for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import OFFER_KINDS, Kind, Refused
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Market, Phase
from hotdesk.core.plan import plan_gc
from hotdesk.core.steps import Ask, Delete, Launch, Outcome, Prove, Verify
from tests.laptop import CrashAt, Laptop
from tests.sim import OFFERS, Cloud, Crash, Faults, offers

SPOT = offers(market=Market.SPOT, region="r1")
HERE = offers(region="r1")
THERE = offers(region="r2")


def a_desk(
    seed: int = 0, lag_seconds: float = 20.0, seconds: float = 8.0, **more: object
) -> tuple[Cloud, Laptop]:
    cloud = Cloud(seed=seed, lag_seconds=lag_seconds, faults=Faults(seconds=seconds), **more)  # type: ignore[arg-type]
    laptop = Laptop(cloud)

    def given_up(name: str) -> bool:
        desk = laptop.store.find(name)
        return desk is not None and (desk.goal is Goal.GONE or desk.fresh)

    cloud.given_up = given_up
    return cloud, laptop


def reach(laptop: Laptop, goal: Goal, where: tuple = (), asks_max: int = 0, **more: bool) -> list[Ask]:
    """The goal, in truth; the questions on the way, each answered with the same command again, later."""
    asks: list[Ask] = []
    while True:
        laptop.want("blue", goal, where, **more)
        ask = laptop.settle("blue")
        assert laptop.cloud.violations == []
        if ask is None:
            laptop.check("blue", goal)
            laptop.work("blue")
            return asks
        asks.append(ask)
        assert len(asks) <= asks_max, asks
        laptop.clock.sleep(1000.0)


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
def test_a_refusal_at_every_call_ends_well_or_in_a_question(kind: Kind) -> None:
    for where in (HERE, SPOT):
        _, calls = counted(where)
        for at in range(1, calls + 1):
            cloud, laptop = a_desk(seed=at)
            cloud.fault_at = {at: Refused(kind, "no", seconds=100.0 if kind in OFFER_KINDS else 5000.0)}
            short_day(laptop, where, asks_max=1)


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
    """1. No answer to a launch; the lag passes. 2. It is asked again. 3. The first request arrives after all."""
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
def test_killed_while_launching_and_then_something_else_is_wanted(goal: Goal) -> None:
    """The request has its effect, slowly, and the process dies before it hears of it."""
    for at, seed, lag_seconds in itertools.product(range(3, 11), range(8), [15.0, 90.0]):
        cloud, laptop = a_desk(seed, lag_seconds, seconds=60.0)
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


# ---- hardware ------------------------------------------------------------------------------------------


def test_sold_out_everywhere_is_a_question_that_names_every_place() -> None:
    cloud, laptop = a_desk()
    cloud.sold_out = {o.key for o in OFFERS}
    laptop.want("blue", Goal.RUNNING, offers())
    ask = laptop.settle("blue")
    assert ask
    assert all(zone in ask.why for zone in ("r1a", "r1b", "r2a"))
    assert ask.kind is Kind.NO_CAPACITY
    cloud.sold_out = {offers()[0].key}
    laptop.clock.sleep(301)
    reach(laptop, Goal.RUNNING)
    [machine] = cloud.machines()
    assert machine.value.zone == "r1b"


def test_a_stopped_machine_whose_pool_is_sold_out_goes_elsewhere_with_its_work() -> None:
    for seed in range(10):
        cloud, laptop = a_desk(seed)
        reach(laptop, Goal.RUNNING, offers())
        reach(laptop, Goal.STOPPED)
        cloud.sold_out = {offers()[0].key}
        reach(laptop, Goal.RUNNING, offers())
        [machine] = cloud.machines()
        assert machine.value.zone != "r1a"


def test_a_machine_that_stops_after_every_start_is_a_question() -> None:
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.STOPPED)
    cloud.faults.broken = 1.0
    laptop.deaf = 1.0
    laptop.want("blue", Goal.RUNNING)
    ask = laptop.settle("blue")
    assert ask
    assert "started 3 times" in ask.what


def test_a_desk_that_never_answers_is_a_question() -> None:
    _, laptop = a_desk()
    laptop.deaf = 1.0
    laptop.want("blue", Goal.RUNNING, HERE)
    ask = laptop.settle("blue")
    assert ask
    assert "cannot be used" in ask.what


def test_interruptions_for_a_week_never_wear_the_desk_out() -> None:
    """A desk on spot is taken back forty times while one command watches it."""
    cloud, laptop = a_desk(lag_seconds=5.0)
    reach(laptop, Goal.RUNNING, SPOT)
    for _ in range(40):
        [machine] = cloud.machines()
        cloud.interrupt(machine.value.id)
        laptop.clock.sleep(30.0)
        assert laptop.settle("blue") is None
        laptop.check("blue", Goal.RUNNING)
        laptop.work("blue")


# ---- others ---------------------------------------------------------------------------------------------


def test_work_that_somebody_deleted_is_a_question_and_fresh_is_its_answer() -> None:
    """1. The machine is deleted in the console. 2. Asked, not replaced. 3. --fresh goes on, for once."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    cloud.console_delete(cloud.machines()[0].value.id)
    laptop.want("blue", Goal.RUNNING)
    ask = laptop.settle("blue")
    assert ask
    assert "--fresh" in ask.fix
    assert cloud.machines() == []
    reach(laptop, Goal.RUNNING, fresh=True)
    cloud.console_delete(cloud.machines()[0].value.id)
    laptop.clock.sleep(100.0)
    again = laptop.settle("blue")
    assert again, "fresh was said of what was lost before, not of what came after"


def test_two_machines_that_may_both_hold_work_are_left_alone() -> None:
    """Two computers launch one desk in the same second; somebody works on both. Only a person may choose."""
    both = 0
    for seed in range(20):
        cloud, laptop = a_desk(seed, lag_seconds=60.0)
        other = Laptop(cloud)
        for one in (laptop, other):
            one.want("blue", Goal.RUNNING, HERE)
            one.reconciler.tick()
        if len(cloud.machines()) < 2:  # the second saw the first one's machine
            continue
        both += 1
        cloud.violations.clear()  # nobody could know
        cloud.quiet()
        for machine in cloud.machines():
            cloud.work(machine.value.id)
        for one in (laptop, other):  # each deletes the one it made and nobody was told of, and no other
            one.store.begin([("blue", prove(m)) for m in one_of(cloud, one)], one.clock.now())
            for row in one.store.rows()[-1:]:
                one.store.end(row, Outcome(status="done"), one.clock.now())
            one.want("blue", Goal.PARKED)
            ask = one.settle("blue")
            assert ask
            assert "Two machines" in ask.what
            assert len(cloud.machines()) == 2
        assert cloud.violations == []
    assert both


def one_of(cloud: Cloud, laptop: Laptop) -> list[Instance]:
    past = laptop.store.past(laptop.store.desk("blue"))
    return [m.value for m in cloud.machines() if isinstance(m.value, Instance) and past.made(m.value)]


def prove(machine: Instance) -> Prove:
    return Prove(id=machine.id, generation=machine.generation, started_at=machine.started_at, why="told")


def test_a_late_twin_that_nobody_was_told_of_goes_by_itself() -> None:
    """The cloud makes two of one order, which it should not; nobody has logged into either."""
    cloud, laptop = a_desk()
    laptop.want("blue", Goal.RUNNING, HERE)
    laptop.reconciler.tick()
    cloud.quiet()
    [made] = cloud.machines()
    cloud._add(replace(made.value, id="i-twin"), frozenset())
    cloud.quiet()
    reach(laptop, Goal.RUNNING)
    assert len(cloud.machines()) == 1


def test_the_first_look_of_a_second_computer_waits_for_what_was_just_saved() -> None:
    """1. Parked twice at one computer. 2. Resumed at once at another, whose look lags behind."""
    for seed in range(60):
        cloud, laptop = a_desk(seed, lag_seconds=300.0, seconds=1.0, lists_ended=False)
        reach(laptop, Goal.RUNNING, HERE)
        reach(laptop, Goal.PARKED)
        reach(laptop, Goal.RUNNING, HERE)
        laptop.want("blue", Goal.PARKED)
        until(laptop, Delete)
        other = Laptop(cloud)
        for goal in (Goal.RUNNING, Goal.PARKED, Goal.RUNNING):
            reach(other, goal, HERE)
            cloud.quiet()


def until(laptop: Laptop, step: type) -> None:
    """Let the loop go on until such a step was taken; as if the process were killed right after it."""
    for _ in range(500):
        tick = laptop.reconciler.tick()
        if any(isinstance(row.step, step) and row.done for row in tick.rows):
            laptop.crash()
            return
        laptop.clock.sleep(tick.seconds or 0.0)
    raise AssertionError(f"no {step.__name__}")


def test_an_order_that_nobody_answered_is_not_repeated_after_others_went_on() -> None:
    """1. Here a launch gets lost. 2. Elsewhere the desk is resumed, worked on, parked. 3. Resumed here."""
    for seed in range(5):
        cloud, laptop = a_desk(seed)
        reach(laptop, Goal.RUNNING, HERE)
        reach(laptop, Goal.PARKED)
        cloud.script = {"launch": ["never"]}
        laptop.want("blue", Goal.RUNNING, HERE)
        laptop.reconciler.tick()
        laptop.want("blue", Goal.PARKED)
        assert laptop.settle("blue") is None
        other = Laptop(cloud)
        for goal in (Goal.RUNNING, Goal.PARKED):
            reach(other, goal, HERE)
        cloud.quiet()
        reach(laptop, Goal.RUNNING, HERE)


def test_a_fleet_of_eight() -> None:
    """Eight desks, one loop; each has its own wish; the loop is killed now and then."""
    cloud, laptop = a_desk(seed=8)
    names = [f"desk-{n}" for n in range(8)]
    wishes = itertools.cycle([Goal.RUNNING, Goal.PARKED, Goal.RUNNING, Goal.STOPPED, Goal.RUNNING])
    kill = itertools.count(1)

    def boundary(label: str) -> None:
        if next(kill) % 37 == 0:
            raise Crash(label)

    for _ in range(6):
        for name in names:
            goal = next(wishes)
            laptop.want(name, goal, next(places) if goal is Goal.RUNNING else ())
        cloud.boundary = boundary
        run_all(laptop)
        cloud.boundary = lambda label: None
        for name in names:
            laptop.check(name, laptop.store.desk(name).goal)
            laptop.work(name)
    for name in names:
        laptop.want(name, Goal.GONE)
    run_all(laptop)
    cloud.quiet()
    assert cloud.billed() == []
    assert laptop.store.desks() == []


places = itertools.cycle([HERE, SPOT, THERE])


def run_all(laptop: Laptop) -> None:
    for _ in range(3000):
        try:
            tick = laptop.reconciler.tick()
        except Crash:
            laptop.crash()
            continue
        assert not tick.asks, tick.asks
        if tick.seconds is None:
            return
        laptop.clock.sleep(tick.seconds)
    raise AssertionError("no end")


# ---- things of nobody -----------------------------------------------------------------------------------


def test_everything_is_in_a_row_or_in_gc_when_the_state_is_lost() -> None:
    """The SQLite file is gone: each thing is named, and only what is held better elsewhere may be deleted."""
    total, _ = counted(SPOT)
    for at in range(20, total, 7):
        cloud, laptop = a_desk(seed=1)
        cloud.boundary = CrashAt(at)
        try:
            for wish, place in [(Goal.RUNNING, SPOT), (Goal.PARKED, ()), (Goal.RUNNING, SPOT)]:
                laptop.want("blue", wish, place)
                laptop.reconciler.settle(laptop.store.desk("blue"))
                laptop.work("blue")
        except Crash:
            pass
        cloud.boundary = lambda label: None
        cloud.quiet()
        survey = cloud.survey()
        steps = plan_gc(survey, [], laptop.clock.now())
        said = " ".join(
            s.id if isinstance(s, Delete) else s.what for s in steps if isinstance(s, Delete | Ask)
        )
        assert all(thing.value.id in said for thing in cloud.billed())
        cloud.given_up = lambda desk: False
        for step in steps:
            if isinstance(step, Delete):
                cloud.delete(step.id)
        assert cloud.violations == []
        mine = Desk(name="blue", goal=Goal.RUNNING, since=0.0, created_at=0.0)
        assert plan_gc(survey, [mine], 0.0) == []


def test_the_simulator_itself_objects() -> None:
    """A judge that never objects is none: each law, broken by hand, is noticed at once."""
    cloud, laptop = a_desk(lag_seconds=0.0)
    reach(laptop, Goal.RUNNING, SPOT)
    cloud.given_up = lambda desk: False
    [machine] = cloud.machines()
    cloud.interrupt(machine.value.id)
    cloud.quiet()
    [disk] = [t for t in cloud.billed() if isinstance(t.value, Disk)]
    cloud.delete(disk.value.id)
    assert "last copy" in cloud.violations.pop()
    reach(laptop, Goal.GONE)
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.PARKED)
    [image] = cloud.images()
    assert isinstance(image.value, Image)
    assert image.value.phase is Phase.READY
    order = next(r.step.order for r in laptop.store.rows() if isinstance(r.step, Launch))
    cloud.launch(replace(order, attempt=8))
    assert "launched without work" in cloud.violations.pop()
    cloud.launch(replace(order, attempt=9))
    assert any("two machines" in v for v in cloud.violations)
