"""Capacity that the account has reserved: found, launched into free of charge, and left when it is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.core.jobs import Job
from hotdesk.core.model import Goal, Market, Offer, Want
from hotdesk.core.spot.decision import Action
from hotdesk.jobs.terms import place, terms_of
from hotdesk.market.ranking import rank
from tests.aws_desk import Laptop, offer

pytestmark = pytest.mark.slow
WANT = Want(instance_type="g4dn.xlarge", regions=("us-west-2",))


def reserve(fake: FakeEc2, **more: object) -> str:
    return str(fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b", **more)["id"])


def found(laptop: Laptop, want: Want = WANT) -> list[Offer]:
    return [one for one in laptop.aws.offers(want) if one.reservation]


@pytest.mark.parametrize("more", [{}, {"targeted": True}, {"block": True}])
def test_a_desk_is_launched_into_it_and_costs_nothing_more(
    fake: FakeEc2, tmp_path: Path, more: dict[str, bool]
) -> None:
    laptop = Laptop(fake, tmp_path)
    id_ = reserve(fake, **more)
    offers = laptop.aws.offers(WANT)
    first = offers[0]
    assert (first.reservation, first.usd_per_hour, first.zone) == (id_, 0.0, "us-west-2b")
    assert "is paid already" in first.why
    assert laptop.do(Goal.RUNNING, (first, offer())) is None
    [machine] = laptop.machines()
    assert machine["zone"] == "us-west-2b"
    assert machine["usd_per_hour"] == pytest.approx(0.005), "its address alone"
    [raw] = fake.client("ec2", "us-west-2").describe_instances(InstanceIds=[machine["id"]])["Reservations"]
    assert raw["Instances"][0]["CapacityReservationId"] == id_
    [shown] = laptop.aws.survey().instances
    assert shown.usd_per_hour == 0.0
    assert found(laptop) == [], "it is full"


def test_a_full_one_is_a_refusal_of_that_place_alone(fake: FakeEc2, tmp_path: Path) -> None:
    """1. It is free when it is asked about. 2. Somebody else takes it. 3. The next offer is taken."""
    laptop = Laptop(fake, tmp_path)
    reserve(fake, targeted=True)
    [first] = found(laptop)
    assert laptop.do(Goal.RUNNING, (first,), name="red") is None
    plain = replace(offer(zone="us-west-2b"), why="w")
    assert laptop.do(Goal.RUNNING, (first, plain)) is None
    past = laptop.store.past(laptop.store.desk("blue"))
    assert past.refusal(first, laptop.time.now())
    assert past.refusal(plain, laptop.time.now()) is None


def test_who_may_not_ask_about_reservations_has_none(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = Laptop(fake, tmp_path)
    reserve(fake)
    fake.post("refuse", action="DescribeCapacityReservations", code="UnauthorizedOperation")
    assert found(laptop) == []
    assert laptop.aws.offers(WANT)


def test_what_does_not_fit_is_left_out(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = Laptop(fake, tmp_path)
    reserve(fake, state="expired")
    fake.post("reservation", type="p3.2xlarge", zone="us-west-2b")
    assert found(laptop) == []
    reserve(fake)
    assert found(laptop, replace(WANT, market=Market.SPOT)) == []
    assert found(laptop, replace(WANT, zone="us-west-2a")) == []


# ---- choosing ----------------------------------------------------------------------------------------

RESERVED = replace(
    offer(zone="us-west-2b", price=0.0),
    reservation="cr-1",
    source="capacity reservation",
    why="your capacity reservation cr-1 in us-west-2b is paid already",
)
DEAR, SPOT = offer(price=0.5), offer(market=Market.SPOT, price=0.2)


def test_its_reason_is_told_and_on_demand_stays_the_usual_price() -> None:
    first, spot, dear = rank(WANT, [DEAR, SPOT, RESERVED]).offers
    assert (
        first.why
        == "g4dn.xlarge in us-west-2b: your capacity reservation cr-1 is paid already, no interruption risk"
    )
    assert "60 % below on-demand" in spot.why
    assert dear.key == DEAR.key


def test_a_job_with_a_deadline_goes_there_first_and_its_policy_counts_the_usual_prices() -> None:
    job = Job(
        id="1-a", number=1, desk="blue", command=("x",), created_at=0.0, work_seconds=36000.0,
        deadline_at=72000.0,
    )  # fmt: skip
    offers = (RESERVED, DEAR, SPOT)
    assert terms_of(offers, 36000.0, 72000.0) == terms_of((DEAR, SPOT), 36000.0, 72000.0)
    order, decision = place(job, offers, (), 0.0)
    assert order[0] == RESERVED
    assert decision is not None
    assert decision.action is Action.ON_DEMAND
    assert "is paid already" in decision.why
    better, _ = place(job, offers, (), 0.0, machine="on-demand", keeps=True)
    assert better == (RESERVED,)
