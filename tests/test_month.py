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

from hotdesk.core.billing.charges import charges
from hotdesk.core.billing.rates import HOURS_PER_MONTH, Rates
from hotdesk.core.errors import Unreachable
from hotdesk.core.model import Goal, Image, Instance, Phase, Survey
from hotdesk.core.steps import Leave
from tests.laptop import Laptop, a_desk, reach
from tests.sim import Cloud, Crash, Faults
from tests.test_chaos import Day
from tests.truth import Thing

MONTHS = int(os.environ.get("HOTDESK_MONTHS", "120"))
BATCHES = 8
IDLE = 3600.0
ROUNDING = 1e-6
#: The simulator's prices: 0.80 a month for a disk of 8 GiB, 0.40 for its image.
RATES = {"sim": Rates(disk_usd_per_gib_month=0.1, image_usd_per_gib_month=0.05, disk_gib=8.0)}
DAYS = 30
ON = frozenset({Phase.PENDING, Phase.READY})


class Metered(Cloud):
    """The same cloud, and what it will really bill: machines from power-on to power-off, disks and images
    from their making to their end."""

    def __init__(self, **more: object) -> None:
        self.since: dict[str, float] = {}
        self.usd_true = 0.0  # of machines
        super().__init__(**more)  # type: ignore[arg-type]

    def billed_so_far(self) -> dict[str, float]:
        """US dollars by kind, of everything that ever was."""
        now = self.clock.time
        usd = {"compute": self.usd_true, "disk": 0.0, "image": 0.0}
        for id_, since in self.since.items():
            machine = self.things[id_].value
            assert isinstance(machine, Instance)
            usd["compute"] += (now - since) / 3600 * machine.usd_per_hour
        for thing in self.things.values():
            seconds = min(thing.ended_at, now) - thing.made_at
            kind = "image" if isinstance(thing.value, Image) else "disk"
            month = 0.8 if kind == "disk" else 0.4  # a machine's own disk costs what one costs that it left
            usd[kind] += month * seconds / 3600 / HOURS_PER_MONTH
        return usd

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
                self._change(thing, phase=Phase.ENDING, reason="idle for 60 minutes", stopped_at=self.time)
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
        """What the cloud bills lies between what the journals say was paid for certain, and at most.

        Two computers' journals are added up: what both know of is then there twice, so only the upper end
        holds for them.
        """
        assert not self.cloud.since, "something still runs"  # type: ignore[attr-defined]
        true = self.cloud.billed_so_far()  # type: ignore[attr-defined]
        most, least, second = shown(self.laptops, self.cloud)
        late = self.cloud.lag_seconds + 60.0  # a listing may still show what has just ended
        for kind, usd in true.items():
            assert most[kind] >= usd - ROUNDING, f"{kind}: {usd:.6f} billed, at most {most[kind]:.6f} shown"
            if len(self.laptops) == 1:
                assert least[kind] <= usd + late * second[kind], (
                    f"{kind}: {usd:.6f} billed, surely {least[kind]:.6f}"
                )


def shown(laptops: list[Laptop], cloud: Cloud) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """US dollars by kind, at most and for certain, as `hotdesk costs` adds up; and of a second."""
    now, seen = cloud.clock.time, Survey(provider="sim").nothing
    if cloud.billed("blue"):
        before, cloud.faults = cloud.faults, Faults()
        cloud.quiet()
        seen, now, cloud.faults = cloud.survey().of("blue"), cloud.clock.time, before
    most, least, second = ({"compute": 0.0, "disk": 0.0, "image": 0.0} for _ in range(3))
    for laptop in laptops:
        rows = laptop.store.rows("blue", limit=10**6)
        sighted = laptop.store.sighted("blue")
        for charge in charges("blue", rows, now, seen, rates=RATES, provider="sim", sighted=sighted):
            most[charge.kind] += charge.usd(0.0, now + 1)
            least[charge.kind] += charge.usd_least(0.0, now + 1)
            second[charge.kind] += charge.usd_per_hour / 3600
    return most, least, second


def live(seed: int) -> None:
    month = Month(seed)
    try:
        month.live()
    except Exception as error:
        story = "\n".join(month.story[-60:])
        raise AssertionError(f"HOTDESK_MONTH={seed}\n{story}\n{type(error).__name__}: {error}") from error


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.slow
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
    true = cloud.billed_so_far()
    most, least, _ = shown([laptop], cloud)
    assert true["compute"] > 0.1
    for kind, usd in true.items():
        assert most[kind] == pytest.approx(usd, rel=0.02)
        assert least[kind] == pytest.approx(usd, rel=0.02)
