"""Prices of EC2 instances, disks and snapshots by region, from the Price List API, cached for a day.

One request returns the price of one product in all regions; a region's whole list takes about ten pages.
Disks and snapshots are requested together with the types of an offer, so that the price of a disk is known at
launch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from hotdesk.core import wire
from hotdesk.core.money import Money
from hotdesk.core.ports import Cache
from hotdesk.core.spot.prices import Storing
from hotdesk.providers.aws.account import Account, pages
from hotdesk.providers.cloud.kept import kept, kept_answers

NAMED_MAX = 40  # types; for more, whole regions take fewer requests

#: By currency: a region where the Price List API and Cost Explorer have endpoints (botocore's endpoints.json,
#: partitions aws and aws-cn).
ENDPOINT = {"USD": "us-east-1", "CNY": "cn-northwest-1"}

#: Product attributes of an on-demand Linux instance without a licence.
_PLAIN = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}

#: Storage: the product's attributes, and the suffix of its usage type. (Its prefix is the region; the same
#: families also include archived storage and Outposts.)
_STORED = {
    "disk": ({"productFamily": "Storage", "volumeApiName": "gp3"}, "EBS:VolumeUsage.gp3"),
    "image": ({"productFamily": "Storage Snapshot", "storageMedia": "Amazon S3"}, "EBS:SnapshotUsage"),
}
_KEYS = {f"aws-stored/{kind}": kind for kind in _STORED}


def currency_of(region: str) -> str:
    """The currency of a region's prices: China has accounts of its own, which are billed in CNY."""
    return "CNY" if region.startswith("cn-") else "USD"


def list_prices(
    account: Account, types: list[str], cache: Cache | None, now: float
) -> dict[tuple[str, str], float]:
    """On-demand prices by (region, type), in the region's currency, without those that AWS does not tell."""
    keys = {type_key(name): name for name in types}
    asked = {key: partial(of_type, account, name) for key, name in keys.items()} | _of_storage(account)
    prices: dict[tuple[str, str], float] = {}
    for key, told in kept_answers(cache, now, dict[str, float], asked).items():
        if not isinstance(told, Exception) and key in keys:
            prices |= {(region, keys[key]): usd for region, usd in told.items()}
    return prices


class Storage:
    """Prices of disks and images by region: the last ones from AWS, else those of `shipped`."""

    def __init__(self, cache: Cache | None, shipped: Callable[[str], Storing], money: Money) -> None:
        self._cache, self._shipped, self._money = cache, shipped, money
        self._told: dict[str, dict[str, float]] | None = None

    def ask(self, account: Account, now: float) -> None:
        """Request the prices, unless they are under a day old. Without an answer the old ones stay."""
        kept_answers(self._cache, now, dict[str, float], _of_storage(account))
        self.forget()

    def forget(self) -> None:
        """Read the cache again at the next call, after new prices were requested."""
        self._told = None

    def __call__(self, region: str) -> Storing:
        """The prices of a region, from the cache; sends no request."""
        if self._told is None:
            last = {kind: kept(self._cache, key, 0.0, dict[str, float], None) for key, kind in _KEYS.items()}
            self._told = {kind: told[1] if told else {} for kind, told in last.items()}
        currency = currency_of(region)
        told = {
            f"{kind}_usd_per_gib_month": self._money.dollars(by.get(region, 0.0), currency)[0]
            for kind, by in self._told.items()
        }
        known = self._shipped(region)
        if all(told.values()):
            known = msgspec.structs.replace(known, price_time=None)
        if any(told.values()):
            known = msgspec.structs.replace(known, told_per_usd=self._money.per_usd(currency))
        return msgspec.structs.replace(known, **{field: usd for field, usd in told.items() if usd})


def _of_storage(account: Account) -> dict[str, Callable[[], dict[str, float]]]:
    return {key: partial(_by_region, account, *_STORED[kind]) for key, kind in _KEYS.items()}


def of_type(account: Account, instance_type: str) -> dict[str, float]:
    """On-demand prices of a type, by region, each in its currency; one request."""
    return _by_region(account, _PLAIN | {"instanceType": instance_type})


def of_region(account: Account, region: str) -> dict[str, float]:
    """On-demand prices in a region and its currency, by type; about ten requests."""
    products = _products(account, _PLAIN | {"regionCode": region})
    return {product["instanceType"]: usd for product, usd in products if "instanceType" in product}


def _by_region(account: Account, wanted: Mapping[str, str], usage: str = "") -> dict[str, float]:
    """The price of a product with these attributes, by region; `usage`: suffix of its usage type."""
    return {
        product.get("regionCode", ""): usd
        for product, usd in _products(account, wanted)
        if product.get("usagetype", "").endswith(usage)
    }


def _products(account: Account, wanted: Mapping[str, str]) -> Iterator[tuple[dict[str, str], float]]:
    """All products with these attributes and their on-demand prices; unreadable ones are left out."""
    currency = currency_of(account.home)
    for row in pages(
        account.client("pricing", ENDPOINT[currency]),
        "get_products",
        "PriceList",
        ServiceCode="AmazonEC2",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()],
    ):
        with contextlib.suppress(KeyError, ValueError, TypeError, msgspec.DecodeError):
            document = wire.json(row) if isinstance(row, str) else row
            price = max(
                float(dimension["pricePerUnit"].get(currency, 0))
                for term in document["terms"]["OnDemand"].values()
                for dimension in term["priceDimensions"].values()
            )
            if price > 0:
                yield document["product"]["attributes"], price


# ---- the cache -----------------------------------------------------------------------------------------


class Listed(NamedTuple):
    """Prices by type (of a region) or by region (of a type), in its currency, and when they were told."""

    time: float
    usd: dict[str, float]


def region_key(region: str) -> str:
    return f"aws-listed/{region}"


def type_key(name: str) -> str:
    return f"aws-price/{name}"


def listed(cache: Cache, key: str, now: float) -> Listed | None:
    """A cached answer, if it is less than a day old."""
    told = kept(cache, key, now, dict[str, float])
    return Listed(*told) if told else None


def questions(
    account: Account, regions: Iterable[str], names: Collection[str]
) -> dict[str, Callable[[], dict[str, float]]]:
    """Requests by cache key: for the types named, else for whole regions."""
    if 0 < len(names) <= NAMED_MAX:
        return {type_key(name): partial(of_type, account, name) for name in sorted(names)}
    return {region_key(region): partial(of_region, account, region) for region in regions}
