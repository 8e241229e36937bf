"""`park --no-wait`: whoever parks may go once the machine is off; the next one who looks goes on."""

from __future__ import annotations

import json
import time

import pytest
from msgspec.structs import replace

from hotdesk.core.lifecycle.shutdown import is_off, powered
from hotdesk.core.model import Goal, Offer, Phase, Survey
from tests.conftest import Command
from tests.laptop import HERE, SPOT, a_desk, reach
from tests.local_rig import one_desk, tool


@pytest.mark.parametrize("where", [HERE, SPOT], ids=["on-demand", "spot"])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_by_who_goes_once_the_machine_is_off(seed: int, where: tuple[Offer, ...]) -> None:
    """1. Parked, and left as soon as nothing is paid for the machine. 2. The computer is off for a day, and
    what was in memory is gone. 3. Whoever comes next ends it: all work is in an image."""
    cloud, laptop = a_desk(seed=seed)
    reach(laptop, Goal.RUNNING, where)
    laptop.want("blue", Goal.PARKED)
    tick = laptop.reconciler.settle(laptop.store.desk("blue"), is_off)
    machines = [thing.value for thing in cloud.machines()]
    assert not any(powered(machine) for machine in machines)
    assert cloud.violations == []
    if tick.seconds is not None:
        assert not [i for i in tick.seen["blue"].images if i.verified], "there was more to wait for"
    laptop.crash()
    laptop.clock.sleep(86_400.0)
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.PARKED)
    reach(laptop, Goal.RUNNING, where)


@pytest.mark.parametrize("seed", range(4))
def test_who_comes_back_before_it_is_saved_has_all_of_it(seed: int) -> None:
    cloud, laptop = a_desk(seed=seed)
    reach(laptop, Goal.RUNNING, HERE)
    laptop.want("blue", Goal.PARKED)
    laptop.reconciler.settle(laptop.store.desk("blue"), is_off)
    laptop.crash()
    reach(laptop, Goal.RUNNING, HERE)
    assert cloud.violations == []


def test_a_machine_that_is_not_listed_or_still_costs_is_not_off() -> None:
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    [machine] = [thing.value for thing in cloud.machines()]

    def seen(**changes: object) -> bool:
        survey = Survey(provider="sim", instances=(replace(machine, **changes),))
        return is_off(survey.of("blue"))

    assert not is_off(Survey(provider="sim").nothing)
    assert not seen(phase=Phase.READY)
    assert not seen(phase=Phase.STOPPING)
    assert not seen(phase=Phase.STOPPED, charged_while_off=True)
    assert seen(phase=Phase.STOPPED)


@pytest.mark.slow
@tool("ssh")
@one_desk("park no wait")
def test_the_command_says_what_goes_on_and_it_does(hotdesk: Command) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo kept > file").returncode == 0
    parked = hotdesk("park", "blue", "--no-wait", "--yes")
    assert parked.returncode == 0, parked.stderr
    assert "blue is off: you can go." in parked.stdout or "blue is parked" in parked.stdout
    limit = time.monotonic() + 120
    while json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] != "parked":
        assert time.monotonic() < limit, parked.stdout
        time.sleep(0.5)
    hotdesk("watch", "--stop")
    assert hotdesk("resume", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat", "file").stdout == "kept\n"
