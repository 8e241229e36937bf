"""What every provider must do, done by AWS against the fake EC2 over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Instance, Survey
from hotdesk.core.ports import Provider
from hotdesk.market.shipped import shipped
from hotdesk.providers.aws.provider import Aws
from tests.aws_desk import HOME, Laptop, quick
from tests.conformance import UNSETTLED, Conformance

pytest.importorskip("moto", reason="moto is not installed")


class AwsRig:
    """A laptop at the fake; waiting advances the cloud's clock, and a disk is the fake's record of it."""

    def __init__(self, fake: FakeEc2, folder: Path) -> None:
        self.laptop = Laptop(fake, folder, provider=Aws)
        self.provider: Provider = self.laptop.aws
        self.cannot: dict[str, str] = {}
        self.free = frozenset({"key pair"})

    def settle(self) -> Survey:
        for _ in range(100):
            self.laptop.time.sleep(5.0)
            seen = self.provider.survey()
            things = [*seen.instances, *seen.disks, *seen.images]
            if not any(thing.phase in UNSETTLED for thing in things):  # type: ignore[attr-defined]
                return seen
        raise AssertionError(f"it does not settle: {seen}")

    def again(self) -> Provider:
        laptop = self.laptop
        return Aws(
            laptop.folder, None, keys=laptop.keys, clock=laptop.time, settings=laptop.settings,
            storing=shipped().storing,
        )  # fmt: skip

    def write(self, machine: Instance, name: str, text: str) -> None:
        bare = machine.id.partition("/")[2]
        self.laptop.fake.post("write", id=bare, name=name, text=text)

    def read(self, machine: Instance, name: str) -> str | None:
        bare = machine.id.partition("/")[2]
        [listed] = [m for m in self.laptop.things("instance") if m["id"] == bare]
        held: dict[str, Any] = {}
        for volume in self.laptop.things("volume"):
            if volume["id"] in listed["disks"]:
                held |= volume["work"] | volume["unsynced"]
        return held.get(name)


class TestAws(Conformance):
    @pytest.fixture
    def rig(self, server: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsRig]:
        for key, value in server.environment(HOME).items():
            monkeypatch.setenv(key, value)
        with quick(server):
            rig = AwsRig(server, tmp_path)
            yield rig
            rig.laptop.store.close()
