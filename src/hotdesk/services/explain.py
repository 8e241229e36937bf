"""Turn an `Ask` or a `Refused` into a user-facing error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import (
    OFFER_KINDS,
    SCARCE,
    HotdeskError,
    Kind,
    Missing,
    NeedsDecision,
    NotAllowed,
    Refused,
    Scarce,
)
from hotdesk.core.lifecycle.shutdown import powered
from hotdesk.core.model import Desk, MarketChoice, Offer, Phase, Seen, Want
from hotdesk.core.money import per_hour, shown
from hotdesk.core.steps import Ask


def question(ask: Ask) -> HotdeskError:
    """An `Ask` as an error; the kind of refusal behind it decides the exit code."""
    match ask.kind:
        case Kind.NO_SPACE:
            return Missing(ask.what, ask.why, ask.fix)
        case Kind.DENIED | Kind.BAD_REQUEST:
            return NotAllowed(ask.what, ask.why, ask.fix)
        case kind if kind in SCARCE:
            return Scarce(ask.what, ask.why, ask.fix)
        case kind if kind in OFFER_KINDS:
            return NotAllowed(ask.what, ask.why, ask.fix)
    return NeedsDecision(ask.what, ask.why, ask.fix)


def question_of(refused: Refused, what: str) -> HotdeskError:
    """A refusal outside the loop as a user-facing error."""
    return question(
        Ask(what=what, why=refused.message, fix=refused.fix or "hotdesk doctor", kind=refused.kind)
    )


def named(refused: Refused, again: str) -> HotdeskError:
    """The error for a refused request: its first sentence is what happened, the rest why; `again` the fix."""
    what, stop, why = refused.message.partition(". ")
    fix = (refused.fix or "hotdesk offers").replace("hotdesk up ", again, 1)
    return NotAllowed(what + stop.strip(), why or "Nothing was changed.", fix)


def still_paid(ask: Ask, desk: Desk, seen: Seen) -> str:
    """What keeps costing money while its owner is asked, and where the work is; "" if there is nothing."""
    machine, image = seen.live, seen.newest
    if powered(machine) and machine is not None and machine.usd_per_hour:
        return f"{desk.name}'s machine is on, for {per_hour(machine.usd_per_hour, machine.told_per_hour)}"
    if machine is not None and machine.phase is Phase.STOPPED and machine.disk_usd_per_month:
        month = shown(machine.disk_usd_per_month, machine.disk_told_per_month, " a month")
        return f"{desk.name}'s machine is off; its disk has all the work, for {month}"
    if ask.kind is None:  # it may be the work itself that is asked about
        return ""
    if disk := next((d for d in seen.disks if d.usd_per_month), None):
        month = shown(disk.usd_per_month, disk.told_per_month, " a month")
        return f"{desk.name}'s disk has all the work, for {month}"
    if image and image.usd_per_month:
        month = shown(image.usd_per_month, image.told_per_month, " a month")
        return f"{desk.name}'s work is saved in its image, for {month}"
    return ""


def not_tried(ask: Ask, desk: Desk, find: Callable[[Want], Iterable[Offer]]) -> Ask:
    """The question with what else there is: other types, zones and markets with the same GPU."""
    if ask.kind not in OFFER_KINDS or not desk.offers:
        return ask
    gpu, market = desk.offers[0].gpu or "none", MarketChoice.CHEAPEST
    want = replace(desk.want, instance_type="", gpu=gpu, gpu_count=0, market=market, zone="")
    tried = {offer.key for offer in desk.offers}
    first = desk.offers[0]
    others: dict[tuple[str, str], Offer] = {}
    # The same GPU; and where there is no more of it, other ones with as much memory.
    for wish in (want, replace(want, gpu="", gpu_count=int(first.gpu_count) or 1))[: 2 if first.gpu else 1]:
        if not others:
            others = _others(wish, find, tried, first.gpu_memory_gib)
    if not others:
        return ask
    shown = [
        f"{o.instance_type} in {o.zone or o.region} ({o.market}, {per_hour(o.usd_per_hour, o.told_per_hour)})"
        for o in list(others.values())[:3]
    ]
    best = next(iter(others.values()))
    fix = ask.fix + (f": --type {best.instance_type} --market {best.market}" if "# again" in ask.fix else "")
    return replace(ask, why=f"{ask.why}. Not tried, and offered now: {', '.join(shown)}", fix=fix)


def _others(
    want: Want, find: Callable[[Want], Iterable[Offer]], tried: set[str], memory_gib: float
) -> dict[tuple[str, str], Offer]:
    """What else is offered, the best of each type and market, whose GPU has at least that memory."""
    others: dict[tuple[str, str], Offer] = {}
    with contextlib.suppress(HotdeskError, Refused):
        for offer in find(want):
            if offer.key not in tried and offer.gpu_memory_gib >= memory_gib:
                others.setdefault((offer.instance_type, offer.market), offer)
    return others


def nothing_fits(desk: Desk, want: Want) -> NotAllowed:
    """The error for hardware that no offer matches, raised before anything is saved."""
    words = {field: getattr(want, field) for field in want.__struct_fields__}
    usual = {field: getattr(Want(), field) for field in want.__struct_fields__}
    asked = ", ".join(f"{field} {_shown(words[field])}" for field in words if words[field] != usual[field])
    here = not cloud(desk.provider).rented
    if here and want.gpu and want.gpu.lower() != "none":
        count = f":{want.gpu_count:g}" if want.gpu_count not in {0, 1} else ""
        return NotAllowed(
            f"No offer matches {asked}.",
            "This computer has no such GPU.",
            f"hotdesk offers --gpu {want.gpu}{count}   # clouds that have one",
        )
    fix = f"hotdesk up {desk.name} --type local.cpu"
    for changed, option in (
        (want.market != MarketChoice.CHEAPEST, "--market cheapest"),
        (want.regions, "--region local"),
    ):
        fix += f" {option}" if changed else ""
    return NotAllowed(
        f"No offer matches {asked}.",
        "This computer offers only local.cpu, local.gpu if it has a GPU, its own disk and its own system."
        if here
        else f"{cloud(desk.provider).label} has no such hardware within those limits, or it is sold out.",
        fix if here else "hotdesk offers",
    )


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)
