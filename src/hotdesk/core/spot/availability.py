"""Where spot has been available, and for how long, from the journal.

A launch that was granted shows that a zone had spot then; one refused for lack of capacity, or an
interrupted machine, that it had none. Prices say little about that since EC2 began to set them itself in
2017 (docs/spot.md): they only enter as cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hotdesk.core.errors import Kind
from hotdesk.core.model import Market, Offer
from hotdesk.core.spot.decision import Zone
from hotdesk.core.spot.policy import AVAILABLE, back_chance
from hotdesk.core.steps import Bake, Delete, Hold, Launch, Leave, Row, Stop

#: An unknown zone counts as having just become available.
UNKNOWN_SECONDS = 600.0
#: How long a zone that interrupted or refused a machine counts as unavailable.
DOWN_SECONDS = 600.0
#: Older observations are ignored.
FORGET_SECONDS = 2 * 86400.0
#: Transfer between two regions of one cloud, US dollars per GiB of the desk's disk (EC2 price list, 2026).
USD_PER_GIB = 0.02

Events = dict[str, list[tuple[float, bool]]]


def events(rows: Iterable[Row], *, gone: str = "", now: float = 0.0) -> Events:
    """By offer key: when it was seen, and whether it was there. Rows of any number of desks, in order.

    `gone`: a desk that has no machine now; if nobody has ended it, it was taken.
    """
    found: Events = {}
    running: dict[str, tuple[str, str]] = {}  # by desk: the offer and the machine

    def note(key: str, at: float, there: bool) -> None:
        found.setdefault(key, []).append((at, there))

    def taken(desk: str, at: float) -> None:
        if desk in running:
            note(running.pop(desk)[0], at, False)

    for row in rows:
        at = row.ended_at or row.at
        match row.step:
            case Launch(order=order) if row.done:
                taken(row.desk, row.at)  # nobody has ended the one before
                note(order.offer.key, at, True)
                running[row.desk] = (order.offer.key, row.made)
            case Hold(order=order) if row.done:
                note(order.offer.key, at, True)
            case Hold(order=order) if row.refusal and row.refusal.kind is Kind.NO_CAPACITY:
                note(order.offer.key, at, False)
            case Launch(order=order) if row.refusal and row.refusal.of_offer:
                note(order.offer.key, at, False)
            case Bake(order=bake) if row.desk in running and bake.source_id != running[row.desk][1]:
                taken(row.desk, row.at)  # only a disk was left
            case Delete(id=id_) | Stop(id=id_) | Leave(id=id_):
                if running.get(row.desk, ("", ""))[1] == id_:
                    del running[row.desk]
    taken(gone, now)
    return found


def zones(
    offers: Sequence[Offer],
    seen: Events,
    now: float,
    *,
    running: str = "",
    taken: str = "",
    region: str = "",
    disk_gib: float = 0.0,
    refused: Collection[str] = (),
) -> tuple[Zone, ...]:
    """Every spot offer as the policy wants to know it.

    `running`: the offer key of a machine that works, `taken` of one that was just interrupted. `region`:
    where the desk's disk is. `refused`: offers that are not to be asked for now, whatever the reason.
    """
    found = []
    for offer in offers:
        if offer.market is not Market.SPOT:
            continue
        known = [e for e in seen.get(offer.key, []) if now - e[0] < FORGET_SECONDS]
        up, seconds, down_seconds, chance = _state(known, now)
        if offer.key == running:
            up, seconds = True, seconds if up else 0.0
        elif offer.key == taken or offer.key in refused:
            up, seconds = False, 0.0 if up else seconds
        found.append(
            Zone(
                name=offer.key,
                up=up,
                seconds=seconds,
                usd_per_hour=offer.usd_per_hour,
                move_usd=move_usd(region, offer.region, disk_gib),
                chance=chance,
                down_seconds=down_seconds,
            )
        )
    return tuple(found)


def sold_out_seconds(offers: Sequence[Offer], seen: Events, now: float) -> float:
    """How long on-demand may be asked for in vain, by what was seen of these offers lately.

    As many refusals are expected before the next grant as there were for each grant, counting one grant more
    than was seen, where that is least; one that was refused is asked again after `DOWN_SECONDS`.
    """
    expected = []
    for offer in offers:
        if offer.market is Market.ON_DEMAND:
            known = [there for at, there in seen.get(offer.key, []) if now - at < FORGET_SECONDS]
            expected.append(known.count(False) / (known.count(True) + 1))
    return DOWN_SECONDS * min(expected, default=0.0)


def move_usd(region: str, to: str, gib: float) -> float:
    """What bringing a disk from one region to another costs; "": it is nowhere yet."""
    return USD_PER_GIB * gib if region not in {"", to} else 0.0


def spells(seen: Events, now: float) -> tuple[tuple[float, bool], ...]:
    """How long each machine or zone stayed available, and whether its loss was observed."""
    found = []
    for known in seen.values():
        began: float | None = None
        for at, there in known:
            if there:
                began = at if began is None else began
            elif began is not None:
                found.append((at - began, True))
                began = None
        if began is not None and now - began < FORGET_SECONDS:
            found.append((now - began, False))
    return tuple(found)


def _state(known: Sequence[tuple[float, bool]], now: float) -> tuple[bool, float, float, float]:
    """Whether a zone has spot and since how long; of one worth another try, how long there was none, and the
    chance that it is back. Events in order of time."""
    if not known:
        return True, UNKNOWN_SECONDS, 0.0, AVAILABLE
    last, there = known[-1]
    since = last
    for at, same in reversed(known):
        if same is not there:
            break
        since = at
    lasted = max(0.0, now - since)
    if not there and now - last >= DOWN_SECONDS:
        return True, 0.0, lasted, back_chance(last - since, now - last)  # whether it is there shows then
    return there, lasted, 0.0, AVAILABLE
