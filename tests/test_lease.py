"""Leases: renewed while somebody watches, never past the hard end; a computer that died stops the bill."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Unreachable
from hotdesk.core.lifecycle.shutdown import ended_itself
from hotdesk.core.model import Desk, Goal, Market, Phase
from hotdesk.core.ports import Access
from hotdesk.core.steps import Leave
from hotdesk.guest.idle import Watch
from hotdesk.loop.leases import Leases, kept, period
from hotdesk.services.limits import Limits
from hotdesk.state.store import Store
from tests.conftest import Command
from tests.local_rig import tool, wait_for
from tests.truth import Clock

ACCESS = Access(desk="blue", host="h", port=22, user="me", key_path="k", known_hosts_path="n", alias="a",
                notebook_port=8888)  # fmt: skip
DESK = Desk(name="blue", goal=Goal.RUNNING, since=0.0, created_at=0.0, lease_hours=1.0)


class Told:
    """A desk's home as the limits reach it, with the watch that reads them there."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self.home, self.clock = home, clock
        self.times: list[float] = []
        self.deaf = False
        (home / ".hotdesk").mkdir()
        self.watch = Watch([str(home)], now=clock.time)

    def __call__(self, access: Access, desk: Desk, now: float) -> None:
        import json
        import os

        from hotdesk.connect.limits import limits

        if self.deaf:
            raise Unreachable("no answer")
        self.times.append(now)
        file = self.home / ".hotdesk" / "leave"
        file.write_text(json.dumps(limits(desk, now)))
        os.utime(file, (now, now))

    @property
    def due(self) -> tuple[float, str] | None:
        return self.watch.due(self.clock.time)


def test_a_watched_lease_goes_on_and_an_unwatched_one_ends(tmp_path: Path) -> None:
    clock = Clock()
    told = Told(tmp_path, clock)
    with Store(None) as store:
        store.put(DESK)
        leases = Leases(store=store, clock=clock, access=lambda desk: ACCESS, tell=told)
        for _ in range(24 * 60):  # a day
            leases.round(["blue"])
            due = told.due
            assert due is not None
            assert due[0] > clock.time + 2400
            clock.sleep(60.0)
        assert len(told.times) == 24 * 6
        told.deaf = True  # the network is gone; then the computer
        for _ in range(59):
            leases.round(["blue"])
            clock.sleep(60.0)
        due = told.due
    assert due is not None
    assert due[0] <= clock.time + 60
    assert "lease" in due[1]


def test_renewing_never_moves_the_hard_end(tmp_path: Path) -> None:
    clock = Clock()
    told = Told(tmp_path, clock)
    desk = Limits(lease_hours=1.0, hours=3.0).of(DESK, clock.time)
    with Store(None) as store:
        store.put(desk)
        leases = Leases(store=store, clock=clock, access=lambda desk: ACCESS, tell=told)
        for _ in range(170):
            leases.round(["blue"])
            clock.sleep(60.0)
    due = told.due
    assert due is not None
    assert due[0] == pytest.approx(desk.stop_at, abs=1.0)
    assert "deadline" in due[1]


def test_only_what_runs_and_has_a_lease_is_renewed(tmp_path: Path) -> None:
    clock = Clock()
    told = Told(tmp_path, clock)
    with Store(None) as store:
        store.put(replace(DESK, name="none", lease_hours=0.0))
        store.put(replace(DESK, name="parked", goal=Goal.PARKED))
        store.put(replace(DESK, name="off"))
        leases = Leases(store=store, clock=clock, access=lambda desk: None, tell=told)
        assert leases.round(["none", "parked", "off", "unknown"]) == []
    assert told.times == []
    assert period(replace(DESK, lease_hours=100.0)) == 600.0


def test_an_open_terminal_renews_and_a_closed_one_does_not() -> None:
    said: list[float] = []
    twice = threading.Event()

    def tell(access: Access, desk: Desk, now: float) -> None:
        said.append(now)
        if len(said) == 1:
            raise Unreachable("once")
        twice.set()

    desk = replace(DESK, lease_hours=0.2 / 3600)
    with kept(ACCESS, desk, Clock(), tell):
        assert twice.wait(20)
    [thread] = [t for t in threading.enumerate() if t.name == "lease"] or [None]
    if thread:
        thread.join(20)
    count = len(said)
    assert not [t for t in threading.enumerate() if t.name == "lease"]
    with kept(ACCESS, replace(desk, lease_hours=0.0), Clock(), tell):
        pass
    assert len(said) == count


def test_an_open_terminal_takes_back_nothing_that_was_said_in_another(tmp_path: Path) -> None:
    """1. A terminal is open. 2. `up --until` elsewhere. 3. The renewal says that end too. 4. Parked: none."""
    said: list[float] = []
    desk = replace(DESK, lease_hours=0.05 / 3600, stop_at=0.0)
    with Store(tmp_path) as store:
        store.put(desk)

        def now_wanted() -> Desk | None:
            with Store(tmp_path) as other:
                return other.find(desk.name)

        def tell(access: Access, told: Desk, now: float) -> None:
            said.append(told.stop_at)

        with kept(ACCESS, desk, Clock(), tell, now_wanted=now_wanted):
            wait_for(lambda: len(said) > 1, 20)
            store.put(replace(desk, stop_at=500.0))
            wait_for(lambda: said[-1] == 500.0, 20)
            store.put(replace(desk, goal=Goal.PARKED))
            time.sleep(0.2)
            count = len(said)
            time.sleep(0.2)
            assert len(said) == count


@tool("ssh")
def test_an_open_terminal_keeps_a_real_desk_and_then_it_parks_itself(
    hotdesk: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A lease of 12 s. 2. A terminal is open for longer. 3. It closes. 4. Any command."""
    monkeypatch.setenv("HOTDESK_LOOK_SECONDS", "0.5")
    assert hotdesk("up", "blue", "--idle", "never", "--lease", "0.2m").returncode == 0
    done = hotdesk("ssh", "blue", "--", "sleep 16; echo still here")
    assert done.stdout == "still here\n", done.stderr

    def phase() -> str:
        import json

        return str(json.loads(hotdesk("show", "blue", "--json").stdout)["phase"])

    wait_for(lambda: phase() == "parked", 60)


# ---- on EC2 --------------------------------------------------------------------------------------------


@pytest.fixture
def laptop(fake: FakeEc2, tmp_path: Path) -> Iterator[object]:
    from tests.aws_desk import Laptop

    made = Laptop(fake, tmp_path / "one")
    yield made
    made.store.close()


@pytest.mark.parametrize("market", list(Market))
def test_a_machine_that_ends_itself_keeps_its_disk_and_any_command_parks_it(
    laptop: object, market: Market
) -> None:
    """`shutdown -h` on the machine needs no permission of the cloud, and what was written is not lost."""
    from tests.aws_desk import HOME, Laptop, offer

    assert isinstance(laptop, Laptop)
    assert laptop.do(Goal.RUNNING, (offer(market=market),)) is None
    laptop.work("monday")
    [machine] = laptop.machines()
    ec2 = laptop.fake.client("ec2", HOME)
    raw = ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"][0]
    assert not any(m["Ebs"]["DeleteOnTermination"] for m in raw["BlockDeviceMappings"])
    said = ec2.describe_instance_attribute(
        InstanceId=machine["id"], Attribute="instanceInitiatedShutdownBehavior"
    )["InstanceInitiatedShutdownBehavior"]["Value"]
    assert said == ("stop" if market is Market.ON_DEMAND else "terminate")
    laptop.fake.post("console", id=machine["id"], do="shutdown")
    laptop.time.sleep(60.0)
    costs = [r["usd_per_hour"] for r in laptop.things("instance", gone=True)]
    assert sum(costs) == 0, "nothing computes any more"
    [seen] = laptop.aws.survey().of("blue").instances
    assert ended_itself(seen)
    assert seen.phase is (Phase.STOPPED if market is Market.ON_DEMAND else Phase.ENDED)
    assert laptop.settle() is None
    assert [type(r.step) for r in laptop.store.rows("blue")].count(Leave) == 1
    assert laptop.check("blue", Goal.PARKED)
    assert laptop.do(Goal.RUNNING, (offer(market=market),)) is None


@pytest.mark.parametrize("market", list(Market))
def test_another_computer_that_never_knew_the_desk_finishes_its_parking(
    laptop: object, market: Market, tmp_path: Path
) -> None:
    """1. Up at one computer, which dies. 2. The machine ends itself. 3. Any command at another computer."""
    from hotdesk.api import Hotdesk
    from hotdesk.config import Config, Defaults
    from hotdesk.providers.aws.settings import Settings
    from tests.aws_desk import Laptop, offer

    assert isinstance(laptop, Laptop)
    assert laptop.do(Goal.RUNNING, (offer(market=market),)) is None
    laptop.work("monday")
    config = Config(defaults=Defaults(provider="aws"), clouds={"aws": Settings(lag_seconds=0.0)})
    with Hotdesk(tmp_path / "two", config=config, clock=laptop.time) as other:
        assert other.services.park_left() == [], "a desk that runs is nobody's to end"
        [view] = other.ls()
        assert (view.name, view.goal, view.elsewhere) == ("blue", Goal.RUNNING, True)
        laptop.fake.post("console", id=laptop.machines()[0]["id"], do="shutdown")
        laptop.time.sleep(60.0)
        assert other.services.park_left() == ["blue"]
        assert other.services.park_left() == []
        assert laptop.check("blue", Goal.PARKED)
        assert laptop.settle() is None, "and the first computer, back again, starts nothing"
        assert laptop.check("blue", Goal.PARKED)
        other.down("blue")
        assert laptop.billed() == []
