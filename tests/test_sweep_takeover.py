"""A sweep that another computer goes on with: nothing that is done is done again, and never do two act."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hotdesk.core.errors import NotAllowed, Unreachable
from hotdesk.core.fleet import Hold
from hotdesk.core.sweep.model import Sweep
from hotdesk.sweep import record
from hotdesk.sweep.driver import Driver
from hotdesk.sweep.machine_loop import AWAY_SECONDS, HOLD_EPOCHS
from hotdesk.sweep.record import LIVE_SECONDS, Recorder
from hotdesk.sweep.site import TakenOver
from hotdesk.sweep.store import SweepStore
from tests.sweep_world import World


class Marked(World):
    """A world in which computers see who goes on with the sweep."""

    mark = Hold()


class Seat:
    """One of several computers at the same world: a state folder, and a driver that knows its own hold."""

    def __init__(self, folder: Path, world: Marked, hold: Hold = Hold(), number: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.world, self.hold, self.number = world, hold, number
        self.store = SweepStore(folder)
        self.taken: TakenOver | None = None

    def begin(self, tasks: int, **wish: Any) -> None:
        sweep = Sweep(
            number=0, desk="blue", image="i", command=("run", "{seed}"), folder="/p",
            created_at=self.world.clock.now(), **{"machines": 3, "provider": "local", **wish},
        )  # fmt: skip
        self.number = self.store.create(sweep, ({"seed": n} for n in range(tasks))).number
        self.drive()

    def drive(self) -> None:
        self.driver = Driver(
            self.number, store=self.store, site=_Site(self), clock=self.world.clock, on_note=lambda text: None
        )
        self.driver.checkpoints.aside = lambda work: work()

    def take(self, at: int) -> None:
        """Go on from the record that is on a machine."""
        found = record.unpacked(self.world.records[f"sweep{at}-1"])
        self.hold = Hold(number=self.world.mark.number + 1, computer=f"seat {id(self)}")
        self.world.mark = self.hold
        taken = record.taken(found, self.hold, self.world.clock.now(), files=False)
        self.number = self.store.adopt(taken.sweep, taken.tables).number
        self.drive()

    def round(self) -> float:
        pause = self.driver.round()
        self.world.clock.sleep(max(0.1, pause))
        return pause

    def go(self, rounds: int = 4000, until: Any = lambda: False) -> None:
        for number in range(rounds):
            if until() or self.round() < 0:
                return
            if number % 20 == 0:
                self.driver.looks.look(self.driver.sweep)
        raise AssertionError(f"it does not end: {self.store.counts(self.number)}")

    def keep(self) -> None:
        Recorder(self.number, self.store.folder, self.world, self.world.clock).keep(
            self.driver.sweep,
            [m.name for m in self.store.machines(self.number) if m.name in self.world.runners],
        )


class _Site:
    """The world as one computer sees it: whoever has not the newest hold is told so."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seat.world, name)

    def confirm(self) -> None:
        if self._seat.world.mark.ends(self._seat.hold):
            raise TakenOver(self._seat.world.mark)

    def tick(self, *given: Any) -> Any:
        self.confirm()
        return self._seat.world.tick(*given)


def done(seat: Seat) -> int:
    return seat.store.counts(seat.number).done


def check(world: World, seat: Seat, tasks: int) -> None:
    counts = seat.store.counts(seat.number)
    assert (counts.done, counts.left) == (tasks, 0), counts
    ended = Counter(task for task, _, _ in world.finished)
    assert ended == dict.fromkeys(range(1, tasks + 1), 1), "each ended well once"
    assert not world.runners, "no machine is left"


@pytest.mark.parametrize("rounds", [20, 50, 90, 98])
def test_another_computer_goes_on_and_repeats_nothing(tmp_path: Path, rounds: int) -> None:
    """1. A computer begins. 2. Its record is made; it goes on for some rounds, and dies. 3. Another goes on.

    What was asked for, and has ended, since the record was made, only the machines know.
    """
    world = Marked(commands=lambda task, attempt: (3.0, 0))
    first, second = Seat(tmp_path / "a", world), Seat(tmp_path / "b", world)
    first.begin(40)
    first.go(until=lambda: done(first) >= 3)
    first.keep()
    before = done(first)
    for _ in range(rounds):
        first.round()
    assert done(first) > before
    second.take(first.number)
    assert "sweep1-1" in world.runners
    assert before <= done(second) < 40
    second.go()
    check(world, second, 40)


def test_what_ended_on_machines_that_the_first_computer_has_ended_is_known(tmp_path: Path) -> None:
    """One task is long: the other machines go, and with them what only they knew."""
    world = Marked(commands=lambda task, attempt: (150.0 if task == 1 else 3.0, 0))
    first, second = Seat(tmp_path / "a", world), Seat(tmp_path / "b", world)
    first.begin(40)
    first.go(until=lambda: len(world.runners) == 3)
    first.go(until=lambda: len(world.runners) == 1)
    assert done(first) == 39
    second.take(first.number)
    assert done(second) == 39
    second.go()
    check(world, second, 40)


def test_the_first_computer_touches_nothing_once_it_is_back(tmp_path: Path) -> None:
    """It slept for an hour; its deadline has passed meanwhile. It says who has the sweep, and ends."""
    world = Marked(commands=lambda task, attempt: (5000.0, 0))
    first, second = Seat(tmp_path / "a", world), Seat(tmp_path / "b", world)
    first.begin(6, deadline_at=world.clock.now() + 3000.0)
    first.go(until=lambda: len(world.began) == 6)
    first.keep()
    second.take(first.number)
    second.store.change(second.number, deadline_at=None)
    second.go(rounds=60, until=lambda: len([m for m in second.store.machines(1) if m.unmet]) == 0)
    world.clock.sleep(3600.0)
    machines = {*world.runners}
    with pytest.raises(TakenOver):
        first.driver.round()
    assert {*world.runners} == machines
    assert all(not runner.fenced for runner in world.runners.values()), "nothing was cancelled"
    swept = first.driver.run()
    assert swept.away == second.hold.computer
    assert first.store.counts(first.number).cancelled == 0
    second.go(rounds=40_000)
    check(world, second, 6)


def test_what_the_first_computer_asks_for_late_is_refused_by_every_machine(tmp_path: Path) -> None:
    """It is alive, and has not seen yet that another has the sweep: between two of its looks."""
    world = Marked(commands=lambda task, attempt: (2.0, 0))
    first, second = Seat(tmp_path / "a", world), Seat(tmp_path / "b", world)
    first.begin(30)
    first.go(until=lambda: done(first) >= 3)
    first.keep()
    second.take(first.number)
    second.go(rounds=200, until=lambda: not any(m.unmet for m in second.store.machines(second.number)))
    epochs = {runner.epoch for runner in world.runners.values()}
    assert min(epochs) >= HOLD_EPOCHS > first.driver.sweep.epoch
    begun = len(world.began)
    first.driver._submit(first.store.machines(first.number), world.clock.now())
    if first.driver.engine is not None:
        first.driver.engine.wait(0.1)
    assert len(world.began) == begun
    second.go()
    check(world, second, 30)


def test_a_machine_that_is_gone_meanwhile_is_not_waited_for(tmp_path: Path) -> None:
    world = Marked(commands=lambda task, attempt: (4.0, 0))
    first, second = Seat(tmp_path / "a", world), Seat(tmp_path / "b", world)
    first.begin(20)
    first.go(until=lambda: done(first) >= 3)
    first.keep()
    world.kill_machine("sweep1-2")
    world.runners["sweep1-3"].silent = True
    second.take(first.number)
    second.go()
    counts = second.store.counts(second.number)
    assert (counts.done, counts.left) == (20, 0)


def test_a_third_computer_goes_on_and_the_first_again(tmp_path: Path) -> None:
    world = Marked(commands=lambda task, attempt: (3.0, 0))
    seats = [Seat(tmp_path / name, world) for name in "abc"]
    seats[0].begin(60)
    seats[0].go(until=lambda: done(seats[0]) >= 3)
    seats[0].keep()
    for before, seat in ((0, 1), (1, 2), (2, 0)):
        seats[seat].take(1)
        goal = done(seats[seat]) + 6
        seats[seat].go(until=lambda seat=seat, goal=goal: done(seats[seat]) >= goal)
        seats[seat].keep()
        seats[before].driver._rounded = 0.0
        with pytest.raises(TakenOver):
            seats[before].round()
    assert [s.number for s in seats[0].store.sweeps()] == [1], "it has its number again"
    seats[0].go()
    check(world, seats[0], 60)


def test_a_driver_that_cannot_see_who_has_the_sweep_does_nothing(tmp_path: Path) -> None:
    world = Marked()
    first = Seat(tmp_path / "a", world)
    first.begin(4)
    first.go(until=lambda: bool(world.runners))
    world.clock.sleep(AWAY_SECONDS + 1)

    def confirm() -> None:
        raise Unreachable("The cloud does not answer.")

    first.driver.site.confirm = confirm  # type: ignore[method-assign]
    begun = len(world.began)
    for _ in range(5):
        assert first.driver.round() > 0
    assert len(world.began) == begun


@pytest.mark.parametrize(
    ("one", "other", "ends"),
    [
        (Hold(), Hold(), False),
        (Hold(number=1, computer="b"), Hold(), True),
        (Hold(number=1, computer="b"), Hold(number=1, computer="b"), False),
        (Hold(number=1, computer="c"), Hold(number=1, computer="b"), True),
        (Hold(number=1, computer="c"), Hold(number=2, computer="b"), False),
    ],
)
def test_a_later_hold_ends_an_earlier_one(one: Hold, other: Hold, ends: bool) -> None:
    assert one.ends(other) is ends
    assert Hold.read(str(one)) == one


@pytest.mark.parametrize("text", ["", "x", "1", "-1 a", "one a", " "])
def test_what_is_no_hold_is_that_of_the_beginning(text: str) -> None:
    assert Hold.read(text) == Hold()


@pytest.mark.parametrize("body", [b"", b"x", b"\x78\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_record_that_cannot_be_read_is_told_so(body: bytes) -> None:
    with pytest.raises(NotAllowed, match="cannot be read"):
        record.unpacked(body)


def test_a_record_has_all_of_a_sweep_and_no_other(tmp_path: Path) -> None:
    world = Marked()
    first = Seat(tmp_path / "a", world)
    first.begin(3)
    first.begin(5)
    first.go()
    found = record.unpacked(record.packed(first.store, 2))
    assert found.sweep.number == 2
    assert {name: len(rows) for name, rows in found.tables.items()} == {
        "tasks": 5, "attempts": 5, "machines": 3, "unwanted": 0, "members": 0, "orders": 0, "shortages": 0,
        "checkpoints": 0,
    }  # fmt: skip
    assert LIVE_SECONDS > record.KEPT_SECONDS
