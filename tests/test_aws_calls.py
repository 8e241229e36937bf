"""How many calls each verb makes to AWS: a cloud counts them, and a person waits for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Refused
from hotdesk.core.model import Goal, Want
from hotdesk.core.ports import Access
from hotdesk.core.steps import LaunchOrder
from tests.aws_desk import HOME, Laptop, leave_over, offer

pytest.importorskip("moto", reason="moto is not installed")

ELSEWHERE = "us-east-1"


class Counting(Laptop):
    """A login is not tried: whoever tries it here asks the cloud, too."""

    def prove(self, access: Access) -> None:
        self.proven.append(access)


def calls(fake: FakeEc2, do: Callable[[], object]) -> Counter[tuple[str, str]]:
    fake.delete("log")
    do()
    return Counter((row["action"], row["region"]) for row in fake.get("log"))


def verb(mine: Laptop, goal: Goal) -> Counter[tuple[str, str]]:
    """By a new process, without the questions of which regions hold anything."""
    mine.crash()

    def do() -> None:
        mine.want("blue", goal)
        assert mine.settle() is None

    found = calls(mine.fake, do)
    return Counter({key: count for key, count in found.items() if key[0] != "DescribeTags"})


def refused(mine: Laptop, order: LaunchOrder) -> None:
    with pytest.raises(Refused):
        mine.aws.launch(order)


@pytest.mark.slow
def test_each_verb_makes_few_calls_and_leftovers_elsewhere_cost_two(fake: FakeEc2, tmp_path: Path) -> None:
    fake.post("regions", enable=[ELSEWHERE])
    leave_over(fake, ELSEWHERE)
    mine = Counting(fake, tmp_path)
    first = verb(mine, Goal.RUNNING)
    most = {Goal.RUNNING: 25, Goal.PARKED: 55, Goal.GONE: 40}
    for goal in (Goal.RUNNING, Goal.PARKED, Goal.RUNNING, Goal.GONE):
        found = verb(mine, goal)
        assert found.total() <= most[goal], (goal, found)
        there = {action: count for (action, region), count in found.items() if region == ELSEWHERE}
        assert there == {"DescribeKeyPairs": 1, "DescribeSecurityGroups": 1}
        assert found["DescribeRegions", HOME] == 0
        assert found["ImportKeyPair", HOME] == 0
    assert first["DescribeRegions", HOME] == first["DescribeSubnets", HOME] == 1
    assert {left.region for left in mine.aws.survey().leftovers} == {ELSEWHERE, HOME}


def test_what_is_kept_of_a_region_is_asked_anew_when_a_launch_is_refused(
    fake: FakeEc2, tmp_path: Path
) -> None:
    mine = Counting(fake, tmp_path)
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer())
    asked = [("DescribeSubnets", HOME), ("GetParameter", HOME)]
    found = calls(fake, lambda: mine.aws.launch(order))
    assert [found[key] for key in asked] == [1, 1]
    mine.aws.survey()
    mine.crash()  # a new process has them from the old one
    found = calls(fake, lambda: mine.aws.launch(order))
    assert [found[key] for key in asked] == [0, 0]
    fake.post("refuse", action="RunInstances", code="InvalidSubnetID.NotFound", times=1)
    found = calls(fake, lambda: mine.aws.launch(order))
    assert [found[key] for key in asked] == [1, 1], "at once"
    fake.post("refuse", action="RunInstances", code="InvalidSubnetID.NotFound", times=2)
    found = calls(fake, lambda: refused(mine, order))
    assert [found[key] for key in asked] == [1, 1], "and once only"
    found = calls(fake, lambda: mine.aws.launch(order))
    assert [found[key] for key in asked] == [1, 1]


def test_a_region_that_was_enabled_today_is_found_when_it_is_named(fake: FakeEc2, tmp_path: Path) -> None:
    mine = Counting(fake, tmp_path)
    assert "ap-east-1" not in mine.aws.account.regions()
    fake.post("regions", enable=["ap-east-1"])
    mine.aws.survey()
    mine.crash()
    assert "ap-east-1" not in mine.aws.account.regions(), "they are asked for once a day"
    found = mine.aws.offers(Want(instance_type="g4dn.xlarge", regions=("ap-east-1",)))
    assert {o.region for o in found} == {"ap-east-1"}
