"""Query AWS for past spot prices, the end of spot instances, and its own bill."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Offer
from hotdesk.core.money import Money
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.pricing import ENDPOINT, currency_of
from hotdesk.providers.cloud.ids import qualified, split

USD_PER_REQUEST = 0.01  # AWS Cost Management pricing, "Cost Explorer API"

Steps = list[tuple[float, float]]


def spot_prices(
    account: Account, offers: Sequence[Offer], since: float, until: float, money: Money = Money()
) -> dict[str, Steps]:
    """By offer key: (time, US dollars per hour), sorted by time; the first is the price in force at `since`.

    AWS keeps 90 days. Offers in a region that does not answer, or refuses, are missing.
    """

    def ask(offer: Offer) -> Steps:
        with answers():
            pages = (
                account.ec2(offer.region)
                .get_paginator("describe_spot_price_history")
                .paginate(
                    InstanceTypes=[offer.instance_type],
                    AvailabilityZone=offer.zone,
                    ProductDescriptions=["Linux/UNIX"],
                    StartTime=datetime.fromtimestamp(since, UTC),
                    EndTime=datetime.fromtimestamp(until, UTC),
                )
            )
            rows = [row for page in pages for row in page["SpotPriceHistory"]]
        per_dollar = money.dollars(1.0, currency_of(offer.region))[0]
        return sorted((row["Timestamp"].timestamp(), float(row["SpotPrice"]) * per_dollar) for row in rows)

    told = side_by_side([lambda offer=offer: ask(offer) for offer in offers]) if offers else []  # type: ignore[misc]
    return {
        offer.key: steps
        for offer, steps in zip(offers, told, strict=True)
        if not isinstance(steps, Exception) and steps
    }


def ended(account: Account, machines: Sequence[str]) -> dict[str, float]:
    """When spot instances ended, by AWS's clock: a request stays listed for days after its instance.

    Instances in a region that does not answer, or whose request is no longer listed, are missing.
    """
    by_region: dict[str, list[str]] = {}
    for id_ in machines:
        region, bare = split(id_)
        by_region.setdefault(region, []).append(bare)

    def ask(region: str, ids: list[str]) -> list[Any]:
        with answers():
            pages = (
                account.ec2(region)
                .get_paginator("describe_spot_instance_requests")
                .paginate(Filters=[{"Name": "instance-id", "Values": ids}])
            )
            return [row for page in pages for row in page["SpotInstanceRequests"]]

    told = side_by_side([partial(ask, region, ids) for region, ids in by_region.items()]) if by_region else []
    return {
        qualified(region, row["InstanceId"]): row["Status"]["UpdateTime"].timestamp()
        for region, rows in zip(by_region, told, strict=True)
        if not isinstance(rows, Exception)
        for row in rows
        if row["State"] == "closed" or str(row["Status"]["Code"]).startswith("instance-terminated")
    }


def billed(account: Account, since: float, until: float) -> dict[str, float]:
    """US dollars by desk, from AWS's own bill of resources with our tag; "" for those without a desk.

    Up to a day behind. Covers whole days (UTC) only, and each page of the answer costs $0.01. Raises
    `Refused` (denied) without the permission ce:GetCostAndUsage.
    """
    ce = account.client("ce", ENDPOINT[currency_of(account.home)], retry=False)
    asked: dict[str, Any] = {
        "TimePeriod": {"Start": _day(since), "End": _day(until + 86_400)},
        "Granularity": "MONTHLY",
        "Metrics": ["UnblendedCost"],
        "Filter": {"Tags": {"Key": "hotdesk", "Values": ["1"]}},
        "GroupBy": [{"Type": "TAG", "Key": "hotdesk:desk"}],
    }
    usd: dict[str, float] = {}
    while True:
        with answers():
            page = ce.get_cost_and_usage(**asked)
        for period in page["ResultsByTime"]:
            for group in period.get("Groups", ()):
                desk = group["Keys"][0].partition("$")[2]
                cost = group["Metrics"]["UnblendedCost"]
                if cost["Unit"] != "USD":
                    raise Refused(
                        Kind.BAD_REQUEST, f"The account is billed in {cost['Unit']}, not in US dollars."
                    )
                usd[desk] = usd.get(desk, 0.0) + float(cost["Amount"])
        if not (token := page.get("NextPageToken")):
            return usd
        asked["NextPageToken"] = token


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
