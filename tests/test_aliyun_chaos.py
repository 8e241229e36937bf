"""Random days of a desk at Alibaba Cloud: refusals, lost answers, crashes, lag, spot, a hand in the console.

What is checked is what the fake says exists, not what hotdesk believes. A seed is one history, except for the
order of calls that are made side by side. `HOTDESK_ALIYUN_DAYS=500 pytest tests/test_aliyun_chaos.py` lives
more of them; `HOTDESK_ALIYUN_DAY=123` lives that one alone.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hotdesk.core.model import Goal, Market
from hotdesk.core.ports import Provider
from tests.aliyun_desk import HOME, Laptop, as_new, offer, with_a_network, write
from tests.boundaries import Dying
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import Disk, Image, Machine, Snapshot
from tests.random_day import RandomDay

DAYS = int(os.environ.get("HOTDESK_ALIYUN_DAYS", "12"))
BATCHES = 4
ABROAD = "us-west-1"
T4 = "ecs.gn6i-c4g1.xlarge"
OFFERS = (
    offer(),
    offer(zone="cn-hangzhou-j"),
    offer("ecs.gn7i-c16g1.4xlarge"),
    offer(T4, "cn-hangzhou-j"),
    offer(market=Market.SPOT),
    offer(T4, "cn-hangzhou-j", Market.SPOT),
    offer(T4, "us-west-1a"),
)
CHANGES = (
    *("RunInstances", "StartInstances", "StopInstances", "DeleteInstances", "ModifyInstanceSpec"),
    *("CreateImage", "CopyImage", "DeleteImage", "DeleteSnapshot", "DeleteDisk", "TagResources"),
    *("CreateVSwitch", "CreateSecurityGroup", "AuthorizeSecurityGroup"),
)
#: Code and status: refusals that pass by themselves.
PASSING = (
    *(("Throttling.User", 400), ("ServiceUnavailable", 503), ("InternalError", 500)),
    ("OperationDenied.NoStock", 403),
)


class Day(RandomDay):
    """One random day of one desk, at one computer or by turns at two."""

    offers = OFFERS

    def __init__(self, seed: int, fake: FakeEcs, folder: Path) -> None:
        super().__init__(random.Random(f"a day at Alibaba Cloud {seed}"))
        rng, self.fake, self.world = self.random, fake, fake.world
        self.lag = rng.choice([0.0, 0.0, 4.0, 20.0])
        self.world.lag, self.world.lag_varies = self.lag, bool(seed % 2)
        if rng.random() < 0.7:
            with_a_network(fake, HOME, ABROAD)
        self.faults = rng.random() < 0.7
        dying = Dying(seed, rng.choice([0.0, 0.02, 0.05]))
        laptops = [
            Laptop(
                fake, folder / f"computer {n}", dying, offers=tuple(rng.sample(OFFERS, len(OFFERS))),
                regions=(HOME, ABROAD), lag_seconds=self.lag + 1 if self.lag else 0.0,
            )
            for n in range(rng.choice([1, 1, 2]))
        ]  # fmt: skip
        self.begin(laptops, dying)

    @property
    def provider(self) -> Provider:
        return self.laptop.aliyun

    def now(self) -> float:
        return self.world.clock.now()

    # ---- a day -------------------------------------------------------------------------------------------

    def look(self) -> None:
        self.laptop.time.slept = 0.0
        super().look()

    def work(self) -> None:
        bare = self.proven()
        with self.world.lock:
            if any(m.id == bare and m.status == "Running" for m in self.laptop.machines()):
                self.written += 1
                text = f"work {self.written}"
                self.say(f"{text} on {bare}")
                write(self.fake, bare, text, text)
                self.acknowledged.add(text)

    def interruption(self) -> None:
        with self.world.lock:
            for machine in self.laptop.machines():
                if machine.strategy != "NoSpot" and machine.status == "Running" and not machine.locks:
                    self.say(f"the cloud takes {machine.id} back")
                    life.reclaim(self.world, machine)

    def console(self) -> None:
        if self.random.random() > 0.4:
            return
        with self.world.lock:
            things = [t for kind in ("instance", "disk", "snapshot", "image") for t in self.world.every(kind)]
            if things:
                self.by_hand(self.random.choice(things), things)

    def by_hand(self, thing: Any, things: list[Any]) -> None:
        """As somebody may in the console, and as Alibaba Cloud lets him."""
        region = self.world.region(thing.region)
        before = self.somewhere()
        match thing:
            case Machine(status="Running") if thing.initializing_until <= self.world.clock.now():
                how = self.random.choice(["release", "stop, charged", "stop", "shutdown"])
                if how == "release":
                    life.end(self.world, thing)
                elif how == "shutdown":
                    life.shut_down_inside(self.world, thing)
                else:
                    mode = "StopCharging" if how == "stop" else "KeepCharging"
                    life.stop(self.world, thing, mode)
            case Machine(status="Stopped"):
                how = "release"
                life.end(self.world, thing)
            case Disk(instance=""):
                how = "delete"
                del region.disks[thing.id]
            case Image() if "hotdesk:verified" in thing.tags and not any(
                getattr(i, "copy_of", "") == thing.id for i in things
            ):  # of one that is being made, the snapshots have no tags, and nobody could find them
                how = "delete"
                del region.images[thing.id]
            case Snapshot() if not any(
                thing.id == id_ for i in things if isinstance(i, Image) for id_, *_ in i.snapshots
            ):
                how = "delete"
                del region.snapshots[thing.id]
            case _:
                return
        self.say(f"in the console: {how} {type(thing).__name__} {thing.id}")
        if how in {"release", "delete"}:
            self.taken = True
            gone = before - self.somewhere()
            whole = {w for s in self.world.every("snapshot") if self.is_held(s) for w in s.work}
            whole |= {w for d in self.world.every("disk") for w in (*d.work, *d.unsynced)}
            self.lost |= self.acknowledged & (gone | (before - whole))

    def is_held(self, snapshot: Any) -> bool:
        """Whether an image has it: snapshots of a deleted image are paid, and no image any more."""
        return any(snapshot.id == id_ for i in self.world.every("image") for id_, *_ in i.snapshots)

    def trouble(self) -> None:
        if not self.faults:
            return
        rng, world = self.random, self.world
        match rng.choice(["refuse", "refuse", "lose", "lose", "spoil", "stock", "vanish"]):
            case "refuse":
                code, status = rng.choice(PASSING)
                short = code.endswith("NoStock")
                action = rng.choice(["RunInstances", "StartInstances"]) if short else rng.choice(CHANGES)
                world.harm(action, code=code, status=status, times=rng.randrange(1, 3))
                self.say(f"trouble: {action} {code}")
            case "lose":
                action = rng.choice([*CHANGES, "DescribeInstances", "DescribeImages", "DescribeDisks"])
                when = rng.choice(["before", "after"])
                world.harm(action, lose=when, times=rng.randrange(1, 4))
                self.say(f"trouble: the answer of {action} is lost, {when}")
            case "spoil":
                how = rng.choice(["failed", "short-disk"])
                world.spoil.append(how)
                self.say(f"trouble: the next image is {how}")
            case "stock":
                pools = [(o.zone, o.instance_type, o.market.value) for o in rng.sample(OFFERS, 3)]
                world.sold_out |= {
                    (zone, name, "spot" if how == "spot" else "*") for zone, name, how in pools
                }
                self.say("trouble: sold out in three pools")
            case "vanish":
                world.vanish += 1
                self.say("trouble: the next machine finds no stock after the answer")

    # ---- what must be so, always -------------------------------------------------------------------------

    def somewhere(self) -> set[str]:
        disks, snapshots = self.world.every("disk"), self.world.every("snapshot")
        return {w for d in disks for w in (*d.work, *d.unsynced)} | {w for s in snapshots for w in s.work}

    def holds(self) -> None:
        with self.world.lock:
            machines = self.laptop.machines()
            assert len(machines) <= 1, f"two machines for one desk: {machines}"
            crashes = [entry["crash"] for entry in self.world.log if "crash" in entry]
            assert not crashes, crashes[0]
            desk = self.laptop.store.find("blue")
            if desk is None or desk.goal is Goal.GONE:
                self.acknowledged &= self.somewhere()  # its owner has given it up
            missing = self.acknowledged - self.lost - self.somewhere()
            assert not missing, f"lost: {missing}"
            for thing in (t for kind in ("instance", "disk", "image") for t in self.world.every(kind)):
                assert thing.tags.get("hotdesk") == "1", f"without a tag: {thing}"

    def shown(self) -> None:
        """Whatever costs money is in a survey: what `ls`, `costs` and `gc` are made of."""
        survey = self.laptop.aliyun.survey()
        every = (*survey.instances, *survey.disks, *survey.images, *survey.leftovers)
        ids = {thing.id.rpartition("/")[2] for thing in every}
        ids |= {part.rpartition("/")[2] for t in (*survey.disks, *survey.images) for part in t.parts}
        ids |= {id_ for i in self.world.every("image") if i.id in ids for id_, *_ in i.snapshots}
        ids |= {disk for m in self.world.every("instance") if m.id in ids for disk in m.disks}
        things = {t.id for kind in ("instance", "disk", "snapshot") for t in self.world.every(kind)}
        assert things <= ids, f"billed and shown nowhere: {things - ids}"

    # ---- its end -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """The faults are over; the owner says what is wanted."""
        self.dying.share = 0.0
        world = self.world
        world.harms.clear()
        world.spoil.clear()
        world.sold_out, world.vanish = set(), 0
        self.sleep(self.lag + 1500.0)
        self.shown()
        self.reach_each()
        self.sleep(self.lag + 120.0)
        self.gc()
        self.sleep(self.lag + 120.0)
        asked = {id_.rpartition("/")[2] for ask in self.gc() for id_ in ask.ids}
        left = {t.id for kind in ("instance", "disk", "image", "snapshot") for t in self.world.every(kind)}
        assert left == asked, "whatever is left is asked about, and nothing else"
        orphans = {s.id for s in self.world.every("snapshot")} if self.taken else set()
        assert left <= orphans, f"left after down and gc: {left}"

    def keeps_nothing(self) -> bool:
        return not self.world.every("image")

    def arrived(self, goal: Goal) -> None:
        # A snapshot of a deletion that was cut off stays until an image is verified: it may be the last copy.
        self.laptop.orphans = self.taken or goal in {Goal.RUNNING, Goal.STOPPED}
        super().arrived(goal)


def live(seed: int, fake: FakeEcs, patch: pytest.MonkeyPatch) -> None:
    as_new(fake, patch)
    with tempfile.TemporaryDirectory() as folder:
        day = Day(seed, fake, Path(folder))
        day.lived(f"HOTDESK_ALIYUN_DAY={seed}")


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_days_at_alibaba_cloud(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    if only := os.environ.get("HOTDESK_ALIYUN_DAY"):
        if batch == 0:
            live(int(only), ecs, monkeypatch)
        return
    for seed in range(batch, DAYS, BATCHES):
        live(seed, ecs, monkeypatch)
