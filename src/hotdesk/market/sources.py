"""The account's own prices: boto3, loaded on first use and asked politely, a few regions at once.

A source gives rows and says nothing else; a row that it cannot read it leaves out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

import msgspec

from hotdesk import parallel
from hotdesk.core.errors import NotAllowed, Refused, Unreachable, Usage
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.core.spot.prices import region_of
from hotdesk.pacing import PRICE_LIST_ATTEMPTS, keep_pace
from hotdesk.providers.aws.hardware import as_type
from hotdesk.providers.aws.session import boto, has_credentials, none_found, open_session

T = TypeVar("T")

PRICING_REGION = "us-east-1"  # the Price List API answers in few regions, for all of them
AT_ONCE = 8
_LINUX = "Linux/UNIX"
SPOT = _SPOT = "DescribeSpotPriceHistory"
LISTED = _LISTED = "GetProducts"
#: Sources that ask the account itself.
LIVE = (_SPOT, _LISTED)
#: What the price list calls an ordinary Linux machine, without a licence and paid by use.
_PLAIN = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


class Aws:
    """One account's questions about types and prices. Safe to use from several threads."""

    def __init__(self) -> None:
        """Raises `Missing` without boto3, `NotAllowed` where the credentials need something."""
        import threading

        try:
            with answers("for credentials"):
                self._session = open_session()
        except Refused as no:
            raise NotAllowed("AWS cannot be asked for prices.", no.message, no.fix) from no
        if self._session.get_credentials() is None:
            none = none_found()
            raise NotAllowed("AWS cannot be asked for prices.", none.message, none.fix)
        from botocore.config import Config

        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._config = Config(
            connect_timeout=4, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3}
        )
        self.home = self._session.region_name or PRICING_REGION

    def client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        with self._lock:  # making a client is not thread-safe in boto3, using one is
            key = (service, region)
            if key not in self._clients:
                if service == "pricing":
                    many = self._config.merge(
                        Config(retries={"mode": "standard", "total_max_attempts": PRICE_LIST_ATTEMPTS})
                    )
                    self._clients[key] = keep_pace(self._session.client(service, region, config=many))
                else:
                    self._clients[key] = self._session.client(service, region, config=self._config)
            return self._clients[key]

    def regions(self) -> list[str]:
        """The regions this account may use."""
        with answers("DescribeRegions"):
            reply = self.client("ec2", self.home).describe_regions()
        return sorted(row["RegionName"] for row in reply["Regions"])

    def machines(self) -> list[InstanceType]:
        """All instance types that the home region knows. (A type is the same everywhere.)"""
        with answers("DescribeInstanceTypes"):
            pages = self.client("ec2", self.home).get_paginator("describe_instance_types").paginate()
            return [machine for page in pages for raw in page["InstanceTypes"] if (machine := as_type(raw))]

    def spot_now(self, region: str, now: float) -> Iterator[tuple[str, str, float, float]]:
        """(type, zone, $/h, time) of every pool of a region at this moment."""
        for row in self._history(region, StartTime=_utc(now)):
            with contextlib.suppress(KeyError, ValueError, TypeError):
                price, time = float(row["SpotPrice"]), row["Timestamp"].timestamp()
                yield row["InstanceType"], row["AvailabilityZone"], price, time

    def spot_history(self, region: str, instance_types: Sequence[str], since: float, now: float) -> list[Any]:
        """Raw rows of DescribeSpotPriceHistory; the first of each zone may lie before `since`."""
        return list(
            self._history(
                region, InstanceTypes=list(instance_types), StartTime=_utc(since), EndTime=_utc(now)
            )
        )

    def _history(self, region: str, **asked: Any) -> Iterator[Any]:
        with answers(f"DescribeSpotPriceHistory in {region}"):
            pages = (
                self.client("ec2", region)
                .get_paginator("describe_spot_price_history")
                .paginate(ProductDescriptions=[_LINUX], **asked)
            )
            for page in pages:
                yield from page["SpotPriceHistory"]

    def zones(self, region: str) -> dict[str, list[str]]:
        """The zones of a region in which each type is offered."""
        found: dict[str, list[str]] = {}
        with answers(f"DescribeInstanceTypeOfferings in {region}"):
            pages = (
                self.client("ec2", region)
                .get_paginator("describe_instance_type_offerings")
                .paginate(LocationType="availability-zone")
            )
            for page in pages:
                for row in page["InstanceTypeOfferings"]:
                    found.setdefault(row["InstanceType"], []).append(row["Location"])
        return found

    def on_demand(self, region: str) -> dict[str, float]:
        """On-demand $/h by instance type in a region, from the Price List API."""
        return {name: price for name, _, price in self._products(f"of {region}", regionCode=region)}

    def on_demand_of(self, instance_type: str) -> dict[str, float]:
        """On-demand $/h of a type by region: one page, and so one request."""
        rows = self._products(f"of {instance_type}", instanceType=instance_type)
        return {region: price for _, region, price in rows}

    def _products(self, what: str, **wanted: str) -> list[tuple[str, str, float]]:
        """(type, region, $/h) of all ordinary Linux machines with these fields."""
        filters = [{"Type": "TERM_MATCH", "Field": f, "Value": v} for f, v in {**_PLAIN, **wanted}.items()]
        found: list[tuple[str, str, float]] = []
        with answers(f"GetProducts {what}"):
            pages = (
                self.client("pricing", PRICING_REGION)
                .get_paginator("get_products")
                .paginate(ServiceCode="AmazonEC2", Filters=filters)
            )
            for page in pages:
                for row in page["PriceList"]:
                    with contextlib.suppress(KeyError, ValueError, TypeError, msgspec.DecodeError):
                        if (product := _listed(row))[2] > 0:
                            found.append(product)
        return found


def aws_spot(account: Aws, region: str, machines: dict[str, InstanceType], now: float) -> list[Offer]:
    """A region's spot prices, zone by zone."""
    rows: list[Offer] = []
    for name, zone, price, changed in account.spot_now(region, now):
        if machine := machines.get(name):
            rows.append(
                machine.offer(
                    region=region,
                    zone=zone,
                    market=Market.SPOT,
                    usd_per_hour=price,
                    price_time=changed,
                    source=_SPOT,
                )
            )
    return rows


def aws_listed(
    region: str,
    listed: dict[str, tuple[float, float]],
    zones: dict[str, list[str]],
    machines: dict[str, InstanceType],
) -> Iterator[Offer]:
    """A region's on-demand rows, in every zone for a GPU type. `listed`: $/h by type, and since when."""
    for name, (price, time) in listed.items():
        if machine := machines.get(name):
            places = zones.get(name, ()) if machine.gpu else ("",) if zones.get(name) else ()
            for zone in places:
                if region_of(zone) == region or not zone:
                    yield machine.offer(
                        region=region, zone=zone, usd_per_hour=price, price_time=time, source=_LISTED
                    )


def price_history(
    instance_types: Sequence[str], places: Sequence[str], now: float, days: float = 90.0
) -> Any:
    """The account's spot price history of some types, in the regions asked for (or all), side by side.

    Raises `Missing` or `Unreachable` with how to use a file instead.
    """
    from hotdesk.market.history_files import gather_raw

    names = " ".join(instance_types)
    how = (
        f"aws ec2 describe-spot-price-history --output json --instance-types {names} > p.json"
        f" && hotdesk spot {names} --history p.json"
    )
    if not has_credentials():
        raise Unreachable(
            "There is no AWS account here to ask for prices.", "A history can also be read from a file.", how
        )
    account = Aws()
    regions = account.regions()
    wanted = (
        [r for r in regions if any(fnmatchcase(r, p) or region_of(p) == r for p in places)]
        if places
        else regions
    )
    if not wanted:
        raise Usage(
            f"No region of this account is called {', '.join(places)}.",
            f"It has: {', '.join(regions)}.",
            f"hotdesk spot {names} --region {regions[0]}",
        )

    def ask(region: str) -> list[Any] | Unreachable:
        try:
            return account.spot_history(region, instance_types, now - days * 86400, now)
        except Unreachable as error:
            return error

    replies = side_by_side(ask, wanted)
    notes = tuple(reply.what.rstrip(".") for reply in replies.values() if isinstance(reply, Unreachable))
    rows = [row for reply in replies.values() if isinstance(reply, list) for row in reply]
    if not rows:
        raise Unreachable(
            f"No price of {', '.join(instance_types)} was found.",
            "; ".join(notes[:3]) or f"None of {len(wanted)} regions has one.",
            how,
        )
    return gather_raw(rows, notes)


def side_by_side(ask: Callable[[str], T], items: Sequence[str], at_once: int = AT_ONCE) -> dict[str, T]:
    """`ask` of every item, a few at once. The threads never hold up the end of the process."""
    answers = parallel.side_by_side([partial(ask, item) for item in items], at_once)
    return {i: answer for i, answer in zip(items, answers, strict=True) if not isinstance(answer, Exception)}


@contextlib.contextmanager
def answers(question: str) -> Iterator[None]:
    """botocore's many complaints as one kind: this question has no answer."""
    e = boto()
    try:
        yield
    except e.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "?")
        raise Unreachable(f"AWS does not answer {question}: {code}.", str(error), "hotdesk doctor") from error
    except (e.BotoCoreError, OSError) as error:
        raise Unreachable(f"AWS does not answer {question}.", str(error), "hotdesk doctor") from error


def _listed(row: str | dict[str, Any]) -> tuple[str, str, float]:
    document = msgspec.json.decode(row) if isinstance(row, str) else row
    prices = [
        float(dimension["pricePerUnit"]["USD"])
        for term in document["terms"]["OnDemand"].values()
        for dimension in term["priceDimensions"].values()
        if dimension.get("unit", "Hrs") == "Hrs"
    ]
    product = document["product"]["attributes"]
    return product["instanceType"], product.get("regionCode", ""), max(prices)


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
