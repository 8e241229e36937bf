"""Stories of hardware that is not to be had, of other computers and other hands, and of things of nobody."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from hotdesk.core.backoff import MOST_SECONDS
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle.descent import FINAL, marked
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.launch import PUT_OFF
from hotdesk.core.lifecycle.plan import plan, plan_gc
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Market, Phase, Scope, Seen
from hotdesk.core.steps import AnyStep, Ask, Bake, Delete, Done, Launch, Prove
from tests.laptop import HERE, SPOT, THERE, CrashAt, Laptop, a_desk, reach, until
from tests.sim import OFFERS, Cloud, Crash, offers

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


BUSY = Refused(Kind.THROTTLED, "too many requests", seconds=0.0)
OPERATIONS = ["launch", "start", "stop", "bake", "verify", "copy", "delete", "retype"]


@pytest.mark.parametrize("fault", [BUSY, "failing", "failed"], ids=str)
def test_a_cloud_that_is_too_busy_is_waited_for_longer_each_time(fault: Refused | str) -> None:
    """Twenty times in a row for each step, which is more than any step is tried; the wish comes true."""
    for operation in OPERATIONS:
        cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0)
        cloud.script[operation] = [fault] * 20
        asked: list[float] = []

        def note(label: str, cloud: Cloud = cloud, of: str = operation, asked: list[float] = asked) -> None:
            if label == f"before {of}":
                asked.append(cloud.clock.time)

        cloud.boundary = note
        reach(laptop, Goal.RUNNING, HERE)
        reach(laptop, Goal.STOPPED)
        reach(laptop, Goal.RUNNING)
        reach(laptop, Goal.RUNNING, offers(kind="gpu.big", region="r1"), move=True)
        reach(laptop, Goal.PARKED)
        reach(laptop, Goal.RUNNING, THERE)
        reach(laptop, Goal.GONE)
        assert cloud.violations == []
        if fault == "failed":  # what had its effect is seen, and not asked again
            assert len(cloud.script[operation]) in range(10, 20)
        else:
            assert cloud.script[operation] == []
            waits = [b - a for a, b in itertools.pairwise(sorted({*asked[:20]}))]
            assert len(waits) >= 9, "it was asked for again at once"
            longer = [min(MOST_SECONDS, 2.0**times) / 2 for times in range(1, len(waits) + 1)]
            assert all(map(float.__ge__, waits, longer)), f"{operation} was asked for again after {waits}"


def test_looks_that_are_put_off_end_no_verb_and_are_fewer_each_time() -> None:
    cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0)
    cloud.faults.busy = 1.0
    laptop.want("blue", Goal.RUNNING, HERE)
    for _ in range(40):
        tick = laptop.reconciler.tick()
        assert "too many requests" in tick.waits["blue"].why
        assert tick.seconds
        laptop.clock.sleep(tick.seconds)
    assert tick.seconds > 60.0
    cloud.faults.busy = 0.0
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)


def test_a_refusal_is_believed_of_every_offer_that_it_speaks_of_and_of_no_other() -> None:
    """A quota of r1 for machines like this one: its other zone is not asked, the other region is."""
    for scope, asked in (
        (Scope(provider="sim", region="r1"), ["r1a", "r2a"]),
        (Scope(provider="sim", region="r1", types=("gpu.*",)), ["r1a", "r1b"]),
        (Scope(provider="sim", region="r1", vcpus=5), ["r1a", "r1b"]),
        (Scope(provider="sim", region="r1", market=Market.SPOT), ["r1a", "r1b"]),
        (Scope(provider="sim", zone="r1b"), ["r1a", "r2a"]),
    ):
        cloud, laptop = a_desk(lag_seconds=0.0)
        cloud.script["launch"] = [Refused(Kind.DENIED, "a policy denies it", seconds=900.0, scope=scope)]
        reach(laptop, Goal.RUNNING, offers())
        rows = laptop.store.rows("blue")
        assert [r.step.order.offer.zone for r in rows if isinstance(r.step, Launch)] == asked


def test_whoever_asks_again_has_mended_what_a_person_can_mend() -> None:
    cloud, laptop = a_desk(lag_seconds=0.0)
    whole = Scope(provider="sim")
    cloud.script["launch"] = [Refused(Kind.DENIED, "a policy", fix="allow it", seconds=900.0, scope=whole)]
    laptop.want("blue", Goal.RUNNING, offers())
    ask = laptop.settle("blue")
    assert ask is not None
    assert (ask.kind, ask.fix) == (Kind.DENIED, "allow it")
    reach(laptop, Goal.RUNNING)


def test_what_is_never_there_yet_is_a_question_and_no_endless_launch() -> None:
    cloud, laptop = a_desk()
    early = Refused(Kind.NOT_READY, "The group is not listed yet.", seconds=5)
    cloud.script["launch"] = [early] * 100
    laptop.want("blue", Goal.RUNNING, HERE)
    ask = laptop.settle("blue")
    assert ask
    assert ask.why == early.message
    assert len(cloud.script["launch"]) == 100 - PUT_OFF
    laptop.want("blue", Goal.RUNNING, HERE)  # asked for again, and it is there by now
    cloud.script.clear()
    assert laptop.settle("blue") is None


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
    for lists_ended in (True, False):  # a cloud that forgets at once shows nothing of who ended it
        cloud, laptop = a_desk(lists_ended=lists_ended)
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
                one.store.end(row, Done(), one.clock.now())
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
    for seed in range(30, 50):  # one in hundreds of looks is behind just so that it shows
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


@pytest.mark.parametrize("where", [HERE, SPOT], ids=["on-demand", "spot"])
def test_a_parked_desk_costs_its_image_and_a_gone_one_nothing(where: tuple) -> None:
    cloud, laptop = a_desk()
    month = 730 * 3600.0
    reach(laptop, Goal.RUNNING, where)
    reach(laptop, Goal.PARKED)
    [image] = cloud.images()
    assert isinstance(image.value, Image)
    before = cloud.usd
    cloud.clock.time += month
    assert cloud.usd - before == pytest.approx(image.value.usd_per_month, rel=1e-6)
    reach(laptop, Goal.GONE)
    before = cloud.usd
    cloud.clock.time += month
    assert cloud.usd == before


# ---- things of nobody -----------------------------------------------------------------------------------


def test_everything_is_in_a_row_or_in_gc_when_the_state_is_lost() -> None:
    """The SQLite file is gone: each thing is named, and only what is held better elsewhere may be deleted."""
    for at in range(20, 250, 7):
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


# ---- disks that are left -------------------------------------------------------------------------------


def left_disk(id_: str, **more: object) -> Disk:
    disk = Disk(id=id_, desk="blue", generation=1, phase=Phase.READY, provider="sim", region="r1")
    return replace(disk, **more)


def of(*disks: Disk, fresh: bool = False, **more: object) -> AnyStep:
    desk = Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0, provider="sim", fresh=fresh)
    return plan(desk, Seen(disks=disks, **more), Past(), 100.0)[0]  # type: ignore[arg-type]


def test_disks_of_two_machines_are_a_question() -> None:
    """Two computers had a machine each of the same generation: no image holds both."""
    ask = of(left_disk("disk-1"), left_disk("disk-2"))
    assert isinstance(ask, Ask)
    assert "disk disk-1" in ask.what
    assert "disk disk-2" in ask.what
    later = left_disk("disk-2", generation=2)
    assert isinstance(of(left_disk("disk-1"), later), Ask), "a later number is no descent"
    saved = marked("disk-1", FINAL)
    assert isinstance(of(left_disk("disk-1"), replace(later, line=(saved,))), Bake)
    saved = Image(
        id="image-1", name="one", desk="blue", generation=1, phase=Phase.READY, provider="sim", region="r1",
        verified=True, source_id="disk-1", taken_at=50.0,
    )  # fmt: skip
    again = of(left_disk("disk-1"), left_disk("disk-2"), images=(saved,))
    assert isinstance(again, Ask), "an image of the other would be newer, and the first would go as older"
    unknown = of(*(left_disk(f"disk-{n}", machine="hotdesk-blue-g1-aa") for n in (1, 2)))
    assert isinstance(unknown, Ask), "of one machine, and nobody knows which was which"
    assert "left 2 disks" in unknown.what


def test_a_machine_of_which_a_disk_is_missing_is_a_question() -> None:
    part = left_disk("disk-1", lacks="/dev/sdf")
    ask = of(part)
    assert isinstance(ask, Ask)
    assert "is missing: /dev/sdf" in ask.what
    assert ask.unsure
    assert isinstance(of(part, fresh=True), Bake), "its owner said to go on without it"
