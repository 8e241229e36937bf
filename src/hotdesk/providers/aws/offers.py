"""Offers: what EC2 sells now, where, and for how much, asked from EC2 itself.

Types and zones from DescribeInstanceTypes and DescribeInstanceTypeOfferings, spot prices from
DescribeSpotPriceHistory (of this moment), on-demand prices from the Price List API (listed.py). Types and
on-demand prices change seldom and are kept for a day; spot prices are asked each time.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import SHIPPED, Market, Offer, Want
from hotdesk.core.ports import Cache
from hotdesk.core.sizing.gpu import gpu_name
from hotdesk.providers.aws import free_plan, hardware
from hotdesk.providers.aws.account import Account, ListPrice, all_of, side_by_side
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.pricing import kept_answers, list_prices

NAME = "aws"

#: Types that are asked about when no type is named, as patterns of DescribeInstanceTypes.
GPU_PATTERNS = ("g*", "p*")
#: For a desk without a GPU: ordinary machines that a person could work on.
CPU_PATTERNS = (
    *("t3.large", "t3.xlarge", "m7i.large", "m7i.xlarge", "m7i.2xlarge", "m6i.large", "m6i.xlarge"),
    "m7i-flex.large",  # the largest that an account on the Free plan starts
    *("c7i.xlarge", "c7i.2xlarge", "c7i.4xlarge", "c6i.xlarge", "r7i.xlarge"),
)


class Kept(msgspec.Struct, frozen=True):
    """A region's types as offers without zone, market and price, and the zones each is sold in."""

    types: list[Offer]
    zones: dict[str, list[str]]
    free: list[str] = []  # types that an account on the Free plan starts


def find_offers(
    account: Account, want: Want, cache: Cache | None, now: float,
    list_price: ListPrice = lambda region, instance_type: None,
) -> list[Offer]:  # fmt: skip
    """Rows that fit, the cheapest first. `list_price` prices a type where the Price List API does not.

    Raises `Refused` (bad-request) when a named type does not exist or is sold in none of the regions.
    """
    if hardware.family(want.instance_type) in hardware.SLICES and not want.image:
        raise Refused(
            Kind.BAD_REQUEST,
            f"{want.instance_type} has a slice of a GPU. Only NVIDIA's GRID driver can use it, and no public"
            " image has that.",
            fix="hotdesk up --gpu L4   # a whole one; or the same with --image ami-…, yours with that driver",
        )
    enabled = account.regions()
    unknown = [r for r in want.regions if r not in enabled]
    if unknown and len(unknown) == len(want.regions):
        near = difflib.get_close_matches(unknown[0], enabled, n=1)
        raise Refused(
            Kind.BAD_REQUEST,
            f"{unknown[0]} is not a region that is enabled for this account.",
            fix=f"hotdesk up --region {near[0] if near else account.home}   "
            f"# or: aws account enable-region --region-name {unknown[0]}",
        )
    regions = [r for r in want.regions if r in enabled] or [account.home]
    patterns = _patterns(want)
    keys = {f"aws-types-4/{region}/{','.join(patterns)}": region for region in regions}
    asked = {key: partial(_ask, account, region, patterns) for key, region in keys.items()}
    free = free_plan.on_it(account, cache, now)
    read = kept_answers(cache, now, Kept, asked)
    kept = {keys[key]: told for key, told in read.items() if isinstance(told, Kept)}
    if not kept:
        raise next(told for told in read.values() if isinstance(told, Exception))
    rows = [(region, offer) for region, told in kept.items() for offer in told.types if _fits(offer, want)]
    if want.instance_type and not any(kept[region].zones.get(offer.instance_type) for region, offer in rows):
        raise _not_sold(account, want, list(kept))
    if free and rows:
        eligible = [(region, offer) for region, offer in rows if offer.instance_type in kept[region].free]
        if not eligible:
            wanted = want.instance_type or ", ".join(sorted({offer.gpu or "that" for _, offer in rows})[:4])
            raise free_plan.refused(wanted, sorted({t for told in kept.values() for t in told.free}))
        rows = eligible
    prices = list_prices(account, sorted({offer.instance_type for _, offer in rows}), cache, now)
    spot = _spot(account, rows, now) if want.market != "on-demand" else {}
    offers = []
    for region, offer in rows:
        listed, at, source = prices.get((region, offer.instance_type)), now, "price list"
        if listed is None and (kept_price := list_price(region, offer.instance_type)):
            (listed, at), source = kept_price, SHIPPED
        for zone in kept[region].zones.get(offer.instance_type, ()):
            if want.zone and zone != want.zone:
                continue
            place = msgspec.structs.replace(offer, region=region, zone=zone)
            if listed and want.market != "spot":
                offers.append(_priced(place, Market.ON_DEMAND, listed, source, at))
            if price := spot.get((zone, offer.instance_type)):
                offers.append(_priced(place, Market.SPOT, price, "spot price history", now))
    limit = want.usd_per_hour_max
    fitting = [o for o in offers if limit is None or o.usd_per_hour <= limit]
    return sorted(fitting, key=lambda o: (o.usd_per_hour, o.market != Market.ON_DEMAND, o.key))


def _priced(offer: Offer, market: Market, usd: float, source: str, now: float) -> Offer:
    why = f"{offer.instance_type} in {offer.zone} {market} at ${usd:.4g}/h"
    if source == SHIPPED:
        why += f", as of {datetime.fromtimestamp(now, UTC):%Y-%m-%d} ({SHIPPED})"
    return msgspec.structs.replace(
        offer, market=market, usd_per_hour=usd, source=source, price_time=now, why=why
    )


def _fits(offer: Offer, want: Want) -> bool:
    if want.instance_type:
        return offer.instance_type == want.instance_type
    if want.gpu in {"", "none"} and not want.gpu_count:
        return not offer.gpu
    if hardware.family(offer.instance_type) in hardware.SLICES and not want.image:
        return False
    return (
        bool(offer.gpu)
        and (want.gpu in {"", "none"} or offer.gpu.lower() == want.gpu.lower())
        and (not want.gpu_count or offer.gpu_count == want.gpu_count)
    )


def _patterns(want: Want) -> tuple[str, ...]:
    if want.instance_type:
        return (want.instance_type,)
    return GPU_PATTERNS if want.gpu not in {"", "none"} or want.gpu_count else CPU_PATTERNS


def _ask(account: Account, region: str, patterns: tuple[str, ...]) -> Kept:
    ec2 = account.ec2(region)
    chosen = [{"Name": "instance-type", "Values": list(patterns)}]

    def pages(operation: str, key: str, **more: Any) -> list[Any]:
        with answers():
            found = ec2.get_paginator(operation).paginate(Filters=chosen, **more)
            return [row for page in found for row in page.get(key, ())]

    types, offerings, zones = all_of(
        lambda: pages("describe_instance_types", "InstanceTypes"),
        lambda: pages(
            "describe_instance_type_offerings", "InstanceTypeOfferings", LocationType="availability-zone"
        ),
        lambda: _zones(account, region),
    )
    sold: dict[str, list[str]] = {}
    for row in offerings:
        if row["Location"] in zones:
            sold.setdefault(row["InstanceType"], []).append(row["Location"])
    offers = [offer for raw in types if (offer := as_offer(raw))]
    free = [raw["InstanceType"] for raw in types if raw.get("FreeTierEligible")]
    return Kept(types=offers, zones={name: sorted(places) for name, places in sold.items()}, free=free)


def _zones(account: Account, region: str) -> set[str]:
    """Ordinary zones: not those at the edge of a city or in a phone company's building."""
    with answers():
        listed = account.ec2(region).describe_availability_zones()["AvailabilityZones"]
    return {
        z["ZoneName"]
        for z in listed
        if z.get("ZoneType", "availability-zone") == "availability-zone" and z.get("State") == "available"
    }


def as_offer(raw: Mapping[str, Any]) -> Offer | None:
    """A type as an offer without place and price; None for one that cannot be a desk."""
    gpus = (raw.get("GpuInfo") or {}).get("Gpus") or [{}]
    maker = gpus[0].get("Manufacturer", "")
    arches = raw.get("ProcessorInfo", {}).get("SupportedArchitectures", ["x86_64"])
    arch = "x86_64" if "x86_64" in arches else "arm64" if "arm64" in arches else ""
    if not arch or (maker and maker.upper() != "NVIDIA"):
        return None
    # A fraction of a GPU (g6f) says 0 GPUs and tells its size in GpuPartitionSize.
    count = float(
        sum(g.get("Count") or g.get("LogicalGpuCount", 0) * g.get("GpuPartitionSize", 1.0) for g in gpus if g)
    )
    total = (raw.get("GpuInfo") or {}).get("TotalGpuMemoryInMiB", 0) / 1024
    return Offer(
        provider=NAME,
        region="",
        zone="",
        instance_type=raw["InstanceType"],
        gpu=gpu_name(str(gpus[0].get("Name", ""))),
        gpu_count=count,
        gpu_memory_gib=total / max(count, 1.0),
        vcpus=raw.get("VCpuInfo", {}).get("DefaultVCpus", 0),
        memory_gib=raw.get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024,
        arch=arch,
        scratch_gib=float((raw.get("InstanceStorageInfo") or {}).get("TotalSizeInGB", 0)) * 1e9 / 2**30,
    )


def _not_sold(account: Account, want: Want, regions: list[str]) -> Refused:
    """The words for a type that nobody sells there, with the nearest that are."""
    family = want.instance_type.partition(".")[0]
    near: list[str] = []
    try:
        sold = account.ec2(regions[0]).describe_instance_type_offerings(
            Filters=[{"Name": "instance-type", "Values": [f"{family[:2]}*"]}]
        )["InstanceTypeOfferings"]
        near = difflib.get_close_matches(
            want.instance_type, sorted({o["InstanceType"] for o in sold}), n=3, cutoff=0.4
        )
    except Exception:  # a suggestion is only a suggestion
        near = []
    nearest = f" The nearest there: {', '.join(near)}." if near else ""
    return Refused(
        Kind.BAD_REQUEST,
        f"{want.instance_type} is not sold in {', '.join(regions)}.{nearest}",
        fix=f"hotdesk up --type {near[0]}" if near else "hotdesk offers",
    )


# ---- prices ------------------------------------------------------------------------------------------


def _spot(account: Account, rows: Iterable[tuple[str, Offer]], now: float) -> dict[tuple[str, str], float]:
    """The spot price of this moment, by zone and type. A region that does not answer has none."""
    by_region: dict[str, set[str]] = {}
    for region, offer in rows:
        by_region.setdefault(region, set()).add(offer.instance_type)

    def ask(region: str, types: set[str]) -> Callable[[], list[Any]]:
        def call() -> list[Any]:
            with answers():
                pages = (
                    account.ec2(region)
                    .get_paginator("describe_spot_price_history")
                    .paginate(InstanceTypes=sorted(types), ProductDescriptions=["Linux/UNIX"], StartTime=now)
                )
                return [row for page in pages for row in page["SpotPriceHistory"]]

        return call

    found: dict[tuple[str, str], tuple[Any, float]] = {}
    for reply in (
        side_by_side([ask(region, types) for region, types in by_region.items()]) if by_region else []
    ):
        for row in reply if not isinstance(reply, Exception) else ():
            key = (row["AvailabilityZone"], row["InstanceType"])
            if key not in found or row["Timestamp"] > found[key][0]:
                found[key] = (row["Timestamp"], float(row["SpotPrice"]))
    return {key: price for key, (_, price) in found.items()}
