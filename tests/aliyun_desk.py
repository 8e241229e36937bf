"""Somebody's computer at the fake ECS, and the official models that judge what is sent and answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from hotdesk.connect.keys import desk_keys
from hotdesk.core.model import Instance, Survey
from hotdesk.core.money import Money
from hotdesk.core.ports import Keys, Provider
from hotdesk.providers.aliyun.provider import Aliyun
from hotdesk.providers.aliyun.settings import Settings
from tests.conformance import UNSETTLED
from tests.fake_ecs import laws
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import Group, Machine, Network

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
    return id_.partition("/")[2]


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


def with_a_network(fake: FakeEcs, *regions: str) -> None:
    """The surroundings that an earlier launch has made, in every zone."""
    from hotdesk.providers.aliyun import network, tags
    from tests.fake_ecs.world import ZONES

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
    for entry in fake.world.log:
        action, models = entry["action"], versions.get(entry.get("version", ""))
        if models is None:
            continue
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
