"""The loop itself: what it does with answers, with silence, with changed minds and with other holders."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.cli.commands.log import followed
from hotdesk.core.errors import Busy, Kind, Missing, NotAllowed, Refused, Unreachable
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Survey
from hotdesk.core.ports import Access
from hotdesk.core.steps import AnyStep, Ask, Launch, LaunchOrder, Prove, Row, Wait
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import PATIENCE, Reconciler, watch
from hotdesk.state.store import Store
from tests.laptop import Laptop
from tests.sim import Cloud, Crash, Faults, offers
from tests.truth import Clock, Thing


def a_loop(**more: object) -> tuple[Cloud, Laptop]:
    cloud = Cloud(lag_seconds=10.0, **more)  # type: ignore[arg-type]
    return cloud, Laptop(cloud)


def test_a_step_is_in_the_file_before_it_is_taken(tmp_path: Path) -> None:
    cloud, _ = a_loop()
    laptop = Laptop(cloud, tmp_path)
    begun: list[Row] = []

    def look_into_the_file(label: str) -> None:
        if label == "before launch":
            with Store(tmp_path) as other:
                begun.extend(other.rows())

    cloud.boundary = look_into_the_file
    laptop.want("blue", Goal.RUNNING)
    laptop.reconciler.tick()
    [row] = begun
    assert isinstance(row.step, Launch)
    assert row.outcome is None
    laptop.store.close()


def test_every_row_and_every_wait_is_told() -> None:
    cloud, laptop = a_loop()
    rows: list[Row] = []
    waits: list[tuple[str, Wait]] = []
    laptop.reconciler.executor.on_row = rows.append
    laptop.reconciler.on_wait = lambda desk, wait: waits.append((desk, wait))
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None
    assert [(type(r.step), r.done) for r in rows] == [
        (Launch, False), (Launch, True), (Prove, False), (Prove, True),
    ]  # fmt: skip
    assert {name for name, _ in waits} == {"blue"}
    assert all(wait.why and wait.seconds > 0 for _, wait in waits)
    assert cloud.calls == ["launch"]


@pytest.mark.parametrize("error", [-400 * 86400.0, 400 * 86400.0])
def test_a_clock_that_was_set_back_or_forward_does_not_reprint_the_journal(error: float) -> None:
    """Neither the loop nor `hotdesk log -f` tells a step twice; and what is done next is told."""
    _, laptop = a_loop()
    told: list[tuple[int, bool]] = []
    laptop.reconciler.executor.on_row = lambda row: told.append((row.id, row.done))
    log = followed(laptop.store, "blue", 50)
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None
    printed = [(row.id, row.done) for row in next(log)]
    before, laptop.clock.error = list(told), error
    for _ in range(3):
        laptop.reconciler.tick()
        assert next(log) == []
    assert told == before
    laptop.want("blue", Goal.STOPPED)
    assert laptop.settle("blue") is None
    printed += [(row.id, row.done) for row in next(log)]
    assert len(told) == len(set(told))
    assert printed == [pair for pair in told if pair[1]], "each step once, as it ended, in its order"


def test_what_is_on_its_way_is_asked_about_alone_and_its_end_is_surveyed() -> None:
    """A park: stop, image, end. Between two surveys only the machine, or the image, is asked about."""
    cloud, laptop = a_loop()
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None
    cloud.looks = cloud.peeks = 0
    waits: list[str] = []
    laptop.reconciler.on_wait = lambda desk, wait: waits.append(wait.why)
    laptop.want("blue", Goal.PARKED)
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.PARKED)
    assert cloud.looks <= 10, "one or two for each step, and not one for each poll"
    assert cloud.peeks >= 3
    assert any("is stopping" in why for why in waits), "a person is told what is waited for"
    assert any("is being taken" in why for why in waits)


class SetUp:
    """A machine that takes three minutes from its start until Jupyter answers."""

    def __init__(self, laptop: Laptop) -> None:
        self.clock, self.began, self.asked, self.told = laptop.clock, None, 0, 0
        laptop.reconciler.executor.prove = self.prove
        laptop.reconciler.executor.on_proven = self.on_proven

    began: float | None

    def prove(self, access: Access) -> bool:
        self.asked += 1
        self.began = self.began or self.clock.now()
        if self.clock.now() < self.began + 180.0:
            raise Refused(Kind.NOT_READY, "the machine is still being set up", seconds=1.0)
        return False

    def on_proven(self, access: Access) -> None:
        self.told += 1


def test_a_machine_that_is_being_set_up_is_logged_into_without_a_survey_each_time() -> None:
    """It asked for all of a region every two seconds, and clouds allow so many requests a minute."""
    cloud, laptop = a_loop()
    it = SetUp(laptop)
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None
    assert it.asked >= 80, "every two seconds"
    assert it.told == 1, "and once it works, not again"
    assert cloud.looks <= 15
    proven = [row for row in laptop.store.rows("blue", limit=None) if isinstance(row.step, Prove)]
    assert [row.done for row in proven] == [True]


def test_a_machine_that_is_lost_while_it_is_set_up_was_never_up() -> None:
    """A login worked; the survey after it shows another machine, or none."""
    cloud, laptop = a_loop()
    it, gone = SetUp(laptop), []

    def taken(access: Access) -> None:
        it.told += 1
        if not gone:
            [machine] = [t for t in cloud.things.values() if isinstance(t.value, Instance)]
            gone.append(machine.value.id)
            cloud.delete(machine.value.id)

    laptop.reconciler.executor.on_proven = taken
    laptop.want("blue", Goal.RUNNING)
    laptop.settle("blue")
    proven = [r.step for r in laptop.store.rows("blue", limit=None) if isinstance(r.step, Prove)]
    assert gone[0] not in [step.id for step in proven]


def test_a_goal_that_changes_while_a_machine_is_set_up_is_noticed_at_once() -> None:
    _, laptop = a_loop()
    it = SetUp(laptop)
    laptop.want("blue", Goal.RUNNING)
    desk = laptop.store.desk("blue")

    def changed(access: Access) -> bool:
        if it.asked == 4:
            laptop.store.put(replace(desk, goal=Goal.PARKED, since=desk.since + 1.0))
        return it.prove(access)

    laptop.reconciler.executor.prove = changed
    with pytest.raises(Busy, match="is now: parked"):
        laptop.reconciler.settle(desk)
    assert it.asked <= 6


def test_a_goal_that_changes_while_something_is_on_its_way_is_noticed_at_once() -> None:
    cloud, laptop = a_loop()
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None
    laptop.want("blue", Goal.PARKED)
    desk, peeks = laptop.store.desk("blue"), cloud.peeks

    def changed(label: str) -> None:
        if label == "before peek":
            laptop.store.put(replace(desk, goal=Goal.GONE, since=desk.since + 1.0))

    cloud.boundary = changed
    with pytest.raises(Busy, match="is now: gone"):
        laptop.reconciler.settle(desk)
    assert cloud.peeks == peeks + 1


def test_polling_fails_and_a_survey_tells_what_is_wrong() -> None:
    """Also a thing that never arrives: the whole is looked at again after `PEEK_SECONDS`."""
    cloud, laptop = a_loop()
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None

    def no_answer(label: str) -> None:
        if label == "before peek":
            raise Unreachable("The cloud does not answer.")

    cloud.boundary = no_answer
    laptop.want("blue", Goal.STOPPED)
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.STOPPED)


def test_somebody_else_changes_the_goal_meanwhile() -> None:
    cloud, laptop = a_loop()
    laptop.want("blue", Goal.RUNNING)
    desk = laptop.store.desk("blue")
    laptop.reconciler.executor.on_row = lambda row: laptop.store.put(
        replace(desk, goal=Goal.PARKED, since=1e9)
    )
    with pytest.raises(Busy, match="is now: parked"):
        laptop.reconciler.settle(desk)
    laptop.store.remove("blue")
    with pytest.raises(Busy, match="is now: gone"):
        laptop.reconciler.settle(desk)
    assert cloud.violations == []


def test_a_cloud_that_does_not_answer_is_asked_a_few_times() -> None:
    cloud, laptop = a_loop(faults=Faults(unreachable=1.0))
    laptop.want("blue", Goal.RUNNING)
    before = laptop.clock.now()
    with pytest.raises(Unreachable):
        laptop.reconciler.settle(laptop.store.desk("blue"))
    assert cloud.looks == PATIENCE
    assert laptop.clock.now() > before + 10


def test_a_cloud_that_does_not_let_us_look() -> None:
    class Closed(Cloud):
        def survey(self, regions: object = ()) -> Survey:
            raise Refused(Kind.DENIED, "the key is of another account", fix="aws configure")

    laptop = Laptop(Closed())
    laptop.want("blue", Goal.RUNNING)
    with pytest.raises(NotAllowed, match="another account") as told:
        laptop.reconciler.tick()
    assert told.value.fix == "aws configure"


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (Refused(Kind.NOT_READY, "no"), "waits"),
        (Unreachable("no route"), "waits"),
        (Refused(Kind.DENIED, "the host key is another"), "asks"),
        (Missing("There is no ssh client."), "raises"),
    ],
)
def test_a_desk_that_does_not_let_us_in(answer: Exception, ends: str) -> None:
    cloud, laptop = a_loop()

    def refuse(access: Access) -> None:
        raise answer

    laptop.reconciler.executor.prove = refuse
    laptop.want("blue", Goal.RUNNING)
    laptop.reconciler.tick()
    cloud.quiet()
    if ends == "raises":
        with pytest.raises(Missing):
            laptop.reconciler.tick()
        return
    tick = laptop.reconciler.tick()
    assert (set(tick.waits), set(tick.asks)) == (({"blue"}, set()) if ends == "waits" else (set(), {"blue"}))
    assert not any(isinstance(r.step, Prove) for r in laptop.store.rows()), "only success is worth a row"


def test_gone_is_told_once_and_the_row_goes() -> None:
    cloud, laptop = a_loop()
    laptop.want("blue", Goal.RUNNING)
    laptop.settle("blue")
    gone: list[Desk] = []
    laptop.reconciler.on_gone = gone.append
    cloud.given_up = lambda desk: True
    laptop.want("blue", Goal.GONE)
    assert laptop.settle("blue") is None
    assert [d.name for d in gone] == ["blue"]
    assert laptop.store.find("blue") is None
    assert cloud.billed() == []


class Prompt(Cloud):
    """It says that its listing may lag, and in truth it does not."""

    def _show(self, thing: Thing, value: Instance | Disk | Image | None) -> None:
        thing.versions.append((self.clock.time, value))


@pytest.mark.parametrize(
    ("disks_throughout", "pause", "waits"), [(True, 500.0, False), (True, 0.0, True), (False, 500.0, True)]
)
def test_gone_is_said_at_once_only_when_nothing_can_be_late(
    disks_throughout: bool, pause: float, waits: bool
) -> None:
    """A disk may appear when its machine has ended; what was made a moment ago may not be listed yet."""
    cloud = Prompt(lag_seconds=300.0, disks_throughout=disks_throughout)
    laptop = Laptop(cloud)
    laptop.want("blue", Goal.RUNNING)
    assert laptop.settle("blue") is None
    cloud.clock.sleep(pause)
    said: list[str] = []
    laptop.reconciler.on_wait = lambda desk, wait: said.append(wait.why)
    laptop.want("blue", Goal.GONE)
    assert laptop.settle("blue") is None
    assert any("stale" in why for why in said) is waits
    laptop.check("blue", Goal.GONE)


def test_everything_of_a_desk_goes_after_one_look() -> None:
    cloud = Prompt(lag_seconds=30.0, disks_throughout=True)
    laptop = Laptop(cloud)
    for goal in (Goal.RUNNING, Goal.PARKED, Goal.RUNNING):
        laptop.want("blue", goal)
        assert laptop.settle("blue") is None
    laptop.want("blue", Goal.GONE)
    tick = laptop.reconciler.tick()
    assert len(tick.rows) == len(cloud.billed("blue")) == 2  # the machine, and its image
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.GONE)


def test_a_proof_is_the_last_look() -> None:
    cloud = Prompt(lag_seconds=30.0)
    laptop = Laptop(cloud)
    laptop.want("blue", Goal.RUNNING)
    ticks = [laptop.reconciler.tick()]
    while not any(isinstance(row.step, Prove) for row in ticks[-1].rows):
        laptop.clock.sleep(ticks[-1].seconds or 0.0)
        ticks.append(laptop.reconciler.tick())
    assert ticks[-1].seconds is None


def test_only_the_named_desks_are_touched() -> None:
    cloud, laptop = a_loop()
    for name in ("blue", "green"):
        laptop.want(name, Goal.RUNNING, offers())
    tick = laptop.reconciler.tick({"green"})
    assert [r.desk for r in tick.rows] == ["green"]
    assert [t.value.desk for t in cloud.machines()] == ["green"]
    assert laptop.reconciler.tick(set()).seconds is None


def test_a_question_about_one_desk_does_not_hold_up_another() -> None:
    cloud, laptop = a_loop()
    laptop.want("blue", Goal.RUNNING, offers(kind="gpu.big"))
    laptop.want("green", Goal.RUNNING, offers())
    cloud.sold_out = {o.key for o in offers(kind="gpu.big")}
    asks: dict[str, Ask] = {}
    for _ in range(100):
        tick = laptop.reconciler.tick()
        asks.update(tick.asks)
        if tick.seconds is None:
            break
        laptop.clock.sleep(tick.seconds)
    assert asks["blue"].kind is Kind.NO_CAPACITY
    laptop.check("green", Goal.RUNNING)


def test_one_cloud_that_does_not_answer_holds_up_its_own_desks_only() -> None:
    cloud, laptop = a_loop()
    dead = Cloud(cloud.clock, faults=Faults(unreachable=1.0))
    laptop.reconciler.clouds = Clouds(
        laptop.store, cloud.clock, lambda name: cloud if name == "sim" else dead
    )
    laptop.want("blue", Goal.RUNNING)
    laptop.store.put(replace(laptop.store.desk("blue"), name="green", provider="other"))
    tick = laptop.reconciler.tick()
    assert [r.desk for r in tick.rows] == ["blue"]
    assert "does not answer" in tick.waits["green"].why
    with pytest.raises(Unreachable):
        laptop.reconciler.tick({"green"})


def test_a_look_that_fails_by_itself_means_that_nothing_answers() -> None:
    class Cut(Cloud):
        def survey(self, regions: object = ()) -> Survey:
            raise ConnectionResetError("connection reset by peer")

    laptop = Laptop(Cut())
    laptop.want("blue", Goal.RUNNING)
    with pytest.raises(Unreachable, match="connection reset"):
        laptop.reconciler.tick()


@pytest.mark.parametrize("lag_seconds", [0.0, 20.0])
@pytest.mark.parametrize("operation", ["stop", "bake", "verify", "delete"])
def test_what_is_said_to_be_done_and_never_shows_is_a_question(operation: str, lag_seconds: float) -> None:
    cloud = Cloud(lag_seconds=lag_seconds)
    laptop = Laptop(cloud)
    laptop.want("blue", Goal.RUNNING)
    laptop.settle("blue")
    laptop.work("blue")
    cloud.script = {operation: ["idle"] * 1000}
    laptop.want("blue", Goal.PARKED)
    ask = laptop.settle("blue")
    assert ask
    assert cloud.calls.count(operation) <= 12
    assert cloud.violations == []
    cloud.script = {}
    laptop.clock.sleep(1.0)
    laptop.want("blue", Goal.PARKED)
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.PARKED)


class Nightfall(Exception):
    pass


class ShortClock(Clock):
    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.time > 1_003_000:
            raise Nightfall


def test_watching_leaves_alone_what_another_command_holds_and_outlives_a_dead_network(tmp_path: Path) -> None:
    """1. No network for a while. 2. `park` holds green. 3. blue is brought up, green is not touched."""
    cloud = Cloud(ShortClock(), faults=Faults(unreachable=0.7))
    laptop = Laptop(cloud, tmp_path)
    for name in ("blue", "green"):
        laptop.want(name, Goal.RUNNING, offers())
    reconciler = Reconciler(
        store=laptop.store,
        clouds=Clouds(laptop.store, cloud.clock, lambda name: cloud),
        clock=cloud.clock,
        prove=lambda access: None,
    )
    with Store(tmp_path) as other, other.hold("green", "hotdesk park") as had:
        assert had
        with pytest.raises(Nightfall):
            watch(reconciler, None, 30.0)
    assert [t.value.desk for t in cloud.machines()] == ["blue"]
    laptop.check("blue", Goal.RUNNING)
    laptop.store.close()


def test_an_unattended_watcher_outlives_credentials_that_run_out(tmp_path: Path) -> None:
    """Nobody would start another when they are renewed; whoever looks on is told."""
    cloud = Cloud(ShortClock())
    laptop = Laptop(cloud, tmp_path)
    laptop.want("blue", Goal.RUNNING, offers())
    looks: list[float] = []

    def survey(regions: tuple[str, ...] = ()) -> Survey:
        looks.append(cloud.clock.time)
        if cloud.clock.time < 1_001_000:
            if len(looks) % 2:
                raise Refused(Kind.DENIED, "the token has expired")
            raise Missing("AWS needs boto3, which is being installed anew.")
        return Cloud.survey(cloud, regions)

    cloud.survey = survey  # type: ignore[method-assign]
    with pytest.raises(NotAllowed):
        watch(laptop.reconciler, None, 2.0)
    with pytest.raises(Nightfall):
        watch(laptop.reconciler, None, 2.0, unattended=True)
    assert len([at for at in looks if at < 1_001_000]) < 25, "asked once a minute meanwhile"
    laptop.check("blue", Goal.RUNNING)
    laptop.store.close()


class WideCloud(Cloud):
    """It takes eight steps at once, and none of them ends before all of one kind are on their way."""

    at_once = 8

    def __init__(self, *meet: str, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.turn = threading.Lock()
        self.meeting = {what: threading.Barrier(8) for what in meet}
        self.heard: list[AnyStep] = []

    def expect(self, steps: Sequence[AnyStep]) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.heard += steps

    def meet(self, what: str) -> None:
        if what in self.meeting:
            self.meeting[what].wait(60.0)

    def launch(self, order: LaunchOrder) -> str:
        self.meet("launch")
        with self.turn:
            return super().launch(order)

    def access(self, instance: Instance) -> Access:
        self.meet("access")
        with self.turn:
            return super().access(instance)

    def delete(self, thing_id: str, *, keep_disk: bool = False) -> None:
        with self.turn:
            super().delete(thing_id, keep_disk=keep_disk)


EIGHT = [f"desk-{number}" for number in range(8)]


def all_settled(laptop: Laptop) -> None:
    while (seconds := laptop.reconciler.tick().seconds) is not None:
        laptop.clock.sleep(seconds)


def test_steps_and_logins_of_different_desks_are_taken_at_the_same_time() -> None:
    cloud = WideCloud("launch", "access", lag_seconds=10.0)
    laptop = Laptop(cloud)
    told: list[tuple[str, type, bool]] = []

    def on_row(row: Row) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append((row.desk, type(row.step), row.done))

    proven: list[str] = []
    laptop.reconciler.executor.on_row = on_row
    laptop.reconciler.executor.on_proven = lambda access: proven.append(access.desk)
    for name in EIGHT:
        laptop.want(name, Goal.RUNNING, offers())
    rows = laptop.reconciler.tick().rows
    assert [(r.desk, r.done) for r in rows] == [(name, True) for name in EIGHT], "in the order of the desks"
    assert cloud.heard == [r.step for r in rows]
    cloud.quiet()  # all are ready at once
    all_settled(laptop)
    assert sorted(proven) == EIGHT
    for name in EIGHT:
        laptop.check(name, Goal.RUNNING)
        steps = [(step, done) for desk, step, done in told if desk == name]
        assert steps == [(Launch, False), (Launch, True), (Prove, False), (Prove, True)]


def test_a_refusal_of_one_desk_is_not_the_others() -> None:
    cloud = WideCloud(lag_seconds=10.0)
    cloud.sold_out = {o.key for o in offers(kind="gpu.big")}
    laptop = Laptop(cloud)
    for name in EIGHT:
        laptop.want(name, Goal.RUNNING, offers(kind="gpu.big" if name == "desk-3" else "cpu.small"))
    rows = laptop.reconciler.tick().rows
    assert [r.desk for r in rows if r.refused] == ["desk-3"]
    assert all(r.done for r in rows if r.desk != "desk-3")


def test_killed_while_steps_are_taken_side_by_side() -> None:
    """1. Eight launches are on their way. 2. The process dies. 3. What had no answer is repeated."""
    for at in range(1, 17):
        cloud = WideCloud("launch", lag_seconds=10.0)
        laptop = Laptop(cloud)
        for name in EIGHT:
            laptop.want(name, Goal.RUNNING, offers())
        passed: list[str] = []

        def die(label: str, at: int = at, passed: list[str] = passed) -> None:
            if label.endswith("launch"):
                passed.append(label)
                if len(passed) >= at:  # of a process that has died nothing goes on
                    raise Crash(label)

        cloud.boundary = die
        with pytest.raises(Crash):
            laptop.reconciler.tick()
        cloud.boundary, cloud.meeting = lambda label: None, {}
        rows = laptop.store.rows()
        assert len(rows) == 8
        assert len([r for r in rows if r.outcome is None]) >= 8 - passed[: at - 1].count("after launch")
        assert all(r.done for r in rows if r.outcome)
        laptop.crash()
        all_settled(laptop)
        assert all(r.outcome is not None for r in laptop.store.rows())
        assert len(cloud.machines()) == 8
        for name in EIGHT:
            laptop.check(name, Goal.RUNNING)


@pytest.mark.parametrize(("look_seconds", "pause"), [(0.0, 8.0), (3.0, 5.0), (5.0, 4.0), (100.0, 4.0)])
def test_a_wait_begins_with_the_look_and_is_never_less_than_half(look_seconds: float, pause: float) -> None:
    class Slow(Cloud):
        def survey(self, regions: object = ()) -> Survey:
            found = replace(super().survey(), poll_seconds=8.0)
            self.clock.sleep(look_seconds)
            return found

    laptop = Laptop(Slow())
    laptop.want("blue", Goal.RUNNING)
    assert laptop.reconciler.tick().seconds == 0.0
    tick = laptop.reconciler.tick()
    assert "starting" in tick.waits["blue"].why
    assert tick.waits["blue"].seconds == 8.0
    assert tick.seconds == pytest.approx(pause)
