"""Plan the way of a desk from one place to another. Pure, and called by the planner (plan.py).

A place is *pooled* if its images are in this computer's store; a cloud's images are its own. At each moment
one place has the whole desk:

* from a pooled place, the machine is saved and deleted first: the image has it, at other pooled places too;
* to a cloud, the image has it (`Desk.carried`) until every file was read back at the new machine. Up to then
  that machine holds nothing of its own, and is deleted if the goal changes;
* from a cloud, its machine has it until its files are in a verified image (`Desk.fetched`) and it is off. It
  is left as it is until the desk was proven at its new place (`Desk.former`).

`Hand` is the one moment between two places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.lifecycle.descent import own
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.save import let_go
from hotdesk.core.model import Bound, Desk, Disk, Former, Goal, Image, Instance, Phase, Seen
from hotdesk.core.steps import AnyStep, Ask, BakeOrder, Bring, Fetch, Hand, Prove, Wait

#: For so long after its files were fetched a machine that is on has nothing new: it is stopped at once. One
#: that was left on for longer, by whatever stopped us, may have been worked at.
FRESH_SECONDS = 120.0
#: The planner, for another row of the same desk.
Planner = Callable[[Desk, Seen], list[AnyStep]]


def hand_over(
    desk: Desk, bound: Bound, seen: Seen, past: Past, plan: Planner, *, now: float
) -> list[AnyStep]:
    """Save the desk where it is; then it belongs to the other provider."""
    here = replace(desk, bound=None)
    if not cloud(desk.provider).pooled:
        return _from_cloud(here, bound, seen, past, plan, now=now)
    steps = plan(replace(here, goal=Goal.PARKED, carried=""), seen)
    if not all(step.acts for step in steps):
        return [_staying(step, desk) for step in steps]
    newest = None if steps else seen.newest
    saved = f"all its work is in {newest.name}" if newest else "all its work is saved by then"
    why = saved if steps or newest else "it has no work yet"
    return [*steps, _hand(desk, bound, newest.id if newest else "", why)]


def _staying(step: AnyStep, desk: Desk) -> AnyStep:
    """A question about saving it, with what brings it back to where it is: to resume it would be to go on."""
    if not isinstance(step, Ask):
        return step
    resume, stay = f"hotdesk resume {desk.name}", f"hotdesk move {desk.name} --provider {desk.provider}"
    return replace(step, fix=step.fix.replace(resume, stay))


def _hand(desk: Desk, bound: Bound, image: str, why: str) -> Hand:
    there, first = cloud(bound.provider).label, next(iter(bound.offers), None)
    onto = f": {first.instance_type}" if first else ""
    onto += f" in {first.zone or first.region}" if first and cloud(bound.provider).rented else ""
    why = f"{why}; from now on it is at {there}{onto}"
    return Hand(id=image, provider=bound.provider, since=desk.since, why=why)


def _from_cloud(
    desk: Desk, bound: Bound, seen: Seen, past: Past, plan: Planner, *, now: float
) -> list[AnyStep]:
    """Bring what its machine holds into this computer's store, and stop the machine."""
    if desk.carried:  # its work has not arrived: the store has it as before
        steps = plan(replace(desk, goal=Goal.PARKED), seen)
        return steps if steps else [_hand(desk, bound, desk.carried, f"all its work is in {desk.carried}")]
    if not seen.ids:
        return [_hand(desk, bound, "", "it has no work yet")]
    live, fetched = own(desk, seen, past).live, desk.fetched
    of_this_run = fetched and live and (live.id, live.started_at) == (fetched.machine, fetched.started_at)
    if fetched and (live is None or (of_this_run and (not _is_on(live) or now - fetched.at < FRESH_SECONDS))):
        hand = _hand(desk, bound, fetched.image, f"all its work is in {fetched.image}")
        if live is None or not live.stoppable:
            return [hand]
        return [*plan(replace(desk, goal=Goal.STOPPED), seen), hand]
    steps = plan(replace(desk, goal=Goal.RUNNING), seen)
    if live is None or not all(isinstance(step, Prove) for step in steps):
        return steps
    order = BakeOrder(
        desk=desk.name,
        born=desk.created_at,
        generation=max(bound.generation, live.generation + 1),
        attempt=fetched.attempt + 1 if fetched and of_this_run else 0,
        source_id=live.id,
        started_at=live.started_at,
        region=bound.provider,
    )
    why = f"its files come into the store of this computer, and are read back: {_place(live)} keeps them too"
    hand = _hand(desk, bound, order.name, f"all its work is in {order.name}")
    return [*steps, Fetch(order=order, why=why), hand]


def handed(desk: Desk, bound: Bound, image: str, now: float) -> Desk:
    """The row of a desk that has just become the other provider's. `image`: of the step."""
    left = Former(
        provider=desk.provider,
        at=now,
        until=now + bound.keep_seconds,
        image=image if cloud(desk.provider).pooled else "",
        parked=cloud(desk.provider).pooled,
    )
    whole = cloud(desk.provider).pooled and cloud(bound.provider).pooled  # the image is there as well
    former = [one for one in desk.former if one.provider not in {bound.provider, desk.provider}]
    return replace(
        desk,
        provider=bound.provider,
        want=bound.want,
        offers=bound.offers,
        bound=None,
        generation=max(desk.generation, bound.generation),
        carried="" if whole or cloud(bound.provider).pooled else image,
        fetched=None,
        there=False,  # of the place that it left
        former=tuple(former) if whole else (*former, left),
    )


def _place(machine: Instance) -> str:
    return f"{machine.id} in {machine.zone or machine.region}"


def _is_on(machine: Instance) -> bool:
    """Whether somebody may work there."""
    return machine.phase in {Phase.PENDING, Phase.READY}


# ---- a machine that still has to get the work ----------------------------------------------------------


def _comes(desk: Desk) -> bool:
    """Whether its work still has to come to a machine of its cloud."""
    return bool(desk.carried) and not cloud(desk.provider).pooled


def arriving(desk: Desk, seen: Seen) -> Seen:
    """What counts of a desk whose work comes from elsewhere: nothing from before it came."""
    if not _comes(desk) or desk.goal is Goal.GONE:
        return seen
    return _where(seen, lambda generation: generation >= desk.generation)


def _where(seen: Seen, keep: Callable[[int], bool]) -> Seen:
    """What is seen of these generations."""

    def some(things: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(thing for thing in things if keep(thing.generation))

    return replace(seen, instances=some(seen.instances), disks=some(seen.disks), images=some(seen.images))


def _partial(things: Sequence[Instance | Disk | Image], desk: Desk) -> list[AnyStep]:
    """Delete what holds a part of the work at most; what is being deleted is left alone."""
    why = f"it did not get all the work, which is in {desk.carried}"
    return [let_go(thing, why, for_good=True) for thing in things if thing.phase is not Phase.ENDING]


def before(desk: Desk, seen: Seen, past: Past, plan: Planner) -> list[AnyStep]:
    """Park what is still there of an earlier stay at this cloud: a desk has one machine at most."""
    if not _comes(desk) or desk.goal is not Goal.RUNNING:
        return []
    earlier = [machine for machine in seen.machines if machine.generation < desk.generation]
    if not earlier:
        return []
    unused = [i for i in earlier if past.made(i) and i.id not in past.proven and not i.reported]
    if deleted := _partial(unused, desk):
        return deleted
    row = replace(desk, goal=Goal.PARKED, carried="", bound=None, generation=1, away=True)
    return plan(row, _where(seen, lambda generation: generation < desk.generation))


def unbrought(desk: Desk, seen: Seen) -> list[AnyStep]:
    """Delete what its work has not fully come to, unless that is a machine that it may still come to.

    Nobody was told of such a machine, and the image in the store has everything.
    """
    if not _comes(desk) or desk.goal is Goal.GONE:
        return []
    partial: list[Instance | Disk | Image] = [*seen.disks, *seen.images]
    if desk.goal is not Goal.RUNNING:
        partial = [*seen.machines, *partial]
    if deleted := _partial(partial, desk):
        return deleted
    if partial:
        return [Wait(seconds=seen.poll_seconds, why=f"{partial[0].id} is being deleted")]
    return []


def bring(desk: Desk, live: Instance) -> list[AnyStep]:
    """What a machine that runs still has to get before it is the desk."""
    if not desk.carried:
        return []
    why = f"all the work is in {desk.carried}, and goes to the new machine; every file is read back there"
    return [Bring(id=live.id, image=desk.carried, started_at=live.started_at, why=why)]


# ---- a place that was left ---------------------------------------------------------------------------


def left_behind(desk: Desk, past: Past, now: float) -> tuple[Former, Desk] | None:
    """A place where something is to be done about what the desk left there, and its row for the planner.

    A machine is parked once the desk was proven at its new place; what is kept is deleted when its time is
    over, and only if the desk was proven elsewhere since. With the desk, everything goes.
    """
    for one in desk.former:
        there = replace(
            desk, provider=one.provider, bound=None, carried="", former=(), generation=1, away=True
        )
        if desk.goal is Goal.GONE:
            return one, there
        on_its_way = desk.carried or desk.fetched or desk.bound
        if on_its_way or past.proof is None or past.proof.at < one.at:
            continue
        if now >= one.until:
            return one, replace(there, goal=Goal.GONE)
        if not one.parked:
            return one, replace(there, goal=Goal.PARKED)
    return None


def settled(desk: Desk, one: Former, there: Desk) -> Desk:
    """The desk's row once nothing is left to do at that place for now."""
    rest = tuple(other for other in desk.former if other != one)
    return replace(desk, former=rest if there.goal is Goal.GONE else (*rest, replace(one, parked=True)))
