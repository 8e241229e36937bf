"""What to do with one job now: the zones as they are known, a decision, and why."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from hotdesk.core.lengths import said
from hotdesk.core.model import Value
from hotdesk.core.spot.policy import (
    NOTHING,
    ON_DEMAND,
    SPOT,
    WAIT,
    Now,
    Policy,
    Terms,
    expected_up_seconds,
    never_late,
)


class Zone(Value, frozen=True):
    """A zone that may have spot, as known now."""

    name: str
    up: bool
    seconds: float  # how long it has been so, as far as is known
    usd_per_hour: float
    move_usd: float = 0.0  # to bring the checkpoint there: egress, where it is another region
    chance: float = 1.0  # that it is there when it is asked
    down_seconds: float = 0.0  # of one that is worth asking again: how long it will have been down if refused


class Situation(Value, frozen=True):
    """The state of one job. A zone that was just interrupted is down, and `machine` is ""."""

    elapsed_seconds: float
    work_seconds: float  # left, beyond the last checkpoint
    zones: tuple[Zone, ...]
    machine: str = ""  # "", "on-demand", or the zone whose spot machine we have
    ran_seconds: float = 0.0  # since that machine was asked for
    starting_seconds: float = 0.0  # of its changeover, what is left
    unrest: float = 0.0  # as SemiMarkov.noticed adds it up
    on_demand_move_usd: float = 0.0  # to bring the checkpoint to where on-demand is
    margin_seconds: float = 0.0  # by which the last start may exceed the changeover
    held_seconds: float = 0.0  # for how long a machine that starts is left to start


class Action(StrEnum):
    """What to do until the next decision."""

    WAIT = "wait"
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class Decision(Value, frozen=True):
    action: Action
    why: str
    zone: str = ""
    otherwise: Action | None = None  # what to do where no place that it is worth asking has a machine


Placing = Callable[[Terms, Now, Situation], tuple[int, int]]


def decide(policy: Policy, terms: Terms, now: Situation) -> Decision:
    """What to do until the next decision, and why. Pure; takes a few dozen microseconds.

    A policy with `place_one(terms, now, situation)` knows each zone's price, and leaves one zone for another:
    it answers WAIT, SPOT or ON_DEMAND, and which of the situation's zones.
    """
    if now.work_seconds <= NOTHING:
        return Decision(action=Action.WAIT, why="the work is done")
    on_demand = now.machine == "on-demand"
    # (To ask for a runtime protocol would take as long as ten zones.)
    place_one: Placing | None = getattr(policy, "place_one", None)
    on_spot = now.machine and not on_demand
    here = next((z for z in now.zones if z.name == now.machine and z.up), None) if on_spot else None
    best, others, down = here, [], 0.0
    if place_one is None:  # a rule that knows one market
        best = here or best_zone(terms, now)
        others = [z.seconds for z in now.zones if z.up and z is not best]
        down = min((z.seconds for z in now.zones if not z.up), default=0.0)
    look = Now(
        elapsed=now.elapsed_seconds,
        deadline=terms.deadline_seconds,
        work=now.work_seconds,
        whole=terms.work_seconds,
        changeover=terms.changeover_seconds,
        tick=terms.tick_seconds,
        mode=ON_DEMAND if on_demand else SPOT if here else WAIT,
        starting=now.starting_seconds if on_demand or here else 0.0,
        ran=now.ran_seconds if on_demand or here else 0.0,
        up=best is not None,
        age=best.seconds if best else down,
        other=max(others, default=-1.0),
        unrest=now.unrest,
        margin=now.margin_seconds,
        held=now.held_seconds,
    )
    if place_one is not None:
        wish, chosen = place_one(terms, look, now)
        best = now.zones[chosen] if wish == SPOT else best
    else:
        wish = int(policy.choose(look))
    action = int(never_late(look, wish, elsewhere=best is not here))
    slack = (terms.deadline_seconds - now.elapsed_seconds - now.work_seconds) / 3600
    if action == SPOT and best:
        return Decision(action=Action.SPOT, zone=best.name, why=_why_spot(terms, best, here, slack))
    if action == ON_DEMAND:
        return Decision(action=Action.ON_DEMAND, why=_why_on_demand(look, wish, slack))
    if best is None:  # the one that is said not to be worth it
        worth = (z for z in now.zones if z.up and z.usd_per_hour < terms.usd_on_demand)
        best = max(worth, key=lambda z: z.seconds, default=None)
    seen = (
        "there is no spot"
        if best is None
        else f"spot in {best.name} is {said(best.seconds, 2)} old and may not last"
    )
    return Decision(action=Action.WAIT, why=f"{seen}; {slack:.1f} h of slack are left, and waiting is free")


def best_zone(terms: Terms, now: Situation) -> Zone | None:
    """The zone whose spot is worth most: expected duration times saving, minus the cost of moving."""

    def gain(zone: Zone) -> float:
        hours = min(expected_up_seconds(zone.seconds), now.work_seconds) / 3600
        changeover = zone.usd_per_hour * terms.changeover_seconds / 3600
        return (terms.usd_on_demand - zone.usd_per_hour) * hours - zone.move_usd - changeover

    worth = [
        (gain(z), z.seconds, -n, z)
        for n, z in enumerate(now.zones)
        if z.up and z.usd_per_hour < terms.usd_on_demand
    ]
    # A zone that is free to reach need only be the best; a move must pay for itself.
    worth = [w for w in worth if w[3].move_usd == 0 or w[0] > 0]
    return max(worth, key=lambda w: w[:3])[3] if worth else None


def _why_spot(terms: Terms, best: Zone, here: Zone | None, slack: float) -> str:
    price = f"${best.usd_per_hour:.2f} an hour against ${terms.usd_on_demand:.2f}"
    if here is best:
        return f"it runs on spot in {best.name} for {price}; a change would only cost time"
    moved = f", ${best.move_usd:.2f} to move included" if best.move_usd else ""
    age = said(best.seconds, 2)
    if here:
        saved = f"${here.usd_per_hour:.2f} an hour in {here.name}, ${best.usd_per_hour:.2f} in {best.name}"
        return f"{saved}{moved}: the rest costs less there, {slack:.1f} h of slack"
    return f"spot in {best.name} has been there for {age}: {price}{moved}, {slack:.1f} h of slack"


def _why_on_demand(look: Now, wish: int, slack: float) -> str:
    if wish != ON_DEMAND or look.ticks_needed(2) >= look.ticks_left:
        return f"{slack:.1f} h of slack are left: anything but on-demand could make it late"
    if look.mode == ON_DEMAND:
        return f"on-demand is under way, and with {slack:.1f} h of slack leaving it now would not pay"
    return f"with {slack:.1f} h of slack, waiting longer for spot would cost more later"
