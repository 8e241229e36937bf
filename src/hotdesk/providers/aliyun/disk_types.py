"""Which kind of disk a zone sells for a type, and what each kind costs.

It is always said: the service's own default depends on the type, changed in January 2026, and may charge for
bursts of load.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.money import Money, shown
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.cloud.kept import DAY

#: The usual one, and what is taken in its place, best first.
USUAL: Mapping[str, Any] = {"Category": "cloud_essd", "PerformanceLevel": "PL1"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "ESSD PL1": USUAL,
    "ESSD PL0": {"Category": "cloud_essd", "PerformanceLevel": "PL0"},
    "ESSD AutoPL": {"Category": "cloud_auto", "BurstingEnabled": False},
    "ESSD Entry": {"Category": "cloud_essd_entry"},
    "standard SSD": {"Category": "cloud_ssd"},
    "ultra disk": {"Category": "cloud_efficiency"},
}
PRICED_GIB = 100  # the size that its price is asked for

#: CNY for a GiB and month (730 hours) by performance level or category, in mainland China, for where the
#: service does not tell: as generally known in 2025, not verified.
CNY_PER_GIB_MONTH: Mapping[str, float] = {
    "PL0": 0.767, "PL1": 1.533, "PL2": 3.066, "PL3": 6.132, "cloud_auto": 1.533, "cloud_essd_entry": 0.511,
    "cloud_ssd": 1.022, "cloud_efficiency": 0.358,
}  # fmt: skip
#: Refusals of a kind of disk: of nothing else in the request.
NOT_SOLD = frozenset(
    {
        "InvalidSystemDiskCategory.ValueNotSupported",
        "InvalidDataDiskCategory.ValueNotSupported",
        "InvalidDiskCategory.NotSupported",
        "InvalidDiskCategory.ValueNotSupported",
        "InvalidInstanceType.NotSupportDiskCategory",
        "InvalidPerformanceLevel.Malformed",
    }
)


def sold(account: Account, region: str, name: str) -> dict[str, list[str]]:
    """By zone, the categories of disk that are sold there for a type; kept for a day. {}: not known."""

    def ask() -> dict[str, list[str]]:
        told = account.ask(
            region, "DescribeAvailableResource", DestinationResource="SystemDisk", InstanceType=name,
            IoOptimized="optimized", InstanceChargeType="PostPaid",
        )  # fmt: skip
        return {
            str(zone["ZoneId"]): [
                str(one["Value"])
                for resource in zone["AvailableResources"]["AvailableResource"]
                for one in resource["SupportedResources"]["SupportedResource"]
                if one.get("Status") == "Available"
            ]
            for zone in told["AvailableZones"]["AvailableZone"]
        }

    with contextlib.suppress(Refused, HotdeskError, KeyError, TypeError):
        found: dict[str, list[str]] = account.recalled.of(
            f"disks-{region}-{name}", DAY, dict[str, list[str]], ask
        )
        return found
    return {}


def choices(account: Account, region: str, zone: str, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The kinds of disk to ask for in a zone, best first; the usual one, where nothing is known of it."""
    there = sold(account, region, name).get(zone) or [kind["Category"] for kind in KINDS.values()]
    known = {label: kind for label, kind in KINDS.items() if kind["Category"] in there}
    yield from (known or {"ESSD PL1": USUAL}).items()


def note(account: Account, region: str, zone: str, name: str, money: Money) -> str:
    """What is to be known of a zone without the usual kind; "" where it is sold."""
    label, kind = next(choices(account, region, zone, name))
    if label == "ESSD PL1":
        return ""
    said = f"no ESSD PL1 disk there, but {label}"
    prices = [_monthly(account, region, zone, one) for one in (USUAL, kind)]
    if None in prices:
        return f"{said} (the difference in price is not known)"
    (usual, currency), (other, _) = prices  # type: ignore[misc]
    usd, told = money.dollars(abs(other - usual), currency)
    if not usd:
        return f"{said} (as dear)"
    much = shown(usd, told, " a month")
    return f"{said} ({much} {'more' if other > usual else 'less'} for 100 GiB)"


def usd_per_gib_month(account: Account, region: str, raw: Mapping[str, Any], money: Money) -> float:
    """US dollars of a GiB and month of a disk as it is listed: by the service's own list, where it tells."""
    category, level = str(raw.get("Category") or ""), str(raw.get("PerformanceLevel") or "")
    kind = {"Category": category, **({"PerformanceLevel": level} if level else {})}
    if told := _monthly(account, region, str(raw.get("ZoneId") or ""), kind):
        with contextlib.suppress(ValueError):  # in another currency
            return money.dollars(told[0] / PRICED_GIB, told[1])[0]
    return money.dollars(CNY_PER_GIB_MONTH.get(level or category, CNY_PER_GIB_MONTH["PL1"]), "CNY")[0]


def _monthly(account: Account, region: str, zone: str, kind: Mapping[str, Any]) -> tuple[float, str] | None:
    """What 100 GiB of it cost in 730 hours, by the service's own list; None where it does not say.

    Asked once a day, even where it is refused.
    """
    kind = {key: value for key, value in kind.items() if key != "BurstingEnabled"}

    def ask() -> tuple[float, str]:
        with contextlib.suppress(Refused, HotdeskError, KeyError, TypeError, ValueError):
            told = account.ask(
                region, "DescribePrice", ResourceType="disk", ZoneId=zone,
                DataDisk=[{"Size": PRICED_GIB, **kind}],
            )  # fmt: skip
            price = told["PriceInfo"]["Price"]
            return float(price["OriginalPrice"]) * 730, str(price.get("Currency") or "CNY")
        return 0.0, ""

    key = f"disk-price-{region}-{zone}-{'-'.join(map(str, kind.values()))}"
    found: tuple[float, str] = account.recalled.of(key, DAY, tuple[float, str], ask)
    return found if found[1] else None
