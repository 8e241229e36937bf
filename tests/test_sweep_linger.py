"""Machines that are kept for the next sweep: which, how long, who gets them, and that none is left."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk import Hotdesk
from hotdesk.core.errors import Usage
from hotdesk.core.fleet import FleetOrder
from hotdesk.core.model import Market, MarketChoice, Phase
from hotdesk.core.sweep import linger
from hotdesk.core.sweep.group import Asked, Group, Member, allowance
from hotdesk.core.sweep.model import Counts, Machine, MachineState, State, Sweep, Wish
from hotdesk.services import sweep_linger
from hotdesk.services.sweep_view import state_of
from hotdesk.services.sweeps import Sweeps
from hotdesk.sweep.store import SweepStore
from tests.aws_desk import offer
from tests.sweep_world import World
from tests.test_sweep_driver import Story

SPOT, DEAR = (offer("m7i.large", "us-west-2a", m, gpu="") for m in (Market.SPOT, Market.ON_DEMAND))
SWEEP = Sweep(
    number=0, desk="blue", image="us-west-2/ami-1", provider="aws", command=("run", "{n}"), created_at=1000.0,
    folder="/p", pools=(SPOT, DEAR), linger_seconds=600.0, environment=(("KEY", "v"),), secrets=("KEY",),
)  # fmt: skip
WARM = Machine(name="sweep1-1", number=1, state=MachineState.WARM, since=1000.0, instance="i", fetched=True)


def member(number: int, **more: object) -> Member:
    return Member(**{"id": f"i-{number}", "offer": SPOT, "since": 0.0, "up": True, **more})  # type: ignore[arg-type]


# ---- what is decided ---------------------------------------------------------------------------------


def test_a_machine_lingers_for_its_time_and_no_longer() -> None:
    assert linger.leaving(SWEEP, [WARM], 1599.0) == []
    assert [m.state for m in linger.leaving(SWEEP, [WARM], 1600.0)] == [MachineState.LEAVING]
    cancelled = replace(SWEEP, wish=Wish.CANCEL)
    assert [m.may_go for m in linger.leaving(cancelled, [WARM], 1001.0)] == [True]


def test_only_a_machine_without_trouble_lingers_and_only_where_it_was_asked_for() -> None:
    done = Machine(name="sweep1-2", number=2, state=MachineState.LEAVING, instance="i")
    assert linger.fetched(SWEEP, done, 5.0).state is MachineState.WARM
    for sweep, machine in (
        (replace(SWEEP, linger_seconds=0.0), done),
        (replace(SWEEP, wish=Wish.CANCEL), done),
        (SWEEP, replace(done, why="it does not answer")),
    ):
        assert linger.fetched(sweep, machine, 5.0).may_go


def test_a_sweep_lingers_once_nothing_is_left_to_do() -> None:
    done = Counts(done=3)
    assert linger.until(SWEEP, done, [WARM, replace(WARM, since=1100.0)]) == 1700.0
    assert state_of(SWEEP, done, [WARM]) == "lingering"
    for sweep, counts, machines in (
        (SWEEP, Counts(done=2, waiting=1), [WARM]),
        (SWEEP, done, [WARM, replace(WARM, state=MachineState.LEAVING)]),
        (SWEEP, done, []),
        (replace(SWEEP, heir=2), done, [WARM]),
        (replace(SWEEP, wish=Wish.CANCEL), done, [WARM]),
    ):
        assert linger.until(sweep, counts, machines) == 0.0


@pytest.mark.parametrize(
    ("changes", "machines", "suits"),
    [
        ({}, [member(1)], True),
        ({}, [], False),
        ({}, [member(1, ended_at=5.0)], False),
        ({"desk": "red"}, [member(1)], False),
        ({"image": "us-west-2/ami-2"}, [member(1)], False),
        ({"provider": "aliyun"}, [member(1)], False),
        ({"pools": (offer("m7i.xlarge", "us-west-2a", Market.SPOT, gpu=""),)}, [member(1)], False),
        ({"market": MarketChoice.ON_DEMAND}, [member(1)], False),
        ({"market": MarketChoice.ON_DEMAND}, [member(1, offer=DEAR)], True),
        ({"market": MarketChoice.SPOT}, [member(1, offer=DEAR), member(2)], True),
        ({"market": MarketChoice.SPOT}, [member(1, offer=DEAR), member(2, offer=DEAR)], False),
    ],
)
def test_machines_suit_a_sweep_of_the_same_image_that_would_launch_the_same(
    changes: dict[str, object], machines: list[Member], suits: bool
) -> None:
    assert linger.suits(replace(SWEEP, **changes), SWEEP, Group(members=tuple(machines))) is suits


def test_every_second_is_paid_for_once_and_no_order_number_is_used_again() -> None:
    order = FleetOrder(fleet="f", desk="blue", number=7, count=900, offers=(SPOT,), image_id="i")
    old = Group(
        members=(member(1, name="sweep1-1"), member(2, ended_at=50.0), member(3, ending_at=90.0)),
        asked=(Asked(order=order, at=95.0, answered=True),),
    )
    kept, new = linger.handed_over(old, 100.0)
    assert not kept.alive
    assert {m.id for m in new.alive} == {"i-1", "i-3"}
    assert [m.name for m in new.members if m.id == "i-1"] == [""]
    for now in (100.0, 1000.0):
        assert kept.usd(now) + new.usd(now) == pytest.approx(old.usd(now))
    assert allowance(new.asked, (1000, 2.0), 100.0) == pytest.approx(110.0)


# ---- the loop ----------------------------------------------------------------------------------------


def states(story: Story) -> list[MachineState]:
    return [m.state for m in story.store.machines(story.number)]


def test_the_loop_keeps_machines_for_their_time_and_then_none_is_left() -> None:
    story = Story(tasks=12, linger_seconds=600.0)
    story.go(lambda: MachineState.WARM in states(story) and not story.store.counts(story.number).left)
    story.go(lambda: set(states(story)) == {MachineState.WARM})
    assert sum(story.world.fetched.values()) == 12, "all is here before they linger"
    assert not any(r.running for r in story.world.runners.values())
    ended = story.world.clock.now()
    story.go()
    assert 590.0 <= story.world.clock.now() - ended < 700.0
    story.check()
    assert story.world.launches == 3


def test_a_sweep_uses_its_own_warm_machines_before_it_launches_any() -> None:
    story = Story(tasks=12, linger_seconds=600.0, world=World(commands=lambda t, a: (1.0, int(a == 1))))
    story.go(lambda: bool(states(story)) and set(states(story)) == {MachineState.WARM})
    story.store.put(
        story.number,
        [replace(t, state=State.WAITING, failed=0) for t in story.store.tasks(story.number)],
    )
    story.go(lambda: not story.store.counts(story.number).left)
    assert story.world.launches == 3
    story.go()
    story.check()


@pytest.mark.parametrize("killed", [False, True])
def test_cancelling_ends_the_machines_that_linger(killed: bool) -> None:
    story = Story(tasks=4, linger_seconds=86400.0)
    story.go(lambda: bool(states(story)) and set(states(story)) == {MachineState.WARM})
    if killed:
        story.kill_driver()
    story.store.change(story.number, wish=Wish.CANCEL)
    before = story.world.clock.now()
    story.go()
    story.check()
    assert story.world.clock.now() - before < 60.0
    assert story.states() == {State.DONE: 4}


def test_a_budget_ends_machines_that_linger() -> None:
    world = World()
    world.usd_per_hour = 1.0
    story = Story(tasks=4, linger_seconds=86400.0, budget_usd=0.5, world=world)
    story.go()
    story.check()
    assert story.states() == {State.DONE: 4}
    assert world.clock.now() < 1000.0 + 3600.0


# ---- one sweep after the other -----------------------------------------------------------------------


def lingering(store: SweepStore, machines: int = 2) -> Sweep:
    """A sweep whose task is done, and whose machines linger."""
    sweep = store.create(SWEEP, [{"n": 1}])
    store.put(sweep.number, [replace(store.task(sweep.number, 1), state=State.DONE)])
    members = tuple(member(n, name=sweep.member(n), phase=Phase.READY) for n in range(1, machines + 1))
    store.put_group(sweep.number, Group(), Group(members=members))
    store.put_machines(sweep.number, [replace(WARM, name=m.name, number=n) for n, m in enumerate(members, 1)])
    return sweep


def test_the_next_sweep_gets_the_machines_and_their_name() -> None:
    with SweepStore(None) as store:
        old = lingering(store)
        wish = replace(SWEEP, created_at=2000.0)
        assert sweep_linger.predecessor(store, wish) == old.number
        new = store.create(wish, [{"n": 1}], old.number)
        assert (new.after, new.fleet) == (old.number, old.fleet)
        assert sweep_linger.predecessor(store, wish) == 0, "they are promised"
        other = store.create(wish, [{"n": 1}], old.number)
        assert (other.after, other.fleet) == (0, f"sweep{other.id}"), "given once"

        driven: list[int] = []

        def drive(number: int) -> None:  # the old driver gives them, once it looks
            driven.append(number)
            if len(driven) == 3:
                store.hand_over(store.sweep(number), 2000.0)
                store.change(number, over_at=2000.0)

        sweep_linger.inherit(store, new, drive, lambda: None)
        assert driven == [old.number] * 3
        assert {m.id for m in store.group(new.number).alive} == {"i-1", "i-2"}
        assert not store.group(old.number).alive
        assert {m.state for m in store.machines(old.number)} == {MachineState.GONE}


def test_a_sweep_that_is_over_gives_nothing() -> None:
    with SweepStore(None) as store:
        old = lingering(store)
        store.change(old.number, over_at=5.0)
        new = store.create(SWEEP, [{"n": 1}], old.number)
        assert (new.after, new.group) == (0, "")


class Given(World):
    """A world whose machines are in the store too, as a cloud's are."""

    def cleared(self) -> bool:
        raise AssertionError("what a fleet needs is not deleted where another sweep has it")


@pytest.mark.parametrize(("killed", "twice"), list(product((False, True), repeat=2)))
def test_the_loop_hands_machines_over_even_if_it_is_killed_on_the_way(killed: bool, twice: bool) -> None:
    story = Story(tasks=4, linger_seconds=600.0, world=Given())
    story.go(lambda: bool(states(story)) and set(states(story)) == {MachineState.WARM})
    mine = tuple(member(n, name=f"sweep1-{n}", phase=Phase.READY) for n in (1, 2))
    story.store.put_group(story.number, Group(), Group(members=mine))
    heir = story.store.create(SWEEP, [{"n": 1}], story.number)
    if killed:
        story.kill_driver()
    if twice:  # the machines were given, and then it was killed
        story.store.hand_over(story.store.sweep(story.number), story.world.clock.now())
    story.go()
    old = story.store.sweep(story.number)
    assert old.over_at
    assert {m.id for m in story.store.group(heir.number).alive} == {"i-1", "i-2"}
    assert old.fleet != heir.fleet, "should it go on, it has machines of its own"
    assert old.heir == 0


def test_it_is_for_rented_machines() -> None:
    sweep_linger.check("aws", 600.0)
    sweep_linger.check("local", 0.0)
    with pytest.raises(Usage, match="rented"):
        sweep_linger.check("local", 600.0)


def test_the_watcher_goes_on_with_a_sweep_whose_process_has_died(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven: list[int] = []
    monkeypatch.setattr(Sweeps, "drive", lambda self, number: driven.append(number))
    with Hotdesk() as desks:
        with desks.services.sweeps.opened() as store:
            lingering(store)
        desks.services._beside()([])
    assert driven == [1]
