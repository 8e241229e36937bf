"""Machines that are kept for the next sweep when their own has no more use for them. Pure.

A machine that lingers holds nothing of its sweep any more: all is fetched, and its runner has ended. It goes
when its time is over, when its sweep is cancelled, or with the next sweep that it suits.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hotdesk.core.model import Market, MarketChoice
from hotdesk.core.sweep.group import Group, Member
from hotdesk.core.sweep.model import Counts, Machine, MachineState, Sweep, Wish


def lingers(sweep: Sweep) -> bool:
    """Whether machines of this sweep are kept for a while."""
    return sweep.linger_seconds > 0 and sweep.wish is Wish.RUN


def fetched(sweep: Sweep, machine: Machine, now: float) -> Machine:
    """The machine once nothing of the sweep is on it that is not here too: it may go, or lingers."""
    if not lingers(sweep) or machine.why:  # one that gave trouble is not worth keeping
        return replace(machine, fetched=True)
    return replace(machine, state=MachineState.WARM, since=now, lost_at=now, fetched=True)


def leaving(sweep: Sweep, machines: Sequence[Machine], now: float) -> list[Machine]:
    """The machines that linger no longer, as they are then."""
    return [
        replace(m, state=MachineState.LEAVING, since=now)
        for m in machines
        if m.state is MachineState.WARM and not (lingers(sweep) and now < m.since + sweep.linger_seconds)
    ]


def wanted_again(machines: Sequence[Machine], count: int, now: float) -> list[Machine]:
    """As many of those that linger as their own sweep can use after all: the head first."""
    warm = [m for m in machines if m.state is MachineState.WARM]
    again = sorted(warm, key=lambda m: m.number)[: max(0, count)]
    return [replace(m, state=MachineState.WANTED, since=now, fetched=False) for m in again]


def until(sweep: Sweep, counts: Counts, machines: Sequence[Machine]) -> float:
    """When the last machine of a sweep that has ended goes; 0 where it has not, or none lingers."""
    warm = [m for m in machines if m.state is MachineState.WARM]
    others = any(m.state not in {MachineState.WARM, MachineState.GONE} for m in machines)
    if counts.left or others or not warm or not lingers(sweep) or sweep.heir:
        return 0.0
    return max(m.since for m in warm) + sweep.linger_seconds


def suits(sweep: Sweep, before: Sweep, group: Group) -> bool:
    """Whether a sweep can go on with the machines that an earlier one has left."""
    same = (sweep.provider, sweep.desk, sweep.image) == (before.provider, before.desk, before.image)
    kinds = {o.instance_type for o in sweep.pools}
    mine = [m for m in group.alive if m.stays]
    if sweep.cluster or not sweep.image or not same or not mine:
        return False
    if any(m.offer.instance_type not in kinds for m in mine):
        return False
    on_demand = sum(m.offer.market is Market.ON_DEMAND for m in mine)
    if sweep.market is MarketChoice.ON_DEMAND:
        return on_demand == len(mine)
    return sweep.market is not MarketChoice.SPOT or on_demand <= 1


def handed_over(group: Group, now: float) -> tuple[Group, Group]:
    """What an earlier sweep keeps of its machines, which are paid for until now, and what the next one gets.

    The orders too: the bucket of launches is the account's, and an order's number is used once in a fleet.
    """
    alive = {m.id for m in group.alive}
    kept = tuple(replace(m, ended_at=now) if m.id in alive else m for m in group.members)
    new = tuple(_anew(m, now) for m in group.alive)
    return replace(group, members=kept), replace(group, members=new)


def _anew(member: Member, now: float) -> Member:
    return replace(member, name="", since=now)
