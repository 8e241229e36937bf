"""A cloud that gives no answer for ever: a region switched off or closed, a service that is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Refused, Unreachable
from hotdesk.core.model import Goal
from hotdesk.loop.reconcile import SILENT_SECONDS
from hotdesk.providers.cloud.regions import OFF, ON, why_closed
from tests import aliyun_desk
from tests.aliyun_desk import at_home, paid
from tests.aws_desk import Laptop, offer
from tests.fake_ecs.server import FakeEcs

pytestmark = pytest.mark.slow
AWAY = "eu-central-1"
PAGE = "<html><body>502 Bad Gateway</body></html>"


@pytest.fixture
def alibaba(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> aliyun_desk.Laptop:
    return aliyun_desk.Laptop(at_home(ecs, monkeypatch), tmp_path)


@pytest.mark.parametrize("goal", [Goal.RUNNING, Goal.PARKED, Goal.GONE])
def test_a_region_that_was_switched_off_is_named_with_what_switches_it_on(
    fake: FakeEc2, tmp_path: Path, goal: Goal
) -> None:
    """AWS answers there as to credentials that are wrong, which these are not."""
    fake.post("regions", enable=[AWAY])
    laptop = Laptop(fake, tmp_path)
    assert laptop.do(Goal.RUNNING, (offer(zone=f"{AWAY}a"),)) is None
    laptop.work("once")
    fake.post("regions", disable=[AWAY])
    laptop.want("blue", goal)
    laptop.crash()
    asked = laptop.settle()
    assert asked is not None
    assert asked.what == f"Access to {AWAY} is denied. Whatever blue has there stays and is billed."
    assert asked.why.startswith(f"{AWAY} is switched off for this account")
    assert asked.fix.startswith(f"aws account enable-region --region-name {AWAY}")
    fake.post("regions", enable=[AWAY])
    assert laptop.settle() is None
    laptop.check("blue", goal)


def test_a_region_that_alibaba_has_closed_is_not_waited_for(alibaba: aliyun_desk.Laptop) -> None:
    there = aliyun_desk.offer(zone="cn-shanghai-l")
    assert alibaba.do(Goal.RUNNING, (there,)) is None
    alibaba.fake.world.closed.add("cn-shanghai")
    for goal in (Goal.PARKED, Goal.GONE):
        alibaba.want("blue", goal)
        asked = alibaba.settle()
        assert asked is not None
        assert asked.what.startswith("Access to cn-shanghai is denied. Whatever blue has there")
        assert "Alibaba Cloud has no region cn-shanghai any more" in asked.why


@pytest.mark.parametrize(
    ("error", "states", "why"),
    [
        (OSError("no route"), {AWAY: ON}, ""),
        (OSError("no route"), {AWAY: OFF}, "switched off"),
        (OSError("no such host"), {"us-east-1": ON}, "has no region"),
        (OSError("no such host"), {}, ""),
        (Refused(Kind.THROTTLED, "busy"), {AWAY: OFF}, ""),
        (Refused(Kind.DENIED, "a policy says no"), {AWAY: ON}, "a policy says no"),
    ],
)
def test_only_what_the_cloud_itself_lists_so_is_closed(
    error: Exception, states: dict[str, str], why: str
) -> None:
    found, _ = why_closed({AWAY: error}, lambda: states, label="AWS", switch_on="on {region}")
    assert why in found
    assert bool(found) == bool(why)


def fails(laptop: aliyun_desk.Laptop, *actions: str) -> None:
    for action in actions:
        laptop.fake.world.harm(action, status=502, body=PAGE, times=None)


LOOKS = ("DescribeInstances", "DescribeDisks", "DescribeImages", "DescribeSnapshots", "ListTagResources")


@pytest.mark.parametrize("actions", [LOOKS, ("RunInstances",)])
def test_a_service_that_answers_502_for_ever_is_not_waited_for_for_ever(
    alibaba: aliyun_desk.Laptop, actions: tuple[str, ...]
) -> None:
    """Whether the looks fail or the launch: the command ends, the goal stands, and nothing is doubled."""
    fails(alibaba, *actions)
    began = alibaba.time.now()
    with pytest.raises(Unreachable) as ended:
        alibaba.do(Goal.RUNNING)
    assert SILENT_SECONDS <= alibaba.time.now() - began < 2 * SILENT_SECONDS
    assert ended.value.what.startswith("Alibaba Cloud has not been able to answer for 2")
    assert "502 Bad Gateway" in ended.value.why
    assert ended.value.fix.startswith("hotdesk watch blue   # continues once it answers")
    assert alibaba.store.desk("blue").goal is Goal.RUNNING
    assert paid(alibaba.fake) == {}
    alibaba.fake.world.harms.clear()
    assert alibaba.settle() is None
    assert len(alibaba.machines()) == 1


@pytest.mark.parametrize("action", ["RunInstances", "DescribeInstances"])
def test_listings_that_lag_are_no_answer(fake: FakeEc2, tmp_path: Path, action: str) -> None:
    """Between two requests that fail, what they may have made is looked for: that is no answer either."""
    laptop = Laptop(fake, tmp_path, lag_seconds=30.0)
    fake.post("refuse", action=action, code="InternalError", status=500, times=100_000)
    began = laptop.time.now()
    with pytest.raises(Unreachable):
        laptop.do(Goal.RUNNING)
    assert SILENT_SECONDS <= laptop.time.now() - began < 2 * SILENT_SECONDS
    assert len(laptop.machines()) <= 1


def test_one_that_fails_for_a_while_is_waited_for(alibaba: aliyun_desk.Laptop) -> None:
    alibaba.fake.world.harm("RunInstances", status=502, body=PAGE, times=5)
    assert alibaba.do(Goal.RUNNING) is None
    assert len(alibaba.machines()) == 1
