"""A crash at every durable boundary of a whole day, and then two; the day goes on as if nothing was.

1. Somebody's day: up, work, park, resume, work, park, move to another region, work, stop, start,
   move within the zone, move to another region, move to another provider, down.
2. At one boundary (before or after a call, a survey, a write) the process is killed.
3. A new process, with nothing but the SQLite file and the cloud, goes on.
4. After every act the goal is reached in truth, no work is lost, nothing else is paid for.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hotdesk.core import clouds
from hotdesk.core.clouds import Cloud as Cloud_
from hotdesk.core.model import Bound, Goal, Market, Offer, Want
from tests.laptop import CrashAt, Laptop
from tests.sim import Cloud, Crash, Faults, offers

pytestmark = pytest.mark.slow
ELSEWHERE = "move to another provider"
Act = tuple[str, Goal, tuple[Offer, ...], bool]


@pytest.fixture(autouse=True)
def pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two providers have one store of images, as this computer and a machine in the lab have."""
    for name in ("sim", "other"):
        monkeypatch.setitem(clouds.KNOWN, name, Cloud_(name=name, label=name, factory="", pooled=True))


def day(market: Market) -> list[Act]:
    here = offers(market=market, region="r1")
    there = offers(market=market, region="r2")
    near = offers(market=market, region="r2", kind="gpu.big")
    gpu = offers(market=market, region="r1", kind="gpu.big")
    return [
        ("up", Goal.RUNNING, here, False),
        ("park", Goal.PARKED, (), False),
        ("resume", Goal.RUNNING, here, False),
        ("park", Goal.PARKED, (), False),
        ("resume elsewhere", Goal.RUNNING, there, False),
        ("stop", Goal.STOPPED, (), False),
        ("start", Goal.RUNNING, (), False),
        ("move within the zone", Goal.RUNNING, near, True),
        ("move", Goal.RUNNING, gpu, True),
        (ELSEWHERE, Goal.RUNNING, here, False),
        ("down", Goal.GONE, (), False),
    ]


def live_through(laptop: Laptop, acts: list[Act]) -> None:
    for name, goal, where, move in acts:
        more = {"bound": Bound(provider="other", want=Want(), offers=where)} if name == ELSEWHERE else {}
        while True:
            try:
                laptop.want("blue", goal, where, move=move, **more)
                break
            except Crash:
                laptop.crash()
        ask = laptop.settle("blue")
        assert ask is None, ask
        assert goal is Goal.GONE or laptop.store.desk("blue").bound is None, "it is where it was to go"
        laptop.check("blue", goal)
        laptop.work("blue")


def a_laptop(boundary: CrashAt, seed: int, folder: Path | None = None, **more: object) -> Laptop:
    cloud = Cloud(seed=seed, lag_seconds=20.0, faults=Faults(seconds=12.0), boundary=boundary, **more)  # type: ignore[arg-type]
    cloud.given_up = lambda desk: (row := laptop.store.find(desk)) is not None and row.goal is Goal.GONE
    laptop = Laptop(cloud, folder)
    return laptop


def boundaries(market: Market, seed: int) -> list[str]:
    """The boundaries of a day on which nothing goes wrong, in their order."""
    count = CrashAt()
    live_through(a_laptop(count, seed), day(market))
    return count.labels


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.long)])
def test_one_crash_at_every_boundary_of_a_day(market: Market, every: int) -> None:
    seed = 0
    labels = boundaries(market, seed)
    durable = [at for at, label in enumerate(labels, 1) if "survey" not in label]
    looks = [at for at, label in enumerate(labels, 1) if "survey" in label]
    assert len(durable) > 100
    for at in [*durable[::every], *looks[:: 6 * every]]:  # between two looks nothing changes but the time
        try:
            live_through(a_laptop(CrashAt(at), seed), day(market))
        except Exception as error:
            raise AssertionError(f"crash at boundary {at}, {labels[at - 1]}: {error}") from error


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("days", [12, pytest.param(80, marks=pytest.mark.long)])
def test_two_crashes_in_one_day(market: Market, days: int) -> None:
    total = len(boundaries(market, seed=7))
    pairs = random.Random(7)
    for _ in range(days):
        first = pairs.randrange(1, total)
        second = first + pairs.choice([1, 2, 3, pairs.randrange(1, total)])
        try:
            live_through(a_laptop(CrashAt(first, second), 7), day(market))
        except Exception as error:
            raise AssertionError(f"crashes at {first} and {second} of {total}: {error}") from error


@pytest.mark.parametrize("market", list(Market))
def test_crashes_with_a_real_file(market: Market, tmp_path: Path) -> None:
    total = len(boundaries(market, seed=3))
    for at in range(5, total, total // 6):
        laptop = a_laptop(CrashAt(at, at + 9), 3, tmp_path / str(at))
        live_through(laptop, day(market))
        laptop.store.close()
