"""A month of forgetful use: nothing lost, nothing left running, and not one dollar that the bill hides.

The laptop is closed in the middle of commands, replies get lost, spot machines are taken back, somebody
clicks in the console, there are two laptops; and nearly every evening the owner just walks away.
Each seed is one month, to the letter. `HOTDESK_MONTHS=1000 pytest tests/test_month.py` lives more of them;
`HOTDESK_MONTH=1234` lives that one alone.
"""

from __future__ import annotations

import os
from functools import partial

import pytest

from hotdesk.core.errors import Unreachable
from hotdesk.core.model import Goal, Instance, Phase, Seen
from hotdesk.core.steps import Leave
from hotdesk.costs import charges
from tests.laptop import Laptop, a_desk, reach
from tests.sim import Cloud, Crash, Faults
from tests.test_chaos import Day
from tests.truth import Thing

MONTHS = int(os.environ.get("HOTDESK_MONTHS", "120"))
BATCHES = 8
IDLE = 3600.0
DAYS = 30
ON = frozenset({Phase.PENDING, Phase.READY})


class Metered(Cloud):
    """The same cloud, and what it will really bill for machines: from power-on to power-off."""

    def __init__(self, **more: object) -> None:
        self.since: dict[str, float] = {}
        self.usd_true = 0.0
        super().__init__(**more)  # type: ignore[arg-type]

    def _show(self, thing: Thing, value: object) -> None:
        if isinstance(value, Instance):
            if value.phase in ON:
                self.since.setdefault(value.id, self.clock.time)
            elif value.id in self.since:
                hours = (self.clock.time - self.since.pop(value.id)) / 3600
                self.usd_true += hours * value.usd_per_hour
        super()._show(thing, value)  # type: ignore[arg-type]

    def walk_away(self) -> None:
        """Nobody works for a night: what runs ends itself after an hour, as the watch at a desk does."""
        self.quiet_for(IDLE)
        for thing in self.machines():
            machine = thing.value
            assert isinstance(machine, Instance)
            if machine.phase is not Phase.READY:
                continue
            if machine.stoppable:
                self._halt(thing, "idle for 60 minutes", machine.started_at)
            else:  # a one-time spot machine that is shut down is gone, and its disk stays
                thing.keeps_disk = True
                self._change(thing, phase=Phase.ENDING, reason="idle for 60 minutes")
                self._after(2.0, 60.0, partial(self._ended, thing))
        self.quiet_for(9 * 3600.0)

    def quiet_for(self, seconds: float) -> None:
        self.clock.time += seconds
        self._advance()


class Month(Day):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        old = self.cloud
        self.cloud = Metered(
            seed=seed, lag_seconds=old.lag_seconds, faults=old.faults, offset_seconds=old.offset_seconds,
            lists_ended=old.lists_ended, stoppable_spot=old.stoppable_spot, boundary=self.boundary,
        )  # fmt: skip
        self.cloud.given_up = self.given_up
        self.laptops = [Laptop(self.cloud, deaf=each.deaf) for each in self.laptops]
        self.laptop = self.laptops[0]

    def live(self) -> None:
        for day in range(DAYS):
            self.story.append(f"day {day}")
            for _ in range(self.random.randrange(1, 5)):
                happening = self.random.choice(
                    [self.command, self.look, self.look, self.look, self.work, self.work, self.interruption,
                     self.console, self.market, self.other_laptop]
                )  # fmt: skip
                self.safely(happening)
            self.cloud.walk_away()  # type: ignore[attr-defined]
            running = [t.value for t in self.cloud.machines() if t.value.phase is Phase.READY]
            assert running == [], "a machine ran through the night"
        self.end()
        self.cloud.quiet()
        self.bill()

    def safely(self, happening: object) -> None:
        try:
            happening()  # type: ignore[operator]
        except Crash:
            self.story.append("  crash")
            self.laptop.crash()
        except Unreachable:
            self.laptop.clock.sleep(60.0)
        assert self.cloud.violations == []

    def bill(self) -> None:
        """All journals together show at least what the cloud bills."""
        now = self.cloud.clock.time
        shown = sum(
            c.usd(0.0, now)
            for laptop in self.laptops
            for c in charges("blue", laptop.store.rows("blue", limit=10**6), now, Seen())
            if c.kind == "compute"
        )
        assert not self.cloud.since  # type: ignore[attr-defined]
        true = self.cloud.usd_true  # type: ignore[attr-defined]
        assert shown >= true - 1e-6, f"the cloud bills {true:.4f}, and the journal shows {shown:.4f}"


def live(seed: int) -> None:
    month = Month(seed)
    try:
        month.live()
    except Exception as error:
        story = "\n".join(month.story[-60:])
        raise AssertionError(f"HOTDESK_MONTH={seed}\n{story}\n{type(error).__name__}: {error}") from error


@pytest.mark.parametrize("batch", range(BATCHES))
def test_forgetful_months(batch: int) -> None:
    if only := os.environ.get("HOTDESK_MONTH"):
        live(int(only))
        return
    for seed in range(batch, MONTHS, BATCHES):
        live(seed)


def test_a_desk_that_ended_itself_is_parked_and_never_started_again() -> None:
    cloud = Metered(lag_seconds=20.0, faults=Faults(seconds=8.0))
    laptop = Laptop(cloud)
    reach(laptop, Goal.RUNNING)
    cloud.walk_away()
    assert laptop.settle("blue") is None
    assert laptop.store.desk("blue").goal is Goal.PARKED
    laptop.check("blue", Goal.PARKED)
    assert [type(r.step) for r in laptop.store.rows("blue")].count(Leave) == 1
    assert cloud.calls.count("start") == 0
    reach(laptop, Goal.RUNNING)


def test_asked_for_again_it_is_started_and_not_parked() -> None:
    cloud = Metered(lag_seconds=20.0, faults=Faults(seconds=8.0))
    laptop = Laptop(cloud)
    reach(laptop, Goal.RUNNING)
    cloud.walk_away()
    reach(laptop, Goal.RUNNING)
    assert cloud.calls.count("start") == 1
    assert cloud.calls.count("bake") == 0


def test_a_machine_that_broke_did_not_end_itself() -> None:
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING)
    [machine] = cloud.machines()
    cloud._halt(machine, "the kernel gave up", machine.value.started_at)
    assert laptop.settle("blue") is None
    assert laptop.store.desk("blue").goal is Goal.RUNNING


def test_a_plain_journal_is_exact_to_the_second() -> None:
    """No faults: the bill is what the cloud bills, but for the seconds that calls take."""
    cloud = Metered(lag_seconds=0.0, faults=Faults())
    laptop = Laptop(cloud)
    for goal in (Goal.RUNNING, Goal.STOPPED, Goal.RUNNING, Goal.PARKED, Goal.RUNNING, Goal.PARKED):
        reach(laptop, goal)
        cloud.quiet_for(5000.0)
    rows = laptop.store.rows("blue", limit=10**6)
    shown = sum(
        c.usd(0, 1e12) for c in charges("blue", rows, cloud.clock.time, Seen()) if c.kind == "compute"
    )
    assert shown == pytest.approx(cloud.usd_true, rel=0.01)
    assert shown > 0.1
