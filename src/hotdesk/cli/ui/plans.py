"""A plan in words, for dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hotdesk.cli.ui import render
from hotdesk.core.model import Desk, Offer
from hotdesk.core.steps import AnyStep, Ask, Copy, Delete, Launch, Retype, Wait


def lines(desk: Desk, steps: Sequence[AnyStep]) -> Iterator[str]:
    """One line per step; below a launch, the next best offers."""
    if not steps:
        yield f"{desk.name} is {desk.goal} already: nothing to do."
        return
    yield f"To have {desk.name} {desk.goal}:"
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {_line(step)}"
        if isinstance(step, Launch):
            yield from _others(step.order.offer, desk.offers)
    yield render.style("Nothing was done.", "dim")


def _line(step: AnyStep) -> str:
    why = render.style(f" — {step.why}", "dim")
    match step:
        case Launch(order=order):
            saved = " from its image" if order.image_id else ""
            return f"launch {_offer(order.offer)}{saved}{why}"
        case Ask(what=what, fix=fix):
            return f"ask: {what} {step.why} ({fix})"
        case Wait():
            return f"wait{why}"
        case Delete(id=id_, keep_disk=keep):
            return (f"end {id_}, keeping its disk" if keep else f"delete {id_}") + why
        case Retype(offer=offer):
            return f"change its type: {_offer(offer)}{why}"
        case Copy(region=region):
            return f"copy the image to {region}{why}"
    doing = {"bake": "take an image", "verify": "read the image back", "prove": "log in, and ask Jupyter"}
    name = type(step).__name__.lower()
    return doing.get(name, name) + why


def _offer(offer: Offer) -> str:
    place = render.at(offer.instance_type, offer.zone or offer.region)
    return f"{place} ({offer.market}, {render.price(offer)})"


def _others(chosen: Offer, offers: Sequence[Offer]) -> Iterator[str]:
    others = [o for o in offers if o.key != chosen.key][:3]
    for offer in others:
        yield render.style(f"       or {_offer(offer)}" + (f": {offer.why}" if offer.why else ""), "dim")
