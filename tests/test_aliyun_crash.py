"""A crash before and after every call to Alibaba Cloud, then the same command: nothing is lost or doubled.

Each history is run once to count its boundaries, and then once for each of them that can differ. What is
checked is what the fake says exists, not what hotdesk believes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hotdesk.core.model import Goal, Market
from tests.aliyun_desk import Laptop, as_new, offer, with_a_network
from tests.boundaries import Boundaries, Enough, first_of_each, worth_a_crash
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs

ELSEWHERE = (offer("ecs.gn6i-c4g1.xlarge", "cn-hangzhou-j"),)
HERE = (offer("ecs.gn7i-c16g1.4xlarge"),)
SPOT = (offer(market=Market.SPOT), *ELSEWHERE)


@pytest.fixture
def fake(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    as_new(ecs, monkeypatch)
    return ecs


def on_demand(mine: Laptop) -> None:
    """up (without a network yet), work, park, resume elsewhere, work, down"""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, ELSEWHERE) is None
    mine.work("tuesday")
    assert mine.do(Goal.GONE) is None


def spot(mine: Laptop) -> None:
    """(up on spot, work,) taken back, its pool sold out: saved and launched elsewhere, on demand"""
    assert mine.do(Goal.RUNNING, SPOT) is None
    mine.boundaries.begin = mine.boundaries.count
    mine.work("monday")
    [machine] = mine.machines()
    mine.fake.world.sold_out = {("*", "*", "spot")}
    life.reclaim(mine.fake.world, machine)
    mine.time.sleep(400.0)
    assert machine.status == "Stopped"
    assert mine.do(Goal.RUNNING) is None
    [moved] = mine.machines()
    assert (moved.strategy, moved.type) == ("NoSpot", "ecs.gn6i-c4g1.xlarge")


def retyped(mine: Laptop) -> None:
    """(up, work,) move to another type in the same zone, work, off, on"""
    assert mine.do(Goal.RUNNING) is None
    mine.boundaries.begin = mine.boundaries.count
    mine.work("monday")
    [before] = mine.machines()
    assert mine.do(Goal.RUNNING, HERE, move=True) is None
    [after] = mine.machines()
    assert (after.id, after.type) == (before.id, "ecs.gn7i-c16g1.4xlarge")
    mine.work("tuesday")
    assert mine.do(Goal.STOPPED) is None
    assert mine.do(Goal.RUNNING) is None


pytestmark = pytest.mark.slow
HISTORIES: dict[str, Callable[[Laptop], None]] = {"on-demand": on_demand, "spot": spot, "retyped": retyped}
_whole: dict[str, Boundaries] = {}


def run(fake: FakeEcs, folder: Path, history: str, *at: int) -> Laptop:
    fake.reset()
    if history != "on-demand":
        with_a_network(fake, "cn-hangzhou")
    mine = Laptop(fake, folder, Boundaries(*at))
    mine.enough_after_crash = True
    try:
        HISTORIES[history](mine)
    except Enough:
        pass
    finally:
        mine.store.close()
    return mine


@pytest.mark.parametrize("part", ["first", pytest.param("others", marks=pytest.mark.long)])
@pytest.mark.parametrize("history", HISTORIES)
def test_a_crash_at_every_call(fake: FakeEcs, tmp_path: Path, history: str, part: str) -> None:
    if history not in _whole:
        whole = run(fake, tmp_path / "whole", history)
        assert whole.crashes == 0
        _whole[history] = whole.boundaries
    passed = _whole[history]
    points = worth_a_crash(passed, lagging=False)
    first = first_of_each(points, passed.labels)
    for at in first if part == "first" else [at for at in points if at not in first]:
        crashed = run(fake, tmp_path / str(at), history, at)
        assert crashed.crashes == 1, at
