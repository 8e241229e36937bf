"""Which way a moving desk's files go: straight, or through this computer, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.model import Desk, Goal
from hotdesk.services.route import Routes

BLUE = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="ssh")


@dataclass
class Link:
    """A cloud of two machines; `speed` 0: the one cannot be reached from the other."""

    speed: float

    def provider(self, name: str) -> Link:
        return self

    def straight(self, source: str, target: str) -> tuple[float, str]:
        return self.speed, "" if self.speed else "Connection refused"


class Between(Routes):
    def between(self, desk: Desk, moved: Desk) -> tuple[str, str] | None:
        return None if desk.provider == "local" else ("old", "new")


def routes(speed: float) -> Routes:
    clouds: Any = Link(speed)
    return Between(store=clouds, clouds=clouds)


@pytest.mark.parametrize(
    ("speed", "lines", "by", "why"),
    [
        (10e6, [5e6, 5e6], "direct", "faster than by this computer"),
        (2e6, [5e6, 5e6], "here", "this computer's line is faster"),
        (3e6, [5e6, 5e6], "direct", "faster"),  # both ways of the line, one after the other: 2.5 MB a second
        (1e6, [None, 5e6], "direct", "could not be measured"),
        (0.0, [5e6, 5e6], "here", "new cannot be reached from old: Connection refused"),
    ],
)
def test_the_faster_way_is_taken_and_said(speed: float, lines: list[float | None], by: str, why: str) -> None:
    route = routes(speed).chosen(BLUE, BLUE, "auto", lines)
    assert route is not None
    assert route["by"] == by
    assert why in route["why"]
    assert route["direct_bytes_per_second"] == (speed or None)


def test_what_was_asked_for_is_done_or_refused() -> None:
    assert routes(10e6).chosen(BLUE, BLUE, "here", [1.0, 1.0]) == {
        "by": "here", "why": "you asked for it", "direct_bytes_per_second": None,
    }  # fmt: skip
    slow = routes(1.0).chosen(BLUE, BLUE, "direct", [5e6, 5e6])
    assert slow is not None
    assert slow["by"] == "direct"
    with pytest.raises(NotAllowed, match="cannot be reached") as no:
        routes(0.0).chosen(BLUE, BLUE, "direct", [5e6, 5e6])
    assert "--route here" in no.value.fix
    home = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0)
    with pytest.raises(Usage, match="does not go straight"):
        routes(1.0).chosen(home, home, "direct")
    assert routes(1.0).chosen(home, home, "auto") is None
    assert routes(9e6).routed(BLUE, BLUE, "direct").there
    assert not routes(9e6).routed(BLUE, BLUE, "here").there


# ---- from a machine with an ssh login to a cloud ------------------------------------------------------


class Guarding(Link):
    """A cloud with rules of who may connect."""

    address_url = ""

    def let_in(self, machine_id: str, cidr: str, note: str) -> None:
        raise AssertionError

    def shut_out(self, machine_id: str, note: str) -> None:
        raise AssertionError


class ToCloud(Routes):
    def between(self, desk: Desk, moved: Desk) -> None:
        return None

    def outward(self, desk: Desk, moved: Desk) -> str | None:
        return "gpu1"


@pytest.mark.parametrize(("asked", "by"), [("auto", "here"), ("here", "here"), ("direct", "direct")])
def test_to_a_cloud_it_goes_straight_where_that_is_asked_for(asked: str, by: str) -> None:
    """Nobody can measure a way to a machine that is not there yet."""
    clouds: Any = Guarding(0.0)
    found = ToCloud(store=clouds, clouds=clouds)
    route = found.chosen(BLUE, BLUE, asked)
    assert route is not None
    assert (route["by"], route["direct_bytes_per_second"]) == (by, None)
    assert ("--route direct" in route["why"]) == (asked == "auto")
    assert found.routed(BLUE, BLUE, asked).there == (by == "direct"), "its image stays there until then"
