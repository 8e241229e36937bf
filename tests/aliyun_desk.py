"""Somebody's computer at the fake ECS, and the official models that judge what is sent and answered."""

from __future__ import annotations

import atexit
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.connect.keys import desk_keys
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Desk, Goal, Instance, Market, Offer, Survey
from hotdesk.core.money import Money
from hotdesk.core.ports import Access, Keys, Provider
from hotdesk.core.steps import Ask
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.providers.aliyun import tags
from hotdesk.providers.aliyun.client import Client
from hotdesk.providers.aliyun.provider import Aliyun
from hotdesk.providers.aliyun.settings import Settings
from hotdesk.state.store import Store
from tests.boundaries import Boundaries, Crash, Enough
from tests.conformance import UNSETTLED
from tests.fake_ecs import laws
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import ZONES, Group, Machine, Network

HOME = "cn-hangzhou"
MONEY = Money(cny_per_usd=7.0, day=date(2026, 11, 30))
CREDENTIALS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIfake",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "fake-secret",
    "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
}
_made_keys: dict[str, Keys] = {}


class Time:
    """The cloud's clock is advanced by sleeping; ours is five minutes behind, as clocks are."""

    def __init__(self, fake: FakeEcs, while_asleep: Callable[[], None] = lambda: None) -> None:
        self.fake, self.while_asleep = fake, while_asleep
        self.at = fake.world.clock.now() - 300.0
        self.slept = 0.0

    def now(self) -> float:
        self.at += 0.001
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept += seconds
        assert self.slept < 50_000, "it never comes to an end"
        self.fake.advance(seconds)
        self.while_asleep()


def settings(fake: FakeEcs, **more: Any) -> Settings:
    """Of two regions, without an address service."""
    usual: dict[str, Any] = {
        "regions": (HOME, "us-west-1"),
        "address": "203.0.113.7/32",
        "endpoint": fake.url,
        "lag_seconds": 0.0,
    }
    return Settings(**{**usual, **more})


class Rig:
    """A provider at the fake; waiting advances the cloud's clock, and a disk is the fake's record of it."""

    def __init__(self, fake: FakeEcs, folder: Path, **more: Any) -> None:
        self.fake, self.folder = fake, folder
        self.time = Time(fake)
        self.settings = settings(fake, **more)
        self.cannot = {"keep_disk": "a disk without its machine cannot become an image"}
        self.free = frozenset({"security group"})
        self.provider: Provider = self.again()

    def again(self) -> Provider:
        return Aliyun(self.folder, None, keys=self.keys, clock=self.time, settings=self.settings, money=MONEY)

    def keys(self, desk: str) -> Keys:
        """Made once for all tests: ssh-keygen takes its time."""
        if desk not in _made_keys:
            _made_keys[desk] = desk_keys(self.folder, desk)
        return _made_keys[desk]

    def settle(self) -> Survey:
        """Past the minute of every start, and until nothing is under way."""
        self.time.sleep(65.0)
        for _ in range(100):
            seen = self.provider.survey()
            things = [*seen.instances, *seen.disks, *seen.images]
            if not any(thing.phase in UNSETTLED for thing in things):  # type: ignore[attr-defined]
                return seen
            self.time.sleep(10.0)
        raise AssertionError(f"it does not settle: {seen}")

    def write(self, machine: Instance, name: str, text: str) -> None:
        write(self.fake, machine.id, name, text)

    def read(self, machine: Instance, name: str) -> str | None:
        return work_on(self.fake, machine.id).get(name)


def bare(id_: str) -> str:
    return id_.rpartition("/")[2]


def write(fake: FakeEcs, id_: str, name: str, text: str) -> None:
    """A file on a running machine, which is not on the disk before it is shut down."""
    machine = fake.world.anywhere(bare(id_))
    assert isinstance(machine, Machine)
    assert machine.status == "Running"
    fake.world.region(machine.region).disks[machine.disks[0]].unsynced[name] = text


def work_on(fake: FakeEcs, id_: str) -> dict[str, str]:
    machine = fake.world.anywhere(bare(id_))
    assert isinstance(machine, Machine)
    found: dict[str, str] = {}
    for disk in machine.disks:
        held = fake.world.region(machine.region).disks[disk]
        found |= held.work | held.unsynced
    return found


def at_home(fake: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    """The fake as new, with hotdesk's own network in its home region."""
    as_new(fake, monkeypatch)
    with_a_network(fake, HOME)
    return fake


def with_a_network(fake: FakeEcs, *regions: str) -> None:
    """The surroundings that an earlier launch has made, in every zone."""
    from hotdesk.providers.aliyun import network, tags

    for name in regions or (HOME, "us-west-1"):
        region = fake.world.region(name)
        mark = {"hotdesk": "1"}
        told = {t["Key"]: t["Value"] for t in tags.written(network.SHARED)}
        vpc = Network(fake.world.new_id("vpc"), name, tags=told, status="Available", cidr=network.BLOCK)
        region.vpcs[vpc.id] = vpc
        for number, zone in enumerate(ZONES[name]):
            switch = Network(
                fake.world.new_id("vsw"), name, tags=dict(mark), status="Available", zone=zone, vpc=vpc.id,
                cidr=f"172.29.{number}.0/24",
            )  # fmt: skip
            region.vswitches[switch.id] = switch
        group = Group(fake.world.new_id("sg"), name, name=network.NAME, tags=told, vpc=vpc.id, inner="Drop")
        region.groups[group.id] = group


def paid(fake: FakeEcs) -> dict[str, int]:
    """What costs money, by kind: machines that compute are paid, and stopped ones are `off`."""
    found: dict[str, int] = {}
    for kind in ("instance", "disk", "snapshot"):
        for thing in fake.world.every(kind):
            economical = isinstance(thing, Machine) and thing.mode == "StopCharging"
            found["off" if economical else kind] = found.get("off" if economical else kind, 0) + 1
    return found


# ---- the official models -----------------------------------------------------------------------------


def unknown_to_the_official_models(fake: FakeEcs) -> list[str]:
    """What was sent or answered that no official model has: a model drops what it does not know."""
    from alibabacloud_ecs20140526 import models as ecs
    from alibabacloud_vpc20160428 import models as vpc

    versions = {laws.ECS: ecs, laws.VPC: vpc}
    wrong: list[str] = []
    asked = [entry for entry in fake.world.log if entry.get("version") in versions]
    assert asked, "nothing was asked"
    for entry in asked:
        action, models = entry["action"], versions[entry["version"]]
        request = getattr(models, f"{action}Request")
        params = entry["params"]
        wrong += [f"{action}: {w}" for w in _lost(params, request().from_map(params).to_map())]
        if (answer := entry.get("answer")) is not None:
            body = getattr(models, f"{action}ResponseBody")
            wrong += [f"{action} answers {w}" for w in _lost(answer, body().from_map(answer).to_map())]
    return sorted(set(wrong))


def _lost(said: Any, kept: Any, path: str = "") -> Iterator[str]:
    if isinstance(said, dict):
        for key, value in said.items():
            if value is None:
                continue
            if not isinstance(kept, dict) or key not in kept:
                yield re.sub(r"\[\d+\]", "[]", f"{path}.{key}")
            else:
                yield from _lost(value, kept[key], f"{path}.{key}")
    elif isinstance(said, list) and isinstance(kept, list):
        for number, (one, other) in enumerate(zip(said, kept, strict=False)):
            yield from _lost(one, other, f"{path}[{number}]")


def as_new(fake: FakeEcs, patch: pytest.MonkeyPatch) -> None:
    """An empty account, with its key in the environment as a user has one."""
    for key, value in CREDENTIALS.items():
        patch.setenv(key, value)
    fake.reset()


# ---- a process that may die --------------------------------------------------------------------------


class Counted(Client):
    """A client whose calls are boundaries."""

    boundaries: Boundaries

    def _send(self, service: str, region: str, action: str, parameters: Any) -> dict[str, Any]:
        self.boundaries.before(action)
        told = super()._send(service, region, action, parameters)
        self.boundaries.after(action)
        return told


class CountedAliyun(Aliyun):
    """The provider; a survey is one boundary however many regions it asks."""

    boundaries: Boundaries

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        with self.boundaries.one_survey():
            return super().survey(regions)


def offer(
    instance_type: str = "ecs.gn7i-c8g1.2xlarge",
    zone: str = "cn-hangzhou-i",
    market: Market = Market.ON_DEMAND,
    **more: Any,
) -> Offer:
    usd, told = MONEY.dollars(9.53, "CNY")
    region = next(name for name, zones in ZONES.items() if zone in zones)
    return Offer(
        provider="aliyun", region=region, zone=zone, instance_type=instance_type,
        market=market, usd_per_hour=usd, told_per_hour=told, gpu="A10", vcpus=8, **more,
    )  # fmt: skip


class Laptop:
    """Somebody's computer: a store, the loop, the client. It can crash at every call, and be opened again."""

    def __init__(
        self,
        fake: FakeEcs,
        folder: Path,
        boundaries: Boundaries | None = None,
        *,
        offers: tuple[Offer, ...] = (),
        **more: Any,
    ) -> None:
        self.fake, self.folder = fake, folder
        self.boundaries = boundaries or Boundaries()
        self.settings = settings(fake, **{"regions": (HOME,), **more})
        self.offers = offers or (offer(),)
        self.time = Time(fake, self.moves_on)
        self.acknowledged: set[str] = set()
        self.crashes = 0
        self.enough_after_crash = False
        self.orphans = False  # whether there may be snapshots whose image is gone
        self.open()

    def open(self) -> None:
        """A new process: nothing that was only in memory is left."""
        self.boundaries.dead = self.boundaries.surveying = False
        self.store = Store(self.folder)
        self.aliyun = CountedAliyun(
            self.folder, self.store, keys=self.keys, clock=self.time, settings=self.settings, money=MONEY
        )
        client = Counted(self.aliyun.account._key, endpoint=self.fake.url)
        self.aliyun.account.client = client
        client.boundaries = self.aliyun.boundaries = self.boundaries
        self.reconciler = Reconciler(
            store=self.store,
            clouds=Clouds(self.store, self.time, lambda name: self.aliyun),
            clock=self.time,
            prove=self.prove,
            on_row=lambda row: self.moves_on(),
        )

    def crash(self) -> None:
        self.crashes += 1
        self.store.close()
        self.open()

    def moves_on(self) -> None:
        self.boundaries.moved += 1

    def keys(self, desk: str) -> Keys:
        if desk not in _made_keys:
            folder = Path(mkdtemp(prefix="hotdesk-keys-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            _made_keys[desk] = desk_keys(folder, desk)
        made = _made_keys[desk]
        pinned = self.folder / "desks" / desk / "known_hosts"
        pinned.parent.mkdir(parents=True, exist_ok=True)
        return replace(made, known_hosts_path=str(pinned))

    def prove(self, access: Access) -> None:
        """A login: it is answered by the machine that has this address, if it shows the pinned key."""
        found = [m for m in self.fake.world.every("instance") if m.public_ip == access.host]
        if not found or found[0].status != "Running":
            raise Refused(Kind.NOT_READY, "no answer on port 22")
        [machine] = found
        region = self.fake.world.region(machine.region)
        rules = [rule for id_ in machine.groups for rule in region.groups[id_].rules]
        assert {r["SourceCidrIp"] for r in rules if r["PortRange"] == "22/22"} == {self.settings.address}
        assert Path(access.known_hosts_path).read_text().split()[2] in machine.console, "somebody else"

    # ---- what a person does --------------------------------------------------------------------------

    def want(
        self, name: str, goal: Goal, offers: tuple[Offer, ...] = (), *, move: bool = False, **fields: Any
    ) -> None:
        """Type a command: it changes the desk's row and nothing else."""
        self.moves_on()
        now = self.time.now()
        desk = self.store.find(name) or Desk(
            name=name, goal=goal, since=now, created_at=now, provider="aliyun", offers=self.offers
        )
        served = [int(m.tags["hotdesk:moved"]) for m in self.machines(name) if "hotdesk:moved" in m.tags]
        read = [tags.read(laws.tag_list(m.tags)) for m in self.machines(name)]
        served += [int(told["generation"]) for told in read]
        generation = max([desk.generation, *(g + 1 for g in served)]) if move else desk.generation
        self.store.put(
            replace(desk, goal=goal, since=now, offers=offers or desk.offers, generation=generation, **fields)
        )

    def settle(self, name: str = "blue") -> Ask | None:
        """Let the loop come to its end, through crashes too; the question it stops with, if any."""
        while True:
            try:
                desk = self.store.find(name)
                return self.reconciler.settle(desk).asks.get(name) if desk else None
            except Crash:
                self.crash()

    def do(self, goal: Goal, offers: tuple[Offer, ...] = (), name: str = "blue", **fields: Any) -> Ask | None:
        self.want(name, goal, offers, **fields)
        asked = self.settle(name)
        if asked is None:
            self.check(name, goal)
        if self.crashes and self.enough_after_crash:
            raise Enough
        return asked

    def work(self, text: str, name: str = "blue") -> None:
        """Write something at the desk, and count on it from now on."""
        [machine] = self.machines(name)
        write(self.fake, machine.id, text, text)
        self.acknowledged.add(text)

    # ---- what is so in truth -------------------------------------------------------------------------

    def machines(self, name: str = "blue") -> list[Machine]:
        return [m for m in self.fake.world.every("instance") if m.tags.get("hotdesk:desk") == name]

    def check(self, name: str, goal: Goal) -> None:
        """The goal is reached in truth, all work is where it should be, and nothing else is paid."""
        world = self.fake.world
        images, snapshots = world.every("image"), world.every("snapshot")
        machines, disks = self.machines(name), world.every("disk")
        of_images = {id_ for i in images for id_, *_ in i.snapshots}
        held = {s.id for s in snapshots if not self.orphans or s.id in of_images}
        assert all(t.tags.get("hotdesk") == "1" for t in (*images, *world.every("instance"), *disks))
        if goal is Goal.GONE:
            assert not [*machines, *disks, *images, *held], "something was left behind"
            assert self.store.find(name) is None
            self.acknowledged.clear()
        elif goal is Goal.PARKED:
            assert not [*machines, *disks]
            [image] = images
            assert image.tags.get("hotdesk:verified") == "1"
            assert {id_ for id_, *_ in image.snapshots} == held
            assert self.acknowledged <= {w for s in snapshots for w in s.work}, "work was lost"
        else:
            [machine] = machines
            assert machine.status == {Goal.RUNNING: "Running", Goal.STOPPED: "Stopped"}[goal]
            assert sorted(machine.disks) == sorted(d.id for d in disks)
            assert self.acknowledged <= {w for d in disks for w in (*d.work, *d.unsynced)}, "work was lost"
            assert len(images) <= 1
            assert of_images == held
