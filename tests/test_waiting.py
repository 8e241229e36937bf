"""`up --wait-for-capacity`: what is sold out or over a quota is tried again, for so long; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.config import Config
from hotdesk.core.errors import Busy, Kind, NotAllowed, Scarce
from hotdesk.core.model import Desk, Goal
from hotdesk.core.steps import Ask, Launch, Wait
from hotdesk.services.billing import Billing
from hotdesk.services.explain import question
from hotdesk.services.pursuit import Pursuit
from hotdesk.services.view import View, Views
from tests.laptop import Laptop
from tests.sim import Cloud, offers


class Person:
    """Waits for a desk in the simulated cloud; `while_asleep` is what happens meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.cloud = Cloud(seed=3)
        self.laptop = Laptop(self.cloud, folder)
        self.waits: list[Wait] = []
        self.while_asleep: Callable[[], None] = lambda: None
        clouds = self.laptop.reconciler.clouds
        self.pursuit = Pursuit(
            store=self.laptop.store,
            clouds=clouds,
            reconciler=self.laptop.reconciler,
            billing=Billing(
                store=self.laptop.store,
                clock=self.laptop.clock,
                clouds=clouds,
                config=Config(),
                on_note=print,
                over_budget=False,
            ),
            views=Views(store=self.laptop.store, clock=self.laptop.clock, clouds=clouds),
            clock=self.laptop.clock,
            on_busy=lambda desk, holder: None,
            on_wait=self._waits,
        )

    def _waits(self, desk: str, wait: Wait) -> None:
        self.waits.append(wait)
        self.while_asleep()

    def wish(self) -> Desk:
        now = self.laptop.clock.now()
        old = self.laptop.store.find("blue")
        desk = old or Desk(name="blue", goal=Goal.RUNNING, since=now, created_at=now, provider="sim")
        return replace(desk, goal=Goal.RUNNING, since=now, offers=offers())

    def waits_for(self, seconds: float) -> View:
        return self.pursuit.patiently(self.wish(), self.wish, seconds)

    @property
    def launches(self) -> int:
        rows = self.laptop.store.rows("blue")
        return sum(isinstance(row.step, Launch) for row in rows)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def sell_out(person: Person) -> None:
    person.cloud.sold_out = {offer.key for offer in offers()}


def test_a_machine_is_had_soon_after_there_is_one(person: Person) -> None:
    """Sooner than the ten minutes that a refusal holds for a command that does not wait."""
    sell_out(person)
    began = person.laptop.clock.now()

    def comes_back() -> None:
        if len(person.waits) == 3:
            person.cloud.sold_out = set()

    person.while_asleep = comes_back
    assert person.waits_for(7200.0).phase == "ready"
    assert len(person.waits) == 3
    assert "No machine is available for blue. " in person.waits[0].why
    assert "sold out" in person.waits[0].why
    assert person.waits[0].why.endswith(". Trying again, for 120 more min")
    assert person.laptop.clock.now() - began < 600


def test_the_time_comes_to_an_end_and_nothing_is_left(person: Person) -> None:
    sell_out(person)
    began = person.laptop.clock.now()
    with pytest.raises(Scarce, match="No machine is available"):
        person.waits_for(1800.0)
    assert 1800 <= person.laptop.clock.now() - began < 2000
    assert person.launches >= 10 * len(offers())
    assert not person.cloud.machines("blue")


def test_without_waiting_it_is_tried_once(person: Person) -> None:
    sell_out(person)
    with pytest.raises(Scarce):
        person.waits_for(0.0)
    assert person.launches == len(offers())
    with pytest.raises(Scarce):
        person.waits_for(0.0)
    assert person.launches == len(offers()), "what was sold out a moment ago is not asked for again"


def test_who_parks_it_meanwhile_is_obeyed(person: Person) -> None:
    sell_out(person)

    def parked() -> None:
        desk = person.laptop.store.desk("blue")
        person.laptop.store.put(replace(desk, goal=Goal.PARKED, since=person.laptop.clock.now()))

    person.while_asleep = parked
    with pytest.raises(Busy, match="The goal of blue is now: parked"):
        person.waits_for(7200.0)
    assert person.laptop.store.desk("blue").goal is Goal.PARKED


@pytest.mark.parametrize(
    ("kind", "helps"), [(Kind.NO_CAPACITY, True), (Kind.QUOTA, True), (Kind.DENIED, False)]
)
def test_only_what_waiting_helps_is_waited_for(kind: Kind, helps: bool) -> None:
    error = question(Ask(what="No.", why="", fix="", kind=kind))
    assert isinstance(error, NotAllowed)
    assert isinstance(error, Scarce) == helps
