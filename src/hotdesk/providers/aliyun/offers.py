"""Find offers that fit a request: types, zones with stock and prices, from the service itself.

Types and on-demand prices change rarely and are cached for a day; stock and spot prices are asked each time.
Prices are asked type by type, so only for the smallest types that fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.matching import (
    InstanceType,
    Place,
    conditions,
    fits,
    is_like,
    nearest,
    read_gpu,
    sold_there,
    wish,
)
from hotdesk.core.model import Market, MarketChoice, Offer, Want
from hotdesk.core.money import Amount, Money, per_hour
from hotdesk.core.ports import Cache
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import disk_types, hardware, prices
from hotdesk.providers.aliyun.account import Account, ListPrice
from hotdesk.providers.aliyun.settings import NAME
from hotdesk.providers.cloud.kept import kept_answers

MOST_TYPES = 12  # to ask prices of, in each region
MOST_DISKS = 3  # of which it is asked which disks a zone sells for them
SOURCE, SPOT_SOURCE = "DescribePrice", "DescribeSpotPriceHistory"


def find_offers(
    account: Account, want: Want, cache: Cache | None, now: float, *, money: Money, list_price: ListPrice
) -> list[Offer]:
    """Offers that fit, cheapest first. `list_price`: the price of a type that the service does not tell.

    Raises `Refused` (bad-request) when a named type does not exist, or a region is not one of the account's.
    """
    known = account.regions()
    regions = [r for r in known if is_like(want.regions, r)] if want.regions else [account.home]
    if not regions:
        near = nearest(want.regions[0], known)
        raise Refused(
            Kind.BAD_REQUEST,
            f"{want.regions[0]} is no region of Alibaba Cloud that hotdesk may use.",
            fix=f"hotdesk up --provider {NAME} --region {near[0] if near else account.home}",
        )
    asked = _asked(want)
    keys = {f"aliyun-types-1/{region}/{_key(asked)}": region for region in regions}
    told = kept_answers(
        cache, now, list[InstanceType], {k: partial(_types, account, r, asked) for k, r in keys.items()}
    )
    read = {keys[key]: types for key, types in told.items() if not isinstance(types, Exception)}
    if not read:
        raise next(answer for answer in told.values() if isinstance(answer, Exception))
    if want.instance_type and not any(read.values()):
        raise _no_such_type(account, want, regions[0])
    wished = conditions(wish(want))
    rows = [(r, kind) for r, types in read.items() for kind in _smallest(t for t in types if fits(wished, t))]
    offers = _priced(account, rows, want, cache, now=now, money=money, list_price=list_price)
    fitting = [
        o
        for o in offers
        if sold_there(wished, Place(NAME, o.region, o.zone), o.market, o.usd_per_hour, o.told_per_hour)
    ]
    ordered = sorted(fitting, key=lambda o: (o.usd_per_hour, o.market != Market.ON_DEMAND, o.key))
    return _with_disks(account, ordered, money)


def _asked(want: Want) -> dict[str, Any]:
    """Which types to ask for."""
    if want.instance_type:
        return {"InstanceTypes": [want.instance_type]}
    if want.gpu_count or (want.gpu and not read_gpu(want.gpu).is_none):
        return {"MinimumGPUAmount": 1}
    return {"InstanceTypeFamilies": list(hardware.CPU_FAMILIES)}


def _key(asked: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(asked.items()))


def _types(account: Account, region: str, asked: dict[str, Any]) -> list[InstanceType]:
    told = account.pages(
        region, "DescribeInstanceTypes", "InstanceTypes", "InstanceType", MaxResults=100, **asked
    )
    return [kind for raw in told if (kind := hardware.as_type(raw)) and kind.arch]


def _smallest(types: Iterable[InstanceType]) -> list[InstanceType]:
    return sorted(types, key=lambda t: (t.gpu_count, t.vcpus, t.memory_gib, t.instance_type))[:MOST_TYPES]


def _priced(
    account: Account,
    rows: Sequence[tuple[str, InstanceType]],
    want: Want,
    cache: Cache | None,
    *,
    now: float,
    money: Money,
    list_price: ListPrice,
) -> list[Offer]:
    """Offers of these types in the zones that have some; the questions are asked concurrently."""
    regions, pairs = sorted({region for region, _ in rows}), [(r, kind.instance_type) for r, kind in rows]
    markets = [m for m in Market if want.market in {MarketChoice.CHEAPEST, m.value}]
    asked: list[Any] = [partial(stock, account, region, market) for region in regions for market in markets]
    asked.append(lambda: prices.on_demand(account, pairs, None, now))
    asked.append(lambda: prices.spot(account, pairs) if Market.SPOT in markets else {})
    *stocks, listed, spot = side_by_side(asked)
    listed = {} if isinstance(listed, Exception) else listed
    places = {
        (region, market): answer
        for (region, market), answer in zip(((r, m) for r in regions for m in markets), stocks, strict=True)
        if not isinstance(answer, Exception)
    }
    if rows and not places:
        raise next(answer for answer in stocks if isinstance(answer, Exception))
    offers = []
    for region, kind in rows:
        name = kind.instance_type
        for market in markets:
            for zone in places.get((region, market), {}).get(name, ()):
                if market is Market.SPOT:
                    told = spot.get((zone, name)) if not isinstance(spot, Exception) else None
                    price, source = (told[0], SPOT_SOURCE) if told else (None, "")
                else:
                    price, source = listed.get((region, name)), SOURCE
                if price:
                    usd, amount = money.dollars(*price)
                    offers.append(
                        _offer(kind, region, zone, market, usd=usd, told=amount, at=now, source=source)
                    )
                elif market is Market.ON_DEMAND and (known := list_price(region, name)):
                    here = partial(_offer, kind, region, zone, market)
                    offers.append(here(usd=known.usd, told=known.told, at=known.time, source=known.source))
    return offers


def _offer(
    kind: InstanceType,
    region: str,
    zone: str,
    market: Market,
    *,
    usd: float,
    told: Amount | None,
    at: float,
    source: str,
) -> Offer:
    why = f"{kind.instance_type} in {zone} {market} at {per_hour(usd, told)}"
    note = "its local disk is in no image, and it goes on costing while it is off" if kind.scratch_gib else ""
    offer = kind.offer(
        region=region, zone=zone, market=market, usd_per_hour=usd, told_per_hour=told, price_time=at,
        source=source, why=f"{why}; {note}" if note else why,
    )  # fmt: skip
    return replace(offer, note=note) if note else offer


def _with_disks(account: Account, offers: Sequence[Offer], money: Money) -> list[Offer]:
    """The offers; of the first types, those in zones without the usual disk say what they have instead."""
    first = list(dict.fromkeys((o.region, o.instance_type) for o in offers))[:MOST_DISKS]

    def noted(offer: Offer) -> Offer:
        if (offer.region, offer.instance_type) not in first:
            return offer
        said = disk_types.note(account, offer.region, offer.zone, offer.instance_type, money)
        both = ", ".join(filter(None, [offer.note, said]))
        return replace(offer, note=both, why=f"{offer.why}; {said}") if said else offer

    return [noted(offer) for offer in offers]


def stock(account: Account, region: str, market: Market) -> dict[str, list[str]]:
    """Type -> zones that have some of it now."""
    spot = {"SpotStrategy": "SpotAsPriceGo"} if market is Market.SPOT else {}
    told = account.ask(
        region, "DescribeAvailableResource", DestinationResource="InstanceType", IoOptimized="optimized",
        InstanceChargeType="PostPaid", **spot,
    )  # fmt: skip
    found: dict[str, list[str]] = {}
    for zone in told["AvailableZones"]["AvailableZone"]:
        for resource in zone["AvailableResources"]["AvailableResource"]:
            for one in resource["SupportedResources"]["SupportedResource"]:
                if one.get("Status") == "Available":
                    found.setdefault(str(one["Value"]), []).append(str(zone["ZoneId"]))
    return found


def _no_such_type(account: Account, want: Want, region: str) -> Refused:
    """The refusal for a type that does not exist, or is not offered, suggesting similar ones."""
    try:
        every = account.pages(
            region, "DescribeInstanceTypes", "InstanceTypes", "InstanceType", MaxResults=100
        )
        names = [kind.instance_type for raw in every if (kind := hardware.as_type(raw))]
        similar = nearest(want.instance_type, sorted(names))
    except Exception:  # a suggestion is only a suggestion
        similar = []
    there = f" The nearest: {', '.join(similar)}." if similar else ""
    return Refused(
        Kind.BAD_REQUEST,
        f"{want.instance_type} is no type of Alibaba Cloud that hotdesk offers.{there}",
        fix=f"hotdesk up --provider {NAME} --type {similar[0]}" if similar else "hotdesk offers",
    )
