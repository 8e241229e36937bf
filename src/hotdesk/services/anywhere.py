"""`--provider any`: the best place for a desk among this computer, machines of one's own, and clouds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from hotdesk.core.clouds import KNOWN, Cloud
from hotdesk.core.errors import HotdeskError, NotAllowed, Usage
from hotdesk.core.model import Desk, Offer, Value, Want
from hotdesk.core.money import is_comparable, per_hour, rate_line
from hotdesk.market.ranking import ranked
from hotdesk.providers import registry
from hotdesk.services.goals import ANY, Goals
from hotdesk.services.wanting import wanted

#: What hotdesk.toml may say for clouds, and a machine of one's own does not let anybody choose.
_OF_CLOUDS = ("regions", "disk_gib", "image")


class Place(Value, frozen=True):
    """One place where a desk could be, and why it is where it is in the order."""

    provider: str
    why: str
    offer: Offer | None = None  # the best one there; None where nothing fits or nobody could be asked


def best(goals: Goals, name: str, want: Want | None, note: Callable[[str], None]) -> tuple[str, Want]:
    """The provider to choose for this desk, and the wish as it is said there; `note` gets a line a place.

    Raises `NotAllowed` where nothing fits anywhere.
    """
    found = places(goals, name, want)
    if found[0].offer is None:
        why = "; ".join(f"{KNOWN[place.provider].label}: {place.why}" for place in found)
        gpu = f" --gpu {want.gpu}" if want and want.gpu else ""
        raise NotAllowed(f"No place that is set up here has what {name} needs.", why, f"hotdesk offers{gpu}")
    for place in found:
        mark = "->" if place is found[0] else "  "
        note(f"{mark} {KNOWN[place.provider].label}: {place.why}")
    return found[0].provider, wish_at(goals, name, want, KNOWN[found[0].provider])


def destination(
    goals: Goals, desk: Desk, given: dict[str, Any], provider: str | None, note: Callable[[str], None]
) -> tuple[Want | None, str | None]:
    """What a move asks for, of the options `given` about hardware, and where: "any" as the best place.

    Raises `Usage` where that is what it has, `NotAllowed` where nothing fits anywhere.
    """
    elsewhere = provider not in {None, desk.provider}
    want = wanted(goals.configured(desk.name, provider) if elsewhere else desk.want, given)
    if provider == ANY:
        provider, want = best(goals, desk.name, want, note)
    if elsewhere and provider == desk.provider:  # the best place is the one where it is
        elsewhere, want = False, wanted(desk.want, given)
    if want is None and not elsewhere and not (provider and desk.bound):
        there = f"{desk.name} is there already" if provider else "Move to what"
        why = "Name the hardware, or another place."
        raise Usage(f"{there}{'.' if provider else '?'}", why, f"hotdesk move {desk.name} --gpu L4")
    return want, provider


def places(goals: Goals, name: str, want: Want | None = None) -> list[Place]:
    """Every place, best first, each with its reason.

    One's own machines come first while nobody uses their GPU; then clouds, by the ranking of `up` over the
    offers of all of them; then what has no price in US dollars, and machines in use; last, the places where
    nothing fits. A place that cannot be asked says why, and keeps no other from being chosen.
    """
    own, priced, unpriced, taken, absent = (list[Place]() for _ in range(5))
    rented: dict[str, tuple[Offer, ...]] = {}
    reached = registry.within_reach()
    for cloud in KNOWN.values():
        if cloud.credentials and cloud.name not in reached:
            absent.append(Place(cloud.name, _without("no credentials here", cloud.log_in)))
            continue
        try:
            registry.check(cloud)
            offers = goals.offers(cloud.name, wish_at(goals, name, want, cloud))
        except HotdeskError as no:
            absent.append(Place(cloud.name, _without(no.what, no.fix)))
            continue
        first = next(iter(offers), None)
        if first is None:
            absent.append(Place(cloud.name, "nothing there fits"))
        elif not cloud.rented:
            (taken if first.taken else own).append(Place(cloud.name, first.why, first))
        elif comparable := tuple(offer for offer in offers if is_comparable(offer.told_per_hour)):
            rented[cloud.name] = comparable
        elif first.told_per_hour:
            why = f"{_price(first)}, which has no rate to dollars"
            unpriced.append(Place(cloud.name, _without(why, rate_line(first.told_per_hour.currency)), first))
    every = [offer for offers in rented.values() for offer in offers]
    wish = want or goals.configured(name, ANY)
    for offer in ranked(wish, every, goals.store, goals.clock.now()):
        if rented.pop(offer.provider, None):
            priced.append(Place(offer.provider, f"{_price(offer)}, {offer.why}", offer))
    own.sort(key=lambda place: place.offer.usd_per_hour if place.offer else 0.0)
    return [*own, *priced, *unpriced, *taken, *absent]


def wish_at(goals: Goals, name: str, want: Want | None, cloud: Cloud) -> Want:
    """What is wanted, as it is said at that place: settings for clouds rule out no machine of one's own."""
    there = goals.configured(name, cloud.name)
    if want is None:
        return there
    usual = goals.configured(name, ANY)
    same = [field for field in _OF_CLOUDS if getattr(want, field) == getattr(usual, field)]
    return replace(want, **{field: getattr(there, field) for field in same})


def _price(offer: Offer) -> str:
    return per_hour(offer.usd_per_hour, offer.told_per_hour)


def _without(what: str, fix: str) -> str:
    """Why a place has no offer, and what would change that."""
    return what.rstrip(".") + (f" ({fix})" if fix else "")
