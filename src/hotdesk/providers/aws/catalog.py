"""Collect the offers of EC2 in all regions, from the account's APIs and AWS's public spot advisor.

Spot prices of all regions are requested first, so that a slow or silent price list costs none of them.
Unreadable rows are left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError, NotAllowed, Refused, Unreachable
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.core.pricelist import Gathering, Lacks, Told
from hotdesk.core.spot.prices import region_of
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import pricing, reservations
from hotdesk.providers.aws.account import Account, pages
from hotdesk.providers.aws.errors import asking
from hotdesk.providers.aws.hardware import as_type
from hotdesk.providers.aws.offers import spot_now
from hotdesk.providers.aws.session import has_credentials, none_found
from hotdesk.providers.aws.settings import Settings
from hotdesk.providers.aws.spot_advisor import ADVISOR_URL, Advice, fetch, read_advice
from hotdesk.providers.cloud.kept import DAY
from hotdesk.providers.cloud.regions import named

AT_ONCE = 8
RESERVED = "aws-reserved-1"  # which regions had reserved capacity
SPOT, LISTED = "DescribeSpotPriceHistory", "GetProducts"


class Prices:
    """Prices being collected by several threads, read when time is up (core.pricelist.PriceList)."""

    def __init__(self, asked: Gathering) -> None:
        self.asked = asked
        self.regions: list[str] = []
        self.types: dict[str, InstanceType] = {}
        self.spot: dict[str, list[Offer]] = {}
        self.zones: dict[str, dict[str, list[str]]] = {}
        self.prices: dict[str, dict[str, float]] = {}  # from the price list, by their cache key
        self.silent: dict[str, str] = {}  # regions, and why
        self.reserved: dict[str, tuple[int, list[Offer]]] = {}  # by region that was asked: how many, and free
        self.had = self._had()
        # The user may have a mirror of the public file.
        self.url = os.environ.get("HOTDESK_ADVISOR_URL") or ADVISOR_URL
        self.file = self._kept_file()
        self.advice: tuple[Advice, _File] | None = None
        keys = [pricing.region_key(region) for region in asked.known_regions]
        keys += [pricing.type_key(name) for name in asked.known_types]
        self.kept = {key for key in keys if pricing.listed(asked.cache, key, asked.now)}

    def jobs(self) -> dict[str, Callable[[], None]]:
        jobs: dict[str, Callable[[], None]] = {"the public spot advisor": self._ask_advisor}
        if has_credentials():
            jobs["your AWS account"] = self._ask_account
        return jobs

    def told(self) -> Told:
        now, notes = self.asked.now, []
        for key, usd in list(self.prices.items()):
            self.asked.cache.keep(key, msgspec.json.encode(usd), now)
        offers, listed = self._listed()
        spot = dict(self.spot)
        offers += [offer for rows in spot.values() for offer in rows]
        late = f"no answer within {self.asked.limit_seconds:g} s"
        lacks = Lacks(
            listed=[region for region in self.regions if region not in listed],
            silent={r: late for r in self.regions if r not in spot} | dict(self.silent),
            named={name: told.time for name in self.types if (told := self._price(pricing.type_key(name)))},
        )
        reserved = dict(self.reserved)
        had = self.had | {region: (now, count) for region, (count, _) in reserved.items()}
        if had != self.had:
            self.asked.cache.keep(RESERVED, msgspec.json.encode(had), now)
        found = Told(tuple(self.types.values()), offers, set(spot), listed, lacks=lacks)
        found = found._replace(reserved=[offer for _, free in reserved.values() for offer in free])
        if not self.advice:
            return found
        advice, file = self.advice
        if file.time == now:
            self.asked.cache.keep(f"file:{self.url}", msgspec.msgpack.encode(file), now)
        else:
            notes.append("the public spot advisor cannot be reached; its last answer is used")
        return found._replace(
            bands=advice.bands,
            savings=advice.savings,
            savings_time=file.time,
            notes=notes,
            dropped=advice.dropped,
        )

    # ---- the account -----------------------------------------------------------------------------------

    def _ask_account(self) -> None:
        account = _open(self.asked.settings)
        with asking("DescribeRegions"):
            enabled = account.regions()
        wanted = [region for region in enabled if region in self.asked.regions] or list(enabled)
        with asking("DescribeInstanceTypes"):  # only of the home region: types are the same everywhere
            raw = pages(account.ec2(account.home), "describe_instance_types", "InstanceTypes")
        self.types = {kind.instance_type: kind for one in raw if (kind := as_type(one))}
        self.regions = sorted(wanted, key=lambda region: region != account.home)

        def ask(region: str) -> None:
            try:
                self.zones[region] = _zones(account, region)
                self.spot[region] = self._spot(account, region)
                self.asked.progress(f"{region}: {len(self.spot[region])} spot prices")
            except HotdeskError as error:
                self.silent[region] = error.what.rstrip(".")

        def told(key: str, usd: dict[str, float]) -> None:
            self.prices[key] = usd
            self.asked.progress(f"{key.partition('/')[2]}: {len(usd)} on-demand prices")

        side_by_side([partial(ask, region) for region in wanted], AT_ONCE)
        due = [region for region in wanted if self._may_have_reserved(region)]
        with contextlib.suppress(
            HotdeskError, Refused
        ):  # credentials may lack the right to ask whose they are
            self.reserved = reservations.listed(account, due, self.types, self.asked.now)
        until = perf_counter() + self.asked.list_seconds
        chosen = self.asked.names(self.types.values())
        questions = pricing.questions(account, self.regions, chosen)

        def one(key: str) -> None:
            if perf_counter() < until:
                with contextlib.suppress(HotdeskError), asking(LISTED):
                    told(key, questions[key]())

        # A region's pages come in sequence: few regions at once, so that some are complete when time is up.
        side_by_side([partial(one, key) for key in questions if key not in self.kept], 3)

    def _had(self) -> dict[str, tuple[float, int]]:
        """When each region was last asked for reserved capacity, and how much it had."""
        if kept := self.asked.cache.cached(RESERVED):
            with contextlib.suppress(msgspec.DecodeError):
                return wire.json(kept[1], dict[str, tuple[float, int]])
        return {}

    def _may_have_reserved(self, region: str) -> bool:
        """Whether to ask it: each time where it had some, else once a day. Most accounts have none."""
        at, count = self.had.get(region, (-DAY, 0))
        return count > 0 or not 0 <= self.asked.now - at < DAY

    def _spot(self, account: Account, region: str) -> list[Offer]:
        """A region's spot prices, zone by zone."""
        with asking(f"{SPOT} in {region}"):
            prices = spot_now(account, region, self.asked.now)
        return [
            self._offer(kind, region, zone, price, time, market=Market.SPOT, source=SPOT)
            for (zone, name), (price, time) in prices.items()
            if (kind := self.types.get(name))
        ]

    def _offer(
        self, kind: InstanceType, region: str, zone: str, price: float, time: float, **more: Any
    ) -> Offer:
        usd, told = self.asked.money.dollars(price, pricing.currency_of(region))
        return kind.offer(
            region=region, zone=zone, usd_per_hour=usd, told_per_hour=told, price_time=time, **more
        )

    def _price(self, key: str) -> pricing.Listed | None:
        return pricing.listed(self.asked.cache, key, self.asked.now)

    def _listed(self) -> tuple[list[Offer], set[str]]:
        """On-demand offers, by zone for GPU types; and the regions whose full price list is of today."""
        offers: list[Offer] = []
        whole: set[str] = set()
        of_types = {name: told for name in self.types if (told := self._price(pricing.type_key(name)))}
        for region, zones in dict(self.zones).items():
            prices = {n: (t.usd[region], t.time) for n, t in of_types.items() if region in t.usd}
            if told := self._price(pricing.region_key(region)):
                prices = {name: (usd, told.time) for name, usd in told.usd.items()} | prices
                whole.add(region)
            for name, (price, time) in prices.items():
                if (kind := self.types.get(name)) and name in zones:
                    offers += [
                        self._offer(kind, region, zone, price, time, source=LISTED)
                        for zone in (zones[name] if kind.gpu else ("",))
                        if not zone or region_of(zone) == region
                    ]
        return offers, whole

    # ---- the public file -------------------------------------------------------------------------------

    def _kept_file(self) -> _File | None:
        if kept := self.asked.cache.cached(f"file:{self.url}"):
            with contextlib.suppress(msgspec.DecodeError):
                return wire.msgpack(kept[1], _File)
        return None

    def _ask_advisor(self) -> None:
        """Fetch the advisor's file; if it cannot be reached, use the cached one."""
        kept, now = self.file, self.asked.now
        try:
            new = fetch(self.url, etag=kept.etag if kept else "")
        except HotdeskError:
            if kept is None:
                raise
            self.advice = read_advice(kept.body), kept
            return
        if new:
            kept = _File(new.etag, new.body, now)
        elif kept is None:
            raise ValueError("it says that nothing changed, but nothing is kept here")
        else:
            kept = msgspec.structs.replace(kept, time=now)
        self.advice = read_advice(kept.body), kept


class _File(msgspec.Struct):
    etag: str
    body: bytes
    time: float  # when it was last known to be current


def _zones(account: Account, region: str) -> dict[str, list[str]]:
    """The zones of a region in which each type is offered."""
    found: dict[str, list[str]] = {}
    operation = "describe_instance_type_offerings"
    with asking(f"DescribeInstanceTypeOfferings in {region}"):
        for row in pages(
            account.ec2(region), operation, "InstanceTypeOfferings", LocationType="availability-zone"
        ):
            found.setdefault(row["InstanceType"], []).append(row["Location"])
    return found


def _open(settings: Settings | None) -> Account:
    """The account, with credentials. Raises `Missing` without boto3, `NotAllowed` without credentials."""
    account = Account(settings or Settings())
    what = "AWS cannot be asked for prices."
    with asking("for credentials"):
        try:
            found = account.session.get_credentials()
        except Refused as no:
            raise NotAllowed(what, no.message, no.fix) from no
    if found is None:
        none = none_found()
        raise NotAllowed(what, none.message, none.fix)
    return account


# ---- spot histories ------------------------------------------------------------------------------------


def spot_history(
    settings: Settings | None, names: Sequence[str], places: Sequence[str], now: float, days: float = 90.0
) -> tuple[list[Any], tuple[str, ...]]:
    """Raw rows of DescribeSpotPriceHistory in the given regions (or all), and a note on each that failed.

    The first row of each zone may lie before the window. Raises `Missing`, or `Unreachable` with a hint how
    to use a file instead.
    """
    types = " ".join(names)
    how = (
        f"aws ec2 describe-spot-price-history --output json --instance-types {types} > p.json"
        f" && hotdesk spot {types} --history p.json"
    )
    if not has_credentials():
        what = "There is no AWS account here to ask for prices."
        raise Unreachable(what, "A history can also be read from a file.", how)
    account = _open(settings)
    with asking("DescribeRegions"):
        regions = account.regions()
    wanted = named(regions, places, f"hotdesk spot {types} --region {regions[0]}")

    def ask(region: str) -> list[Any] | Unreachable:
        try:
            with asking(f"{SPOT} in {region}"):
                found = pages(
                    account.ec2(region),
                    "describe_spot_price_history",
                    "SpotPriceHistory",
                    ProductDescriptions=["Linux/UNIX"],
                    InstanceTypes=list(names),
                    StartTime=now - days * 86400,
                    EndTime=now,
                )
                return [{**row, "Currency": pricing.currency_of(region)} for row in found]
        except Unreachable as error:
            return error

    replies = side_by_side([partial(ask, region) for region in wanted], AT_ONCE)
    notes = tuple(reply.what.rstrip(".") for reply in replies if isinstance(reply, HotdeskError))
    rows = [row for reply in replies if isinstance(reply, list) for row in reply]
    if not rows:
        raise Unreachable(
            f"No price of {', '.join(names)} was found.",
            "; ".join(notes[:3]) or f"None of {len(wanted)} regions has one.",
            how,
        )
    return rows, notes
