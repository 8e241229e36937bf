"""A crash before and after every call to AWS, followed by the same command: nothing is lost or doubled.

Each history is run once to count its boundaries, and then once for each of them: the first of each kind of
call in one test, all others in the next. What is checked is what the fake says exists, not what hotdesk
believes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal, Market, Want
from hotdesk.services.exposure import CALLER
from tests.aws_desk import HOME, TWO_DISKS, Laptop, offer, quick
from tests.boundaries import Boundaries, Enough, first_of_each, worth_a_crash

pytest.importorskip("moto", reason="moto is not installed")

ELSEWHERE = (offer("g5.xlarge", "us-west-2b", gpu="A10G"),)
HERE = (offer("g5.xlarge", gpu="A10G"),)
SPOT = (offer(market=Market.SPOT),)
US, THEM = "127.0.0.1", "198.51.100.7"


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> FakeEc2:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    return server


def on_demand(mine: Laptop) -> None:
    """up, work, park, resume elsewhere, down, gc"""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, ELSEWHERE) is None
    mine.work("tuesday")
    assert mine.do(Goal.GONE) is None
    assert mine.gc() == []
    assert [r["kind"] for r in mine.things()] in ([], ["instance"] * 2)  # ended ones stay listed for an hour


def spot(mine: Laptop) -> None:
    """(up on spot, work,) park, resume on spot, work, interrupted, on demand"""
    assert mine.do(Goal.RUNNING, SPOT) is None
    mine.boundaries.begin = mine.boundaries.count
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, SPOT) is None
    mine.work("tuesday")
    mine.fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(60.0)
    assert mine.do(Goal.RUNNING, ELSEWHERE) is None


def moved(mine: Laptop) -> None:
    """(up, work,) move to other hardware, work, off, on"""
    assert mine.do(Goal.RUNNING) is None
    mine.boundaries.begin = mine.boundaries.count
    mine.work("monday")
    assert mine.do(Goal.RUNNING, ELSEWHERE, move=True) is None
    mine.work("tuesday")
    assert mine.do(Goal.STOPPED) is None
    assert mine.do(Goal.RUNNING) is None


def retyped(mine: Laptop) -> None:
    """(up, work,) move to another type in the same zone, work"""
    assert mine.do(Goal.RUNNING) is None
    mine.boundaries.begin = mine.boundaries.count
    mine.work("monday")
    [before] = mine.machines()
    assert mine.do(Goal.RUNNING, HERE, move=True) is None
    [after] = mine.machines()
    assert (after["id"], after["type"]) == (before["id"], "g5.xlarge")
    assert [r["kind"] for r in mine.things() if r["kind"] in {"image", "snapshot"}] == []
    mine.work("tuesday")


def in_public(mine: Laptop) -> None:
    """(up,) opened, opened to others instead, private, opened, down, gc"""
    assert mine.do(Goal.RUNNING) is None
    mine.boundaries.begin = mine.boundaries.count
    for to, wanted in ((CALLER, [US]), (f"{THEM}/32", [THEM]), ("", []), (CALLER, [US])):
        mine.publish(to=to)
        assert mine.reached_by(US, THEM) == wanted
        assert mine.groups() == ["hotdesk", *(["hotdesk-blue-notebook"] if wanted else [])]
        if mine.crashes:
            raise Enough
    assert mine.do(Goal.GONE) is None
    assert mine.groups() == ["hotdesk"]
    assert mine.gc() == []
    assert mine.groups() == []


def two_disks(mine: Laptop) -> None:
    """(up on spot, with two disks, work on both,) taken back, resumed on demand, ended by hand, parked"""
    assert mine.do(Goal.RUNNING, SPOT, want=Want(image=TWO_DISKS)) is None
    mine.work("monday")
    mine.work("monday's data", device="/dev/sdf")
    mine.fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    mine.boundaries.begin = mine.boundaries.count
    assert mine.do(Goal.RUNNING, ELSEWHERE) is None
    mine.work("tuesday's data", device="/dev/sdf")
    mine.fake.post("console", id=mine.machines()[0]["id"], do="terminate")
    mine.time.sleep(60.0)
    assert mine.do(Goal.PARKED) is None


HISTORIES: dict[str, Callable[[Laptop], None]] = {
    "on-demand": on_demand,
    "spot": spot,
    "moved": moved,
    "retyped": retyped,
    "two disks": two_disks,
    "in-public": in_public,
}
LAGS = {"consistent": 0.0, "lagging": 20.0}
#: The first of each kind of call. With a lag, test_aws_abreast.py crashes several desks at once.
SHORT = {(history, "consistent", "first") for history in HISTORIES}
CASES = [
    pytest.param(*case, marks=() if case in SHORT else pytest.mark.long)
    for case in itertools.product(HISTORIES, LAGS, ("first", "others"))
]
_whole: dict[tuple[str, float], Boundaries] = {}  # by history and lag: one on which nothing goes wrong


def run(fake: FakeEc2, folder: Path, history: str, lag_seconds: float, *at: int) -> Laptop:
    with quick(fake, lag_seconds=lag_seconds):
        mine = Laptop(fake, folder, Boundaries(*at), lag_seconds=lag_seconds + 1 if lag_seconds else 0.0)
        mine.enough_after_crash = True
        try:
            HISTORIES[history](mine)
        except Enough:
            pass
        finally:
            mine.store.close()
    return mine


@pytest.mark.parametrize(("history", "lag", "part"), CASES)
def test_a_crash_at_every_call(fake: FakeEc2, tmp_path: Path, history: str, lag: str, part: str) -> None:
    lag_seconds = LAGS[lag]
    if (history, lag_seconds) not in _whole:
        whole = run(fake, tmp_path / "whole", history, lag_seconds)
        assert whole.crashes == 0
        _whole[history, lag_seconds] = whole.boundaries
    passed = _whole[history, lag_seconds]
    points = worth_a_crash(passed, lagging=lag_seconds > 0)
    first = first_of_each(points, passed.labels)
    for at in first if part == "first" else [at for at in points if at not in first]:
        crashed = run(fake, tmp_path / str(at), history, lag_seconds, at)
        assert crashed.crashes == 1, at
