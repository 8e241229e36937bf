"""A job with a deadline changes its machine while it works, or waits without one, as its policy says."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.core.errors import Kind
from hotdesk.core.jobs import Job, Notify, Pause, SeenJob, Shift, leave_machine
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan
from hotdesk.core.model import Desk, Goal, Instance, Market, Offer, Phase, Seen
from hotdesk.core.spot.availability import (
    DOWN_SECONDS,
    FORGET_SECONDS,
    UNKNOWN_SECONDS,
    events,
    spells,
    zones,
)
from hotdesk.core.spot.decision import Action, Decision
from hotdesk.core.steps import Bake, BakeOrder, Delete, Done, Launch, LaunchOrder, Move, Outcome, Refusal, Row
from hotdesk.state.store import Store
from hotdesk.system import SystemClock, state_folder
from tests import test_run_ec2
from tests.conftest import Command
from tests.test_run import SECONDS, Laptop, settled
from tests.test_run_ec2 import machine

cloud, desks = test_run_ec2.cloud, test_run_ec2.desks  # fixtures


def on_machines(test: Callable[..., None]) -> Callable[..., None]:
    """Only where light machines can be."""
    for mark in test_run_ec2.pytestmark:
        test = mark(test)
    return test


def offer(zone: str, market: Market = Market.SPOT, usd: float = 0.3) -> Offer:
    return Offer(provider="aws", region="r", zone=zone, instance_type="g", market=market, usd_per_hour=usd)


A, B, DEAR = offer("a"), offer("b", usd=0.4), offer("a", Market.ON_DEMAND, 1.0)
OFFERS = (A, B, DEAR)


# ---- what the journal knows of zones -----------------------------------------------------------------


class Journal:
    """Rows of one desk, in order."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def launch(self, at: float, where: Offer, made: str = "") -> None:
        order = LaunchOrder(desk="blue", born=1.0, generation=len(self.rows) + 1, attempt=0, offer=where)
        outcome = Done(id=made) if made else Refusal(kind=Kind.NO_CAPACITY)
        self.add(at, Launch(order=order, why=""), outcome)

    def bake(self, at: float, source: str) -> None:
        order = BakeOrder(
            desk="blue", born=1.0, generation=1, attempt=0, source_id=source, started_at=0.0, region="r"
        )
        self.add(at, Bake(order=order, why=""), Done())

    def add(self, at: float, step: object, outcome: Outcome) -> None:
        number = len(self.rows) + 1
        self.rows.append(
            Row(id=number, desk="blue", at=at, step=step, ended_at=at, outcome=outcome)  # type: ignore[arg-type]
        )

    def state(self, now: float, **more: object) -> dict[str, tuple[bool, float]]:
        found = zones(OFFERS, events(self.rows), now, **more)  # type: ignore[arg-type]
        return {z.name: (z.up, z.seconds) for z in found}


def test_what_is_known_of_a_zone_comes_from_launches_refusals_and_interruptions() -> None:
    """1. Nothing known. 2. A is refused, twice. 3. B is granted, and works. 4. It is taken: a disk is left.
    5. After a while both are worth a try; after days nothing is known any more."""
    past = Journal()
    assert past.state(0.0) == {A.key: (True, UNKNOWN_SECONDS), B.key: (True, UNKNOWN_SECONDS)}
    past.launch(1000.0, A)
    past.launch(1300.0, A)
    past.launch(1310.0, B, "i-1")
    assert past.state(1400.0, running=B.key) == {A.key: (False, 400.0), B.key: (True, 90.0)}
    assert past.state(1400.0, taken=B.key)[B.key] == (False, 0.0)
    past.bake(5000.0, "vol-1")
    assert past.state(5100.0) == {A.key: (True, 0.0), B.key: (False, 100.0)}
    assert past.state(5000.0 + DOWN_SECONDS)[B.key] == (True, 0.0)
    assert past.state(5000.0 + FORGET_SECONDS)[B.key] == (True, UNKNOWN_SECONDS)


def test_a_machine_that_we_ended_was_not_taken() -> None:
    past = Journal()
    past.launch(1000.0, B, "i-1")
    past.add(2000.0, Delete(id="i-1", keep_disk=True, why=""), Done())
    past.bake(2100.0, "vol-1")
    past.launch(2200.0, B, "i-2")
    assert past.state(2300.0)[B.key] == (True, 1300.0)


def test_zones_that_fall_often_are_noticed() -> None:
    """The second solution of the programme is for such zones; it takes the falls that the journal shows."""
    pytest.importorskip("numpy")
    from hotdesk.core.spot.policy import Terms
    from hotdesk.jobs.terms import unrest
    from hotdesk.simulate.solver import semi_markov

    past = Journal()
    past.launch(0.0, A, "i-1")
    past.bake(900.0, "vol-1")
    past.launch(1000.0, B, "i-2")
    assert spells(events(past.rows), 4600.0) == ((900.0, True), (3600.0, False))
    rule = semi_markov(
        Terms(
            work_seconds=36000.0, deadline_seconds=72000.0, changeover_seconds=720.0,
            usd_on_demand=1.0, usd_spot=0.3,
        ))  # fmt: skip
    assert unrest(rule, ((86400.0, False),)) < 0 < unrest(rule, ((600.0, True),) * 3)


def test_another_region_costs_the_way_there() -> None:
    far = msgspec.structs.replace(B, region="s")
    here, there = zones((A, far), {}, 0.0, region="r", disk_gib=100.0)
    assert (here.move_usd, there.move_usd) == (0.0, 2.0)


# ---- what a decision means for a machine that works ----------------------------------------------------

JOB = Job(id="1-a", number=1, desk="blue", command=("x",), created_at=2.0, checkpoint="ckpt")
SPOT = Instance(
    id="i-1", name="n", desk="blue", generation=1, phase=Phase.READY, provider="aws", region="r", zone="a",
    instance_type="g", market=Market.SPOT, stoppable=False,
)  # fmt: skip
LATE = Decision(action=Action.ON_DEMAND, why="no slack")


def told(**facts: object) -> SeenJob:
    return SeenJob(id="1-a", alive=True, phase="running", attempt=1, **facts)  # type: ignore[arg-type]


def test_a_machine_is_left_after_a_checkpoint_or_in_the_end_without() -> None:
    def means(seen: SeenJob, decision: Decision = LATE, job: Job = JOB) -> object:
        act = leave_machine(job, seen, SPOT, decision, A.key)
        return type(act)

    assert means(told()) is Notify
    assert means(told(asked_seconds=1.0)) is Pause
    assert means(told(asked_seconds=1.0, saved=True)) is Shift
    assert means(told(asked_seconds=500.0)) is Shift
    left = SeenJob(id="1-a", phase="interrupted", attempt=1, asked_seconds=1.0)
    assert means(left) is Shift
    deaf = msgspec.structs.replace(JOB, signal="")
    assert means(told(), job=deaf) is Shift
    for stay in (Action.SPOT, Action.WAIT):
        assert means(told(), Decision(action=stay, why="")) is type(None)
    assert means(SeenJob(id="1-a", phase="ended", attempt=1)) is type(None)
    cheaper = Decision(action=Action.SPOT, why="", zone=B.key)
    assert means(told(), cheaper) is Notify, "spot is left for cheaper spot"
    assert means(told(), msgspec.structs.replace(cheaper, zone=A.key)) is type(None)


def test_nothing_is_launched_while_a_job_waits() -> None:
    desk = Desk(
        name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="aws", offers=OFFERS,
        on_demand_at=100.0,
    )  # fmt: skip
    nothing = msgspec.structs.replace(desk, offers=(DEAR,))
    assert plan(nothing, Seen(), Past(), 99.0) == []
    behind = msgspec.structs.replace(desk, offers=(DEAR, A, B))
    assert plan(behind, Seen(), Past(), 99.0) == [], "spot behind on-demand is for when that is sold out"
    for row, now in ((desk, 99.0), (nothing, 100.0)):
        step = plan(row, Seen(), Past(), now)[0]
        assert isinstance(step, Launch)
        assert step.order.offer == row.offers[0]


# ---- with real machines ------------------------------------------------------------------------------

#: Counts, and says each number once it is done. Asked for a checkpoint, it writes the last one down.
COUNT = """
import os, signal, sys, time
os.makedirs("ckpt", exist_ok=True)
done = int(open("ckpt/done").read()) if os.path.exists("ckpt/done") else 0
asked = []
signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
while not os.path.exists("go"):
    time.sleep(0.05)
    done += 1
    print("did", done, flush=True)
    if asked:
        asked.clear()
        open("ckpt/new", "w").write(str(done))
        os.replace("ckpt/new", "ckpt/done")
        print("saved", done, flush=True)
        time.sleep(3600)
"""


@pytest.fixture
def counting(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOTDESK_LOOK_SECONDS", "1")
    folder = home / "project"
    folder.mkdir()
    (folder / "count.py").write_text(COUNT)
    return folder


def due_in(hours: float) -> None:
    """Put the job's deadline off, or nearer."""
    with Store(state_folder()) as store:
        job = store.job("blue")
        store.put_job(job.number, deadline_at=time.time() + hours * 3600)


@on_machines
def test_a_working_machine_is_changed_and_nothing_is_computed_twice(
    cloud: FakeEc2, desks: Command, home: Path, counting: Path
) -> None:
    """1. It begins on spot. 2. The deadline comes near: it writes a checkpoint and goes on on-demand. 3. The
    deadline is put off: on spot again. 4. Every number was counted once."""
    pytest.importorskip("numpy")
    laptop = Laptop(home)
    assert desks("up", "blue", "--type", "g4dn.xlarge", "--market", "cheapest").returncode == 0
    first = machine(cloud)
    run = laptop.begin(
        counting, "run", "blue", "--then", "stay", "--checkpoint", "ckpt", "--work", "1", "--deadline", "30",
        "--", "python", "count.py",
    )  # fmt: skip
    laptop.until("did 5\n")
    assert first["market"] == "spot"
    due_in(1.35)
    second = machine(cloud, but=first["id"])
    assert second["market"] == "on-demand"
    laptop.until("attempt 2")
    due_in(40)
    third = machine(cloud, but=second["id"])
    assert third["market"] == "spot"
    laptop.until("attempt 3")
    count = len(re.findall(r"did \d+", laptop.said()))
    limit = time.monotonic() + SECONDS
    while len(re.findall(r"did \d+", laptop.said())) < count + 5:
        assert time.monotonic() < limit, laptop.said()
        time.sleep(0.05)
    (test_run_ec2.disk(cloud) / "home" / "project" / "go").touch()
    assert laptop.wait(run, SECONDS) == 0, laptop.said()
    assert settled(desks, 1)["attempts"] == 3
    numbers = [int(n) for n in re.findall(r"^did (\d+)", laptop.said(), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    with Store(state_folder()) as store:
        moves = [row.step for row in store.rows("blue") if isinstance(row.step, Move)]
    assert [move.to.rpartition("/")[2] for move in moves] == ["on-demand", "spot"]
    assert "slack" in moves[0].why
    assert "moving job 1 to" in desks("log", "blue").stdout


class Skewed(SystemClock):
    """This computer's clock, put on by hand."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@pytest.fixture
def inside(cloud: FakeEc2, home: Path) -> Iterator[Hotdesk]:
    with Hotdesk(clock=Skewed()) as desks:
        yield desks


@on_machines
def test_a_job_waits_without_a_machine_and_takes_spot_when_it_is_back(
    cloud: FakeEc2, desks: Command, inside: Hotdesk, counting: Path
) -> None:
    """1. It works on spot, with days to spare. 2. The machine is taken, and no zone has spot: nothing is
    launched, its work is saved. 3. Some zone has spot again: there it goes on."""
    pytest.importorskip("numpy")
    up = desks("up", "blue", "--type", "g4dn.xlarge", "--market", "cheapest")
    assert up.returncode == 0
    os.chdir(counting)
    queued = desks(
        "run", "blue", "--detach", "--checkpoint", "ckpt", "--work", "1", "--deadline", "200",
        "--", "python", "count.py",
    )  # fmt: skip
    assert queued.returncode == 0, queued.stderr
    assert desks("watch", "--stop").returncode == 0
    runs, reconciler, clock = inside.services.runs(), inside.services.reconciler, inside.services.clock
    assert isinstance(clock, Skewed)

    def turn() -> None:
        """What the watcher does, once."""
        with inside.services.store.hold("blue", "the test") as mine:  # else a command's own look has it
            if mine and not reconciler.tick(["blue"]).seconds:
                runs.round(["blue"])
        time.sleep(0.1)

    def until(what: object, seconds: float = SECONDS) -> None:
        limit = time.monotonic() + seconds
        while not what():  # type: ignore[operator]
            assert time.monotonic() < limit
            turn()

    def alive() -> list[dict[str, object]]:
        return [r for r in cloud.get("things", kind="instance") if r["state"] == "running"]

    until(lambda: any(job.alive for job in runs.seen("blue").values()))
    cloud.post("capacity", market="spot", free=-1)
    cloud.post("interrupt", id=str(alive()[0]["id"]), notice=False)
    until(lambda: not alive() and cloud_disks(cloud))
    until(lambda: not cloud_disks(cloud))
    for _ in itertools.repeat(None, 5):
        turn()
    assert alive() == [], "it waits"
    cloud.delete("capacity")
    clock.ahead += 700.0  # refusals are not believed for longer than ten minutes
    until(lambda: len(alive()) == 1)
    assert alive()[0]["market"] == "spot"
    until(lambda: any(job.alive and job.attempt == 2 for job in runs.seen("blue").values()))
    inside.services.store.put_job(1, cancelled=True)
    until(lambda: inside.services.store.job("blue").result is not None)


def cloud_disks(cloud: FakeEc2) -> list[object]:
    """Disks of nobody: what an interruption left, until an image holds it."""
    return [v for v in cloud.get("things", kind="volume") if v["state"] == "available"]
