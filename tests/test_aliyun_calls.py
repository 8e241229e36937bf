"""How many calls each verb makes to Alibaba Cloud, which allows few a minute of many operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hotdesk.core.errors import Refused
from hotdesk.core.model import Goal
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aliyun import inventory
from tests.aliyun_desk import HOME, Laptop, at_home, offer
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import ZONES

ELSEWHERE = len(ZONES) - 1
#: What is asked of each other region, once a verb: whether it holds a disk, an image or a snapshot.
ANYTHING = 3 * ELSEWHERE


@pytest.fixture
def fake(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    return at_home(ecs, monkeypatch)


@pytest.fixture
def mine(fake: FakeEcs, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path, regions=tuple(ZONES), lag_seconds=30.0, poll_seconds=5.0)
    yield laptop
    laptop.store.close()


def again(mine: Laptop) -> None:
    """A new process."""
    mine.store.close()
    mine.open()


def calls(mine: Laptop, do: Callable[[], object]) -> Counter[str]:
    mine.fake.world.log.clear()
    do()
    return Counter(entry["action"] for entry in mine.fake.world.log)


def verb(mine: Laptop, goal: Goal) -> Counter[str]:
    """Two minutes later, by a new process."""
    mine.time.sleep(120.0)
    again(mine)
    return calls(mine, lambda: mine.do(goal))


@pytest.mark.slow
def test_each_verb_polls_what_it_waits_for_and_seldom_surveys(mine: Laptop) -> None:
    most = {Goal.RUNNING: 28, Goal.PARKED: 64, Goal.GONE: 25}
    surveys = {Goal.RUNNING: 2, Goal.PARKED: 6, Goal.GONE: 2}
    verb(mine, Goal.RUNNING)
    for goal in (Goal.PARKED, Goal.RUNNING, Goal.PARKED, Goal.RUNNING, Goal.GONE):
        found = verb(mine, goal)
        assert found.total() <= most[goal], (goal, found)
        assert found["DescribeDisks"] - found["CreateImage"] <= surveys[goal]
        assert found["ListTagResources"] == ANYTHING, "of the regions where nothing is, once"
        assert found["DescribeSecurityGroups"] <= 3, "once, after the lag, and after an image was deleted"
        assert found["DescribeVSwitches"] == found["GetCallerIdentity"] == 0, "they are kept"


def test_what_ended_a_wait_is_not_asked_for_again(mine: Laptop) -> None:
    """The look after it has the same listing, once. Of several pages, one thing alone is asked about."""
    made = mine.aliyun.launch(LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer()))
    mine.aliyun.survey()
    assert mine.aliyun.in_transit([made])

    def looked() -> int:
        return calls(mine, mine.aliyun.survey)["DescribeInstances"]

    assert (looked(), looked()) == (0, 1)
    assert mine.aliyun.in_transit([made])
    mine.time.sleep(3.0)
    assert looked() == 1, "it is old"
    mine.aliyun._memory.keep(
        inventory.Found(HOME, [{"InstanceId": str(n)} for n in range(inventory.PAGE)], (), (), (), ()),
        mine.time.now(),
    )
    assert mine.aliyun.in_transit([made])
    assert looked() == 1, "of that one machine"


def refused(mine: Laptop, order: LaunchOrder) -> None:
    with pytest.raises(Refused):
        mine.aliyun.launch(order)


def test_what_is_kept_of_a_region_is_asked_anew_where_it_is_gone(mine: Laptop) -> None:
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer())

    def kept() -> tuple[int, int]:
        found = calls(mine, lambda: mine.aliyun.launch(order))
        return found["DescribeVSwitches"], found["DescribeImages"]

    assert kept() == (1, 1)
    mine.aliyun.survey()
    again(mine)  # a new process has them from the old one
    assert kept() == (0, 0)
    mine.fake.world.harm("RunInstances", code="InvalidVSwitchId.NotFound", status=404)
    assert kept() == (1, 1), "at once"
    mine.fake.world.harm("RunInstances", code="InvalidVSwitchId.NotFound", status=404, times=2)
    found = calls(mine, lambda: refused(mine, order))
    assert (found["DescribeVSwitches"], found["DescribeImages"]) == (1, 1), "and once only"
    assert kept() == (1, 1)
    mine.fake.world.harm("RunInstances", code="OperationDenied.NoStock", status=403)
    found = calls(mine, lambda: refused(mine, order))
    assert found["RunInstances"] == 1, "sold out is not asked again"
    assert len(mine.fake.world.every("instance")) == 1


def test_a_vswitch_that_was_deleted_and_made_again_is_found(mine: Laptop) -> None:
    mine.aliyun.launch(LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer()))
    region = mine.fake.world.region(HOME)
    old = next(s for s in region.vswitches.values() if s.zone == offer().zone)
    new = replace(old, id="vsw-new")
    del region.vswitches[old.id]
    region.vswitches[new.id] = new
    made = mine.aliyun.launch(LaunchOrder(desk="red", born=1.0, generation=1, attempt=0, offer=offer()))
    assert region.machines[made.partition("/")[2]].vswitch == new.id


def test_in_doubt_nothing_is_on_its_way(mine: Laptop) -> None:
    made = mine.aliyun.launch(LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offer()))
    assert mine.aliyun.in_transit([made])
    assert not mine.aliyun.in_transit([made, f"{HOME}/i-nowhere"])
    assert not mine.aliyun.in_transit([f"{HOME}/d-1"]), "of another kind"
    assert not mine.aliyun.in_transit([f"{HOME}/m-nowhere"])
    mine.time.sleep(120.0)
    assert not mine.aliyun.in_transit([made])
    mine.aliyun.power(made, False)
    assert mine.aliyun.in_transit([made])
