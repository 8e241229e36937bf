"""Somebody's computer at the simulated cloud: a store, the loop, and a person who types, works and checks.

A `Laptop` can crash at any boundary (before or after every call, survey and write) and be opened again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hotdesk.core.errors import Kind, Refused, Unreachable
from hotdesk.core.lifecycle.descent import key
from hotdesk.core.model import Desk, Goal, Image, Instance, Market, Offer, Phase, Survey
from hotdesk.core.ports import Access
from hotdesk.core.steps import Ask, Launch, LaunchOrder, Outcome, Prove, Row
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.state.store import Store
from tests.sim import Cloud, Crash, Faults, offers
from tests.truth import Clock, Thing


class Journal(Store):
    """The real store, which tells before and after each write that it is about to be, or was, made."""

    def __init__(self, folder: Path | None, boundary: Callable[[str], None]) -> None:
        super().__init__(folder)
        self.boundary = boundary

    def opened_again(self) -> Journal:
        """What a new process would open: nothing that was only in memory is left."""
        if self.folder:
            self.close()
            return Journal(self.folder, self.boundary)
        again = copy.copy(self)
        again._pasts, again._change = {}, 0
        return again

    def begin(self, acts: Iterable[tuple[str, object]], now: float) -> list[Row]:
        self.boundary("before begin")
        rows = super().begin(acts, now)  # type: ignore[arg-type]
        self.boundary("after begin")
        return rows

    def end(self, row: Row, outcome: Outcome, now: float) -> Row:
        self.boundary("before end")
        ended = super().end(row, outcome, now)
        self.boundary("after end")
        return ended

    def put(self, desk: Desk) -> None:
        self.boundary("before put")
        super().put(desk)
        self.boundary("after put")

    def remove(self, name: str) -> None:
        self.boundary("before remove")
        super().remove(name)
        self.boundary("after remove")


class LaptopClock:
    """The computer's own clock, which may be wrong and may be set."""

    def __init__(self, true: Clock) -> None:
        self.true = true
        self.error = 0.0

    def now(self) -> float:
        return self.true.time + self.error

    def sleep(self, seconds: float) -> None:
        self.true.sleep(seconds)


class Sight:
    """The cloud as a computer sees it that looks at some of its regions only."""

    def __init__(self, cloud: Cloud, regions: tuple[str, ...]) -> None:
        self._cloud, self._regions = cloud, regions

    def survey(self) -> Survey:
        return self._cloud.survey(self._regions)

    def launch(self, order: LaunchOrder) -> str:
        before = self._cloud.sees
        self._cloud.in_sight, self._cloud.sees = self._sees, self._regions
        try:
            return self._cloud.launch(order)
        finally:
            self._cloud.in_sight, self._cloud.sees = (lambda unit: True), before

    def _sees(self, unit: int) -> bool:
        holders = [t for t in self._cloud.things.values() if unit in t.work and t.holds]
        return any(t.value.region in self._regions for t in holders) or not holders

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cloud, name)


class Laptop:
    def __init__(
        self, cloud: Cloud, folder: Path | None = None, deaf: float = 0.0, regions: tuple[str, ...] = ()
    ) -> None:
        """`regions`: those that this computer looks at; all, where none is named."""
        self.cloud = cloud
        self.regions = regions or cloud.sees
        self.sight = Sight(cloud, regions) if regions else cloud
        self.clock = LaptopClock(cloud.clock)
        self.deaf = deaf  # how often a desk does not answer a login at first
        self.store = Journal(folder, self.boundary)
        self.open()

    def open(self) -> None:
        self.reconciler = Reconciler(
            store=self.store,
            clouds=Clouds(self.store, self.clock, lambda name: self.sight),
            clock=self.clock,
            prove=self._prove,
        )

    def crash(self) -> None:
        self.store = self.store.opened_again()
        self.open()

    def boundary(self, label: str) -> None:
        self.cloud.boundary(label)  # which may be another by now

    def _prove(self, access: Access) -> None:
        if self.deaf and self.cloud.random.random() < self.deaf:
            raise Refused(Kind.NOT_READY, "Jupyter does not answer yet")

    # ---- what a person does ------------------------------------------------------------------------------

    def want(
        self, name: str, goal: Goal, where: tuple[Offer, ...] = (), *, move: bool = False, **more: Any
    ) -> None:
        """Type a command: it changes the desk's row and nothing else."""
        now = self.clock.now()
        desk = self.store.find(name)
        if desk is None:
            desk = Desk(name=name, goal=goal, since=now, created_at=now, provider="sim", offers=offers())
        generation = desk.generation
        if move:
            generation = max([generation, *(m.value.chosen_for + 1 for m in self.cloud.machines(name))])
        self.store.put(
            replace(
                desk,
                goal=goal,
                since=now,
                offers=where or desk.offers,
                generation=generation,
                **{"fresh": False, "origin": "", **more},
            )
        )

    def settle(self, name: str, looks_max: int = 1200) -> Ask | None:
        """Let the loop come to its end, through crashes too; the question it stops with, if any."""
        self.cloud.looks, self.cloud.looks_max = 0, looks_max
        while True:
            try:
                desk = self.store.find(name)
                if desk is None:
                    return None
                return self.reconciler.settle(desk).asks.get(name)
            except Crash:
                self.crash()
            except Unreachable:
                self.clock.sleep(60.0)

    def proven(self, name: str) -> str:
        """The machine that the journal shows a login on since the owner asked, if it still runs."""
        desk = self.store.find(name)
        if desk is None or desk.goal is not Goal.RUNNING:
            return ""
        proof = Store.past(self.store, desk).proof
        if proof is None or proof.at < desk.since or not isinstance(proof.step, Prove):
            return ""
        machine = self.cloud.find(proof.step.id)
        return proof.step.id if machine and machine.value.phase is Phase.READY else ""

    def work(self, name: str) -> None:
        if machine := self.proven(name):
            self.cloud.work(machine)

    def begun_here(self, name: str) -> set[int]:
        """The beginnings of which this computer has launched or entered a machine."""
        names = {r.step.order.name for r in self.store.rows(name) if isinstance(r.step, Launch)}
        names |= {r.step.id for r in self.store.rows(name) if isinstance(r.step, Prove)}
        things = [t for t in self.cloud.things.values() if isinstance(t.value, Instance)]
        return {t.birth for t in things if {t.value.id, t.value.name} & names}

    def births(self, name: str, things: list[Thing]) -> set[int]:
        """The beginning that this computer's desk goes on from, where there are several."""
        if len({t.birth for t in things}) < 2:
            return set()
        past = Store.past(self.store, self.store.desk(name))
        for names in past.recent_machines:
            for thing in self.cloud.things.values():
                if isinstance(thing.value, Instance) and names & {key(thing.value.id), key(thing.value.name)}:
                    return {thing.birth}
        return set()

    # ---- what must be so ---------------------------------------------------------------------------------

    def check(self, name: str, goal: Goal) -> None:
        """The goal is reached in truth, all work is where a resume finds it, and nothing else is paid."""
        cloud = self.cloud
        assert cloud.violations == []
        assert cloud.placeholders(name) == [], "a place is kept for nothing"
        billed = [t for t in cloud.billed(name) if t.value.phase is not Phase.ENDING]
        acknowledged = cloud.acknowledged.get(name, set())
        assert acknowledged == cloud.kept(acknowledged), "work was lost"
        if goal is not Goal.GONE and (births := self.births(name, billed)):
            # What began elsewhere under this name is kept beside it, and is none of this desk's.
            billed = [t for t in billed if t.birth in births]
            acknowledged = {unit for unit in acknowledged if cloud.births[unit] in births}
        if goal is Goal.GONE:
            cloud.quiet()
            ours = self.begun_here(name)
            left = [t.value for t in cloud.billed(name) if not ours or t.birth in ours]
            assert left == [], "something was left behind"
            assert self.store.find(name) is None
            kept = {unit for unit in acknowledged if ours and cloud.births[unit] not in ours}
            cloud.acknowledged[name] = kept
            return
        desk = self.store.desk(name)
        assert desk.goal is goal
        machines = cloud.machines(name)
        parked = goal is Goal.PARKED or (goal is Goal.STOPPED and not machines)
        if parked:
            assert all(isinstance(t.value, Image) for t in billed), [t.value for t in billed]
            assert len(billed) <= 1, [t.value for t in billed]
            # Where a hand in the console took the disk, a bad image may be all that is left: it is kept.
            assert all(t.holds for t in billed) or (cloud.lost_by_choice and not acknowledged)
            assert acknowledged <= (billed[0].work if billed else set())
            return
        [machine] = machines
        assert acknowledged <= machine.work
        assert machine.value.phase is (Phase.READY if goal is Goal.RUNNING else Phase.STOPPED)
        assert machine.value.chosen_for >= desk.generation
        if desk.generation > machine.value.generation:  # it became what the desk was to move to
            assert machine.value.retyped_for >= desk.generation
        if goal is Goal.RUNNING:
            assert self.proven(name) == machine.value.id


class CrashAt:
    """A boundary that kills the process when the count says so, and otherwise only counts."""

    def __init__(self, *at: int) -> None:
        self.at = set(at)
        self.count = 0
        self.labels: list[str] = []

    def __call__(self, label: str) -> None:
        self.count += 1
        self.labels.append(label)
        if self.count in self.at:
            raise Crash(f"{label}, boundary {self.count}")


# ---- for stories ---------------------------------------------------------------------------------------

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


def until(laptop: Laptop, step: type) -> None:
    """Let the loop go on until such a step was taken; as if the process were killed right after it."""
    for _ in range(500):
        tick = laptop.reconciler.tick()
        if any(isinstance(row.step, step) and row.done for row in tick.rows):
            laptop.crash()
            return
        laptop.clock.sleep(tick.seconds or 0.0)
    raise AssertionError(f"no {step.__name__}")
