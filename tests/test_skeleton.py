"""The skeleton in docs/providers.md is a provider: it passes the first conformance tests."""

from __future__ import annotations

import itertools
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from hotdesk.core.model import Instance, Survey
from hotdesk.core.ports import Provider
from tests.conformance import Conformance

TEXT = (Path(__file__).parents[1] / "docs" / "providers.md").read_text()


class Api:
    """A cloud's client, over a cloud of machines in memory."""

    def __init__(self) -> None:
        self.lock, self.clock, self.known = threading.Lock(), itertools.count(1), {}  # type: ignore[var-annotated]

    def machines(self) -> list[dict[str, Any]]:
        with self.lock:
            return [dict(machine) for machine in self.known.values()]

    def create(self, **machine: Any) -> str:
        with self.lock:
            number = next(self.clock)
            new = {**machine, "id": machine["name"], "state": "running", "started": float(number)}
            return str(self.known.setdefault(machine["name"], new)["id"])

    def power(self, id_: str, on: bool) -> None:
        with self.lock:
            self.known[id_]["state"] = "running" if on else "off"

    def delete(self, id_: str) -> None:
        with self.lock:
            self.known.pop(id_, None)


class SkeletonRig:
    cannot: dict[str, str] = {"stop": "the skeleton is tried as far as it goes"}  # noqa: RUF012
    free: frozenset[str] = frozenset()

    def __init__(self) -> None:
        [block] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
        self.found: dict[str, Any] = {}
        exec(block, self.found)
        self.api = Api()
        self.provider = self.again()

    def again(self) -> Provider:
        made: Provider = self.found["Skeleton"](self.api)
        return made

    def settle(self) -> Survey:
        return self.provider.survey()

    def write(self, machine: Instance, name: str, text: str) -> None:
        raise NotImplementedError

    def read(self, machine: Instance, name: str) -> str | None:
        raise NotImplementedError


@pytest.fixture
def rig() -> SkeletonRig:
    return SkeletonRig()


class TestSkeleton:
    desk, offer = Conformance.desk, Conformance.offer
    ready, offered = Conformance.ready, Conformance.offered
    test_offers = Conformance.test_offers_have_what_a_choice_needs
    test_wanted = Conformance.test_offers_obey_what_is_wanted
    test_one_machine = Conformance.test_the_same_launch_from_four_commands_is_one_machine
    test_absent = Conformance.test_deleting_what_is_absent_is_success
    test_starting = Conformance.test_a_machine_that_is_deleted_while_it_starts_is_gone
