"""Who goes on with a fleet stands in the cloud: the computer before launches and ends nothing any more."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.core.fleet import Hold
from hotdesk.core.sweep.group import Wanted
from hotdesk.sweep.machines import ACT_SECONDS, SETTLE_SECONDS, Machines
from hotdesk.sweep.site import TakenOver
from tests import test_sweep_machines
from tests.test_sweep_machines import NAMES, Fleet, all_up

fake, fleet, ali = test_sweep_machines.fake, test_sweep_machines.fleet, test_sweep_machines.ali  # fixtures
B = Hold(number=1, computer="b")


@pytest.fixture(params=["aws", "aliyun"])
def group(request: pytest.FixtureRequest) -> Fleet:
    found: Fleet = request.getfixturevalue("fleet" if request.param == "aws" else "ali")
    return found


def other(group: Fleet, hold: Hold = B) -> Machines:
    """The machines as another computer with the same record sees them."""
    known = group.machines
    return Machines(
        number=1, region=known.region, provider=known.provider, store=known.store, clock=known.clock,
        hold=hold, held_at=known.clock.now(),
    )  # fmt: skip


def wanted(group: Fleet, count: int, **more: Any) -> Wanted:
    return replace(group.wanted, names=NAMES[:count], **more)


def test_the_computer_before_does_nothing_once_another_goes_on(group: Fleet) -> None:
    """Neither launches more, nor ends what it would not need; and the other's machines say whose they are."""
    found = group.until(all_up(NAMES[:2]), NAMES[:2])
    group.provider.holds.write(group.wanted.fleet, group.image, [m.id for m in found.members], B)
    for count in (1, 4):
        group.laptop.time.sleep(ACT_SECONDS)
        with pytest.raises(TakenOver) as taken:
            group.machines.tick(wanted(group, count))
        assert taken.value.hold == B
        assert len(group.there()) == 2
    second = other(group)
    assert len(second.tick(wanted(group, 4, held=str(B))).alive) == 2, "not before the first one sees it"
    group.laptop.time.sleep(SETTLE_SECONDS)
    assert len(second.tick(wanted(group, 4, held=str(B))).alive) == 4
    tags = group.provider.holds.tags
    second.look(second.group(), wanted(group, 4))
    assert {tags(m.id).get("held") for m in second.group().alive} == {str(B)}


def test_where_no_machine_is_left_the_image_says_who_went_on(group: Fleet) -> None:
    """The first computer slept while another brought the sweep to its end."""
    found = group.until(all_up(NAMES[:2]), NAMES[:2])
    group.machines.confirm(group.wanted)
    group.provider.holds.write(group.wanted.fleet, group.image, [m.id for m in found.members], B)
    group.laptop.time.sleep(300.0)
    group.provider.end_fleet([m.id for m in found.members])
    group.laptop.time.sleep(4000.0)  # EC2 lists what has ended for an hour
    with pytest.raises(TakenOver):
        group.machines.confirm(group.wanted)
    other(group).confirm(group.wanted)
    later = Hold(number=2, computer="a")
    other(group, later).confirm(group.wanted)
    assert group.provider.holds.of_image(group.wanted.fleet, group.image) == B
    assert group.provider.holds.of_image("sweep2-abc123", group.image) == Hold()


def test_a_sweep_that_has_asked_for_nothing_yet_asks_nobody(group: Fleet) -> None:
    group.machines.confirm(group.wanted)


def test_a_computer_that_slept_since_its_last_look_launches_nothing(group: Fleet) -> None:
    """Its look is too old by the time of the launch: it looks again first."""
    look, slept = group.machines.look, []

    def slow(*given: Any) -> Any:
        found = look(*given)
        slept.append(True)
        if len(slept) == 1:
            group.laptop.time.sleep(ACT_SECONDS + 1)
        return found

    group.machines.look = slow  # type: ignore[method-assign]
    group.machines.tick(wanted(group, 2))
    assert group.there() == []
    group.laptop.time.sleep(60.0)
    group.machines.tick(wanted(group, 2))
    assert len(group.there()) == 2
