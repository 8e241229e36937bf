"""Orphaned resources: find them, price them, say which can be deleted without losing work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import msgspec

from hotdesk.core.billing.rates import HOURS_PER_MONTH
from hotdesk.core.lifecycle import moving
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.holding import PLACEHOLDER, PLACEHOLDER_SECONDS
from hotdesk.core.lifecycle.plan import plan, plan_gc
from hotdesk.core.lifecycle.save import last_copy
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Leftover, Phase, Survey, Value
from hotdesk.core.money import Amount
from hotdesk.core.steps import Ask, Delete


class Orphan(Value, frozen=True):
    """A resource that no desk on this computer owns."""

    id: str
    kind: str
    desk: str
    provider: str
    region: str
    why: str
    safe: bool  # to delete: it holds no unique data
    usd_per_month: float = 0.0
    told_per_month: Amount | None = None  # the same as the cloud told it, if not in US dollars
    age_seconds: float | None = None
    fix: str = ""


def as_dict(thing: Orphan) -> dict[str, object]:
    return {name: getattr(thing, name) for name in Orphan.__struct_fields__}


def things(
    survey: Survey,
    known: Iterable[Desk],
    now: float,
    swept: Collection[Leftover] = (),
    past: Callable[[Desk], Past] = lambda desk: Past(),
) -> list[Orphan]:
    """The resources in a survey that none of these desks needs or claims.

    `swept` are leftovers found outside surveys, which no desk's own cleanup reaches.
    """
    known = list(known)
    names = {desk.name for desk in known}
    survey = msgspec.structs.replace(
        survey, leftovers=(*survey.leftovers, *(t for t in swept if t.desk not in names))
    )
    every: list[Instance | Disk | Image | Leftover] = [
        *survey.instances,
        *survey.disks,
        *survey.images,
        *survey.leftovers,
    ]
    by_id = {t.id: t for t in every}
    found = []
    # A cloud's clock is its own; its youngest moment is the best guess at what it shows now.
    clock = max([now, *(t for t in map(_made_at, every) if t is not None)])
    for step in plan_gc(survey, known, now, past):
        match step:
            case Delete(id=id_, why=why) if id_ in by_id:
                found.append(_thing(by_id[id_], why, clock, safe=True))
            case Ask(ids=ids, why=why, fix=fix):
                asked = [by_id[id_] for id_ in ids if id_ in by_id]
                found += [_thing(t, why, clock, safe=False, fix=fix) for t in asked]
    for desk in known:
        for id_ in _over(desk, survey, past(desk), now):
            if id_ in by_id:
                found.append(_thing(by_id[id_], "kept where its desk has left, until now", clock, safe=True))
    for thing in survey.leftovers:
        late = 0 < thing.made_at < clock - 2 * PLACEHOLDER_SECONDS
        mine = thing.desk in names and not survey.is_others(thing)
        if thing.kind == PLACEHOLDER and mine and late and thing.phase is not Phase.ENDING:
            why = "a machine that kept a place for a move, and should have ended itself"
            found.append(_thing(thing, why, clock, safe=True))
    for thing in swept:
        if thing.desk in names and not survey.is_others(thing):
            safe = not last_copy(thing, survey.of(thing.desk))
            fix = (
                "" if safe else f"hotdesk show {thing.desk}   # is its work in there? Then delete it yourself"
            )
            found.append(_thing(thing, thing.why, clock, safe=safe, fix=fix))
    return found


def _over(desk: Desk, survey: Survey, past: Past, now: float) -> list[str]:
    """Ids of what was kept for a time in a place that a desk has left, if that time is over."""
    left = moving.left_behind(desk, past, now) if desk.former and desk.goal is not Goal.GONE else None
    if left is None or left[0].provider != survey.provider or left[1].goal is not Goal.GONE:
        return []
    steps = plan(left[1], survey.of(desk.name), past, now)
    return [step.id for step in steps if isinstance(step, Delete)]


def _made_at(thing: Instance | Disk | Image | Leftover) -> float | None:
    match thing:
        case Image(taken_at=at) | Disk(made_at=at) | Leftover(made_at=at):
            return at or None
        case Instance(started_at=at):
            return at or None
    return None


def _thing(
    thing: Instance | Disk | Image | Leftover, why: str, clock: float, *, safe: bool, fix: str = ""
) -> Orphan:
    made = _made_at(thing)
    kind = thing.kind if isinstance(thing, Leftover) else type(thing).__name__.lower()
    if isinstance(thing, Instance):
        hours = HOURS_PER_MONTH if thing.phase not in {Phase.STOPPED, Phase.ENDED} else 0.0
        month, told = thing.usd_per_hour * hours, thing.told_per_hour and thing.told_per_hour.times(hours)
    else:
        month, told = thing.usd_per_month, thing.told_per_month
    return Orphan(
        id=thing.id,
        kind="machine" if kind == "instance" else kind,
        desk=thing.desk,
        provider=thing.provider,
        region=thing.region,
        why=why,
        safe=safe,
        usd_per_month=month,
        told_per_month=told,
        age_seconds=max(0.0, clock - made) if made is not None else None,
        fix=fix,
    )
