"""A plan in words, for dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hotdesk.cli.ui import render
from hotdesk.core.model import Desk, Goal, Offer
from hotdesk.core.steps import AnyStep, Ask, Copy, Delete, Launch, Retype, Wait
from hotdesk.services import forms

if TYPE_CHECKING:
    from hotdesk.connect.at_work import AtWork
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


def document(desk: Desk, steps: Sequence[AnyStep], work: AtWork | None) -> Plan:
    """The same for a program, with the work that would end."""
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
    }


def _line(step: AnyStep) -> str:
    return _step(step) if isinstance(step, Ask) else _step(step) + render.style(f" — {step.why}", "dim")


def _step(step: AnyStep) -> str:
    """A step without its reason."""
    match step:
        case Launch(order=order):
            saved = " from its image" if order.image_id else ""
            return f"launch {_offer(order.offer)}{saved}"
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
    doing = {"bake": "take an image", "verify": "read the image back", "prove": "log in, and ask Jupyter"}
    name = type(step).__name__.lower()
    return doing.get(name, name)


def _offer(offer: Offer) -> str:
    place = render.at(offer.instance_type, offer.zone or offer.region)
    return f"{place} ({offer.market}, {render.price(offer)})"


def _others(chosen: Offer, offers: Sequence[Offer]) -> Iterator[str]:
    others = [o for o in offers if o.key != chosen.key][:3]
    for offer in others:
        yield render.style(f"       or {_offer(offer)}" + (f": {offer.why}" if offer.why else ""), "dim")
