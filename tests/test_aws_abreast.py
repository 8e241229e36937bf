"""Several desks on AWS at once: their calls overlap, and a crash in the middle loses and doubles nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal
from hotdesk.core.steps import Row
from tests.aws_desk import HOME, Laptop, quick
from tests.boundaries import Boundaries, Crash

pytest.importorskip("moto", reason="moto is not installed")

EIGHT = [f"desk-{number}" for number in range(8)]
THREE = EIGHT[:3]


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> FakeEc2:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    return server


class Meeting(Boundaries):
    """No call of one kind is sent before so many of them are about to be."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__()
        self.call = call
        self.here = threading.Barrier(number)

    def before(self, name: str) -> None:
        super().before(name)
        if name == self.call:
            self.here.wait(60.0)


def settle(mine: Laptop) -> None:
    """Let the loop come to its end for all desks, through crashes too."""
    while True:
        try:
            tick = mine.reconciler.tick()
            assert tick.asks == {}
            if tick.seconds is None:
                return
            mine.time.sleep(tick.seconds)
        except Crash:
            mine.crash()


def one_key(mine: Laptop, names: list[str]) -> None:
    """All desks have the keys of the first: a good password hash takes a while."""
    mine.keys(names[0])
    for name in names[1:]:
        folder = mine.folder / "desks" / name
        folder.mkdir(parents=True)
        for file in (mine.folder / "desks" / names[0]).iterdir():
            if file.name != ".lock":
                (folder / file.name).write_text(file.read_text().replace(names[0], name))
                (folder / file.name).chmod(0o600)


def test_eight_launches_are_on_their_way_at_once(fake: FakeEc2, tmp_path: Path) -> None:
    with quick(fake):
        fake.post("delay", action="RunInstances", seconds=0.3)
        mine = Laptop(fake, tmp_path, Meeting("RunInstances", 8))
        one_key(mine, EIGHT)
        for name in EIGHT:
            mine.want(name, Goal.RUNNING)
        rows = mine.reconciler.tick().rows
        assert [(r.desk, r.done) for r in rows] == [(name, True) for name in EIGHT]
        assert len(fake.get("log", action="RunInstances")) == 8
        settle(mine)
        for name in EIGHT:
            mine.check(name, Goal.RUNNING)
        assert sorted(a.desk for a in mine.proven) == EIGHT
        mine.store.close()


def test_two_desks_that_are_the_first_in_a_region_share_one_group(fake: FakeEc2, tmp_path: Path) -> None:
    """1. Neither sees a group. 2. Both make it. 3. One is told that it exists, and takes it."""
    with quick(fake):
        mine = Laptop(fake, tmp_path, Meeting("CreateSecurityGroup", 2))
        one_key(mine, EIGHT[:2])
        for name in EIGHT[:2]:
            mine.want(name, Goal.RUNNING)
        assert all(row.done for row in mine.reconciler.tick().rows)
        assert sorted(r["status"] for r in fake.get("log", action="CreateSecurityGroup")) == [200, 400]
        assert [t["tags"].get("hotdesk") for t in mine.things("security-group")] == ["1"]
        settle(mine)
        for name in EIGHT[:2]:
            mine.check(name, Goal.RUNNING)
        mine.store.close()


def test_a_machine_that_is_not_listed_yet_is_awaited_by_the_next_process_too(
    fake: FakeEc2, tmp_path: Path
) -> None:
    """1. A launch is done, and the process dies. 2. The next one sees nothing for 20 s, and launches nothing:
    what it saw after 10 s must not stand for what it would see after 20 s."""
    with quick(fake, lag_seconds=20.0):
        mine = Laptop(fake, tmp_path, lag_seconds=21.0)
        mine.want("blue", Goal.RUNNING)
        assert [row.done for row in mine.reconciler.tick().rows] == [True]
        mine.crash()
        settle(mine)
        mine.check("blue", Goal.RUNNING)
        assert len(fake.get("log", action="RunInstances")) == 1
        mine.store.close()


def day(mine: Laptop) -> None:
    """up, park, down: three desks at once"""
    for goal in (Goal.RUNNING, Goal.PARKED, Goal.GONE):
        for name in THREE:
            mine.want(name, goal)
        settle(mine)
        for name in THREE:
            mine.check(name, goal)


def left_by(mine: Laptop) -> list[list[Row]]:
    """The journal as each crash left it."""
    found: list[list[Row]] = []
    again = mine.crash

    def crash() -> None:
        found.append(mine.store.rows())
        again()

    mine.crash = crash  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize(
    ("lag_seconds", "first"),
    [
        pytest.param(0.0, 3, id="consistent", marks=pytest.mark.long),
        pytest.param(20.0, 12, id="lagging"),
    ],
)
def test_a_crash_while_several_desks_are_acted_on(
    fake: FakeEc2, tmp_path: Path, lag_seconds: float, first: int
) -> None:
    """Which thread comes first is not known; wherever it dies, each desk comes to its goal once."""
    crashes = 0
    for at in range(first, 147, 18):  # of about 150 boundaries
        with quick(fake, lag_seconds=lag_seconds):
            lag = lag_seconds + 1 if lag_seconds else 0.0
            mine = Laptop(fake, tmp_path / str(at), Boundaries(at), lag_seconds=lag)
            left = left_by(mine)
            one_key(mine, THREE)
            day(mine)
            mine.store.close()
        crashes += mine.crashes
        for rows in left:
            assert not [row for row in rows if row.outcome and not row.done], "nobody was told anything else"
            assert len([r for r in rows if r.outcome is None]) <= len(THREE)
    assert crashes >= 7
