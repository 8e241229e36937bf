"""Capacity that the account has reserved: found, launched into free of charge, and left when it is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.core.billing.charges import charges
from hotdesk.core.jobs import Job
from hotdesk.core.model import Goal, Market, Offer, Want
from hotdesk.core.pricelist import Shipped
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


SHARED = {"owner": "210987654321"}


def test_nothing_of_another_account_is_free(fake: FakeEc2, tmp_path: Path) -> None:
    """Whoever launches into a reservation that another account shares is billed for the instance."""
    laptop = Laptop(fake, tmp_path)
    reserve(fake, **SHARED)
    assert found(laptop) == []
    assert laptop.aws.offers(WANT)


@pytest.mark.parametrize(
    "told", [{"Interruptible": True}, {"OutpostArn": "arn:o"}, {"PlacementGroupArn": "arn:p"}]
)
def test_what_an_ordinary_launch_may_not_use_is_left_out(
    fake: FakeEc2, tmp_path: Path, told: dict[str, object]
) -> None:
    laptop = Laptop(fake, tmp_path)
    reserve(fake, targeted=True, told=told)
    assert found(laptop) == []


def test_a_block_that_is_about_to_end_is_left_out_and_any_end_is_told(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = Laptop(fake, tmp_path)
    now = laptop.time.now()
    reserve(fake, block=True, ends=now + 2400.0)
    assert found(laptop) == []
    reserve(fake, block=True, ends=now + 86400.0)
    [long] = found(laptop)
    assert long.reserved_until == pytest.approx(now + 86400.0, abs=1.0)
    [said] = rank(WANT, [replace(long, reserved_until=86400.0 * 365)]).offers
    assert "is paid already, until 1971-01-01 00:00 UTC" in said.why
    assert "no interruption risk" not in said.why


def test_a_running_machine_is_not_retyped_into_one(fake: FakeEc2, tmp_path: Path) -> None:
    """1. A desk is on on-demand. 2. It is to move into a reservation in its own zone. 3. Only a launch gets
    there: a machine that is stopped and started is billed as before, and would be shown as free."""
    laptop = Laptop(fake, tmp_path)
    assert laptop.do(Goal.RUNNING, (offer(zone="us-west-2b"),)) is None
    laptop.work("once")
    id_ = reserve(fake, targeted=True)
    [first] = found(laptop)
    laptop.want("blue", Goal.RUNNING, (first, offer(zone="us-west-2b")), move=True)
    assert laptop.settle() is None
    laptop.check("blue", Goal.RUNNING)
    [machine] = laptop.machines()
    assert machine["usd_per_hour"] == pytest.approx(0.005), "its address alone"
    raw = fake.client("ec2", "us-west-2").describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]
    assert raw["Instances"][0]["CapacityReservationId"] == id_
    [shown] = [m for m in laptop.aws.survey().instances if m.id.endswith(machine["id"])]
    assert not shown.retypable, "another type does not fit what it was launched into"


def test_once_it_is_cancelled_its_machine_is_shown_and_billed_at_its_price(
    fake: FakeEc2, tmp_path: Path
) -> None:
    """1. A desk runs in a reservation, an hour. 2. That is cancelled; the machine goes on, and is billed.
    3. An hour later, `ls` and `costs` say so."""
    laptop = Laptop(fake, tmp_path)
    laptop.aws._list_price = lambda region, kind: Shipped(0.526, 0.0)
    id_ = reserve(fake)
    [first] = found(laptop)
    assert laptop.do(Goal.RUNNING, (first,)) is None
    hour(laptop)
    assert usd(laptop) == pytest.approx(0.0)
    fake.post("reservation", id=id_)
    hour(laptop)
    [shown] = laptop.aws.survey().instances
    assert shown.usd_per_hour == pytest.approx(0.526)
    hour(laptop)
    [machine] = laptop.machines()
    truth = machine["usd_so_far"] - 3 * 0.005
    assert truth > 1.0
    assert truth - 0.01 < usd(laptop) < truth + 0.2, "at most a look too much"


def hour(laptop: Laptop) -> None:
    """An hour in which somebody looks now and then."""
    for _ in range(4):
        laptop.time.sleep(900.0)
        laptop.time.slept = 0.0
        laptop.reconciler.tick(["blue"])


def usd(laptop: Laptop) -> float:
    now, rows = laptop.time.now(), laptop.store.rows("blue", limit=None)
    bill = charges("blue", rows, now, sighted=laptop.store.sighted("blue"))
    return sum(one.usd(0.0, now) for one in bill if one.kind == "compute")


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InvalidParameterCombination"])
def test_whatever_refuses_a_launch_into_one_the_next_offer_is_taken(
    fake: FakeEc2, tmp_path: Path, code: str
) -> None:
    """Credentials may lack the right to use reservations, with an older policy of ours, say."""
    laptop = Laptop(fake, tmp_path)
    reserve(fake, targeted=True)
    [first] = found(laptop)
    fake.post("refuse", action="RunInstances", code=code, times=1)
    assert laptop.do(Goal.RUNNING, (first, offer(zone="us-west-2b"))) is None
    assert found(laptop), "it has room as before"


def test_a_stopped_machine_whose_reservation_is_gone_is_launched_anew(fake: FakeEc2, tmp_path: Path) -> None:
    laptop = Laptop(fake, tmp_path)
    reserve(fake, targeted=True)
    [first] = found(laptop)
    plain = offer(zone="us-west-2b")
    assert laptop.do(Goal.RUNNING, (first, plain)) is None
    laptop.work("once")
    assert laptop.do(Goal.STOPPED) is None
    fake.post("reservation", id=first.reservation)
    fake.post("refuse", action="StartInstances", code="InvalidParameterCombination")
    assert laptop.do(Goal.RUNNING, (first, plain)) is None


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
