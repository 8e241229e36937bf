"""Prices: asked of the service, and kept for a day."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from hotdesk.core.money import Money
from hotdesk.core.ports import Cache
from hotdesk.core.spot.prices import Storing
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.disk_types import CNY_PER_GIB_MONTH
from hotdesk.providers.aliyun.spot_history import rows
from hotdesk.providers.cloud.kept import kept_answers
from hotdesk.providers.cloud.price import CURRENCIES, Price

#: CNY for a GiB and month (730 hours) in a standard snapshot, and once for a copy to another region, in
#: mainland China: as generally known in 2025, not verified.
SNAPSHOT_CNY, COPY_CNY = 0.12, 0.5


def storing(region: str, money: Money) -> Storing:
    return Storing(
        told_per_usd=money.per_usd("CNY"),
        disk_usd_per_gib_month=money.dollars(CNY_PER_GIB_MONTH["PL1"], "CNY")[0],
        image_usd_per_gib_month=money.dollars(SNAPSHOT_CNY, "CNY")[0],
        copy_usd_per_gib=money.dollars(COPY_CNY, "CNY")[0],
        price_time=times.seconds("2025-01-01T00:00:00Z"),
    )


def on_demand(
    account: Account, pairs: Iterable[tuple[str, str]], cache: Cache | None, now: float
) -> dict[tuple[str, str], Price]:
    """The list price by (region, type), without those that are not told."""
    asked = {f"aliyun-price/{region}/{name}": (region, name) for region, name in pairs}
    told = kept_answers(
        cache, now, Price, {k: partial(_on_demand, account, *pair) for k, pair in asked.items()}
    )
    found = ((pair, told[key]) for key, pair in asked.items())
    return {pair: price for pair, price in found if isinstance(price, Price) and price.currency in CURRENCIES}


def _on_demand(account: Account, region: str, name: str) -> Price:
    """The list price: discounts of the account are not counted on."""
    told = account.ask(region, "DescribePrice", ResourceType="instance", InstanceType=name)
    price = told["PriceInfo"]["Price"]
    return Price(float(price["OriginalPrice"]), str(price.get("Currency") or "CNY"))


def spot(account: Account, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[Price, float]]:
    """(Price, since when) by (zone, type): the latest spot prices, without those that are not told."""
    found: dict[tuple[str, str], tuple[Price, float]] = {}
    for told in side_by_side([partial(rows, account, region, name) for region, name in pairs]):
        for row in told if not isinstance(told, Exception) else ():
            if row["Currency"] not in CURRENCIES:
                continue
            pool, at = (str(row["ZoneId"]), str(row["InstanceType"])), times.seconds(row["Timestamp"])
            if pool not in found or at > found[pool][1]:
                found[pool] = Price(float(row["SpotPrice"]), str(row["Currency"])), at
    return found
