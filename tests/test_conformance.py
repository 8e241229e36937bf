"""Every provider obeys the same suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from hotdesk.core.model import Instance, Survey
from hotdesk.core.ports import Provider
from tests.conformance import UNSETTLED, Conformance
from tests.local_rig import LocalRig, rig_in
from tests.sim import Cloud


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield rig


class TestLocal(Conformance):
    @pytest.fixture
    def rig(self, local: LocalRig) -> LocalRig:
        return local


class SimRig:
    """The simulator, whose disks hold numbered units of work: here each number is a file with its text."""

    def __init__(self) -> None:
        self.cloud = Cloud(seed=7)
        self.cloud.given_up = lambda desk: True  # the suite deletes desks with all that is on them
        self.files: dict[int, tuple[str, str]] = {}
        self.lock = threading.Lock()
        self.cannot: dict[str, str] = {}
        self.free: frozenset[str] = frozenset()
        self.provider = self.again()

    def again(self) -> Provider:
        return cast(Provider, OneAtATime(self.cloud, self.lock))

    def settle(self) -> Survey:
        for _ in range(1000):
            self.cloud.clock.sleep(10.0)
            seen = self.cloud.survey()
            if not any(t.phase in UNSETTLED for t in (*seen.instances, *seen.disks, *seen.images)):
                return seen
        raise AssertionError(f"it does not settle: {seen}")

    def write(self, machine: Instance, name: str, text: str) -> None:
        self.cloud.work(machine.id)
        thing = self.cloud.find(machine.id)
        assert thing is not None
        self.files[max(thing.work)] = (name, text)

    def read(self, machine: Instance, name: str) -> str | None:
        thing = self.cloud.find(machine.id)
        assert thing is not None
        held = [self.files[number] for number in sorted(thing.work)]
        return next((text for file, text in reversed(held) if file == name), None)


class OneAtATime:
    """A door to the simulator: several commands at once take turns, as requests to a cloud do."""

    def __init__(self, cloud: Cloud, lock: threading.Lock) -> None:
        self.name, self._cloud, self._lock = cloud.name, cloud, lock

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._cloud, name)

        def locked(*args: object, **more: object) -> object:
            with self._lock:
                return call(*args, **more)

        return locked


class TestSim(Conformance):
    """What every story and crash test is played on obeys the same laws, while nothing is made go wrong."""

    @pytest.fixture
    def rig(self) -> SimRig:
        return SimRig()
