"""What the account has reserved, in `offers`, `plan` and the page: asked for seldom, and shown first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config
from hotdesk.core.matching import Query
from hotdesk.core.model import Offer
from hotdesk.core.money import Money
from hotdesk.core.sizing.frontier import choose
from hotdesk.market import refresh
from hotdesk.market.job_model import Around, Job, place, speeds, terms
from hotdesk.services.choosing import Choosing
from hotdesk.services.planning import _within_reserved
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from hotdesk.web.choosing import offers as on_page
from tests.aws_desk import Time, offer
from tests.test_offers_cli import hotdesk

pytestmark = pytest.mark.slow
T4 = Query(gpu=("T4",), regions=("us-west-2",))


def gathered(fake: FakeEc2, store: Store, now: float) -> list[str]:
    """The regions that a refresh of the prices asks for reservations."""
    before = len(fake.get("log"))
    refresh.refreshed(store, now, limit_seconds=100.0, list_seconds=0.0)
    asked = [r for r in fake.get("log")[before:] if r["action"] == "DescribeCapacityReservations"]
    return sorted(r["region"] for r in asked)


@pytest.fixture
def kept(fake: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("HOTDESK_ADVISOR_URL", "http://127.0.0.1:9/none")
    fake.post("regions", enable=["us-west-2", "eu-central-1"])
    return Store(tmp_path)


def found(store: Store, query: Query, now: float) -> tuple[Offer, ...]:
    return Choosing.searched(refresh.known(store, Money()), query, {}, None, "price", now).reserved


def test_it_is_asked_where_there_was_some_and_elsewhere_once_a_day(fake: FakeEc2, kept: Store) -> None:
    time = Time(fake)
    ends = time.now() + 86400.0
    fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b", count=3, block=True, ends=ends)
    first = gathered(fake, kept, time.now())
    assert {"us-west-2", "eu-central-1"} <= {*first}
    [one] = found(kept, T4, time.now())
    assert (one.sold_as, one.usd_per_hour, one.free, one.zone) == ("reserved", 0.0, 3, "us-west-2b")
    assert one.reserved_until == pytest.approx(ends, abs=1.0)
    assert "is paid already" in one.why
    assert found(kept, T4, ends - 1800.0) == (), "its machines are ended then"
    assert found(kept, Query(gpu=("A100",)), time.now()) == ()
    assert found(kept, Query(gpu=("T4",), market="spot"), time.now()) == ()
    assert found(kept, Query(gpu=("T4",), zone="us-west-2a"), time.now()) == ()
    assert gathered(fake, kept, time.now() + 3600.0) == ["us-west-2"]
    assert gathered(fake, kept, time.now() + 90000.0) == first


def test_one_that_is_full_now_is_asked_for_again(fake: FakeEc2, kept: Store) -> None:
    """A desk works in it; once that is parked, there is room."""
    time = Time(fake)
    fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b", told={"AvailableInstanceCount": 0})
    gathered(fake, kept, time.now())
    assert found(kept, T4, time.now()) == ()
    assert gathered(fake, kept, time.now() + 3600.0) == ["us-west-2"]


def test_who_may_not_ask_has_prices_all_the_same(fake: FakeEc2, kept: Store) -> None:
    fake.post("refuse", action="DescribeCapacityReservations", code="UnauthorizedOperation", times=100)
    fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b")
    gathered(fake, kept, Time(fake).now())
    known = refresh.known(kept, Money())
    assert known.time is not None
    assert known.reserved == ()


T4_OF = {"gpu_count": 1, "gpu_memory_gib": 16, "memory_gib": 16}
PAID = {
    "reservation": "cr-1",
    "source": "capacity reservation",
    "free": 2,
    "why": "cr-1 is paid already",
}
RESERVED = offer(zone="us-west-2b", price=0.0, **T4_OF, **PAID)
SHORT = offer(zone="us-west-2b", price=0.0, **T4_OF, **PAID, reserved_until=7200.0, ends_at=5400.0)
DEAR = offer(price=0.5, **T4_OF)


def answer(*offers: Offer, counts: list[int]) -> Any:
    job, around = Job(items=36000.0, rates={"T4": 1.0}), Around()
    return choose(offers, counts, speeds(job), _within_reserved(terms(around), 0.0), place=place(around))


def test_a_plan_counts_it_for_as_many_machines_and_as_long_as_it_is_there() -> None:
    told = answer(RESERVED, DEAR, counts=[1, 2, 10])
    assert told.cheapest.offer.reservation == "cr-1"
    assert told.cheapest.finish.usd_mean == 0.0
    assert {c.finish.machines for c in told.plans if c.offer.reservation} == {1, 2}
    assert told.fastest.finish.machines == 10
    assert not told.fastest.offer.reservation
    told = answer(RESERVED, DEAR, counts=[10])
    assert [lost.why for lost in told.lost] == ["it has room for 2, fewer machines than were asked for"]
    told = answer(SHORT, DEAR, counts=[1])
    assert not told.cheapest.offer.reservation
    assert [lost.why for lost in told.lost] == ["it is reserved for another 1.5 h, which is not enough"]


def test_every_door_shows_it_first(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        now = SystemClock().now()
        store.keep(refresh.KEY, refresh.known(store, Money()).catalog.pack(), now)
        store.keep(refresh._RESERVED, msgspec.json.encode((RESERVED,)), now)

    def said(*words: str) -> str:
        done = hotdesk(tmp_path, *words, HOTDESK_OFFLINE="1")
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = said("offers", "--gpu", "T4", "--limit", "3").splitlines()
    assert "UNTIL" in shown[0]
    assert "reserved" in shown[1]
    first, *rest = json.loads(said("offers", "--gpu", "T4", "--json"))
    assert (first["market"], first["usd_per_hour"], first["free"]) == ("reserved", 0.0, 2)
    assert (first["zone"], first["reserved_until"]) == ("us-west-2b", None)
    assert all(row["reservation"] == "" for row in rest)
    assert "reserved" not in said("offers", "--gpu", "T4", "--market", "spot")
    assert said("offers", "--gpu", "T4", "--csv").splitlines()[1].startswith("aws,us-west-2,us-west-2b,g4dn")
    plan = said("plan", "--work", "10", "--on", "T4", "--machines", "1")
    assert "g4dn.xlarge reserved" in plan
    with Hotdesk(tmp_path, config=Config()) as desks:
        assert desks.offers(Query(gpu=("T4",)), offline=True)[0] == RESERVED
        assert on_page(desks, {"offline": "1"})["reserved"][0]["reservation"] == "cr-1"
