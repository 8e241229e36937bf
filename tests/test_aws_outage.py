"""One zone of a region is out of service: desks of the others go on, and nothing is concluded of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Unreachable
from hotdesk.core.lifecycle.plan import plan, plan_gc
from hotdesk.core.model import Goal, Phase
from hotdesk.core.steps import Wait
from hotdesk.providers.cloud.admitting import admitted
from tests.aws_desk import HOME, Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")

OUT, WELL = f"{HOME}a", f"{HOME}b"


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    """blue in the zone that fails, green in another one, and yellow parked."""
    laptop = Laptop(fake, tmp_path)
    assert laptop.do(Goal.RUNNING, (offer(zone=OUT),)) is None
    assert laptop.do(Goal.RUNNING, (offer(zone=WELL),), name="green") is None
    assert laptop.do(Goal.RUNNING, (offer(zone=WELL),), name="yellow") is None
    assert laptop.do(Goal.PARKED, name="yellow") is None
    fake.post("outage", zone=OUT)
    yield laptop
    laptop.store.close()


def test_the_fake_fails_as_ec2_says_that_it_does(mine: Laptop, fake: FakeEc2) -> None:
    ec2 = fake.client("ec2", HOME)
    [blue], [green] = mine.machines("blue"), mine.machines("green")
    for asked in ({}, {"InstanceIds": [blue["id"]]}, {"InstanceIds": [green["id"], blue["id"]]}):
        with pytest.raises(ClientError) as error:
            ec2.describe_instances(**asked)
        assert error.value.response["Error"]["Code"] == "Unavailable"
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    found: Any = ec2.describe_instances(InstanceIds=[green["id"]])["Reservations"]
    assert found[0]["Instances"][0]["State"]["Name"] == "running"


def test_what_can_be_seen_is_seen_and_what_cannot_is_said(mine: Laptop) -> None:
    seen = mine.aws.survey()
    assert seen.unread == ()
    assert [(i.desk, i.phase) for i in seen.instances if i.phase is not Phase.ENDED] == [
        ("green", Phase.READY)
    ]
    assert [(h.desk, h.zone) for h in seen.hidden] == [("blue", OUT)]
    assert seen.of("blue").unread == (OUT,)
    assert seen.of("green").unread == ()
    assert seen.of("nobody").unread == ()


def test_the_desks_of_the_other_zones_go_on(mine: Laptop) -> None:
    mine.work("a morning's", "green")
    assert mine.do(Goal.PARKED, name="green") is None
    assert mine.do(Goal.RUNNING, (offer(zone=OUT), offer(zone=WELL)), name="green") is None
    [green] = mine.machines("green")
    assert green["zone"] == WELL
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", WELL, gpu="A10G"),), name="green", move=True) is None
    mine.acknowledged.clear()  # (yellow holds none of it)
    assert mine.do(Goal.RUNNING, (offer(zone=WELL),), name="yellow") is None
    assert mine.do(Goal.GONE, name="yellow") is None
    assert mine.do(Goal.GONE, name="green") is None


def test_nothing_is_concluded_of_a_desk_in_the_zone(mine: Laptop, fake: FakeEc2) -> None:
    seen = mine.aws.survey()
    desk = mine.store.desk("blue")
    for goal in Goal:
        mine.want("blue", goal)
        steps = plan(mine.store.desk("blue"), seen.of("blue"), mine.store.past(desk), mine.time.now())
        assert [type(step) for step in steps] == [Wait]
        assert f"{OUT} did not answer" in steps[0].why
    mine.want("blue", Goal.RUNNING)
    assert plan_gc(seen, mine.store.desks(), mine.time.now()) == []
    assert [s.id for s in mine.store.sighted("blue") if s.gone] == []


def test_it_goes_on_where_it_was_once_the_zone_is_back(mine: Laptop, fake: FakeEc2) -> None:
    mine.work("a night's thoughts")
    mine.want("blue", Goal.PARKED)
    mine.time.while_asleep = lambda: fake.delete("outage") and None
    assert mine.settle() is None
    assert mine.check("blue", Goal.PARKED)
    assert mine.aws.survey().hidden == ()


def test_a_look_costs_a_few_questions_more_and_no_more_at_each_look(mine: Laptop, fake: FakeEc2) -> None:
    mine.aws.survey()
    before = fake.get("log")[-1]["number"] + 1
    mine.aws.survey()
    asked = [r for r in fake.get("log", since=before) if r["action"] == "DescribeInstances"]
    named = [r for r in asked if any(key.startswith("InstanceId") for key in r["params"])]
    assert len(named) == 2  # those of the other zones, and those that did not answer before
    assert len(asked) <= 2 + 3


def test_a_region_that_fails_as_a_whole_is_unread_as_ever(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("refuse", action="Describe*", region=HOME, code="Unavailable", status=503, times=None)
    fake.post("regions", enable=["us-east-1"])
    assert mine.aws.survey((HOME, "us-east-1")).unread == (HOME,)


def test_a_rule_left_in_a_region_that_fails_hides_no_other_region(mine: Laptop, fake: FakeEc2) -> None:
    """What a killed way has left there is taken away when it answers again."""
    [green] = mine.machines("green")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mine.aws, "shut_out", lambda *given: (_ for _ in ()).throw(Unreachable("killed")))
        with admitted(mine.folder, mine.aws, "aws", f"{HOME}/{green['id']}", "192.0.2.9/32"):
            pass
    fake.post("regions", enable=["us-east-1"])
    fake.post("lose", action="*", region=HOME, when="before", times=None)
    assert mine.aws.survey((HOME, "us-east-1")).unread == (HOME,)
    fake.delete("rules")
    assert "192.0.2.9/32" in mine.admitted(green)
    mine.aws.survey((HOME,))
    assert "192.0.2.9/32" not in mine.admitted(green)
