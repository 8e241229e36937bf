"""Two computers and one fleet, in memory: whoever sleeps, never do two launch or end machines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import Busy
from hotdesk.core.fleet import FleetOrder, FleetReply, Hold, Launched
from hotdesk.core.model import Instance, Market, Phase
from hotdesk.core.sweep.group import Group, Member, Wanted
from hotdesk.core.sweep.model import Sweep
from hotdesk.services.sweep_takeover import take
from hotdesk.sweep import record
from hotdesk.sweep.machines import ACT_SECONDS, SETTLE_SECONDS, Machines
from hotdesk.sweep.store import SweepStore
from tests.aws_desk import offer
from tests.sweep_world import WorldClock

FLEET, NAMES = "sweep1-abc123", ("sweep1-1", "sweep1-2", "sweep1-3", "sweep1-4")
POOLS = tuple(offer("m7i.large", "us-west-2a", market, gpu="", price=0.1) for market in Market)
SWEEP = Sweep(
    number=1, desk="blue", image="us-west-2/ami-1", provider="aws", command=("x",), folder="/p",
    created_at=1.0, group=FLEET,
)  # fmt: skip
SHOWN = Instance(
    id="", name="", desk=FLEET, generation=0, phase=Phase.READY, provider="aws", region="us-west-2",
    zone="us-west-2a", instance_type="m7i.large",
)  # fmt: skip


class Cloud:
    """Machines with tags, an image with marks, and a clock."""

    lag_seconds = poll_seconds = 1.0

    def __init__(self) -> None:
        self.clock = WorldClock()
        self.machines: dict[str, tuple[Instance, dict[str, str]]] = {}
        self.shown: dict[str, dict[str, str]] = {}  # tags, as last looked at
        self.marks: dict[str, Hold] = {}
        self.asked: list[FleetOrder] = []
        self.after: list[Callable[[], None]] = []  # of the next looks: until their answers are heard
        self.rivals: list[str] = []  # who write a mark in the same second

    @property
    def holds(self) -> Cloud:
        return self

    # ---- holds -----------------------------------------------------------------------------------------

    def tags(self, machine_id: str) -> Mapping[str, str]:
        return self.shown[machine_id]

    def of_image(self, fleet: str, image_id: str) -> Hold:
        return self.marks.get(fleet, Hold())

    def write(self, fleet: str, image_id: str, machine_ids: Collection[str], hold: Hold) -> None:
        for one in (hold, *(replace(hold, computer=rival) for rival in self.rivals)):
            self.marks[fleet] = one
            for id_ in machine_ids:
                self.machines[id_][1]["held"] = str(one)

    # ---- machines --------------------------------------------------------------------------------------

    def fleet(self, fleet: str, region: str) -> Sequence[Instance]:
        found = [machine for machine, _ in self.machines.values()]
        tags = {id_: dict(told) for id_, (_, told) in self.machines.items()}
        if self.after:
            self.after.pop(0)()
        self.shown = tags
        return found

    def launch_fleet(self, order: FleetOrder) -> FleetReply:
        self.asked.append(order)
        new = [f"us-west-2/i-{len(self.asked)}-{n}" for n in range(order.count)]
        for id_ in new:
            shown = replace(SHOWN, id=id_, market=order.offers[0].market)
            self.machines[id_] = shown, {"held": order.held}
        return FleetReply(machines=tuple(Launched(id=id_, offer=order.offers[0]) for id_ in new))

    def end_fleet(self, ids: Collection[str]) -> None:
        for id_ in ids:
            shown, tags = self.machines[id_]
            self.machines[id_] = replace(shown, phase=Phase.ENDED), tags

    @property
    def alive(self) -> list[str]:
        return [id_ for id_, (shown, _) in self.machines.items() if shown.phase is not Phase.ENDED]

    # ---- computers -------------------------------------------------------------------------------------

    def computer(self, hold: Hold = Hold(), before: Group = Group()) -> Machines:
        store = SweepStore(None)
        store.put_group(store.create(SWEEP, []).number, Group(), before)
        return Machines(
            number=1, region="us-west-2", provider=self, store=store, clock=self.clock, hold=hold,  # type: ignore[arg-type]
            held_at=self.clock.now(),
        )  # fmt: skip

    def up(self, count: int = 2) -> Machines:
        """The first computer, with so many machines that it has seen."""
        first = self.computer()
        for _ in range(3):
            first.tick(wanted(count))
            self.clock.sleep(5.0)
        assert len(self.alive) == count
        return first


def wanted(count: int, hold: Hold = Hold()) -> Wanted:
    return Wanted(
        fleet=FLEET, desk="blue", image_id=SWEEP.image, names=NAMES[:count], pools=POOLS, lag_seconds=1.0,
        held=str(hold),
    )  # fmt: skip


def gives_up(call: Callable[..., object], *given: object) -> bool:
    """(What `pytest.raises` says is no `Exception`, and goes past whoever tells a story.)"""
    try:
        call(*given)
    except Busy:
        return True
    return False


def test_the_computer_before_neither_launches_nor_ends() -> None:
    cloud = Cloud()
    first = cloud.up()
    hold = take(cloud, SWEEP, "b")  # type: ignore[arg-type]
    second = cloud.computer(hold, first.group())
    for count in (1, 4):
        cloud.clock.sleep(ACT_SECONDS / 2)
        assert gives_up(first.tick, wanted(count))
        second.tick(wanted(count, hold))
        assert len(cloud.alive) == 2, "nor the new one, before the one before must have seen it"
    cloud.clock.sleep(SETTLE_SECONDS)
    second.tick(wanted(4, hold))
    assert len(cloud.alive) == 4
    assert {cloud.machines[id_][1]["held"] for id_ in cloud.alive} == {str(hold)}


@pytest.mark.parametrize("count", [1, 4])
def test_a_look_whose_answer_was_heard_an_hour_later_is_no_ground_to_act(count: int) -> None:
    """This computer slept between question and answer, and another has taken the sweep over meanwhile."""
    cloud = Cloud()
    first = cloud.up()

    def sleeps() -> None:
        take(cloud, SWEEP, "b")  # type: ignore[arg-type]
        cloud.clock.sleep(3600.0)

    cloud.clock.sleep(ACT_SECONDS)
    cloud.after = [sleeps]
    first.tick(wanted(count))
    assert len(cloud.alive) == 2
    assert gives_up(first.tick, wanted(count))


def test_what_was_launched_late_does_not_hide_that_another_went_on() -> None:
    """This computer slept in the middle of a launch, while another brought the sweep to its end."""
    cloud = Cloud()
    first = cloud.up()
    take(cloud, SWEEP, "b")  # type: ignore[arg-type]
    order = replace(cloud.asked[-1], number=9)
    cloud.clock.sleep(3600.0)
    cloud.machines.clear()
    cloud.launch_fleet(order)
    assert gives_up(first.confirm, wanted(0))
    assert gives_up(first.tick, wanted(2))
    assert len(cloud.alive) == order.count


def test_a_machine_that_is_not_up_is_marked_too_and_one_that_has_ended_is_not() -> None:
    cloud = Cloud()
    cloud.up(3)
    booting, over, ready = cloud.alive
    shown, tags = cloud.machines[booting]
    cloud.machines[booting] = replace(shown, phase=Phase.PENDING), tags
    cloud.end_fleet([over])
    hold = take(cloud, SWEEP, "b")  # type: ignore[arg-type]
    assert [cloud.machines[id_][1]["held"] for id_ in (booting, over, ready)] == [str(hold), "", str(hold)]


def test_of_two_that_take_over_at_the_same_second_one_gives_way() -> None:
    cloud = Cloud()
    cloud.up()
    cloud.rivals = ["c"]
    assert gives_up(take, cloud, SWEEP, "b")
    assert cloud.marks == {FLEET: Hold(number=1, computer="c")}
    cloud.rivals = []
    assert take(cloud, SWEEP, "b") == Hold(number=2, computer="b")  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [-10800.0, 10800.0])
def test_what_was_spent_before_counts_once_whatever_the_clocks_say(ahead: float) -> None:
    now = 1e9
    one = Member(id="a", offer=replace(POOLS[0], usd_per_hour=0.5), since=now - 7200.0)
    with SweepStore(None) as first, SweepStore(None) as second:
        number = first.create(SWEEP, []).number
        first.put_group(number, Group(), Group(members=(one,)))
        found = record.by_clock(record.unpacked(record.packed(first, number, now)), now + ahead)
        mine: Any = second.adopt(found.sweep, found.tables).number
        assert second.group(mine).usd(now + ahead) == pytest.approx(1.0)
