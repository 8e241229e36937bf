"""`--provider any`: the best place for a desk among this computer, machines of one's own, and clouds."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from hotdesk.core.clouds import KNOWN, Cloud
from hotdesk.core.errors import HotdeskError, NotAllowed
from hotdesk.core.model import Offer, Value, Want
from hotdesk.core.money import is_comparable, per_hour
from hotdesk.market.ranking import ranked
from hotdesk.providers import registry
from hotdesk.services.goals import ANY, Goals

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


def places(goals: Goals, name: str, want: Want | None = None) -> list[Place]:
    """Every place, best first, each with its reason.

    One's own machines come first while nobody uses their GPU; then clouds, by the ranking of `up` over the
    offers of all of them; then what has no price in US dollars, and machines in use; last, the places where
    nothing fits. A place that cannot be asked says why, and keeps no other from being chosen.
    """
    chosen: list[tuple[tuple[int, float], Place]] = []
    rented: dict[str, tuple[Offer, ...]] = {}
    reached = registry.within_reach()
    for cloud in KNOWN.values():
        if cloud.credentials and cloud.name not in reached:
            chosen.append(((9, 0.0), Place(cloud.name, _without("no credentials here", cloud.log_in))))
            continue
        try:
            registry.check(cloud)
            offers = goals.offers(cloud.name, wish_at(goals, name, want, cloud))
        except HotdeskError as no:
            chosen.append(((9, 0.0), Place(cloud.name, _without(no.what, no.fix))))
            continue
        if not offers:
            chosen.append(((9, 0.0), Place(cloud.name, "nothing there fits")))
        elif not cloud.rented:
            place = Place(cloud.name, offers[0].why, offers[0])
            chosen.append(((3 if offers[0].taken else 0, offers[0].usd_per_hour), place))
        elif comparable := tuple(offer for offer in offers if is_comparable(offer.told_per_hour)):
            rented[cloud.name] = comparable
        else:
            why = f"{_price(offers[0])}, which nothing here compares with dollars (cny_per_usd under [money])"
            chosen.append(((2, 0.0), Place(cloud.name, why, offers[0])))
    every = [offer for offers in rented.values() for offer in offers]
    wish = wish_at(goals, name, want, KNOWN[next(iter(rented))]) if rented else Want()
    for rank, offer in enumerate(ranked(wish, every, goals.store, goals.clock.now())):
        if rented.pop(offer.provider, None):
            chosen.append(((1, rank), Place(offer.provider, f"{_price(offer)}, {offer.why}", offer)))
    return [place for _, place in sorted(chosen, key=lambda row: row[0])]


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
