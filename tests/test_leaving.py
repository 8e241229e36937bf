"""Limits and the budget from the command line, where no desk has to run."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from hotdesk.api import Hotdesk
from hotdesk.connect.limits import limits
from hotdesk.core.errors import NotAllowed
from hotdesk.core.model import Desk, Goal, Offer
from hotdesk.core.steps import Done, Launch, LaunchOrder
from hotdesk.services.limits import Limits, idle_words
from tests.conftest import Command
from tests.laptop import SPOT, a_desk, reach
from tests.local_rig import tool

DESK = Desk(name="blue", goal=Goal.RUNNING, since=0.0, created_at=0.0)


def test_limits_are_said_in_seconds_from_now() -> None:
    assert limits(DESK, 1000.0) == {}
    told = Limits(idle_minutes=0.0, lease_hours=2.0, hours=8.0).of(DESK, 1000.0)
    assert limits(told, 4600.0) == {"idle_minutes": 0.0, "lease_seconds": 7200.0, "stop_seconds": 25_200.0}
    assert Limits().of(told, 5000.0) == told
    assert idle_words(DESK, 0.0) == "never"
    assert idle_words(told, 1000.0) == "never, lease 2 h, ends in 8.0 h"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stay", "soon"], "a duration"),
        (["stay", "a", "b", "2h"], "One desk"),
        (["up", "blue", "--idle", "x"], "--idle never"),
        (["up", "blue", "--idle", "-5"], "--idle never"),
        (["up", "blue", "--until", "tomorrow"], "a duration"),
    ],
)
def test_bad_words(hotdesk: Command, words: list[str], said: str) -> None:
    done = hotdesk(*words)
    assert done.returncode == 2
    assert said in done.stderr


def spent(desks: Hotdesk, usd: float) -> None:
    """A journal in which a machine has cost that much within an hour, all of it this month."""
    now = desks.services.clock.now()
    month = dt.datetime.fromtimestamp(now, dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    began = min(max(now - 3600, month.timestamp()), now - 1)
    offer = Offer(
        provider="local", region="r", zone="z", instance_type="t", usd_per_hour=usd * 3600 / (now - began)
    )
    order = LaunchOrder(desk="old", born=1.0, generation=1, attempt=0, offer=offer)
    [row] = desks.services.store.begin([("old", Launch(order=order, why=""))], began)
    desks.services.store.end(row, Done(id="i-1"), began)


@pytest.mark.parametrize(("usd", "level"), [(70.0, ""), (85.0, "warns"), (101.0, "refuses")])
def test_the_budget(home: Path, usd: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "hotdesk.toml").write_text("[defaults]\nusd_per_month = 100\n")
    with Hotdesk() as desks:
        now = desks.services.clock.now()
        middle = now - now % 86_400 + 43_200  # never across the end of a month
        monkeypatch.setattr(desks.services.clock, "now", lambda: middle)
        spent(desks, usd)
        if level == "refuses":
            with pytest.raises(NotAllowed) as error:
                desks.services.billing.check_budget()
            assert "--over-budget" in error.value.fix
        else:
            assert bool(desks.services.billing.check_budget()) == (level == "warns")
            desk = Desk(name="blue", goal=Goal.RUNNING, since=middle, created_at=middle)
            desks.services.store.put(desk)
            for _ in range(2):
                desks.services.billing.within_budget(desk)
            told = [row.step.why for row in desks.log("blue")]
            assert told == ["$85.00 of this month's budget of $100.00 is spent."] * (level == "warns")


BUDGET = "[defaults]\nusd_per_month = 100\n"


@tool("ssh")
def test_every_verb_that_may_launch_asks_the_budget(hotdesk: Command, home: Path) -> None:
    """up, resume, start, move and run, refused alike; what runs already is nobody's business."""
    assert hotdesk("up", "blue").returncode == 0
    (home / "hotdesk.toml").write_text(BUDGET)
    with Hotdesk() as desks:
        spent(desks, 130.0)
    project = home / "project"
    project.mkdir()
    assert hotdesk("up", "blue").returncode == 0, "it runs: nothing is launched"
    assert hotdesk("stop", "blue").returncode == 0
    for words in (["up", "blue"], ["up", "other"], ["resume", "blue"], ["start", "blue"],
                  ["move", "blue", "--type", "local.cpu"]):  # fmt: skip
        done = hotdesk(*words)
        assert done.returncode == 3, words
        assert "$100.00" in done.stderr
        assert "--over-budget" in done.stderr
    (project / "hotdesk.toml").write_text(BUDGET)
    os.chdir(project)
    done = hotdesk("run", "blue", "--", "true")
    assert (done.returncode, "--over-budget" in done.stderr) == (3, True), done.stderr
    os.chdir(home)
    with Hotdesk() as desks:
        assert desks.services.store.desk("blue").goal is Goal.STOPPED, "a refused wish is not written down"
        assert desks.services.store.find("other") is None
    assert hotdesk("start", "blue", "--over-budget").returncode == 0
    assert hotdesk("stop", "blue").returncode == 0
    assert hotdesk("start", "blue").returncode == 3, "it was agreed to once"


def test_a_watcher_launches_nothing_past_the_budget() -> None:
    """A spot machine is taken back at night, and the month's money is gone."""
    from hotdesk.core.steps import Ask

    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, SPOT)
    [machine] = cloud.machines()
    cloud.interrupt(machine.value.id)
    cloud.quiet()
    no = Ask(what="spent", why="", fix="")
    laptop.reconciler.may = lambda desk, step: no if isinstance(step, Launch) else None
    assert laptop.settle("blue") == no
    assert cloud.machines() == []
    assert cloud.images("blue"), "its disk is saved all the same"
