"""Rank the offers that fit, with reasons: what `up` shows before it acts, and `--dry-run` in full.

The ranking is by dollars an hour among the regions near enough. It makes no requests. Each offer says why it
has its rank, and what was left out has a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from hotdesk.core.model import Market, Offer, Value, Want
from hotdesk.core.money import is_comparable
from hotdesk.core.ports import Cache
from hotdesk.core.spot.prices import ZonePrices
from hotdesk.market import refresh
from hotdesk.market.latency import latencies
from hotdesk.market.shipped import shipped

#: Below this a terminal feels immediate; a cheaper offer further away must save more than FAR_SAVING.
NEAR_MS = 80.0
FAR_SAVING = 0.15
#: How many offers are kept: the next one is tried if the cloud says that the first is sold out.
KEPT = 24


class Choice(Value, frozen=True):
    """Offers, best first, each with its `why`; and how many fitted but were left out, by reason."""

    offers: tuple[Offer, ...]
    left_out: dict[str, int]

    @property
    def best(self) -> Offer | None:
        return self.offers[0] if self.offers else None

    @property
    def next_best(self) -> tuple[Offer, ...]:
        """The next three offers, from other pools than the best: what --dry-run shows."""
        return self.offers[1:4]


def rank(
    want: Want,
    offers: Iterable[Offer],
    *,
    latency: Mapping[str, float] = {},
    history: Sequence[ZonePrices] = (),
    bands: Mapping[tuple[str, str], int] = {},
    refused: Mapping[str, str] = {},
    kept: int = KEPT,
) -> Choice:
    """Offers that fit, best first, each with its reasons.

    `latency` is milliseconds by "provider/region", `history` what spot has cost lately, `bands` the published
    interruption bands by (region, instance type), `refused` reasons by `Offer.key` that are still valid.
    Spot in a zone without a spot market is left out.
    """
    left: dict[str, int] = {}
    pinned = {(zone.zone, zone.instance_type) for zone in history if zone.pinned}
    fitting: list[Offer] = []
    for offer in offers:
        reason = ""
        if offer.key in refused:
            reason = refused[offer.key]
        elif want.usd_per_hour_max is not None and not is_comparable(offer.told_per_hour):
            reason = "priced in a currency without a rate to dollars"
        elif want.usd_per_hour_max is not None and offer.usd_per_hour > want.usd_per_hour_max:
            reason = f"above ${want.usd_per_hour_max:g}/h"
        elif offer.market is Market.SPOT and (offer.zone, offer.instance_type) in pinned:
            reason = "no spot market there"
        if reason:
            left[reason] = left.get(reason, 0) + 1
        else:
            fitting.append(offer)
    near = {offer.key: latency.get(f"{offer.provider}/{offer.region}") for offer in fitting}
    measured = any(ms is not None for ms in near.values())

    def felt(offer: Offer) -> float:
        """The price for ranking: a far region, or one of unknown latency, must be cheaper by FAR_SAVING."""
        ms = near[offer.key]
        far = measured and (ms is None or ms > NEAR_MS)
        return offer.usd_per_hour * (1 + FAR_SAVING if far else 1)

    fitting.sort(key=lambda offer: (felt(offer), offer.market is Market.SPOT, offer.key))
    figures = {(zone.zone, zone.instance_type): zone for zone in history}
    listed = [o for o in fitting if o.market is Market.ON_DEMAND and not o.reservation]
    usual = {(o.region, o.instance_type): o.usd_per_hour for o in listed}
    chosen = [
        msgspec.structs.replace(
            offer,
            why=_why(
                offer,
                place,
                fitting,
                ms=near[offer.key],
                spot=figures.get((offer.zone, offer.instance_type)),
                band=bands.get((offer.region, offer.instance_type)),
                usual=usual.get((offer.region, offer.instance_type)),
            ),
        )
        for place, offer in enumerate(fitting[:kept])
    ]
    if len(fitting) > kept:
        left["fitted but dearer than those shown"] = len(fitting) - kept
    return Choice(offers=tuple(chosen), left_out=left)


def _why(
    offer: Offer,
    place: int,
    fitting: Sequence[Offer],
    *,
    ms: float | None,
    spot: ZonePrices | None,
    band: int | None,
    usual: float | None,
) -> str:
    what = offer.gpu or "machine"
    where = f"{offer.instance_type} in {offer.zone or offer.region}"
    reasons = []
    if place == 0:
        lowest = min(other.usd_per_hour for other in fitting)
        near = f" within {NEAR_MS:.0f} ms of you" if ms is not None and ms <= NEAR_MS else ""
        if offer.usd_per_hour == lowest or near:
            reasons.append(f"cheapest {what}{near}")
        else:
            reasons.append(f"cheapest {what} with its distance counted")
    else:
        more = offer.usd_per_hour - fitting[0].usd_per_hour
        reasons.append(
            f"${more:.3g}/h more" if more > 0 else f"${-more:.3g}/h less" if more < 0 else "as cheap"
        )
    if offer.reservation:
        reasons = [f"your {offer.source} {offer.reservation} is paid already"]
        if at := offer.reserved_until:
            reasons.append(f"until {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC")
    if ms is not None and not (place == 0 and ms <= NEAR_MS):
        reasons.append(f"{ms:.0f} ms away")
    if offer.market is Market.SPOT:
        reasons += _about_spot(offer, spot, band, usual)
    elif not offer.reserved_until:
        reasons.append("no interruption risk")
    return f"{where}: {', '.join([*reasons, *filter(None, [offer.note])])}"


def _about_spot(offer: Offer, spot: ZonePrices | None, band: int | None, usual: float | None) -> list[str]:
    found = []
    if usual:
        found.append(f"{100 * (1 - offer.usd_per_hour / usual):.0f} % below on-demand")
    if spot:
        found.append(f"under ${_round_up(spot.p95):g} for 95 % of {spot.covered_hours / 24:.0f} days")
    if band is not None:
        share = ("under 5", "5 to 10", "10 to 15", "15 to 20", "over 20")[band]
        found.append(f"{share} % of such machines are interrupted in a month")
    return found


def _round_up(usd: float) -> float:
    """The next round sum above a price."""
    step = 0.01 if usd < 1 else 0.1 if usd < 10 else 1.0
    return round((math.floor(usd / step + 1e-9) + 1) * step, 2)


def ranked(want: Want, offers: Sequence[Offer], cache: Cache, now: float) -> tuple[Offer, ...]:
    """A provider's offers, ranked by the latencies, interruptions and prices that are cached here."""
    known = refresh.known(cache).catalog.bands
    bands = {
        (offer.region, offer.instance_type): band
        for offer in offers
        if (band := known.get(f"{offer.provider}/{offer.region}/{offer.instance_type}")) is not None
    }
    history = _lately(sorted({offer.instance_type for offer in offers}), cache, now)
    choice = rank(want, offers, latency=latencies(cache), history=history, bands=bands, kept=len(offers))
    return choice.offers


def _lately(names: Sequence[str], cache: Cache, now: float) -> list[ZonePrices]:
    """Spot prices of the last 30 days, for types whose history `hotdesk spot` has fetched before."""
    known = [name for name in names if cache.cached(f"history:{name}")]
    if not known:
        return []
    from hotdesk.market.history import summarise
    from hotdesk.market.history_files import kept

    prices = shipped().on_demand_prices(known)
    try:
        found = [kept(cache, [name]) for name in known]
        return [
            zone
            for one in found
            if one
            for zone in summarise(one[1], now - 30 * 86400, now, on_demand=prices)
        ]
    except ImportError:  # without numpy there are no histories, and choosing goes on
        return []
