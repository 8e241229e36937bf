"""Capacity that the account has reserved: an instance in it costs nothing more than the reservation does."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from hotdesk.core.errors import Failing, HotdeskError, Kind, Refused
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import tags
from hotdesk.providers.aws.account import Account, pages
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.inventory import Found, Raw
from hotdesk.providers.aws.saved import time_of
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.kept import DAY, HOUR

#: The source of the price of such an offer.
RESERVATION, BLOCK = "capacity reservation", "capacity block"
#: A block's instances are ended half an hour before it ends (EC2 user guide, "Capacity Blocks for ML").
ENDED_SECONDS = 1800.0
#: For less than as long again none is launched.
BLOCK_SECONDS = 2 * ENDED_SECONDS
AT_ONCE = 8
#: Between two questions whether what is used is still reserved.
ASKED_SECONDS = 300.0


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
        fits = [raw for raw in one if raw["InstanceType"] in kinds and _is_usable(raw, now)]
        with contextlib.suppress(Refused, HotdeskError, Failing):  # nobody tells whose they are
            found += [_offer(raw, region, kinds[raw["InstanceType"]], now) for raw in _own(account, fits)]
    return found


def listed(
    account: Account, regions: Collection[str], kinds: Mapping[str, InstanceType], now: float
) -> dict[str, tuple[int, list[Offer]]]:
    """By region, how much is reserved there, and where in it there is room now; not of one that is silent."""
    told = side_by_side([partial(_active, account, region) for region in regions], AT_ONCE)
    found = {}
    for region, one in zip(regions, told, strict=True):
        if not isinstance(one, Exception):
            own = _own(account, one)
            fits = [raw for raw in own if raw["InstanceType"] in kinds and _is_usable(raw, now)]
            found[region] = len(own), [_offer(raw, region, kinds[raw["InstanceType"]], now) for raw in fits]
    return found


def paid(account: Account, region: Found) -> dict[str, float]:
    """In which reservations this region's instances cost nothing more, and when each ends them (0: never).

    Not in one that has ended, was cancelled or is another account's. None where that is not known; asked once
    in `ASKED_SECONDS`. While nobody answers, what was told in the last hour is so.
    """
    free = {
        one
        for raw in region.instances
        if (one := raw.get("CapacityReservationId")) and not _has_price(tags.read(raw.get("Tags")))
    }
    if not free:
        return {}
    key = f"reserved-ends/{account.who}/{region.region}/{' '.join(sorted(free))}"

    def ask() -> dict[str, float]:
        [found] = side_by_side([lambda: _own(account, _active(account, region.region))])
        if isinstance(found, Exception):
            return account.recalled.of(last, HOUR, dict[str, float], dict)  # type: ignore[no-any-return]
        now_so = {r["CapacityReservationId"]: _ends(r) for r in found}
        account.recalled.of(last, 0.0, dict[str, float], lambda: now_so, fresh=True)
        return now_so

    last = f"reserved-last/{account.who}/{region.region}"
    told: dict[str, float] = account.recalled.of(key, ASKED_SECONDS, dict[str, float], ask)
    return told


def of_instance(raw: Raw) -> str:
    """The reservation that alone an instance may run in, by its launch."""
    target = (raw.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    return str(target.get("CapacityReservationId") or target.get("CapacityReservationResourceGroupArn") or "")


def end_of(raw: Raw, paid: Mapping[str, float], told: dict[str, str]) -> float:
    """When an instance is ended with its block, by what is known of that now, else by its tag; 0: never."""
    one = raw.get("CapacityReservationId") or ""
    if not one and not of_instance(raw) and raw["State"]["Name"] in {"pending", "running"}:
        return 0.0  # it was moved out of it
    if one in paid:
        return paid[one]
    ends = vocabulary.number(told, "ends")
    return ends if ends > time_of(raw.get("LaunchTime")) else 0.0  # else somebody has changed the tag


def _has_price(told: dict[str, str]) -> bool:
    return bool(told.get("price") or vocabulary.number(told, "usd"))


def refused(no: Refused, reservation: str) -> Refused:
    """A refused launch into one, or start, is about that one alone: an ordinary launch may be granted.

    (The credentials may lack a right that only this needs; it may be meant for other launches.)
    """
    if reservation and no.kind in {Kind.DENIED, Kind.BAD_REQUEST, Kind.UNSUPPORTED}:
        return Refused(Kind.NO_CAPACITY, no.message, fix=no.fix, seconds=HOUR)
    return no


def _own(account: Account, found: list[Any]) -> list[Any]:
    """Those of this account. Whoever uses one that another account shares is billed for its instances."""
    if not found:
        return []
    key = f"account/{account.who}"
    me = account.recalled.of(key, DAY, str, lambda: _account_id(account))
    return [raw for raw in found if raw.get("OwnerId") == me]


def _account_id(account: Account) -> str:
    with answers():
        return str(account.client("sts", account.home).get_caller_identity()["Account"])


def _active(account: Account, region: str) -> list[Any]:
    chosen = [{"Name": "state", "Values": ["active"]}]
    return pages(
        account.ec2(region), "describe_capacity_reservations", "CapacityReservations", Filters=chosen
    )


def _is_usable(raw: dict[str, Any], now: float) -> bool:
    """Whether an ordinary instance can be launched into it, and stays there for a while."""
    ours = raw.get("InstancePlatform") == "Linux/UNIX" and raw.get("Tenancy") == "default"
    # Of another rack, of a placement group, or of a capacity that is taken back: none is launched so here.
    ours = ours and not any(raw.get(what) for what in ("OutpostArn", "PlacementGroupArn", "Interruptible"))
    ours = ours and raw.get("LaunchStatus") != "unlaunchable"
    if _is_block(raw) and (ends := time_of(raw.get("EndDate"))):
        ours = ours and ends - now > BLOCK_SECONDS
    return ours and int(raw.get("AvailableInstanceCount") or 0) > 0


def _ends(raw: dict[str, Any]) -> float:
    """When its instances are ended; 0: they go on after it."""
    ends = time_of(raw.get("EndDate")) if _is_block(raw) else 0.0
    return ends - ENDED_SECONDS if ends else 0.0


def _is_block(raw: dict[str, Any]) -> bool:
    return bool(raw.get("ReservationType") == "capacity-block")


def _offer(raw: dict[str, Any], region: str, kind: InstanceType, now: float) -> Offer:
    id_ = raw["CapacityReservationId"]
    what = BLOCK if _is_block(raw) else RESERVATION
    offer = kind.offer(
        region=region,
        zone=raw["AvailabilityZone"],
        market=Market.ON_DEMAND,
        usd_per_hour=0.0,
        price_time=now,
        source=what,
        why=f"your {what} {id_} in {raw['AvailabilityZone']} is paid already",
    )
    return replace(
        offer,
        reservation=id_,
        reserved_until=time_of(raw.get("EndDate")),
        free=int(raw["AvailableInstanceCount"]),
        ends_at=_ends(raw),
    )


def of(offer: Offer) -> dict[str, Any]:
    """The arguments of RunInstances that go into the offer's reservation; none where it has none."""
    if not offer.reservation:
        return {}
    into = {"CapacityReservationTarget": {"CapacityReservationId": offer.reservation}}
    bought = {"InstanceMarketOptions": {"MarketType": "capacity-block"}} if offer.source == BLOCK else {}
    return {"CapacityReservationSpecification": into, **bought}
