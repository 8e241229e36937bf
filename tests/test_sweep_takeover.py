"""A sweep that another computer goes on with: nothing that is done is done again, and never do two act."""

from __future__ import annotations

import subprocess
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from hotdesk.core.errors import Kind, NotAllowed, Unreachable
from hotdesk.core.fleet import FleetOrder, Hold
from hotdesk.core.model import Market
from hotdesk.core.sweep.group import Asked, Group, Member, Short
from hotdesk.core.sweep.model import Attempt, Machine, State, Sweep, Task
from hotdesk.services import sweep_takeover, sweep_watch
from hotdesk.services.sweep_takeover import _newest
from hotdesk.sweep import machine as runner
from hotdesk.sweep import record
from hotdesk.sweep.driver import Driver
from hotdesk.sweep.machine_loop import AWAY_SECONDS, HOLD_EPOCHS
from hotdesk.sweep.record import LIVE_SECONDS, Recorder
from hotdesk.sweep.site import TakenOver
from hotdesk.sweep.store import TABLES, SweepStore
from tests.aws_desk import offer
from tests.sweep_world import World, WorldClock


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


def test_a_clock_that_is_set_back_hides_no_takeover(tmp_path: Path) -> None:
    world = Marked(commands=lambda task, attempt: (100.0, 0))
    first = Seat(tmp_path / "a", world)
    first.begin(4)
    first.go(until=lambda: bool(world.began))
    world.mark = Hold(number=1, computer="b")
    world.clock.time -= 7200.0
    with pytest.raises(TakenOver):
        first.driver.round()
    assert first.driver._is_away(world.clock.now())
    kept = {**world.records}
    first.driver.recorder._next = float("-inf")
    first.driver._look()
    assert world.records == kept, "it leaves no record that may be older than another's"


HOUR = 3600.0


@pytest.mark.parametrize("ahead", [-3 * HOUR, 0.0, 3 * HOUR])
def test_what_was_spent_counts_where_the_clock_is_hours_off(tmp_path: Path, ahead: float) -> None:
    """Costs, the deadline and what a pool lacks are counted from moments by the first computer's clock."""
    now, one = 1e9, offer("m7i.large", "us-west-2a", Market.SPOT, gpu="", price=0.5)
    order = FleetOrder(fleet="sweep1-abc", desk="blue", number=1, count=2, offers=(one,), image_id="r/i")
    before = Group(
        members=(
            Member(id="a", offer=one, since=now - 2 * HOUR),
            Member(id="b", offer=one, since=now - 2 * HOUR, ending_at=now - HOUR, ended_at=now - HOUR),
        ),
        asked=(Asked(order=order, at=now - 2 * HOUR, answered=True),),
        short=(Short(key="k", kind=Kind.QUOTA, why="", until=now + 600.0),),
    )
    task = Task(number=1, params={}, state=State.DONE, began_at=now - HOUR, ended_at=now - 60.0)
    with SweepStore(tmp_path) as store:
        sweep = store.create(
            Sweep(number=0, desk="blue", image="r/i", provider="aws", command=("x",), folder="/p",
                  created_at=now - 3 * HOUR, deadline_at=now + HOUR),
            [{}, {}],
        )  # fmt: skip
        store.put(
            1, [task], [Attempt(task=1, number=1, machine="m", began_at=now, seconds=1.0, exit_status=0)]
        )
        store.put_machines(1, [Machine(name="sweep1-1", number=1, since=now - HOUR)])
        store.put_group(1, Group(), before)
        found = record.unpacked(record.packed(store, 1, now))
    there = now + 10.0 + ahead  # the record is ten seconds old
    with SweepStore(None) as other:
        taken = record.by_clock(found, there - 10.0)
        assert taken.sweep.id == sweep.id
        mine = other.adopt(taken.sweep, taken.tables).number
        group = other.group(mine)
        assert group.usd(there - 10.0) == pytest.approx(1.5)
        assert [m.alive for m in group.members] == [True, False]
        assert group.short[0].until - there == pytest.approx(590.0)
        assert group.asked[0].at - there == pytest.approx(-2 * HOUR - 10.0)
        assert taken.sweep.deadline_at is not None
        assert taken.sweep.deadline_at - there == pytest.approx(HOUR - 10.0)
        assert other.task(mine, 1).ended_at - there == pytest.approx(-70.0)
        assert other.task(mine, 2).began_at == 0.0, "what has not been is not moved"
        assert other.attempts(mine)[0].began_at - there == pytest.approx(-10.0)
        assert other.machines(mine)[0].since - there == pytest.approx(-HOUR - 10.0)


def test_a_record_of_nobody_knows_when_is_left_as_it_is(tmp_path: Path) -> None:
    first = Seat(tmp_path / "a", Marked())
    first.begin(2)
    found = record.unpacked(record.packed(first.store, 1))
    assert record.by_clock(found, 5e9) is found


def _newer_state(tables: Any) -> None:
    tables["machines"][0][2] = tables["machines"][0][2].replace(b'"name"', b'"state":"asleep","name"', 1)


def _short_row(tables: Any) -> None:
    tables["tasks"][0] = tables["tasks"][0][:-1]


def _no_table(tables: Any) -> None:
    del tables["orders"]


@pytest.mark.parametrize("harm", [_newer_state, _short_row, _no_table])
def test_rows_that_mean_nothing_here_are_told_so(tmp_path: Path, harm: Any) -> None:
    """Of a later version with the same number of tables, say: no half of it is taken up."""
    first = Seat(tmp_path / "a", Marked())
    first.begin(2)
    first.go(until=lambda: bool(first.store.machines(1)))
    found = record.unpacked(record.packed(first.store, 1))
    harm(found.tables)
    with pytest.raises(NotAllowed, match="cannot be read"):
        record.unpacked(zlib.compress(msgspec.msgpack.encode(found)))


@pytest.mark.parametrize("came", [b"", b"half", b"the whole of it, and more"])
def test_a_file_that_came_in_part_does_not_take_the_place_of_the_last(tmp_path: Path, came: bytes) -> None:
    """Where the connection breaks, the shell at the machine sees no more than the end of its input."""
    (tmp_path / "record").write_bytes(b"the last one")
    line = runner.whole("record", b"the whole of it")
    assert subprocess.run(["sh", "-c", line], input=came, cwd=tmp_path, check=False).returncode != 0
    assert (tmp_path / "record").read_bytes() == b"the last one"
    assert (
        subprocess.run(["sh", "-c", line], input=b"the whole of it", cwd=tmp_path, check=False).returncode
        == 0
    )
    assert (tmp_path / "record").read_bytes() == b"the whole of it"


def _told(sweep: int, *, group: str = "", hold: int = 0, age: float = 1.0) -> Any:
    found = Sweep(
        number=sweep, desk="blue", image="r/i", provider="aws", command=("x",), folder="/p",
        created_at=1000.0, group=group, hold=Hold(number=hold, computer="c" if hold else ""),
    )  # fmt: skip
    tables: dict[str, list[list[Any]]] = {table: [] for table in TABLES}
    return None, record.Record(sweep=found, tables=tables), age


def test_what_no_watcher_goes_on_with_is_named(tmp_path: Path) -> None:
    """1. Of a desk's four sweeps one has secrets, one is a cluster, one is on this computer. 2. The last can
    be handed over, and of the others those on machines of a cloud are named."""
    some = {
        "secret": {"secrets": ("TOKEN",)}, "cluster": {"cluster": True}, "here": {"provider": "local"},
        "plain": {},
    }  # fmt: skip
    with SweepStore(tmp_path) as store:
        for name, fields in some.items():
            given: dict[str, Any] = {"provider": "aws", **fields}
            sweep = Sweep(
                number=0, desk="blue", image="i", command=(name,), folder="/", created_at=1.0, token="5",
                head_port=1, **given,
            )  # fmt: skip
            store.create(sweep, ({"n": 1},))
    sweeps: Any = SimpleNamespace(state=tmp_path, opened=lambda: SweepStore(tmp_path))
    assert [sweep.command for sweep in sweep_watch.watched(sweeps, ["blue"])] == [("plain",)]
    said = sweep_watch.staying(sweeps, ["blue"])
    assert said.startswith("Only this computer goes on with sweep 1 and the cluster of blue. The values of")
    assert sweep_watch.staying(sweeps, ["red"]) == ""


def test_the_newest_record_of_each_fleet_is_found() -> None:
    """A later hold is newer, whatever its age. Of two sweeps with the same machines, the last has them."""
    found = [
        _told(1, hold=3, age=20.0),
        _told(1, hold=2, age=1.0),
        _told(2, age=90.0),
        _told(3, group="sweep2-x", hold=4, age=600.0),
        _told(4, group="sweep2-x", age=5.0),
    ]
    newest = _newest(found)
    assert {(one[1].sweep.number, one[1].sweep.hold.number) for one in newest} == {(1, 3), (2, 0), (4, 0)}


def test_each_of_two_sweeps_of_a_desk_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [_told(1, age=500.0), _told(2, age=500.0)]
    notes: list[str] = []
    desk = SimpleNamespace(name="blue", provider="aws")
    driven: list[int] = []
    sweeps: Any = SimpleNamespace(
        store=SimpleNamespace(desk=lambda name: desk), opened=lambda: SweepStore(tmp_path), state=tmp_path,
        clock=WorldClock(), on_note=notes.append, drive=driven.append,
    )  # fmt: skip
    monkeypatch.setattr(sweep_takeover, "_machines", lambda *given: [])
    monkeypatch.setattr(sweep_takeover, "_found", lambda *given: found)
    monkeypatch.setattr(sweep_takeover, "_fetch_project", lambda *given: None)
    monkeypatch.setattr(sweep_takeover, "_again", lambda access, record, age: (record, age))
    monkeypatch.setattr(sweep_takeover, "mark", lambda *given: Hold(number=1, computer="b"))
    assert sweep_takeover.resume(sweeps, "blue").id.startswith("1-")
    assert "has another sweep elsewhere" in notes[0]
    assert sweep_takeover.resume(sweeps, "blue").id.startswith("2-")
    assert driven == [1, 2]
    assert sweep_takeover.resume(sweeps, "blue").number == 1, "both are here: the first is gone on with"
    found.clear()
    assert sweep_takeover.resume(sweeps, "blue").number == 1, "also where no machine of it is left"
