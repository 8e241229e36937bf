"""What is truly there in a simulated cloud, what a listing still says of it, and the judge of both."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from hotdesk.core.model import Disk, EndedBy, Image, Instance, Leftover, Phase

GONE = frozenset({Phase.ENDING, Phase.ENDED})
#: Who turned a machine off, by how this cloud's reason begins.
ENDED_BY = {"User initiated": EndedBy.OWNER, "idle ": EndedBy.GUEST, "interrupted": EndedBy.PROVIDER}


class Clock:
    """This computer's clock, which moves only when somebody waits."""

    def __init__(self, time: float = 1_000_000.0) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0, "nobody can sleep into the past"
        self.time += seconds


@dataclass(eq=False)
class Thing:
    """The truth about a machine, a disk or an image, and what a listing may still say of it."""

    value: Instance | Disk | Image
    work: frozenset[int] = frozenset()
    there: bool = True
    sound: bool = True  # of an image: whether it holds what it says
    keeps_disk: bool = False
    birth: int = 0  # what was begun together: of one birth, later work comes from earlier
    made_at: float = 0.0
    ended_at: float = float("inf")
    versions: list[tuple[float, Instance | Disk | Image | None]] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether somebody could get the work back from here."""
        if isinstance(self.value, Image):
            return self.there and self.sound and self.value.verified and self.value.phase is Phase.READY
        return self.there and self.value.phase is not Phase.ENDED


class Truth:
    """Machines, disks and images, the time in which they change, and whose work they hold."""

    def __init__(self, clock: Clock, seed: int, lag_seconds: float, offset_seconds: float) -> None:
        self.clock = clock
        self.random = random.Random(seed)
        self.lag_seconds = lag_seconds
        self.offset_seconds = offset_seconds
        self.things: dict[str, Thing] = {}
        self.acknowledged: dict[str, set[int]] = {}  # by desk
        self.births: dict[int, int] = {}  # of each unit of work: the birth of the machine that it was done on
        self.given_up: Callable[[str], bool] = lambda desk: False  # the owner agreed to lose a desk's work
        self.is_theirs: Callable[[Thing], bool] = lambda thing: True  # whether who acts may give it up
        self.violations: list[str] = []
        self.lost_by_choice = False  # whether somebody ever gave work up, or deleted something by hand
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self.by_hand_at = float("-inf")  # when somebody last deleted something in the console

    # ---- work, and its judge -----------------------------------------------------------------------------

    def work(self, id_: str) -> None:
        """Somebody works on a running machine, and relies on it from now on."""
        thing = self.find(id_)
        assert thing is not None
        assert thing.value.phase is Phase.READY
        self._numbers += 1
        thing.work |= {self._numbers}
        self.births[self._numbers] = thing.birth
        self.acknowledged.setdefault(thing.value.desk, set()).add(self._numbers)

    def _destroy(self, thing: Thing) -> None:
        desk = thing.value.desk
        at_stake = thing.work & self.acknowledged.get(desk, set())
        for other in self.things.values():
            if other is not thing and other.value.desk == desk and other.holds:
                at_stake -= other.work
        self.lost_by_choice |= self.given_up(desk)
        if at_stake:
            # Another copy was deleted by hand a moment ago, and no listing could show that yet.
            unseen = self.clock.time - self.by_hand_at <= self.lag_seconds + 60.0
            if not (self.given_up(desk) and self.is_theirs(thing)) and not unseen:
                self.violations.append(f"the last copy of {sorted(at_stake)} destroyed with {thing.value.id}")
            self.acknowledged[desk] -= at_stake

    def kept(self, units: set[int]) -> set[int]:
        """Those of some units of work that could be had back from somewhere."""
        return {unit for unit in units if any(unit in t.work and t.holds for t in self.things.values())}

    # ---- looking ---------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """What the cloud's own clock shows."""
        return self.clock.time + self.offset_seconds

    def find(self, id_: str) -> Thing | None:
        thing = self.things.get(id_)
        return thing if thing and thing.there else None

    def machines(self, desk: str | None = None) -> list[Thing]:
        """Machines that are there in truth and not on their way out."""
        return [t for t in self._all(Instance, desk) if t.value.phase not in GONE]

    def placeholders(self, desk: str | None = None) -> list[Thing]:
        return [t for t in self._all(Leftover, desk) if t.value.phase is not Phase.ENDING]

    def images(self, desk: str | None = None) -> list[Thing]:
        return [t for t in self._all(Image, desk) if t.value.phase is not Phase.ENDING]

    def billed(self, desk: str | None = None) -> list[Thing]:
        """Everything that costs money in truth: whatever is there and has not ended."""
        every = [*self._all(Instance, desk), *self._all(Disk, desk), *self._all(Image, desk)]
        return [t for t in every if t.value.phase is not Phase.ENDED]

    @property
    def usd(self) -> float:
        """What all of it has cost until now: everything that exists, or did, at its price."""
        total = 0.0
        for thing in self.things.values():
            hours = (min(thing.ended_at, self.clock.time) - thing.made_at) / 3600
            value = thing.value
            per_hour = value.usd_per_hour if isinstance(value, Instance) else value.usd_per_month / 730
            total += per_hour * hours
        return total

    def quiet(self) -> None:
        """Let all that is under way happen and show."""
        while self._events and self._events[0][0] < self.clock.time + 4000:
            self.clock.time = max(self.clock.time, self._events[0][0])
            self._advance()
        self.clock.time += self.lag_seconds + 1

    def _all(self, kind: type, desk: str | None) -> list[Thing]:
        return [
            t
            for t in self.things.values()
            if t.there and isinstance(t.value, kind) and desk in {None, t.value.desk}
        ]

    # ---- change, and how it shows ------------------------------------------------------------------------

    def _befalls(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance

    def _advance(self) -> None:
        now = self.clock.time
        while self._events and self._events[0][0] <= now:
            self.clock.time, _, happen = heapq.heappop(self._events)
            happen()
        self.clock.time = now

    def _after(self, least: float, most: float, happen: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(
            self._events, (self.clock.time + self.random.uniform(least, most), self._numbers, happen)
        )

    def _id(self, letter: str) -> str:
        return f"{letter}-{self.random.getrandbits(32):08x}"

    def _add(self, value: Instance | Disk | Image, work: frozenset[int], **more: Any) -> Thing:
        thing = Thing(value, work, made_at=self.clock.time, versions=[(float("-inf"), None)], **more)
        self.things[value.id] = thing
        self._show(thing, value)
        return thing

    def _change(self, thing: Thing, **changes: object) -> None:
        if changes.get("phase") in GONE:  # nothing is billed from here on
            thing.ended_at = min(thing.ended_at, self.clock.time)
        if isinstance(thing.value, Instance) and "reason" in changes:
            begins = str(changes["reason"]).startswith
            changes["ended_by"] = next(
                (by for words, by in ENDED_BY.items() if begins(words)), EndedBy.UNKNOWN
            )
        thing.value = replace(thing.value, **changes)
        self._show(thing, thing.value)

    def _show(self, thing: Thing, value: Instance | Disk | Image | None) -> None:
        lag = self.random.uniform(0, self.lag_seconds) if self.lag_seconds else 0.0
        thing.versions.append((self.clock.time + lag, value))

    def _shown(self, thing: Thing) -> Instance | Disk | Image | None:
        """What one look shows: the truth, or, while a change is young, anything since the last sure one."""
        certain = max(n for n, (visible, _) in enumerate(thing.versions) if visible <= self.clock.time)
        del thing.versions[:certain]
        return self.random.choice(thing.versions)[1] if len(thing.versions) > 1 else thing.versions[0][1]
