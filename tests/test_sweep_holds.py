"""Who goes on with a fleet stands in the cloud: the computer before launches and ends nothing any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import Busy, Kind, Refused, Unreachable
from hotdesk.core.fleet import Hold
from hotdesk.core.sweep.group import Wanted
from hotdesk.core.sweep.model import Sweep
from hotdesk.services.sweep_takeover import mark, take
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


@pytest.mark.parametrize("count", [1, 4])
def test_a_look_whose_answer_was_heard_an_hour_later_is_no_ground_to_act(group: Fleet, count: int) -> None:
    """The computer slept between question and answer, and another has gone on with the sweep since."""
    found = group.until(all_up(NAMES[:2]), NAMES[:2])
    ask = group.provider.fleet

    def slow(*given: Any) -> Any:
        answer = ask(*given)
        group.provider.holds.write(group.wanted.fleet, group.image, [m.id for m in found.members], B)
        group.laptop.time.sleep(3600.0)
        del group.provider.fleet
        return answer

    group.laptop.time.sleep(ACT_SECONDS)
    group.provider.fleet = slow
    group.machines.tick(wanted(group, count))
    assert len(group.there()) == 2
    with pytest.raises(TakenOver):
        group.machines.tick(wanted(group, count))


def test_what_this_computer_launched_late_does_not_hide_that_another_went_on(group: Fleet) -> None:
    """It slept in the middle of a launch, while another brought the sweep to its end: the image knows."""
    found = group.until(all_up(NAMES[:2]), NAMES[:2])
    order = replace(found.asked[-1].order, number=9)
    group.provider.holds.write(group.wanted.fleet, group.image, [m.id for m in found.members], B)
    group.laptop.time.sleep(300.0)
    group.provider.end_fleet([m.id for m in found.members])
    group.laptop.time.sleep(4000.0)
    assert group.provider.launch_fleet(order).machines
    with pytest.raises(TakenOver):
        group.machines.confirm(group.wanted)
    there = len(group.there())
    with pytest.raises(TakenOver):
        group.machines.tick(wanted(group, 2))
    assert len(group.there()) == there


def test_a_clock_that_is_set_back_puts_no_look_off(group: Fleet) -> None:
    found = group.until(all_up(NAMES[:2]), NAMES[:2])
    group.provider.holds.write(group.wanted.fleet, group.image, [m.id for m in found.members], B)
    group.machines._looked = group.laptop.time.now() + 7200.0
    with pytest.raises(TakenOver):
        group.machines.tick(wanted(group, 2))


def sweep(group: Fleet) -> Sweep:
    return replace(group.store.sweep(1), group=group.wanted.fleet)


def test_whoever_takes_over_marks_machines_that_are_not_up_yet_too(group: Fleet) -> None:
    """The one that was up may be gone by the next look of the computer before."""
    group.tick(NAMES[:3])
    held = take(group.provider, sweep(group), "b")
    assert held == B
    assert take(group.provider, sweep(group), "c") == Hold(number=2, computer="c")
    shown = group.provider.fleet(group.wanted.fleet, group.region)
    marks = {group.provider.holds.tags(m.id).get("held") for m in shown}
    assert len(shown) == 3
    assert marks == {"2 c"}


def test_of_two_that_take_over_at_the_same_second_one_gives_way(
    group: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.until(all_up(NAMES[:2]), NAMES[:2])
    kind = type(group.provider.holds)
    write = kind.write

    def both(self: Any, fleet: str, image: str, ids: Any, hold: Hold) -> None:
        write(self, fleet, image, ids, hold)
        write(self, fleet, image, ids, replace(hold, computer="c"))

    monkeypatch.setattr(kind, "write", both)
    with pytest.raises(Busy, match="c takes this sweep over"):
        take(group.provider, sweep(group), "b")
    later = replace(B, computer="c")
    assert group.provider.holds.of_image(group.wanted.fleet, group.image) == later
    group.laptop.time.sleep(ACT_SECONDS)
    with pytest.raises(TakenOver):
        group.machines.tick(wanted(group, 2))


def test_a_mark_whose_answer_was_lost_changes_nothing_here(
    group: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.until(all_up(NAMES[:2]), NAMES[:2])
    write = type(group.provider.holds).write

    def lost(*given: Any) -> None:
        write(*given)
        raise ConnectionResetError("the connection was closed")

    monkeypatch.setattr(type(group.provider.holds), "write", lost)
    clouds = SimpleNamespace(provider=lambda name: group.provider)
    with pytest.raises(Unreachable, match="is not known"):
        mark(SimpleNamespace(clouds=clouds), sweep(group), "b", "taken over")  # type: ignore[arg-type]
    monkeypatch.undo()
    assert take(group.provider, sweep(group), "b").number == 2


def test_an_image_that_is_gone_says_so(group: Fleet) -> None:
    with pytest.raises(Refused):
        group.provider.holds.of_image("sweep1-abc123", f"{group.region}/ami-0123456789abcdef0")


def test_marks_of_sweeps_that_are_over_take_few_tags_and_say_the_same(group: Fleet) -> None:
    """Thirteen sweeps from one image went on at another computer, one after another; an image of Alibaba
    Cloud takes 20 tags in all."""
    holds, names = group.provider.holds, [f"sweep{n}-{n:06x}" for n in range(10, 23)]
    tags = len(holds.image_tags(*group.image.split("/")))
    over: dict[str, Hold] = {}
    for n, name in enumerate(names, 1):
        over[name] = Hold(number=n, computer="tower")
        holds.write(name, group.image, [], over[name])
        holds.settle(group.image, over)
        holds.settle(group.image, over)  # its answer was lost
    assert len(holds.image_tags(*group.image.split("/"))) <= tags + 2
    assert {name: holds.of_image(name, group.image) for name in names} == over
    assert holds.of_image("sweep9-00000a", group.image) == Hold()
    assert take(group.provider, replace(sweep(group), group=names[3]), "b") == Hold(number=5, computer="b")
    holds.settle(group.image, over)  # by the one before, which comes back late
    assert holds.of_image(names[3], group.image) == Hold(number=5, computer="b")


def test_two_computers_write_no_mark_of_each_other(group: Fleet) -> None:
    holds = group.provider.holds
    for name, computer in (("sweep1-aaaaaa", "a"), ("sweep2-bbbbbb", "b"), ("sweep3-cccccc", "a")):
        holds.write(name, group.image, [], Hold(number=1, computer=computer))
    holds.settle(group.image, {"sweep2-bbbbbb": Hold(number=1, computer="b")})
    mine = {name: Hold(number=1, computer="a") for name in ("sweep1-aaaaaa", "sweep3-cccccc")}
    holds.settle(group.image, mine | {"sweep2-bbbbbb": Hold(number=1, computer="a")})
    told = holds.image_tags(*group.image.split("/"))
    assert {k: v for k, v in told.items() if k.startswith(("held-", "over-"))} == {
        "over-1-aaaaaa": "a 1-aaaaaa:1 3-cccccc:1", "over-2-bbbbbb": "b 2-bbbbbb:1",
    }  # fmt: skip


def test_a_sweep_that_was_taken_over_once_it_was_over_keeps_the_mark_of_who_had_it_last(group: Fleet) -> None:
    """Its first tag of many is of the computer before, which may write it at any time."""
    holds, name = group.provider.holds, "sweep1-aaaaaa"
    for number, computer in ((1, "a"), (2, "b")):
        last = Hold(number=number, computer=computer)
        holds.write(name, group.image, [], last)
        holds.settle(group.image, {name: last})
        assert holds.of_image(name, group.image) == last
    told = holds.image_tags(*group.image.split("/"))
    assert told["over-1-aaaaaa"] == "a 1-aaaaaa:1"


@pytest.mark.parametrize("refused", [False, True])
def test_the_end_of_a_sweep_makes_room_for_marks_and_goes_on_without(group: Fleet, refused: bool) -> None:
    found = group.until(all_up(NAMES[:2]), NAMES[:2])
    group.provider.holds.write(group.wanted.fleet, group.image, [m.id for m in found.members], B)
    second = other(group)
    group.laptop.time.sleep(SETTLE_SECONDS)
    if refused:  # by a policy of before
        kind = type(group.provider.holds)
        denied = Refused(Kind.DENIED, "You are not authorized.")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "untag_image", lambda *given: (_ for _ in ()).throw(denied))
            ended(group, second)
    else:
        ended(group, second)
    keys = group.provider.holds.image_tags(*group.image.split("/"))
    assert (f"held-{group.wanted.fleet}" in keys) is refused
    group.laptop.time.sleep(4000.0)
    with pytest.raises(TakenOver):
        group.machines.confirm(group.wanted)


def ended(group: Fleet, machines: Machines) -> None:
    none = wanted(group, 0, held=str(B))
    for _ in range(40):
        machines.tick(none)
        group.laptop.time.sleep(30.0)
        if machines.clear(none):
            return
    raise AssertionError("it does not end")
