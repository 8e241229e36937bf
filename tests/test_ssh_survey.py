"""What a survey of machines says while a worker brings one: it is on its way, never absent and never off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hotdesk.core.model import Instance, Market, Offer, Phase, Survey
from hotdesk.core.ports import Keys
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.local import records as pool
from hotdesk.providers.local.runtime import locks
from hotdesk.providers.local.served import Told
from hotdesk.providers.ssh import records
from hotdesk.providers.ssh import survey as looking
from hotdesk.providers.ssh.hosts import Hosts
from hotdesk.providers.ssh.settings import Settings

OFFER = Offer(
    provider="ssh", region="ssh", zone="far", instance_type="ssh.cpu", market=Market.ON_DEMAND, vcpus=2,
    memory_gib=4, usd_per_hour=0.0,
)  # fmt: skip
ORDER = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=OFFER)


def launched(state: Path) -> tuple[records.Folder, int]:
    """A machine that was ordered, and the lock that its worker holds."""
    folder = records.machine(state, ORDER.name)
    folder.path.mkdir(parents=True)
    keys = Keys.within(str(state / "desks" / "blue"), "blue")
    pool.write(folder.path / "placed.json", records.Placed(order=ORDER, keys=keys))
    lock = locks.take(folder.lock)
    assert lock is not None
    return folder, lock


def seen(state: Path) -> list[Instance]:
    hosts = Hosts(state, Settings())
    return list(looking.survey(state, hosts, 0.1, lambda said: None).instances)


def test_a_machine_that_arrives_while_it_is_asked_about_is_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = launched(tmp_path)

    def answer(hosts: Hosts, names: tuple[str, ...]) -> dict[str, looking.Answer]:
        told = Told(survey=Survey(provider="local"), machines={}, free_bytes=1, now=1.0)
        if not folder.has("there"):
            folder.mark("there")  # … right after it has answered, and the worker is done
            os.close(lock)
        return {"far": told}

    monkeypatch.setattr(looking, "ask", answer)
    [machine] = seen(tmp_path)
    assert (machine.id, machine.phase) == (ORDER.name, Phase.PENDING)
    assert seen(tmp_path) == [], "absent in a later answer, it is gone"


@pytest.mark.parametrize("started", [0.0, 5.0])
def test_a_machine_whose_launch_is_under_way_is_not_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: float
) -> None:
    _, lock = launched(tmp_path)
    there = Instance(
        id=ORDER.name, name=ORDER.name, desk="blue", generation=1, phase=Phase.STOPPED, provider="local",
        region="local", zone="here", instance_type="local.cpu", started_at=started,
    )  # fmt: skip
    told = Told(survey=Survey(provider="local", instances=(there,)), machines={}, free_bytes=1, now=1.0)
    monkeypatch.setattr(looking, "ask", lambda hosts, names: {"far": told})
    [machine] = seen(tmp_path)
    assert machine.phase is (Phase.STOPPED if started else Phase.PENDING)
    os.close(lock)
    [machine] = seen(tmp_path)
    assert machine.phase is Phase.STOPPED, "nobody launches it any more"
