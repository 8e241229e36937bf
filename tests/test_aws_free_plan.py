"""An account on AWS's Free plan, and one that has not accepted a product's terms: what to do is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal, Want
from tests.aws_desk import Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")

SMALL = (offer("m7i-flex.large", gpu=""),)


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    fake.post("account", free_plan=True)
    laptop = Laptop(fake, tmp_path)
    yield laptop
    laptop.store.close()


def test_offers_hold_what_the_plan_starts_and_a_gpu_is_refused_with_the_way_out(mine: Laptop) -> None:
    assert {o.instance_type for o in mine.aws.offers(Want(gpu="none"))} == {"m7i-flex.large"}
    with pytest.raises(Refused) as no:
        mine.aws.offers(Want(gpu="T4"))
    assert no.value.kind is Kind.BAD_REQUEST
    assert "Free plan" in no.value.message
    assert "m7i-flex.large" in no.value.fix
    assert "upgrade the plan" in no.value.fix
    with pytest.raises(Refused, match=r"t3\.large is none"):
        mine.aws.offers(Want(instance_type="t3.large"))


def test_once_the_plan_is_upgraded_everything_is_offered_at_once(mine: Laptop, fake: FakeEc2) -> None:
    with pytest.raises(Refused):
        mine.aws.offers(Want(gpu="T4"))
    fake.post("account", free_plan=False)
    assert mine.aws.offers(Want(gpu="T4"))


def test_where_the_plan_is_not_told_a_refused_launch_goes_on_to_the_next_type(
    mine: Laptop, fake: FakeEc2
) -> None:
    fake.post("refuse", action="GetAccountPlanState", code="UnauthorizedOperation", times=None)
    assert len({o.instance_type for o in mine.aws.offers(Want(gpu="none"))}) > 1
    assert mine.do(Goal.RUNNING, (offer("t3.large", gpu=""), *SMALL)) is None
    assert [m["type"] for m in mine.machines()] == ["m7i-flex.large"]


def test_a_type_is_tried_in_one_zone_only_and_the_answer_names_the_way_out(
    mine: Laptop, fake: FakeEc2
) -> None:
    every = tuple(offer(zone=f"us-west-2{z}") for z in "abc")
    asked = mine.do(Goal.RUNNING, every)
    assert asked is not None
    assert "Free plan" in asked.why
    assert "upgrade the plan" in asked.fix
    assert len(fake.get("log", action="RunInstances")) == 1
    assert mine.things("instance") == []


def test_marketplace_terms_are_not_a_region_that_is_off(fake: FakeEc2, tmp_path: Path) -> None:
    mine = Laptop(fake, tmp_path)
    place = "https://aws.amazon.com/marketplace/pp?sku=3gruvlcso4s66wfg2mdzxg8z6"
    said = "In order to use this AWS Marketplace product you need to accept terms and subscribe. "
    said += f"To do so please visit {place}"
    fake.post("refuse", action="RunInstances", code="OptInRequired", message=said, status=401, times=None)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert asked.fix.startswith(place)
    assert "enable-region" not in asked.fix
    assert "has not accepted its terms" in asked.why
    mine.store.close()
