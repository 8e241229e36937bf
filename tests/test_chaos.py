"""Random days: all that can go wrong does, at random; in the end all is as wanted and nothing is lost.

Each seed is one history, to the letter. `HOTDESK_DAYS=3000 pytest tests/test_chaos.py` lives more of them;
`HOTDESK_DAY=1234` lives that one alone.
"""

from __future__ import annotations

import contextlib
import os
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hotdesk.core.errors import Refused, Unreachable
from hotdesk.core.model import Disk, Goal, Instance, Market, Offer, Phase
from hotdesk.core.steps import Ask
from tests.laptop import CrashAt, Laptop
from tests.sim import OFFERS, Cloud, Crash, Faults, offers
from tests.truth import Thing

DAYS = int(os.environ.get("HOTDESK_DAYS", "120"))
BATCHES = 8


class Day:
    """One random day of one desk, at one computer or by turns at two."""

    def __init__(self, seed: int) -> None:
        self.random = rng = random.Random(f"day {seed}")

        def chance(most: float) -> float:
            return rng.choice([0.0, 0.0, rng.random() * most])

        faults = Faults(
            lost=chance(0.2), never=chance(0.2), refused=chance(0.2), failed=chance(0.4), rotten=chance(0.4),
            broken=chance(0.4), unread=chance(0.1), unreachable=chance(0.1),
            seconds=rng.choice([0.0, 2.0, 15.0]),
        )  # fmt: skip
        faults.busy = random.Random(f"busy day {seed}").choice([0.0, 0.0, 0.2, 0.6])
        self.crashes = chance(0.05)
        self.cloud = Cloud(
            seed=seed,
            lag_seconds=rng.choice([0.0, 5.0, 30.0, 90.0]),
            faults=faults,
            offset_seconds=rng.choice([-5000.0, 0.0, 77_777.0]),
            lists_ended=rng.random() < 0.7,
            stoppable_spot=rng.random() < 0.3,
            boundary=self.boundary,
        )
        self.cloud.given_up = self.given_up
        self.laptops = [Laptop(self.cloud, deaf=chance(0.5)) for _ in range(rng.choice([1, 1, 2, 3]))]
        self.laptop = self.laptops[0]
        self.story: list[str] = []

    def boundary(self, label: str) -> None:
        if self.crashes and self.random.random() < self.crashes:
            raise Crash(label)

    def given_up(self, name: str) -> bool:
        desk = super(type(self.laptop.store), self.laptop.store).find(name)
        return desk is not None and (desk.goal is Goal.GONE or desk.fresh)

    # ---- a day -------------------------------------------------------------------------------------------

    def live(self) -> None:
        for _ in range(self.random.randrange(5, 30)):
            happening = self.random.choice(
                [self.command, self.command, self.look, self.look, self.look, self.look, self.work, self.work,
                 self.interruption, self.console, self.market, self.time_passes, self.other_laptop,
                 self.rescue]
            )  # fmt: skip
            try:
                happening()
            except Crash:
                self.story.append("  crash")
                self.laptop.crash()
            assert self.cloud.violations == []
        self.end()

    def command(self) -> None:
        goal = self.random.choice([*Goal, Goal.RUNNING, Goal.RUNNING, Goal.PARKED])
        known = [o for o in OFFERS if o.region in self.laptop.regions]
        where = self.random.sample(known, 3) if self.random.random() < 0.5 else []
        if len(known) < len(OFFERS) and self.laptop.store.find("blue") is None:
            where = known[:3]  # a new desk takes what this computer knows of
        move = goal is Goal.RUNNING and self.random.random() < 0.3
        self.story.append(f"want {goal} {[o.key for o in where]} {'move' if move else ''}")
        fresh = self.random.random() < 0.1
        self.laptop.want("blue", goal, tuple(where), move=move, fresh=fresh)

    def rescue(self) -> None:
        """A disk that was left is put into another machine of somebody's, or comes back from there."""
        disks = [t.value for t in self.cloud.billed("blue") if isinstance(t.value, Disk)]
        for disk in (d for d in disks if d.phase is not Phase.ENDING):
            self.story.append(f"{'back' if disk.held_by else 'in use elsewhere'}: {disk.id}")
            (self.cloud.give_back if disk.held_by else self.cloud.lend)(disk.id)

    def look(self) -> None:
        for _ in range(self.random.randrange(1, 40)):
            try:
                tick = self.laptop.reconciler.tick({"blue"})
            except Unreachable:
                self.laptop.clock.sleep(5.0)
                continue
            self.story += [f"  {r.step.key} {r.outcome and r.outcome.status}" for r in tick.rows]
            if tick.seconds is None:
                return
            self.laptop.clock.sleep(min(tick.seconds, 60.0))
            if self.random.random() < 0.1:
                self.work()

    def work(self) -> None:
        if machine := self.laptop.proven("blue"):
            self.story.append(f"work on {machine}")
            self.cloud.work(machine)

    def interruption(self) -> None:
        for thing in self.cloud.machines():
            if isinstance(thing.value, Instance) and thing.value.market is Market.SPOT:
                self.story.append(f"interruption of {thing.value.id}")
                self.cloud.interrupt(thing.value.id)

    def console(self) -> None:
        if self.random.random() < 0.2 and (things := self.cloud.billed()):
            thing = self.random.choice(things)
            if isinstance(thing.value, Disk) and thing.value.held_by:
                return  # no cloud deletes a disk that is in use
            self.story.append(f"somebody deletes {thing.value.id}")
            self.cloud.console_delete(thing.value.id)

    def market(self) -> None:
        self.cloud.sold_out = {o.key for o in self.random.sample(OFFERS, 4)}

    def time_passes(self) -> None:
        self.cloud.clock.time += self.random.choice([30.0, 400.0, 50_000.0])
        if self.random.random() < 0.3:
            error = self.random.choice([0.0, 3600.0, -3600.0, 20.0, -20.0])
            if (
                error > self.laptop.clock.error
            ):  # nobody can tell a clock that is put on from time that passed
                self.cloud.clock.time += self.cloud.lag_seconds
            self.laptop.clock.error = error
            self.story.append(f"the clock is wrong by {self.laptop.clock.error}")

    def other_laptop(self) -> None:
        """Somebody goes on at another computer, once what was done here can be seen there."""
        if len(self.laptops) > 1:
            self.cloud.clock.time += self.cloud.lag_seconds + 100
            self.laptop = self.random.choice(self.laptops)
            self.story.append(f"at laptop {self.laptops.index(self.laptop)}")
            self.command()

    # ---- its end -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """The faults are over; the owner says what is wanted, and answers what is asked."""
        self.crashes = 0.0
        self.cloud.faults = Faults(seconds=self.cloud.faults.seconds)
        self.cloud.sold_out = set()
        self.laptop.deaf = 0.0
        for thing in self.cloud.billed("blue"):
            if isinstance(thing.value, Disk) and thing.value.held_by:
                self.cloud.give_back(thing.value.id)
        self.cloud.clock.time += self.cloud.lag_seconds + 100
        goal = self.random.choice([Goal.RUNNING, Goal.PARKED, Goal.STOPPED, Goal.GONE])
        for goal_now in (goal, Goal.RUNNING, Goal.PARKED, Goal.GONE):
            self.story.append(f"in the end, want {goal_now}")
            self.reach(goal_now)
            self.laptop.check("blue", goal_now)
            self.work()

    def reach(self, goal: Goal) -> None:
        fresh = False
        asks: list[Ask] = []
        origin = ""
        for _ in range(5):
            self.laptop.want("blue", goal, offers(market=Market.ON_DEMAND), fresh=fresh, origin=origin)
            ask = self.laptop.settle("blue")
            assert self.cloud.violations == []
            if ask is None:
                return
            origin = ask.fix.partition("--from ")[2].split(" ")[0]
            fresh = "--fresh" in ask.fix
            if fresh:
                assert self.cloud.lost_by_choice or len(self.laptops) > 1, f"nothing was lost, yet: {ask}"
            asks.append(ask)
            self.laptop.clock.sleep(5000.0)  # sold out is not for ever
        raise AssertionError(f"asks without end: {asks[-1]}")


class WideDay(Day):
    """A day of two or three computers that look at different regions, and so make desks of one name."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = self.random
        wide: list[tuple[str, ...]] = [(), ("r1",), ("r2",)]
        self.laptops = [Laptop(self.cloud, regions=rng.choice(wide)) for _ in range(rng.choice([2, 3]))]
        self.laptop = self.laptops[0]
        self.cloud.is_theirs = self.is_theirs

    def is_theirs(self, thing: Thing) -> bool:
        """`down` is said of what this computer has begun or used; where it knows nothing, of everything."""
        begun = self.laptop.begun_here("blue")
        return not begun or thing.birth in begun

    def console(self) -> None:
        """Another computer starts a machine that is off, whatever is being made of it, and works there."""
        off = [t.value.id for t in self.cloud.machines("blue") if t.value.phase is Phase.STOPPED]
        if off:
            self.story.append(f"started elsewhere: {off[0]}")
            with contextlib.suppress(Refused):
                self.cloud._power(off[0], True)
            self.cloud.clock.time += 60.0
            self.cloud._advance()
            if (thing := self.cloud.find(off[0])) and thing.value.phase is Phase.READY:
                self.cloud.work(off[0])
        else:
            self.other_laptop()

    def end(self) -> None:
        """Whatever was begun where: all of it can be had back, and each computer comes to an end or asks."""
        self.crashes = 0.0
        self.cloud.faults = Faults(seconds=self.cloud.faults.seconds)
        for thing in self.cloud.billed("blue"):
            if isinstance(thing.value, Disk) and thing.value.held_by:
                self.cloud.give_back(thing.value.id)
        for laptop in self.laptops * 2:
            self.laptop = laptop
            self.cloud.clock.time += self.cloud.lag_seconds + 1000
            where = tuple(o for o in offers(market=Market.ON_DEMAND) if o.region in laptop.regions)
            laptop.want("blue", self.random.choice([Goal.RUNNING, Goal.PARKED]), where)
            laptop.settle("blue")
            self.work()
            assert self.cloud.violations == []
            acknowledged = self.cloud.acknowledged.get("blue", set())
            assert self.cloud.kept(acknowledged) == acknowledged


def live(seed: int, kind: type[Day] = Day) -> None:
    day = kind(seed)
    try:
        day.live()
    except Exception as error:
        story = "\n".join(day.story[-60:])
        raise AssertionError(f"HOTDESK_DAY={seed}\n{story}\n{type(error).__name__}: {error}") from error


def test_a_desk_is_had_back_though_the_clock_was_set_back_since_its_machine_was_deleted() -> None:
    """It was parked again, and again, until the clock was as late as at the last login."""
    live(5803)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_days(batch: int) -> None:
    if only := os.environ.get("HOTDESK_DAY"):
        live(int(only))
        return
    for seed in range(batch, DAYS, BATCHES):
        live(seed)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_days_of_computers_that_see_different_regions(batch: int) -> None:
    for seed in range(batch, DAYS // 2, BATCHES):
        live(seed, WideDay)


class AnyDay(RuleBasedStateMachine):
    """The same happenings in an order that hypothesis chooses, and shrinks when one goes wrong."""

    @initialize(
        seed=st.integers(0, 1000), lag=st.sampled_from([0.0, 10.0, 60.0]), slow=st.sampled_from([0.0, 20.0])
    )
    def begin(self, seed: int, lag: float, slow: float) -> None:
        self.cloud = Cloud(seed=seed, lag_seconds=lag, faults=Faults(seconds=slow))
        self.laptop = Laptop(self.cloud)
        self.cloud.given_up = self.given_up

    def given_up(self, name: str) -> bool:
        desk = self.laptop.store.find(name)
        return desk is not None and (desk.goal is Goal.GONE or desk.fresh)

    @rule(
        goal=st.sampled_from([*Goal, Goal.RUNNING]),
        where=st.sampled_from([(), offers(region="r1"), offers(region="r2"), offers(market=Market.SPOT)]),
        move=st.booleans(),
    )
    def command(self, goal: Goal, where: tuple[Offer, ...], move: bool) -> None:
        self.laptop.want("blue", goal, where, move=move and goal is Goal.RUNNING)

    @rule(looks=st.integers(1, 30), fault=st.sampled_from(["", "", "lost", "never", "crash", "late"]))
    def look(self, looks: int, fault: str) -> None:
        if fault == "crash":
            self.cloud.boundary = CrashAt(looks)
        elif fault:
            self.cloud.fault_at = {self.cloud._acts + 1 + looks % 3: fault}
        try:
            for _ in range(looks):
                tick = self.laptop.reconciler.tick()
                if tick.seconds is None:
                    return
                self.laptop.clock.sleep(tick.seconds)
        except Crash:
            self.laptop.crash()
        finally:
            self.cloud.boundary = lambda label: None

    @rule()
    def work(self) -> None:
        self.laptop.work("blue")

    @rule(seconds=st.sampled_from([3.0, 30.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.laptop.clock.sleep(seconds)

    @rule()
    def interruption(self) -> None:
        for thing in self.cloud.machines():
            if isinstance(thing.value, Instance) and thing.value.market is Market.SPOT:
                self.cloud.interrupt(thing.value.id)

    @rule(fault=st.sampled_from(["failed", "rotten"]))
    def next_image_is_bad(self, fault: str) -> None:
        self.cloud.script = {"image": [fault]}

    @invariant()
    def no_law_is_broken(self) -> None:
        assert not hasattr(self, "cloud") or self.cloud.violations == []

    def teardown(self) -> None:
        if not hasattr(self, "cloud"):
            return
        self.cloud.script, self.cloud.fault_at = {}, {}
        self.cloud.quiet()
        for goal in (Goal.PARKED, Goal.RUNNING, Goal.GONE):
            for _ in range(3):
                self.laptop.want("blue", goal, offers(), fresh=self.cloud.lost_by_choice)
                if self.laptop.settle("blue") is None:
                    break
                self.laptop.clock.sleep(5000.0)
            self.laptop.check("blue", goal)
        self.laptop.store.close()


TestAnyDay = AnyDay.TestCase
TestAnyDay.settings = settings(
    deadline=None, max_examples=int(os.environ.get("HOTDESK_EXAMPLES", "60")), stateful_step_count=30
)
