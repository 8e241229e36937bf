"""Find offers that fit a request: types, zones and prices, from EC2 itself.

Types and zones come from DescribeInstanceTypes and DescribeInstanceTypeOfferings, current spot prices from
DescribeSpotPriceHistory, on-demand prices from the Price List API (pricing.py). Types and on-demand prices
change rarely and are cached for a day; spot prices are requested each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

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
from hotdesk.core.money import Money, per_hour
from hotdesk.core.ports import Cache
from hotdesk.core.pricelist import Shipped, is_estimate, is_shipped
from hotdesk.parallel import all_of, side_by_side
from hotdesk.providers.aws import free_plan, hardware, reservations
from hotdesk.providers.aws.account import Account, ListPrice, pages
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.pricing import currency_of, list_prices
from hotdesk.providers.aws.settings import NAME
from hotdesk.providers.cloud.kept import kept_answers

#: Types to consider when none is named, as patterns of DescribeInstanceTypes.
GPU_PATTERNS = ("g*", "p*")
#: For a desk without a GPU: general-purpose and compute types.
CPU_PATTERNS = (
    *("t3.large", "t3.xlarge", "m7i.large", "m7i.xlarge", "m7i.2xlarge", "m6i.large", "m6i.xlarge"),
    "m7i-flex.large",  # the largest type of the Free plan
    *("c7i.xlarge", "c7i.2xlarge", "c7i.4xlarge", "c6i.xlarge", "r7i.xlarge"),
)


class Kept(msgspec.Struct, frozen=True):
    """A region's types, and the zones that sell each; cached."""

    types: list[InstanceType]
    zones: dict[str, list[str]]
    free: list[str] = []  # types that an account on the Free plan starts


def find_offers(
    account: Account, want: Want, cache: Cache | None, now: float,
    *, list_price: ListPrice = lambda region, instance_type: None,
    money: Money = Money(),
) -> list[Offer]:  # fmt: skip
    """Offers that fit, cheapest first. `list_price`: the price of a type that the Price List API lacks.

    Raises `Refused` (bad-request) when a named type does not exist or is sold in none of the regions.
    """
    enabled = account.regions()
    regions = [r for r in enabled if is_like(want.regions, r)] if want.regions else [account.home]
    if not regions:  # it may have been enabled since
        enabled = account.regions(fresh=True)
        regions = [r for r in enabled if is_like(want.regions, r)]
    if not regions:
        near = nearest(want.regions[0], enabled)
        raise Refused(
            Kind.BAD_REQUEST,
            f"{want.regions[0]} is not a region that is enabled for this account.",
            fix=f"hotdesk up --region {near[0] if near else account.home}   "
            f"# or: aws account enable-region --region-name {want.regions[0]}",
        )
    patterns = _patterns(want)
    keys = {f"aws-types-5/{region}/{','.join(patterns)}": region for region in regions}
    asked = {key: partial(_ask, account, region, patterns) for key, region in keys.items()}
    free = free_plan.on_it(account, cache, now)
    read = kept_answers(cache, now, Kept, asked)
    kept = {keys[key]: told for key, told in read.items() if isinstance(told, Kept)}
    if not kept:
        raise next(told for told in read.values() if isinstance(told, Exception))
    wished = conditions(wish(want))
    rows = [(region, kind) for region, told in kept.items() for kind in told.types if fits(wished, kind)]
    if want.instance_type and not any(kept[region].zones.get(kind.instance_type) for region, kind in rows):
        raise _not_sold(account, want, list(kept))
    if not want.image:
        rows = _with_an_image(rows)
    if free and rows:
        eligible = [(region, kind) for region, kind in rows if kind.instance_type in kept[region].free]
        if not eligible:
            wanted = want.instance_type or ", ".join(sorted({kind.gpu or "that" for _, kind in rows})[:4])
            raise free_plan.refused(wanted, sorted({t for told in kept.values() for t in told.free}))
        rows = eligible
    prices = list_prices(account, sorted({kind.instance_type for _, kind in rows}), cache, now)
    spot = _spot(account, rows, now) if want.market != MarketChoice.ON_DEMAND else {}

    def today(told: float, region: str, source: str) -> Shipped:
        usd, amount = money.dollars(told, currency_of(region))
        return Shipped(usd, now, source, amount)

    offers = []
    for region, kind in rows:
        name = kind.instance_type
        told = prices.get((region, name))
        known = today(told, region, "price list") if told else list_price(region, name)
        for zone in kept[region].zones.get(name, ()):
            here = partial(_priced, kind, region=region, zone=zone)
            if known:
                offers.append(here(market=Market.ON_DEMAND, price=known))
            if price := spot.get((zone, name)):
                offers.append(here(market=Market.SPOT, price=today(price, region, "spot price history")))
    if want.market != MarketChoice.SPOT:
        offers += reservations.offers(account, rows, now)
    fitting = [
        o
        for o in offers
        if sold_there(wished, Place(NAME, o.region, o.zone), o.market, o.usd_per_hour, o.told_per_hour)
    ]
    return sorted(fitting, key=lambda o: (o.usd_per_hour, o.market != Market.ON_DEMAND, o.key))


def _with_an_image(rows: list[tuple[str, InstanceType]]) -> list[tuple[str, InstanceType]]:
    """The rows whose driver is in a default image. Raises `Refused` if there are none."""
    nos = [hardware.needs_own_image(kind) for _, kind in rows]
    if nos and (no := nos[0]) and all(nos):
        raise Refused(Kind.BAD_REQUEST, no.why, fix=no.fix)
    return [row for row, no in zip(rows, nos, strict=True) if no is None]


def _priced(kind: InstanceType, *, region: str, zone: str, market: Market, price: Shipped) -> Offer:
    usd, time, source, told = price
    about = "~" if is_estimate(source) else ""
    why = f"{kind.instance_type} in {zone} {market} at {about}{per_hour(usd, told)}"
    if is_shipped(source):
        why += f", as of {datetime.fromtimestamp(time, UTC):%Y-%m-%d} ({source})"
    return kind.offer(
        region=region,
        zone=zone,
        market=market,
        usd_per_hour=usd,
        told_per_hour=told,
        price_time=time,
        source=source,
        why=why,
    )


def _patterns(want: Want) -> tuple[str, ...]:
    if want.instance_type:
        return (want.instance_type,)
    gpu = want.gpu_count or (want.gpu and not read_gpu(want.gpu).is_none)
    return GPU_PATTERNS if gpu else CPU_PATTERNS


def _ask(account: Account, region: str, patterns: tuple[str, ...]) -> Kept:
    ec2 = account.ec2(region)
    chosen = [{"Name": "instance-type", "Values": list(patterns)}]
    types, offerings, zones = all_of(
        lambda: pages(ec2, "describe_instance_types", "InstanceTypes", Filters=chosen),
        lambda: pages(
            ec2,
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            Filters=chosen,
            LocationType="availability-zone",
        ),
        lambda: _zones(account, region),
    )
    sold: dict[str, list[str]] = {}
    for row in offerings:
        if row["Location"] in zones:
            sold.setdefault(row["InstanceType"], []).append(row["Location"])
    known = [kind for raw in types if (kind := hardware.as_type(raw))]
    free = [raw["InstanceType"] for raw in types if raw.get("FreeTierEligible")]
    return Kept(types=known, zones={name: sorted(places) for name, places in sold.items()}, free=free)


def _zones(account: Account, region: str) -> set[str]:
    """The availability zones of a region, without Local Zones and Wavelength Zones."""
    with answers():
        listed = account.ec2(region).describe_availability_zones()["AvailabilityZones"]
    return {
        z["ZoneName"]
        for z in listed
        if z.get("ZoneType", "availability-zone") == "availability-zone" and z.get("State") == "available"
    }


def _not_sold(account: Account, want: Want, regions: list[str]) -> Refused:
    """The refusal for a type that is not sold there, suggesting similar ones."""
    family = want.instance_type.partition(".")[0]
    similar: list[str] = []
    try:
        sold = account.ec2(regions[0]).describe_instance_type_offerings(
            Filters=[{"Name": "instance-type", "Values": [f"{family[:2]}*"]}]
        )["InstanceTypeOfferings"]
        similar = nearest(want.instance_type, sorted({o["InstanceType"] for o in sold}))
    except Exception:  # a suggestion is only a suggestion
        similar = []
    there = f" The nearest there: {', '.join(similar)}." if similar else ""
    return Refused(
        Kind.BAD_REQUEST,
        f"{want.instance_type} is not sold in {', '.join(regions)}.{there}",
        fix=f"hotdesk up --type {similar[0]}" if similar else "hotdesk offers",
    )


# ---- prices ------------------------------------------------------------------------------------------


def _spot(
    account: Account, rows: Iterable[tuple[str, InstanceType]], now: float
) -> dict[tuple[str, str], float]:
    """Current spot prices by zone and type, without regions that do not answer."""
    by_region: dict[str, set[str]] = {}
    for region, kind in rows:
        by_region.setdefault(region, set()).add(kind.instance_type)
    asked = [partial(spot_now, account, region, now, sorted(types)) for region, types in by_region.items()]
    told = side_by_side(asked) if asked else []
    return {pool: usd for one in told if not isinstance(one, Exception) for pool, (usd, _) in one.items()}


def spot_now(
    account: Account, region: str, now: float, types: Sequence[str] = ()
) -> dict[tuple[str, str], tuple[float, float]]:
    """(price in its currency, since when) by (zone, type): current spot prices of a region, or of `types`."""
    chosen = {"InstanceTypes": list(types)} if types else {}
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for row in pages(
        account.ec2(region),
        "describe_spot_price_history",
        "SpotPriceHistory",
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,
        **chosen,
    ):
        with contextlib.suppress(KeyError, ValueError, TypeError):
            pool = (row["AvailabilityZone"], row["InstanceType"])
            usd, time = float(row["SpotPrice"]), row["Timestamp"].timestamp()
            if pool not in found or time > found[pool][1]:
                found[pool] = (usd, time)
    return found
