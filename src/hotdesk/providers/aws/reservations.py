"""Capacity that the account has reserved: an instance in it costs nothing more than the reservation does."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from msgspec.structs import replace

from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws.account import Account, pages

#: The source of the price of such an offer.
RESERVATION, BLOCK = "capacity reservation", "capacity block"


def offers(account: Account, rows: Iterable[tuple[str, InstanceType]], now: float) -> list[Offer]:
    """What there is room for of these types, by region. A region that does not answer, or that these
    credentials may not ask about them, has none."""
    by_region: dict[str, dict[str, InstanceType]] = {}
    for region, kind in rows:
        by_region.setdefault(region, {})[kind.instance_type] = kind
    asked = [partial(_active, account, region) for region in by_region]
    told = side_by_side(asked) if asked else []
    found = []
    for (region, kinds), one in zip(by_region.items(), told, strict=True):
        if isinstance(one, Exception):
            continue
        found += [
            _offer(raw, region, kinds[raw["InstanceType"]], now)
            for raw in one
            if raw["InstanceType"] in kinds and _is_usable(raw)
        ]
    return found


def _active(account: Account, region: str) -> list[Any]:
    chosen = [{"Name": "state", "Values": ["active"]}]
    return pages(
        account.ec2(region), "describe_capacity_reservations", "CapacityReservations", Filters=chosen
    )


def _is_usable(raw: dict[str, Any]) -> bool:
    ours = raw.get("InstancePlatform") == "Linux/UNIX" and raw.get("Tenancy") == "default"
    return ours and int(raw.get("AvailableInstanceCount") or 0) > 0


def _offer(raw: dict[str, Any], region: str, kind: InstanceType, now: float) -> Offer:
    block, id_ = raw.get("ReservationType") == "capacity-block", raw["CapacityReservationId"]
    what = BLOCK if block else RESERVATION
    offer = kind.offer(
        region=region,
        zone=raw["AvailabilityZone"],
        market=Market.ON_DEMAND,
        usd_per_hour=0.0,
        price_time=now,
        source=what,
        why=f"your {what} {id_} in {raw['AvailabilityZone']} is paid already",
    )
    return replace(offer, reservation=id_)


def of(offer: Offer) -> dict[str, Any]:
    """The arguments of RunInstances that go into the offer's reservation; none where it has none."""
    if not offer.reservation:
        return {}
    into = {"CapacityReservationTarget": {"CapacityReservationId": offer.reservation}}
    bought = {"InstanceMarketOptions": {"MarketType": "capacity-block"}} if offer.source == BLOCK else {}
    return {"CapacityReservationSpecification": into, **bought}
