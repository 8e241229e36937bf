"""When a machine whose cloud ends it at a known time is left: neither too early nor for a wrong time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.connect.limits import read, to_tell
from hotdesk.core.errors import Kind
from hotdesk.core.lifecycle.ending import LEAVE_SECONDS, end_of, vacate
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan
from hotdesk.core.model import Desk, Goal, Instance, Offer, Phase, Seen
from hotdesk.core.ports import Access
from hotdesk.core.steps import Ask, Done, Launch, LaunchOrder, Row, Unsure, Vacate, Wait
from hotdesk.guest import agent
from hotdesk.loop.leases import LONGEST_SECONDS, period

ENDS, DAY = 100_000.0, 86_400.0
OFFER = Offer(
    provider="aws", region="us-west-2", zone="us-west-2b", instance_type="g4dn.xlarge", ends_at=ENDS
)
ORDER = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=OFFER)
LAUNCH = Row(
    id=1,
    desk="blue",
    at=1.0,
    ended_at=2.0,
    step=Launch(order=ORDER, why=""),
    outcome=Done(id="us-west-2/i-1"),
)
DESK = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="aws", offers=(OFFER,))
MACHINE = Instance(
    id="us-west-2/i-1", name=ORDER.name, desk="blue", generation=1, phase=Phase.READY, provider="aws",
    region="us-west-2", zone="us-west-2b", instance_type="g4dn.xlarge", started_at=2.0, ends_at=ENDS,
)  # fmt: skip


def left(now: float, machine: Instance = MACHINE, desk: Desk = DESK) -> object:
    return vacate(desk, Seen(instances=(machine,)), Past([LAUNCH]), now)


def test_a_desk_is_left_alone_until_a_quarter_of_an_hour_before() -> None:
    assert LEAVE_SECONDS == 900.0
    assert left(ENDS - 901.0) is None
    assert isinstance(left(ENDS - 899.0), Vacate)
    assert isinstance(left(ENDS - 899.0, desk=replace(DESK, since=ENDS - 899.5)), Ask)
    assert left(ENDS - 899.0, desk=replace(DESK, goal=Goal.STOPPED)) is None


@pytest.mark.parametrize("ends", [0.0, -5.0, 1.0, ENDS - DAY])
def test_a_machine_that_runs_although_its_end_is_past_is_let_be(ends: float) -> None:
    machine = replace(MACHINE, ends_at=ends)
    assert end_of(machine, ENDS) == 0.0
    assert left(ENDS, machine) is None


def test_one_that_has_ended_is_not_launched_elsewhere_though_its_cloud_forgot_when() -> None:
    ended = replace(MACHINE, phase=Phase.ENDED, ends_at=0.0)
    assert isinstance(left(ENDS + 5000.0, ended), Vacate)
    assert left(ENDS - 5000.0, ended) is None, "it was ended by something else"


@pytest.mark.parametrize("kind", [Kind.THROTTLED, None])
def test_what_is_looked_for_after_a_failure_is_no_answer(kind: Kind | None) -> None:
    failed = replace(LAUNCH, outcome=Unsure(kind=kind, message="502"))
    [wait] = plan(DESK, Seen(lag_seconds=30.0), Past([failed]), 10.0)
    assert isinstance(wait, Wait)
    assert wait.silent is (kind is Kind.THROTTLED)


# ---- the agent there, which knows the end by the launch ----------------------------------------------


@pytest.mark.parametrize(
    ("told", "announced"),
    [
        (None, True),
        ({"ends_seconds": DAY}, False),
        ({"ends_seconds": 300.0}, True),
        ({"ends_seconds": -DAY}, True),  # of the machine before: it came with the image
        ({"lease_seconds": 3600.0}, True),
        ({"ends_seconds": "soon"}, True),
        ({"ends_seconds": 1e400}, True),
        ([], True),
    ],
)
def test_an_end_that_was_put_off_is_not_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Any, announced: bool
) -> None:
    monkeypatch.setenv("HOTDESK_HOMES", str(tmp_path))
    monkeypatch.setattr(agent, "ENDS", time.time() + 200.0)
    if told is not None:
        (tmp_path / ".hotdesk").mkdir()
        (tmp_path / ".hotdesk" / "leave").write_text(json.dumps(told))
    assert (agent.known_end() is not None) == announced
    monkeypatch.setattr(agent, "ENDS", 0.0)
    assert agent.known_end() is None, "its cloud ends it at no known time"


def test_a_desk_in_a_block_is_told_when_that_ends_though_it_has_no_lease() -> None:
    access = Access(
        desk="blue", host="h", port=22, user="me", key_path="k", known_hosts_path="n", alias="a",
        notebook_port=8888, ends_at=ENDS + DAY,
    )  # fmt: skip
    assert period(DESK) == LONGEST_SECONDS
    assert period(replace(DESK, offers=())) == 0.0
    said = to_tell(access, DESK, ENDS)
    assert said == {"ends_seconds": DAY}
    assert to_tell(access, DESK, ENDS + 2 * DAY) == {}
    assert read(f"--\n--\n1\n{json.dumps(said)}".encode()).limits == {}, "it is no limit"
