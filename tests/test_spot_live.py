"""The live loop, on the fake EC2 and in virtual time, does what the blind simulation of the same trace does.

Real are the store, the loop of desks, that of jobs, the policy, the client of AWS and the cloud's own ledger.
Played is what a machine does with its time: a job there counts seconds by the virtual clock. One look a tick;
between two looks machines only become ready.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core import clouds
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.jobs import AnyAct, Job, Notify, Record, Seek, SeenJob, Settle, Shift, Start
from hotdesk.core.lifecycle.holding import PLACEHOLDER_SECONDS, SEEK_SECONDS, granted
from hotdesk.core.model import Desk, Goal, Market, Want
from hotdesk.core.ports import Access
from hotdesk.core.steps import Begin, Done
from hotdesk.jobs import placement
from hotdesk.jobs.run import Runs
from hotdesk.jobs.terms import terms_of
from tests.aws_desk import Laptop, Time, offer
from tests.recorded import POOLS_2022, made

np = pytest.importorskip("numpy", reason="the simulator needs numpy")
pytest.importorskip("moto", reason="moto is not installed")

from hotdesk.core.spot.policy import ON_DEMAND, SPOT, WAIT  # noqa: E402
from hotdesk.simulate.many_zones import Moment, Starts, play_panel  # noqa: E402
from hotdesk.simulate.panel import panel  # noqa: E402
from hotdesk.simulate.solver import semi_markov  # noqa: E402

HOUR, TICK, CHANGEOVER = 3600.0, 600.0, 720.0
WORK, DEADLINE = 3 * HOUR, 5 * HOUR
TICKS = int(DEADLINE / TICK)
ZONES = {"us-west-2a": 0.16, "us-west-2b": 0.20, "us-west-2c": 0.30}
DEAR = 0.526  # g4dn.xlarge on-demand in us-west-2
SPOT_OFFERS = tuple(offer(zone=zone, market=Market.SPOT, price=usd) for zone, usd in ZONES.items())
OFFERS = (*SPOT_OFFERS, offer(price=DEAR))
PLACE = tuple[int, str]


def market() -> Any:
    """Three scarce pools, recorded in 2022 where that lies beside the project; else made ones."""
    if not POOLS_2022.is_dir():
        return made(5, 4000, 3)
    from hotdesk.simulate.traces import read_trace

    names = ("us-west-2a_v100_8", "us-west-2b_k80_8", "us-west-2b_v100_8")
    return np.stack([read_trace(POOLS_2022 / f"{name}.json").up for name in names])


class Stopped(Time):
    """A clock that stands still until it is set; the cloud's shows the same."""

    def __init__(self, fake: FakeEc2, while_asleep: Callable[[], None] = lambda: None) -> None:
        super().__init__(fake, while_asleep)
        self.at = -(-float(fake.get("clock")["now"]) // TICK) * TICK

    def now(self) -> float:
        return self.at

    def to(self, at: float) -> None:
        self.at = at
        self.fake.post("clock", set=at)

    def moment(self) -> None:
        """What was asked of the cloud is done: it takes microseconds here."""
        self.fake.post("clock", advance=0.001)


class Work:
    """What a job does with its machine's time; a checkpoint at every moment."""

    def __init__(self, clock: Stopped, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.done, self.attempt, self.asked = 0.0, 0, False
        self.machine, self.since = "", 0.0

    def begin(self, machine: str, attempt: int) -> None:
        self.machine, self.since, self.attempt, self.asked = machine, self.clock.at, attempt, False

    def end(self) -> None:
        """Its machine is gone."""
        self.done, self.machine, self.asked = self.so_far, "", False

    @property
    def so_far(self) -> float:
        return self.done + (self.clock.at - self.since if self.machine else 0.0)

    def told(self, job: Job) -> dict[str, SeenJob]:
        if not self.attempt:
            return {"none": SeenJob(id="none")}
        seen = SeenJob(
            id=job.id, alive=bool(self.machine), phase="running" if self.machine else "interrupted",
            attempt=self.attempt, seconds=self.so_far, saved_seconds=self.so_far,
            asked_seconds=0.0 if self.asked else -1.0, saved=self.asked,
        )  # fmt: skip
        return {job.id: seen}


class Played(Runs):
    """The loop of jobs; what a desk would be asked by ssh is answered by `Work`."""

    work: Work
    machine: Callable[[], str]

    def next(self, name: str, mine: bool = True, just_seen: Any = None) -> Any:
        return super().next(name, mine, self.work.told(self.store.job(name)))

    def take(self, act: AnyAct, seen: Any) -> Any:
        if isinstance(act, Notify):
            self.work.asked = True
            return None
        return super().take(act, seen)

    def _begin(self, job: Job, attempt: int, restore: int, why: str) -> Any:
        (row,) = self.store.begin([(job.desk, Begin(id=job.id, attempt=attempt, why=why))], self.clock.now())
        self.work.begin(self.machine(), attempt)
        self.store.end(row, Done(id=job.id), self.clock.now())


class Live(Laptop):
    """One window of a trace: the fake's capacity follows it, and somebody's watcher looks once a tick."""

    def __init__(self, fake: FakeEc2, folder: Path, **more: Any) -> None:
        super().__init__(fake, folder, offers=OFFERS, time=Stopped, **more)
        fake.post("clock", pace=1e-6)
        clock = self.time
        assert isinstance(clock, Stopped)
        self.clock = clock
        clock.to(clock.at)
        for zone, usd in ZONES.items():
            fake.post("spot-price", type="g4dn.xlarge", zone=zone, usd_per_hour=usd)
        now = clock.now()
        want = Want(instance_type="g4dn.xlarge")
        self.store.put(
            Desk(
                name="blue",
                goal=Goal.RUNNING,
                since=now,
                created_at=now,
                provider="aws",
                offers=OFFERS,
                want=want,
            )
        )
        self.job = self.store.queue(
            Job(
                id="", number=0, desk="blue", command=("x",), created_at=now, checkpoint="ckpt",
                work_seconds=WORK, deadline_at=now + DEADLINE,
            )
        )  # fmt: skip
        self.ready: dict[str, float] = {}
        self.taken: set[str] = set()
        self.changeover = CHANGEOVER
        self.work_there = Work(clock, WORK)
        self.runs = Played(
            store=self.store,
            clock=clock,
            access=self.reached,
            settle=lambda name: None,
            live=self.reconciler.clouds.machine,
            offers=lambda desk: self.offers,
        )
        self.runs.work, self.runs.machine = self.work_there, lambda: self.alive()[0]["id"]

    # ---- the machines -------------------------------------------------------------------------------------

    def alive(self) -> list[Any]:
        there = [m for m in self.machines() if m["state"] in {"pending", "running"}]
        own = [m for m in there if "hotdesk:role" not in m["tags"]]
        assert len(own) < 2, "there is one machine that the job can run on"
        assert len(there) - len(own) < 2, "one placeholder is enough"
        return own

    def reached(self, desk: Desk) -> Access | None:
        [machine] = self.alive() or [None]
        if machine is None or self.ready.get(machine["id"], 0.0) > self.clock.now():
            return None
        return self.reconciler.clouds.reached(desk)

    def prove(self, access: Access) -> None:
        if any(self.ready.get(m["id"], 0.0) > self.clock.now() for m in self.alive()):
            raise Refused(Kind.NOT_READY, "it is still starting")
        super().prove(access)

    def on(self, *zones: bool, dear: bool = True) -> None:
        """Whether there is spot in each zone, and on-demand, from now on."""
        for zone, up in zip(ZONES, zones, strict=True):
            for machine in self.alive() if not up else ():
                if (machine["zone"], machine["market"]) == (zone, "spot"):
                    self.fake.post("interrupt", id=machine["id"], notice=False)
                    self.taken.add(machine["id"])
            self.clock.moment()
            self.fake.post("capacity", zone=zone, market="spot", free=99 if up else 0)
        self.fake.post("capacity", market="on-demand", free=99 if dear else 0)
        self.happened()

    def happened(self) -> None:
        self.clock.moment()
        self.machines_boot()
        there = {m["id"] for m in self.alive()}
        for id_ in there - self.ready.keys():
            self.ready[id_] = self.clock.now() + self.changeover
        if self.work_there.machine and self.work_there.machine not in there:
            self.work_there.end()

    # ---- the watcher --------------------------------------------------------------------------------------

    def look(self) -> PLACE:
        """What `hotdesk run` does, until nothing is left to do at this moment; where the machine is then."""
        for _ in range(40):
            act, seen = self.runs.next("blue")
            assert not isinstance(act, Record)
            if act is not None:
                self.runs.take(act, seen)
            stepped = False
            while (tick := self.reconciler.tick(["blue"])).seconds == 0.0:
                stepped = True
                self.happened()
            self.happened()
            assert not tick.asks, tick.asks
            if not stepped and not isinstance(act, Notify | Seek | Shift | Start):
                return self.place()
        raise AssertionError("it never comes to an end")

    def settles(self) -> None:
        """The loop of desks alone, until nothing is left to do."""
        while self.reconciler.tick(["blue"]).seconds == 0.0:
            self.happened()
        self.happened()

    def place(self) -> PLACE:
        [machine] = self.alive() or [None]
        if machine is None:
            return (WAIT, "")
        spot = machine["market"] == "spot"
        return (SPOT, machine["zone"]) if spot else (ON_DEMAND, machine["region"])

    def becomes_ready(self) -> None:
        """The machine's changeover is over: its job goes on. Nothing is decided at that moment."""
        self.reconciler.tick(["blue"])
        act, seen = self.runs.next("blue", mine=False)
        assert isinstance(act, Start)
        self.runs.take(act, seen)

    def window(self, up: Any, dear: Sequence[bool] = (True,) * TICKS) -> list[PLACE]:
        """Where the machine was at each tick, until the work or the time was done."""
        begin, places = self.clock.at, []
        for tick in range(TICKS):
            self.clock.to(begin + tick * TICK)
            # With a look a minute, it is known what the last checkpoint holds when a machine is taken.
            self.store.put_job(self.job.number, ran_seconds=self.work_there.so_far)
            self.on(*map(bool, up[:, tick]), dear=dear[tick])
            places.append(self.look())
            after = begin + (tick + 1) * TICK
            for machine in self.alive():
                if not self.work_there.machine and (ready := self.ready[machine["id"]]) < after:
                    self.clock.to(ready)
                    self.becomes_ready()
            if self.work_there.machine and self.work_there.so_far + after - self.clock.at >= WORK - 1e-3:
                self.clock.to(after)
                for machine in self.alive():
                    self.fake.post("console", id=machine["id"], do="terminate")
                self.happened()
                break
        return places

    def bill(self) -> float:
        """What the cloud's ledger says of machines, without addresses; spot that AWS takes within its first
        hour is free, which the ledger does not know."""
        total = 0.0
        for machine in self.things("instance", gone=True):
            if machine["tags"].get("hotdesk:desk") != "blue":
                continue
            price = DEAR if machine["market"] == "on-demand" else ZONES[machine["zone"]]
            address = 0.0 if "hotdesk:role" in machine["tags"] else 0.005
            seconds = machine["usd_so_far"] / (price + address) * HOUR
            free = machine["id"] in self.taken and seconds < HOUR - 1
            total += 0.0 if free else seconds * price / HOUR
        return total


def simulated(up: Any, dear: Any = None, taken: float = CHANGEOVER) -> tuple[list[PLACE], float]:
    """The same window, blind."""
    terms = terms_of(OFFERS, WORK, DEADLINE)
    zones = panel(
        zones=list(ZONES), regions=["us-west-2"] * 3, up=up,
        usd=np.array(list(ZONES.values()))[:, None] + np.zeros(up.shape), usd_on_demand={"us-west-2": DEAR},
        tick_seconds=TICK, on_demand_up=None if dear is None else np.array([dear]),
    )  # fmt: skip
    story: list[Moment] = []
    runs = play_panel(
        semi_markov(terms),
        terms,
        zones,
        np.array([0]),
        blind=True,
        story=story,
        starts=Starts(seconds=[taken]),
        overlap_seconds=60.0,  # the least that a placeholder is charged for: here it lives for no time
    )
    return [(m.mode, m.place) for m in story], float(runs.usd[0])


@pytest.fixture(autouse=True)
def once_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "LOOK_SECONDS", TICK)


def some(window: int) -> Any:
    """One of ten windows, spread over the trace."""
    zones = market()
    begin = 40 + window * (zones.shape[1] - TICKS - 80) // 10
    return zones[:, begin : begin + TICKS]


@pytest.mark.parametrize(
    "window", [n if n in {3, 6} else pytest.param(n, marks=pytest.mark.long) for n in range(10)]
)
def test_live_is_what_was_simulated(fake: FakeEc2, tmp_path: Path, window: int) -> None:
    """Recorded before the simulation runs: where the machine was at each tick, and what the cloud charged."""
    up = some(window)
    live = Live(fake, tmp_path)
    places, usd = live.window(up), live.bill()
    expected, expected_usd = simulated(up)
    assert places == expected
    assert usd == pytest.approx(expected_usd, abs=1e-4)


# ---- what cannot be as in the simplest simulation: each is simulated too, with what it changes ----------


@pytest.mark.long
def test_starts_that_take_longer_than_was_believed(fake: FakeEc2, tmp_path: Path) -> None:
    """1. Each start takes 14 minutes where 12 were believed. 2. Both learn it from the second on."""
    up = some(6)
    live = Live(fake, tmp_path)
    live.changeover = 840.0
    places, usd = live.window(up), live.bill()
    assert (places, pytest.approx(usd, abs=1e-4)) == simulated(up, taken=840.0)


@pytest.mark.long
def test_on_demand_that_is_sold_out(fake: FakeEc2, tmp_path: Path) -> None:
    """1. For two hours there is no on-demand. 2. The job goes on with spot, asks again after ten
    minutes, and leaves no machine for what has just been refused."""
    up, dear = some(2), [not 9 <= tick < 21 for tick in range(TICKS)]
    live = Live(fake, tmp_path)
    places, usd = live.window(up, dear), live.bill()
    assert (places, pytest.approx(usd, abs=1e-4)) == simulated(up, dear)


# ---- a place that is asked for while the machine works ----------------------------------------------------


def seeking(live: Live, *keys: str) -> None:
    desk = live.store.desk("blue")
    until = live.clock.now() + SEEK_SECONDS
    places = tuple(o for key in keys for o in OFFERS if o.zone == key and o.market is Market.SPOT)
    live.store.put(replace(desk, seeks=places, seeks_until=until))


def holding_one(fake: FakeEc2, folder: Path) -> Live:
    """A job works in one zone, and a placeholder keeps a place in another."""
    live = Live(fake, folder)
    live.on(True, True, True)
    assert live.look() == (SPOT, "us-west-2a")
    live.clock.to(live.clock.at + CHANGEOVER)
    live.becomes_ready()
    seeking(live, "us-west-2b")
    live.settles()
    assert len(live.machines()) == 2
    return live


def test_a_placeholder_is_small_and_leaves_nothing(fake: FakeEc2, tmp_path: Path) -> None:
    live = holding_one(fake, tmp_path)
    [held] = [m for m in live.machines() if "hotdesk:role" in m["tags"]]
    assert (held["zone"], held["market"], held["state"]) == ("us-west-2b", "spot", "running")
    ec2 = fake.client("ec2", "us-west-2")
    [raw] = ec2.describe_instances(InstanceIds=[held["id"]])["Reservations"][0]["Instances"]
    assert not raw.get("PublicIpAddress")
    [disk] = raw["BlockDeviceMappings"]
    assert disk["Ebs"]["DeleteOnTermination"]
    assert ec2.describe_volumes(VolumeIds=[disk["Ebs"]["VolumeId"]])["Volumes"][0]["Size"] <= 8
    ends = ec2.describe_instance_attribute(
        InstanceId=held["id"], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert ends["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    told = ec2.describe_instance_attribute(InstanceId=held["id"], Attribute="userData")["UserData"]
    assert base64.b64decode(told["Value"]).decode().splitlines() == ["#!/bin/sh", "shutdown -h +30"]
    live.store.put(replace(live.store.desk("blue"), seeks=(), seeks_until=0.0))
    live.settles()
    assert live.place() == (SPOT, "us-west-2a")
    assert len(live.machines()) == 1
    assert disk["Ebs"]["VolumeId"] not in {v["id"] for v in live.things("volume")}


def test_a_job_that_ends_before_another_gives_its_kept_place_up(fake: FakeEc2, tmp_path: Path) -> None:
    """1. A place is kept for a job. 2. It ends, and its desk goes on. 3. Nobody looks again for a while."""
    live = holding_one(fake, tmp_path)
    live.runs.settle = lambda name: live.settles()
    live.runs.take(Settle(job=live.job, goal=None, why="w"), {})
    live.runs._see_it_settled(live.store.job("blue", live.job.number))
    assert [m["zone"] for m in live.machines()] == ["us-west-2a"]


def test_a_place_that_is_still_kept_is_taken_when_it_is_sought_again(fake: FakeEc2, tmp_path: Path) -> None:
    """1. A place is kept. 2. Whoever follows the job sleeps for ten minutes. 3. It moves there."""
    live = holding_one(fake, tmp_path)
    live.clock.to(live.clock.at + 2 * SEEK_SECONDS)
    seeking(live, "us-west-2b")
    desk = live.store.desk("blue")
    found = granted(desk, live.store.past(desk))
    assert found
    assert found.zone == "us-west-2b"
    live.clock.to(live.clock.at + PLACEHOLDER_SECONDS)
    seeking(live, "us-west-2b")
    assert granted(live.store.desk("blue"), live.store.past(desk)) is None, "it has ended itself"


def test_a_desks_machine_with_the_tag_of_a_placeholder_is_none(fake: FakeEc2, tmp_path: Path) -> None:
    """Somebody copies the tags of one to the other by hand: the work stays."""
    live = holding_one(fake, tmp_path)
    [own] = live.alive()
    fake.post("write", id=own["id"], name="precious", text="precious")
    told = [{"Key": "hotdesk:role", "Value": "placeholder"}]
    fake.client("ec2", "us-west-2").create_tags(Resources=[own["id"]], Tags=told)
    live.store.put(replace(live.store.desk("blue"), seeks=(), seeks_until=0.0))
    live.settles()
    [left] = [m for m in live.machines() if m["state"] != "shutting-down"]
    assert left["id"] == own["id"]
    assert live.on_devices()["/dev/sda1"] == ["precious"]


@pytest.mark.parametrize("quota", [False, True])
def test_where_two_machines_cannot_be_the_first_is_given_back(
    fake: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, quota: bool
) -> None:
    """1. The cloud has no placeholders, or the account's quotas have room for one machine. 2. It is left for
    cheaper spot all the same, as before."""
    live = Live(fake, tmp_path)
    if quota:
        fake.post("quota", type="g4dn.xlarge", market="spot", region="us-west-2", vcpus=4)
    else:
        monkeypatch.setitem(clouds.KNOWN, "aws", replace(clouds.cloud("aws"), holds=False))
    live.on(False, True, False)
    assert live.look() == (SPOT, "us-west-2b")
    live.clock.to(live.clock.at + CHANGEOVER)
    live.becomes_ready()
    live.clock.to(live.clock.at + 2 * TICK - CHANGEOVER)
    live.on(True, True, False)
    assert live.look() == (SPOT, "us-west-2a")
    assert [m for m in live.things("instance", gone=True) if "hotdesk:role" in m["tags"]] == []


def test_a_job_moves_into_a_reservation_that_becomes_free_and_stays(fake: FakeEc2, tmp_path: Path) -> None:
    live = Live(fake, tmp_path)
    live.on(True, True, True)
    assert live.look() == (SPOT, "us-west-2a")
    live.clock.to(live.clock.at + CHANGEOVER)
    live.becomes_ready()
    id_ = fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b")["id"]
    free = offer(zone="us-west-2b", price=0.0, reservation=id_, source="capacity reservation", why="paid")
    live.offers = (free, *OFFERS)
    live.clock.to(live.clock.at + 2 * TICK - CHANGEOVER)
    live.happened()
    assert live.look() == (ON_DEMAND, "us-west-2")
    [machine] = live.alive()
    assert (machine["zone"], machine["usd_per_hour"]) == ("us-west-2b", pytest.approx(0.005))
    live.clock.to(live.clock.at + CHANGEOVER)
    live.becomes_ready()
    live.clock.to(live.clock.at + 2 * TICK - CHANGEOVER)
    live.happened()
    live.look()
    assert live.alive()[0]["id"] == machine["id"]
