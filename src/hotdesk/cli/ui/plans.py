"""A plan in words, for dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hotdesk.cli.ui import render
from hotdesk.core.clouds import cloud
from hotdesk.core.model import Desk, Goal, Offer
from hotdesk.core.steps import AnyStep, Ask, Copy, Delete, Hold, Launch, Retype, Wait
from hotdesk.services import forms

if TYPE_CHECKING:
    from hotdesk.connect.at_work import AtWork
    from hotdesk.services.move_shapes import Carriage, Sized
    from hotdesk.services.shapes import Plan


_OFFERS = 10  # of a dry run's JSON
NOTHING = "Nothing was done."


def lines(desk: Desk, steps: Sequence[AnyStep], last: str = NOTHING) -> Iterator[str]:
    """One line per step; below a launch, the next best offers."""
    if not steps:
        yield f"{desk.name} is {desk.goal} already: nothing to do."
        return
    yield f"To have {desk.name} {desk.goal}:"
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {_line(step)}"
        if isinstance(step, Launch):
            yield from _others(step.order.offer, desk.offers)
    if last:
        yield render.style(last, "dim")


def document(
    desk: Desk, steps: Sequence[AnyStep], work: AtWork | None, carries: Carriage | None = None
) -> Plan:
    """The same for a program, with the work that would end and what goes to another place."""
    works, unsaved, is_open = (work.works, work.unsaved, work.open) if work else ((), (), ())
    return {
        "name": desk.name,
        "goal": desk.goal,
        "steps": [
            {
                "step": type(step).__name__.lower(),
                "why": step.why,
                "text": _step(step),
                "offer": forms.whole(step.order.offer) if isinstance(step, Launch) else None,
            }
            for step in steps
        ],
        "offers": [forms.whole(o) for o in desk.offers[:_OFFERS]] if desk.goal is Goal.RUNNING else [],
        "works": list(works),
        "unsaved": list(unsaved),
        "open": list(is_open),
        "needs_person": bool(
            works or unsaved or desk.goal is Goal.GONE or any(isinstance(step, Ask) for step in steps)
        ),
        "carries": carries,
    }


def carried(name: str, goods: Carriage) -> Iterator[str]:
    """What a move carries, in lines."""
    to = cloud(goods["provider"]).label
    onto = f": {render.at(goods['type'], goods['zone'])}" if goods["type"] else ""
    yield f"{name} goes from {cloud(goods['origin']).label} to {to}{onto}"
    if goods["files"] is None or goods["bytes"] is None:
        yield f"  carries: not counted: {goods['uncounted']}"
    else:
        some = goods["packages"]
        packages = "" if some is None else f"; {some} package{'s' * (some != 1)} of Python"
        files = f"{goods['files']:,} file{'s' * (goods['files'] != 1)}"
        yield f"  carries: {files}, {render.size(goods['bytes'] / 2**30)}{packages}"
        if big := [f"{one['name']} ({render.size(one['bytes'] / 2**30)})" for one in goods["largest"][:3]]:
            yield f"  most of it: {render.safe(', '.join(big))}"
    if count := goods["data_files"]:
        data = (
            f"{count:,} file{'s' * (count != 1)} of data, {render.size((goods['data_bytes'] or 0) / 2**30)}"
        )
        yield f"  does not carry: {data}: they come from their source"
    yield from could_stay(name, [one for one in goods["largest"] if one["may_be_data"]])
    for name_ in goods["unreadable"][:3]:
        yield f"  cannot be read, and stops the move: {render.safe(name_)}"
    for leg in goods["lines"]:
        speed = leg["bytes_per_second"]
        told = f"{render.size(speed / 2**30)}/s, measured just now" if speed else "not measured: no machine"
        yield f"  line to {leg['place']}: {told}{'' if speed else ' of the desk answers there yet'}"
    if way := goods["route"]:
        by = "straight from one machine to the other" if way["by"] == "direct" else "through this computer"
        yield f"  route: {by}: {render.safe(way['why'])}"
    if goods["seconds"] is not None and goods["lines"]:
        most = "at most, before compression: what is there already is not sent"
        yield f"  takes: about {render.duration(max(1.0, round(goods['seconds'])))} on the way ({most})"
    yield f"  costs: {_costs(goods)}"
    for one in goods["replaced"]:
        yield f"  stays behind: {render.safe(one['what'])} → {render.safe(one['by'])}"


def could_stay(name: str, folders: Sequence[Sized]) -> Iterator[str]:
    """Lines about folders that may be data."""
    for folder in folders:
        still = render.duration(folder["unchanged_seconds"])
        told = f"{folder['name']} is {render.size(folder['bytes'] / 2**30)}, unchanged for {still}"
        mark = f'[[desks.{name}.data]] with from = "…", to = "{folder["name"]}"'
        yield render.safe(f"  {told}: carry it, or mark it as data? {mark} in hotdesk.toml")


def _costs(goods: Carriage) -> str:
    once = goods["usd_once"]
    if once is None:
        way = f"what {cloud(goods['origin']).label} takes for traffic is not known here"
    elif once:
        way = f"{render.usd(once)} at most for traffic that leaves {cloud(goods['origin']).label}"
    else:
        way = "nothing for the way"
    hourly = render.per_hour(goods["usd_per_hour"], goods["told_per_hour"])
    return f"{way}; then {hourly}" if goods["usd_per_hour"] else f"{way}, and nothing by the hour"


def _line(step: AnyStep) -> str:
    return _step(step) if isinstance(step, Ask) else _step(step) + render.style(f" — {step.why}", "dim")


def _step(step: AnyStep) -> str:
    """A step without its reason."""
    match step:
        case Launch(order=order):
            saved = " from its image" if order.image_id else ""
            return f"launch {_offer(order.offer)}{saved}"
        case Hold(order=order):
            return f"ask for {_offer(order.offer)}, while its machine works"
        case Ask(what=what, fix=fix):
            return f"ask: {what} {step.why} ({fix})"
        case Wait():
            return "wait"
        case Delete(id=id_, keep_disk=keep):
            return f"end {id_}, keeping its disk" if keep else f"delete {id_}"
        case Retype(offer=offer):
            return f"change its type: {_offer(offer)}"
        case Copy(region=region):
            return f"copy the image to {region}"
    doing = {
        "bake": "take an image",
        "verify": "read the image back",
        "prove": "log in, and ask Jupyter",
        "fetch": "fetch its files, and read them back",
        "bring": "bring its files, and read them back",
        "hand": "hand it over",
    }
    name = type(step).__name__.lower()
    return doing.get(name, name)


def _offer(offer: Offer) -> str:
    place = render.at(offer.instance_type, offer.zone or offer.region)
    return f"{place} ({offer.market}, {render.price(offer)})"


def _others(chosen: Offer, offers: Sequence[Offer]) -> Iterator[str]:
    others = [o for o in offers if o.key != chosen.key][:3]
    for offer in others:
        yield " " * 7 + render.style(f"or {_offer(offer)}" + (f": {offer.why}" if offer.why else ""), "dim")
