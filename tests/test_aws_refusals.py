"""What a refusal on AWS speaks of: one offer, or all of a quota or a policy; and a cloud that is too busy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal, Market
from hotdesk.core.steps import Launch
from hotdesk.providers.aws.quotas import counted_with, quota_code
from tests.aws_desk import HOME, Laptop, offer, quick

pytest.importorskip("moto", reason="moto is not installed")

DENY = (
    "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/alice is not "
    "authorized to perform: {action} on resource: arn:aws:ec2:{region}:123456789012:{kind}/* with an "
    "explicit deny in a service control policy."
)


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path)
    yield laptop
    laptop.store.close()


def deny(fake: FakeEc2, action: str = "RunInstances", kind: str = "instance", **only: str) -> None:
    message = DENY.format(action=f"ec2:{action}", region=only.get("region", HOME), kind=kind)
    fake.post("refuse", action=action, code="UnauthorizedOperation", message=message, status=403, times=None,
              **only)  # fmt: skip


def asked(mine: Laptop) -> list[str]:
    """The offers that were asked for, in order."""
    return [r.step.order.offer.key for r in mine.store.rows() if isinstance(r.step, Launch)]


# ---- policies ----------------------------------------------------------------------------------------


def test_a_policy_that_denies_a_type_lets_the_next_one_be_launched(mine: Laptop, fake: FakeEc2) -> None:
    deny(fake, type="g4dn.xlarge")
    offers = (offer(), offer(zone="us-west-2b"), offer("g5.xlarge", gpu="A10G"))
    assert mine.do(Goal.RUNNING, offers) is None
    assert mine.machines()[0]["type"] == "g5.xlarge"
    assert asked(mine) == [offers[0].key, offers[2].key], "the other zone is denied as well, unasked"


@pytest.mark.parametrize("action", ["RunInstances", "*"])
def test_a_policy_that_denies_a_region_lets_another_be_launched_in(
    fake: FakeEc2, tmp_path: Path, action: str
) -> None:
    """With `*` not even a look at the region is allowed: it holds nothing, and holds up nothing."""
    with quick(fake, regions=(HOME, "us-east-2")):
        mine = Laptop(fake, tmp_path)
        deny(fake, action=action, region="us-east-2")
        assert mine.do(Goal.RUNNING, (offer(zone="us-east-2a"), offer(zone="us-east-2b"), offer())) is None
        assert mine.machines()[0]["zone"] == "us-west-2a"
        assert mine.aws.survey().unread == ()
        mine.store.close()


def test_where_everything_is_denied_the_policy_is_named_and_not_our_own(mine: Laptop, fake: FakeEc2) -> None:
    deny(fake)
    no = mine.do(Goal.RUNNING, (offer(), offer(zone="us-west-2b"), offer("g5.xlarge", gpu="A10G")))
    assert no is not None
    assert no.kind is Kind.DENIED
    assert "A service control policy denies ec2:RunInstances" in no.why
    assert "hotdesk iam" not in no.fix
    assert "ec2:RunInstances" in no.fix
    assert len(asked(mine)) == 2, "each type once"
    fake.delete("rules")
    assert mine.do(Goal.RUNNING) is None, "whoever asks again has had it allowed"


def test_a_first_spot_machine_without_its_role_is_launched_on_demand(mine: Laptop, fake: FakeEc2) -> None:
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    fake.post("refuse", action="RunInstances", market="spot", code=code, status=403, times=None)
    spot = tuple(offer(zone=f"us-west-2{z}", market=Market.SPOT) for z in "ab")
    assert mine.do(Goal.RUNNING, (*spot, offer())) is None
    assert asked(mine) == [spot[0].key, offer().key]
    assert mine.do(Goal.GONE) is None
    no = mine.do(Goal.RUNNING, spot)
    assert no is not None
    assert "create-service-linked-role" in no.fix


def test_a_type_that_the_account_may_not_start_is_asked_for_once(mine: Laptop, fake: FakeEc2) -> None:
    said = "The specified instance type is not eligible for Free Tier."
    rule = {"action": "RunInstances", "type": "g4dn.*", "code": "InvalidParameterCombination"}
    fake.post("refuse", **rule, message=said, times=None)
    offers = (offer(), offer(zone="us-west-2b"), offer(market=Market.SPOT), offer("m7i.large", gpu=""))
    assert mine.do(Goal.RUNNING, offers) is None
    assert asked(mine) == [offers[0].key, offers[3].key]


def test_what_a_region_lacks_another_may_have(fake: FakeEc2, tmp_path: Path) -> None:
    with quick(fake, regions=(HOME, "us-east-2")):
        mine = Laptop(fake, tmp_path)
        vpc = fake.client("ec2", HOME)
        for subnet in vpc.describe_subnets()["Subnets"]:
            vpc.delete_subnet(SubnetId=subnet["SubnetId"])
        assert mine.do(Goal.RUNNING, (offer(), offer(zone="us-west-2b"), offer(zone="us-east-2a"))) is None
        assert mine.machines()[0]["zone"] == "us-east-2a"
        assert len(asked(mine)) == 2
        mine.store.close()


# ---- quotas ------------------------------------------------------------------------------------------


def test_a_quota_is_asked_once_for_a_region_and_a_smaller_machine_may_fit(
    mine: Laptop, fake: FakeEc2
) -> None:
    fake.post("quota", type="g4dn.xlarge", market="on-demand", vcpus=4)
    big = [offer("g4dn.2xlarge", f"us-west-2{zone}") for zone in "abc"]
    offers = tuple(replace(o, vcpus=8) for o in big)
    assert mine.do(Goal.RUNNING, (*offers, offer())) is None
    assert asked(mine) == [offers[0].key, offer().key]


def test_each_quota_is_named_as_aws_counts() -> None:
    assert quota_code("p5.48xlarge", Market.SPOT) == "L-C4BD4855"
    assert quota_code("p5.48xlarge", Market.ON_DEMAND) == "L-417A185B"
    assert quota_code("p4d.24xlarge", Market.SPOT) == "L-7212CCBC"
    assert counted_with("p5en.48xlarge", Market.SPOT) == ("p[5-9]*",)
    assert "p2*" in counted_with("p3.2xlarge", Market.SPOT)
    assert counted_with("g6.xlarge", Market.SPOT) == ("g[0-9]*", "gr[0-9]*", "vt[0-9]*")


# ---- too busy ----------------------------------------------------------------------------------------

BUSY = [("RequestLimitExceeded", 503), ("Unavailable", 503), ("InternalError", 500)]
STEPS = ["RunInstances", "StopInstances", "StartInstances", "CreateImage", "TerminateInstances",
         "DescribeImages", "DeregisterImage"]  # fmt: skip


#: Each way of saying so is met by a look, below; here one is enough for each step.
TOO_BUSY = [
    pytest.param(action, *said, marks=() if said == BUSY[0] else pytest.mark.long)
    for action in STEPS
    for said in BUSY
]


@pytest.mark.parametrize(("action", "code", "status"), TOO_BUSY)
def test_a_cloud_that_is_too_busy_for_a_step_is_waited_for(
    mine: Laptop, fake: FakeEc2, action: str, code: str, status: int
) -> None:
    """Eight times in a row, which is more than any step is tried: the verb ends well all the same.

    What is refused for `reconcile.SILENT_SECONDS` is given up (tests/test_regions_closed.py).
    """
    before = mine.time.now()
    fake.post("refuse", action=action, code=code, status=status, times=8)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.STOPPED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.GONE) is None
    assert mine.time.now() - before > 20.0
    assert fake.get("rules")[0]["hits"] == 8


@pytest.mark.parametrize(("code", "status"), BUSY)
@pytest.mark.parametrize("region", ["*", HOME])
def test_a_look_at_a_cloud_that_is_too_busy_is_waited_for_longer_each_time(
    fake: FakeEc2, tmp_path: Path, code: str, status: int, region: str
) -> None:
    with quick(fake, regions=(HOME, "us-east-1", "eu-west-1")):
        mine = Laptop(fake, tmp_path)
        assert mine.do(Goal.RUNNING) is None
        fake.delete("log")
        fake.post("refuse", action="Describe*", region=region, code=code, status=status, times=60)
        mine.want("blue", Goal.PARKED)
        assert mine.settle() is None
        waits = [r for r in fake.get("log") if r["action"] == "DescribeInstances" and r["region"] == HOME]
        assert len(waits) < 40, "it was asked again and again"
        mine.store.close()


def test_a_question_is_sent_twice_at_most(mine: Laptop, fake: FakeEc2) -> None:
    mine.want("blue", Goal.RUNNING)
    fake.delete("log")
    fake.post("refuse", action="Describe*", code="RequestLimitExceeded", times=None)
    with pytest.raises(Refused) as no:
        mine.aws.survey()
    assert no.value.kind is Kind.THROTTLED
    asked = [r["action"] for r in fake.get("log")]
    assert max(asked.count(action) for action in asked) <= 2
