"""A crash at every durable boundary of a day on which a desk goes to a cloud, home, and to the cloud again.

1. Up at home, to the cloud, park, resume, home, to the cloud again, home, down; work at each place.
2. At one boundary (before or after a call, a survey, a write, the carrying of files) the process is killed.
3. A new process goes on, with nothing but the state file, the clouds and this computer's store.
4. After every act all work is at the desk's one machine, no last copy was destroyed, and all that is paid for
   besides is the image that is to be kept.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hotdesk.core import clouds
from hotdesk.core.clouds import Cloud as Known
from hotdesk.core.model import Bound, Desk, Goal, Image, Instance, Phase, Survey, Want
from hotdesk.core.steps import Ask, Bring, Fetch, Moving, Prove, Wait
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.services.images import _of as images_of
from hotdesk.services.orphans import things
from hotdesk.state.store import Store
from tests.laptop import CrashAt, Laptop, until
from tests.sim import Cloud, Faults, offers
from tests.truth import Thing

pytestmark = pytest.mark.slow
HERE = offers(region="r1")
DAY = 86400.0


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clouds.KNOWN, "home", Known(name="home", label="home", factory="", pooled=True))
    monkeypatch.setitem(clouds.KNOWN, "far", Known(name="far", label="far", factory=""))


class Place(Cloud):
    """One of several simulated clouds of the same desk: a copy of the work may be at another."""

    others: tuple[Place, ...] = ()

    def __init__(self, name: str, first: int, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.name = name
        self._numbers = first  # units of work are of one numbering

    def survey(self, regions: object = ()) -> Survey:
        return replace(super().survey(), provider=self.name, linear=self.name == "home")

    def _destroy(self, thing: Thing) -> None:
        desk, ours = thing.value.desk, self.acknowledged.get(thing.value.desk, set())
        elsewhere = {u for other in self.others for t in other.things.values() if t.holds for u in t.work}
        at_stake = ours & elsewhere
        self.acknowledged[desk] = ours - at_stake
        super()._destroy(thing)
        self.acknowledged[desk] |= at_stake


class Traveller(Laptop):
    """A laptop with a place of its own and a cloud; files are carried between their machines in no time."""

    def __init__(self, boundary: CrashAt, seed: int) -> None:
        more = {"boundary": boundary, "faults": Faults(seconds=12.0)}
        self.home = Place("home", 0, seed=seed, lag_seconds=0.0, **more)
        self.far = Place("far", 10_000, seed=seed + 1, clock=self.home.clock, lag_seconds=20.0, **more)
        self.home.others, self.far.others = (self.far,), (self.home,)
        self.home.given_up = self.far.given_up = self._gone
        super().__init__(self.home)

    def _gone(self, desk: str) -> bool:
        row = self.store.find(desk)
        return row is not None and row.goal is Goal.GONE

    def open(self) -> None:
        places = {"home": self.home, "far": self.far}
        self.reconciler = Reconciler(
            store=self.store,
            clouds=Clouds(self.store, self.clock, places.__getitem__),
            clock=self.clock,
            prove=self._prove,
            carry=self._carry,
        )

    def _carry(self, desk: Desk, step: Moving) -> Wait | Ask | None:
        self.boundary("before carry")
        match step:
            case Fetch(order=order):
                source = self.far.find(order.source_id)
                assert source is not None
                assert isinstance(source.value, Instance)
                assert source.value.phase is Phase.READY
                if self.home.find(order.name) is None:
                    image = Image(
                        id=order.name, name=order.name, desk=desk.name, generation=order.generation,
                        phase=Phase.READY, provider="home", region="r1", verified=True,
                        source_id=order.source_id, machine=source.value.name, taken_at=self.home.time,
                        size_gib=8, usd_per_month=0.0, started_at=order.started_at,
                    )  # fmt: skip
                    self.home.things[image.id] = self.home._add(image, source.work, birth=source.birth)
            case Bring(id=id_, image=carried):
                machine, whole = self.far.find(id_), self.home.find(carried)
                assert machine is not None
                assert whole is not None, "what is carried is still here"
                assert whole.holds
                machine.work |= whole.work
        self.boundary("after carry")
        return None

    def moves(self, name: str, to: str, keep: float = 7 * DAY) -> None:
        every = [t.value.generation for p in (self.home, self.far) for t in p.things.values()]
        bound = Bound(provider=to, want=Want(), offers=HERE, generation=max(every) + 1, keep_seconds=keep)
        self.want(name, Goal.RUNNING, bound=bound)

    def work_at(self, name: str, place: Place) -> None:
        [machine] = place.machines(name)
        place.work(machine.value.id)

    def all_at(self, name: str, place: Place) -> None:
        """All work is at the desk's one machine, which runs there."""
        [machine] = place.machines(name)
        assert machine.value.phase is Phase.READY
        assert self.store.desk(name).provider == place.name
        [other] = place.others
        assert not other.machines(name), "it has no second machine"
        work = self.acknowledged(name)
        assert work <= machine.work, f"{sorted(work - machine.work)} did not come along"
        self.no_loss()

    def acknowledged(self, name: str) -> set[int]:
        return {u for p in (self.home, self.far) for u in p.acknowledged.get(name, set())}

    def no_loss(self) -> None:
        said = [*self.home.violations, *self.far.violations]
        assert [v for v in said if "launched without work" not in v] == []


def live_through(traveller: Traveller) -> None:
    name, home, far = "blue", traveller.home, traveller.far

    def reach(goal: Goal = Goal.RUNNING) -> None:
        ask = traveller.settle(name)
        assert ask is None, ask
        assert goal is Goal.GONE or traveller.store.desk(name).goal is goal

    def do(goal: Goal, **more: object) -> None:
        crash_safe(traveller, lambda: traveller.want(name, goal, **more))  # type: ignore[arg-type]
        reach(goal)

    def go(to: str, keep: float = 7 * DAY) -> None:
        crash_safe(traveller, lambda: traveller.moves(name, to, keep))
        reach()

    do(Goal.RUNNING, where=HERE, provider="home")
    traveller.work_at(name, home)
    go("far")
    traveller.all_at(name, far)
    traveller.work_at(name, far)
    do(Goal.PARKED)
    do(Goal.RUNNING)
    traveller.all_at(name, far)
    traveller.work_at(name, far)
    go("home")
    traveller.all_at(name, home)
    assert [type(t.value) for t in far.billed(name) if t.value.phase is not Phase.ENDING] == [Image]
    traveller.work_at(name, home)
    go("far", keep=0.0)
    traveller.all_at(name, far)
    traveller.work_at(name, far)
    go("home", keep=3600.0)
    traveller.all_at(name, home)
    traveller.clock.sleep(3700.0)
    do(Goal.RUNNING)
    far.quiet()
    assert far.billed(name) == [], "what was kept is gone once its time is over"
    traveller.all_at(name, home)
    go("far")
    do(Goal.GONE)
    for place in (home, far):
        place.quiet()
        assert place.billed(name) == [], f"something was left behind at {place.name}"
    traveller.no_loss()


def crash_safe(traveller: Traveller, act: object) -> None:
    from tests.sim import Crash

    while True:
        try:
            act()  # type: ignore[operator]
            return
        except Crash:
            traveller.crash()


def test_a_day_between_two_places() -> None:
    live_through(Traveller(CrashAt(), seed=1))


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
def test_one_crash_at_every_boundary_of_such_a_day(every: int) -> None:
    count = CrashAt()
    live_through(Traveller(count, seed=1))
    durable = [at for at, label in enumerate(count.labels, 1) if "survey" not in label]
    assert len(durable) > 150
    for at in durable[::every]:
        try:
            live_through(Traveller(CrashAt(at), seed=1))
        except Exception as error:
            raise AssertionError(f"crash at boundary {at}, {count.labels[at - 1]}: {error}") from error


def test_what_is_kept_has_its_time_and_goes_when_that_is_over() -> None:
    """It is told with its place and time; `gc` deletes it then, and never before or while it is needed."""
    traveller = Traveller(CrashAt(), seed=3)
    name, home, far = "blue", traveller.home, traveller.far
    traveller.want(name, Goal.RUNNING, HERE, provider="home")
    assert traveller.settle(name) is None
    traveller.moves(name, "far", keep=DAY)
    assert traveller.settle(name) is None
    clouds = traveller.reconciler.clouds

    def told() -> list[tuple[str, float | None]]:
        [desk] = traveller.store.desks()
        looks = {"home": clouds.survey("home"), "far": clouds.survey("far")}
        return [(row["provider"], row["until"]) for row in images_of(desk, looks, traveller.clock.now())]

    def over() -> list[str]:
        [desk] = traveller.store.desks()
        past = Store.past(traveller.store, desk)
        rows = things(clouds.survey("home"), [desk], traveller.clock.now(), (), lambda desk: past)
        return [row.id for row in rows if row.safe]

    [former] = traveller.store.desk(name).former
    assert told() == [("home", former.until)]
    assert over() == []
    traveller.clock.sleep(DAY + 1)
    [image] = home.images(name)
    assert over() == [image.value.id]
    traveller.moves(name, "home")
    assert over() == [], "it is on its way back"
    assert far.machines(name)


@pytest.mark.parametrize("to", ["far", "home"])
def test_a_target_that_dies_after_its_proof_costs_no_work(to: str) -> None:
    """Before the old place is released, it holds all the work; the next command goes on from there, and
    there is one machine of the desk at most, at every moment."""
    traveller = Traveller(CrashAt(), seed=5)
    name, places = "blue", {"home": traveller.home, "far": traveller.far}
    target, (old,) = places[to], places[to].others
    traveller.want(name, Goal.RUNNING, HERE, provider="home")
    assert traveller.settle(name) is None
    traveller.work_at(name, traveller.home)
    if old is traveller.far:
        traveller.moves(name, "far")
        assert traveller.settle(name) is None
        traveller.work_at(name, old)
    work = set(traveller.acknowledged(name))
    assert work
    traveller.moves(name, to)
    while not target.machines(name):  # a desk that leaves a cloud is proven there, too, to be fetched
        until(traveller, Prove)
    [machine] = target.machines(name)
    assert work <= machine.work
    target.console_delete(machine.value.id)
    traveller.clock.sleep(600.0)

    def running() -> list[Thing]:
        every = [t for p in places.values() for t in p.machines(name)]
        return [t for t in every if t.value.phase is not Phase.STOPPED]

    asks, place = [], to
    while (ask := traveller.settle(name)) is not None:
        asks.append(ask)
        assert len(asks) < 3, asks
        assert running() == [], "it asks before it goes on"
        if "--fresh" in ask.fix:
            assert "from before that" in ask.why, "it never offers an empty desk"
            traveller.want(name, Goal.RUNNING, fresh=True)
        else:
            place = ask.fix.split("--provider ")[1].split()[0]
            traveller.moves(name, place)
    assert place == "home", "its last image is there"
    assert asks, "work at the target since its proof would be missing: that is asked"
    [machine] = running()
    assert work <= machine.work, f"{sorted(work - machine.work)} is lost"
