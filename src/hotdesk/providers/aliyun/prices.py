"""Prices: asked of the service, kept for a day, told in CNY and compared in US dollars."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from hotdesk.core.ports import Cache
from hotdesk.core.spot.prices import Storing
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.cloud.kept import kept_answers

#: CNY for a US dollar, to compare prices of different clouds; the bill itself is in CNY.
CNY_PER_USD = 7.1

#: CNY for a GiB and month (730 hours) on an ESSD PL1 disk and in a standard snapshot, and once for a copy to
#: another region, in mainland China: as generally known in 2025, not verified.
DISK_CNY, SNAPSHOT_CNY, COPY_CNY = 1.533, 0.12, 0.5


def usd(cny: float) -> float:
    return cny / CNY_PER_USD


def storing(region: str) -> Storing:
    return Storing(
        disk_usd_per_gib_month=usd(DISK_CNY),
        image_usd_per_gib_month=usd(SNAPSHOT_CNY),
        copy_usd_per_gib=usd(COPY_CNY),
        price_time=times.seconds("2025-01-01T00:00:00Z"),
    )


def on_demand(
    account: Account, pairs: Iterable[tuple[str, str]], cache: Cache | None, now: float
) -> dict[tuple[str, str], float]:
    """CNY an hour by (region, type), without those that are not told."""
    asked = {f"aliyun-price/{region}/{name}": (region, name) for region, name in pairs}
    told = kept_answers(
        cache, now, float, {k: partial(_on_demand, account, *pair) for k, pair in asked.items()}
    )
    return {pair: told[key] for key, pair in asked.items() if isinstance(told[key], float)}


def _on_demand(account: Account, region: str, name: str) -> float:
    """The list price: discounts of the account are not counted on."""
    told = account.ask(region, "DescribePrice", ResourceType="instance", InstanceType=name)
    return float(told["PriceInfo"]["Price"]["OriginalPrice"])


def spot(account: Account, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[float, float]]:
    """(CNY an hour, since when) by (zone, type): the latest spot prices, without those that are not told."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for rows in side_by_side([partial(spot_rows, account, region, name) for region, name in pairs]):
        for row in rows if not isinstance(rows, Exception) else ():
            pool, at = (str(row["ZoneId"]), str(row["InstanceType"])), times.seconds(row["Timestamp"])
            if pool not in found or at > found[pool][1]:
                found[pool] = float(row["SpotPrice"]), at
    return found


def spot_rows(
    account: Account, region: str, name: str, since: str = "", until: str = ""
) -> list[dict[str, Any]]:
    """Rows of DescribeSpotPriceHistory; without times, of the last three hours. At most 30 days at once."""
    rows: list[dict[str, Any]] = []
    offset = 0
    while True:
        told = account.ask(
            region, "DescribeSpotPriceHistory", NetworkType="vpc", InstanceType=name, OSType="linux",
            StartTime=since or None, EndTime=until or None, Offset=offset,
        )  # fmt: skip
        rows += told["SpotPrices"]["SpotPriceType"]
        after = int(told.get("NextOffset") or 0)
        if after <= offset:
            return rows
        offset = after
