"""A random day of one desk at a fake cloud, at one computer or by turns at two; each cloud adds what it does.

What is checked is what the fake says exists, not what hotdesk believes.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hotdesk.core.errors import Unreachable
from hotdesk.core.lifecycle.plan import plan_gc
from hotdesk.core.model import Goal, Market, Offer
from hotdesk.core.ports import Provider
from hotdesk.core.steps import Ask, Delete, Prove
from tests.boundaries import Crash, Dying


class RandomDay(ABC):
    lag: float
    offers: tuple[Offer, ...]
    laptops: list[Any]  # of that cloud's rig

    def __init__(self, rng: random.Random) -> None:
        self.random = rng
        self.wish: dict[str, Any] = {}  # what every command says besides
        self.acknowledged: set[str] = set()
        self.lost: set[str] = set()  # by a hand in the console
        self.taken = False  # whether a hand in the console ever deleted something that may hold work
        self.written = 0
        self.story: list[str] = []

    def begin(self, laptops: list[Any], dying: Dying) -> None:
        """At the first of these computers, whose processes die as `dying` says."""
        self.laptops, self.laptop = laptops, laptops[0]
        self.dying, self.died = dying, dying.share
        self.laptop.open()

    def say(self, text: str) -> None:
        self.story.append(text)

    def lived(self, which: str) -> None:
        """Live the day; what goes wrong is told with what came before it."""
        try:
            self.live()
        except BaseException as error:
            story = "\n".join(self.story[-80:])
            named = f"{which} lag={self.lag} dying={self.died}"
            raise AssertionError(f"{named}\n{story}\n{type(error).__name__}: {error}") from error
        finally:
            for one in self.laptops:
                one.store.close()

    # ---- what a cloud adds -------------------------------------------------------------------------------

    @property
    @abstractmethod
    def provider(self) -> Provider:
        """Of the computer at which somebody is now."""

    @abstractmethod
    def now(self) -> float:
        """By the cloud's clock."""

    @abstractmethod
    def work(self) -> None:
        """Write something at the desk (`proven`), if it can be."""

    @abstractmethod
    def interruption(self) -> None: ...

    @abstractmethod
    def console(self) -> None: ...

    @abstractmethod
    def trouble(self) -> None: ...

    @abstractmethod
    def somewhere(self) -> set[str]:
        """All work that exists anywhere."""

    @abstractmethod
    def holds(self) -> None:
        """What must be so, always."""

    @abstractmethod
    def keeps_nothing(self) -> bool:
        """Whether nothing of the desk is left that could hold work."""

    @abstractmethod
    def end(self) -> None: ...

    # ---- a day -------------------------------------------------------------------------------------------

    def live(self) -> None:
        for _ in range(self.random.randrange(8, 28)):
            happening: Callable[[], object] = self.random.choice(
                [self.command, *[self.look] * 6, *[self.work] * 3, self.interruption, self.console,
                 self.trouble, self.trouble, self.time_passes, self.gc, self.other_computer]
            )  # fmt: skip
            try:
                happening()
            except Crash as crash:
                self.say(f"  crash {crash}")
                self.laptop.crash()
            except Unreachable as error:
                self.say(f"  {error}")
            self.holds()
        self.end()

    def command(self) -> None:
        goal = self.random.choice([*Goal, Goal.RUNNING, Goal.RUNNING, Goal.PARKED])
        where = tuple(self.random.sample(self.offers, 4)) if self.random.random() < 0.5 else ()
        move = goal is Goal.RUNNING and self.random.random() < 0.3
        self.say(f"want {goal} {[o.key for o in where]} {'move' if move else ''}")
        self.laptop.want("blue", goal, where, move=move, fresh=False, **self.wish)

    def look(self) -> None:
        for _ in range(self.random.randrange(1, 40)):
            tick = self.laptop.reconciler.tick({"blue"})
            for row in tick.rows:
                out = row.outcome
                self.say(f"  {row.step.key} {out and (out.status, row.made, row.said[:150])}")
            self.holds()
            if tick.seconds is None:
                self.say(f"  at rest {tick.asks}")
                return
            self.laptop.time.sleep(min(tick.seconds, 60.0))

    def proven(self) -> str:
        """The machine that this computer has shown to answer, by its bare id: nobody works anywhere else."""
        desk = self.laptop.store.find("blue")
        proof = self.laptop.store.past(desk).proof if desk else None
        if desk is None or desk.goal is not Goal.RUNNING or proof is None or proof.at < desk.since:
            return ""
        assert isinstance(proof.step, Prove)
        return proof.step.id.partition("/")[2]

    def sleep(self, seconds: float) -> None:
        self.laptop.time.slept = 0.0
        self.laptop.time.sleep(seconds)

    def time_passes(self) -> None:
        seconds = self.random.choice([10.0, 60.0, 700.0])
        self.say(f"{seconds} s")
        self.sleep(seconds)

    def gc(self) -> list[Ask]:
        """What `hotdesk gc --yes` does: deletes what belongs to nobody and holds nothing."""
        steps = plan_gc(self.provider.survey(), self.laptop.store.desks(), self.laptop.time.now())
        for step in steps:
            if isinstance(step, Delete):
                self.say(f"gc: {step.key}")
                try:
                    self.provider.delete(step.id, keep_disk=step.keep_disk)
                except Exception as error:  # as somebody sees who types it: it is still there
                    self.say(f"  {error}")
        return [step for step in steps if isinstance(step, Ask)]

    def other_computer(self) -> None:
        """Somebody goes on at another computer, once what was done here can be seen there."""
        if len(self.laptops) > 1:
            self.sleep(self.lag + 100)
            self.laptop = self.random.choice(self.laptops)
            self.laptop.time.at = max(self.laptop.time.at, self.now() - 300.0)
            self.laptop.open()
            self.say(f"at computer {self.laptops.index(self.laptop)}")
            self.command()

    # ---- its end -----------------------------------------------------------------------------------------

    def reach(self, goal: Goal) -> None:
        """The owner says what is wanted, and answers what is asked."""
        fresh = False
        asks: list[Ask] = []
        for _ in range(6):
            self.laptop.time.slept = 0.0
            on_demand = tuple(o for o in self.offers if o.market is Market.ON_DEMAND)
            self.laptop.want("blue", goal, on_demand, fresh=fresh, **self.wish)
            ask = self.laptop.settle("blue")
            self.holds()
            if ask is None:
                break
            self.say(f"  asked: {ask}")
            fresh = "--fresh" in ask.fix
            if fresh:
                assert self.taken or len(self.laptops) > 1, f"nothing was lost, yet: {ask}"
                self.acknowledged -= self.lost
            asks.append(ask)
            self.sleep(4000.0)  # sold out is not for ever
        else:
            raise AssertionError(f"asks without end: {asks[-1]}")
        self.arrived(goal)

    def reach_each(self) -> None:
        """One goal of the owner's choice, then up, away and gone."""
        goal = self.random.choice([Goal.RUNNING, Goal.PARKED, Goal.STOPPED, Goal.GONE])
        for goal_now in (goal, Goal.RUNNING, Goal.PARKED, Goal.GONE):
            self.say(f"in the end, want {goal_now}")
            self.reach(goal_now)
            self.work()

    def arrived(self, goal: Goal) -> None:
        """The goal is reached in truth: `Laptop.check`, knowing what the console took away."""
        self.laptop.acknowledged = self.acknowledged - self.lost
        off = goal in {Goal.PARKED, Goal.STOPPED} and not self.laptop.machines()
        if off and self.keeps_nothing():
            assert not self.laptop.acknowledged
        else:
            self.laptop.check("blue", Goal.PARKED if off else goal)
        if goal is Goal.GONE:
            self.acknowledged.clear()
