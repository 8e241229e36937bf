"""Columnar catalogue of all known offers: 60,000 of them load in a moment and are searched in milliseconds.

Rows are grouped by machine: a filter on hardware tests some hundreds of machines, a filter on place some
dozens of places, and only rows that pass both are read.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from hotdesk.core import wire
from hotdesk.core.matching import InstanceType, Place
from hotdesk.core.model import Market, Offer
from hotdesk.core.money import Amount, Money

MARKETS = (Market.ON_DEMAND, Market.SPOT)
#: Version of the packed form; other versions are dropped and gathered anew.
FORM = 5

_hardware = attrgetter(
    "provider", "instance_type", "gpu", "gpu_count", "gpu_memory_gib", "vcpus", "memory_gib", "arch"
)


class _Packed(msgspec.Struct, array_like=True):
    form: int
    machines: list[InstanceType]
    places: list[tuple[str, str, str]]
    sources: list[str]
    currencies: list[tuple[str, str]]
    starts: bytes
    place: bytes
    market: bytes
    price: bytes
    time: bytes
    source: bytes
    currency: bytes
    told: bytes
    order: bytes
    bands: dict[str, int]
    dropped: dict[str, int]


class Catalog:
    """Machines, places, and offers as columns. Build one with `build`, keep it with `pack`."""

    def __init__(self) -> None:
        self.machines: list[InstanceType] = []
        self.places: list[Place] = []
        self.sources: list[str] = []
        self.currencies: list[tuple[str, str]] = [("USD", "")]  # with the days of their rates
        self.starts = array("I", [0])  # the rows of machine n: starts[n] up to starts[n + 1]
        self.place = array("H")
        self.market = array("B")
        self.price = array("d")
        self.time = array("d")  # NaN: unknown
        self.source = array("B")
        self.currency = array("B")
        self.told = array("d")  # the price as it was told, if that was in another currency
        self.order = array("I")  # all rows by rising price: large answers are taken from it, not sorted
        self.bands: dict[str, int] = {}  # "provider/region/type" -> 0 (under 5 % a month) to 4 (over 20 %)
        self.dropped: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.price)

    @property
    def regions(self) -> list[str]:
        return sorted({place.region for place in self.places})

    def band(self, machine: InstanceType, region: str) -> int | None:
        return self.bands.get(f"{machine.provider}/{region}/{machine.instance_type}")

    def machine_of(self, row: int) -> InstanceType:
        return self.machines[bisect_right(self.starts, row) - 1]

    def offer(self, row: int, why: str = "") -> Offer:
        """One row as an `Offer`."""
        return self._offer(row, self.machine_of(row), why)

    def offers(self, rows: Iterable[int]) -> list[Offer]:
        """Many rows as offers, in the order given."""
        return [self._offer(row, self.machine_of(row)) for row in rows]

    def _offer(self, row: int, machine: InstanceType, why: str = "") -> Offer:
        place, time = self.places[self.place[row]], self.time[row]
        return machine.offer(
            region=place.region,
            zone=place.zone,
            market=MARKETS[self.market[row]],
            usd_per_hour=self.price[row],
            told_per_hour=self.told_per_hour(row),
            price_time=None if math.isnan(time) else time,
            source=self.sources[self.source[row]],
            why=why,
        )

    def told_per_hour(self, row: int) -> Amount | None:
        """The price as it was told, if that was in another currency than US dollars."""
        return Amount(self.told[row], *self.currencies[self.currency[row]]) if self.currency[row] else None

    def is_of_another_rate(self, money: Money) -> bool:
        """Whether prices in it were turned into dollars by a rate that is not set now."""
        return any(money.day_of(currency) != day for currency, day in self.currencies[1:])

    def at_rate(self, money: Money) -> Catalog:
        """The same with this rate's dollars, where they come from another one; itself otherwise."""
        if self.is_of_another_rate(money):
            for row, number in enumerate(self.currency):
                if number:
                    self.price[row] = money.dollars(self.told[row], self.currencies[number][0])[0]
            self.currencies[1:] = [(name, money.day_of(name)) for name, _ in self.currencies[1:]]
            self.index()
        return self

    def index(self) -> None:
        """Build the price order, once all rows are added."""
        self.order = array("I", sorted(range(len(self)), key=self.price.__getitem__))

    def pack(self) -> bytes:
        """Serialize for the cache."""
        return msgspec.msgpack.encode(
            _Packed(
                form=FORM,
                machines=self.machines,
                places=[(place.provider, place.region, place.zone) for place in self.places],
                sources=self.sources,
                currencies=self.currencies,
                bands=self.bands,
                dropped=self.dropped,
                **{name: getattr(self, name).tobytes() for name in _COLUMNS},
            )
        )

    @classmethod
    def unpack(cls, body: bytes) -> Catalog:
        """Restore what `pack` returned. Raises `ValueError` for anything incomplete or inconsistent."""
        try:
            packed = wire.msgpack(body, _Packed)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error
        self = cls()
        self.machines, self.sources = packed.machines, packed.sources
        self.currencies = packed.currencies
        self.places = [Place(*place) for place in packed.places]
        self.bands, self.dropped = packed.bands, packed.dropped
        try:
            for name, code in _COLUMNS.items():
                column = array(code)
                column.frombytes(getattr(packed, name))
                setattr(self, name, column)
        except ValueError as error:
            raise ValueError(f"a column is cut short: {error}") from error
        rows = len(self.price)
        sound = (
            packed.form == FORM
            and all(len(getattr(self, name)) == rows for name in _COLUMNS if name != "starts")
            and len(self.starts) == len(self.machines) + 1
            and self.starts[0] == 0
            and self.starts[-1] == rows
            and (not rows or max(self.place) < len(self.places))
            and (not rows or max(self.source) < len(self.sources))
            and (not rows or max(self.currency) < len(self.currencies))
            and (not rows or max(self.market) < len(MARKETS))
            and (not rows or max(self.order) < rows)
            and (not rows or (min(self.price) > 0 and max(self.price) < math.inf))
        )
        if not sound:
            raise ValueError("its columns do not fit each other")
        return self


_COLUMNS = {
    "starts": "I",
    "place": "H",
    "market": "B",
    "price": "d",
    "time": "d",
    "source": "B",
    "currency": "B",
    "told": "d",
    "order": "I",
}
_DOLLARS = Amount(0.0, "USD")


def build(
    layers: Sequence[Iterable[Offer]],
    *,
    machines: Iterable[InstanceType] = (),
    bands: dict[str, int] | None = None,
) -> Catalog:
    """A catalogue from several sources; the first source with a price for a pool wins.

    `machines` are known types (they may have no price). Invalid rows are dropped and counted. A row without
    a zone is for its whole region, and is dropped where that market has prices by zone.
    """
    dropped: Counter[str] = Counter()
    known = {(machine.provider, machine.instance_type): machine for machine in machines}
    found: dict[tuple[str, str], dict[tuple[str, str, Market], Offer]] = {}
    for layer in layers:
        for offer in layer:
            if reason := fault(offer):
                dropped[reason] += 1
                continue
            key = (offer.provider, offer.instance_type)
            rows = found.setdefault(key, {})
            pool = (offer.region, offer.zone, offer.market)
            if pool not in rows:
                rows[pool] = offer
                if key not in known:
                    known[key] = as_kind(offer)
    _drop_covered(found)
    catalog = Catalog()
    catalog.bands = dict(bands or {})
    catalog.dropped = dict(dropped)
    places: dict[Place, int] = {}
    sources: dict[str, int] = {}
    currencies = {("USD", ""): 0}
    for key in sorted(known):
        catalog.machines.append(known[key])
        for offer in found.get(key, {}).values():
            place = Place(offer.provider, offer.region, offer.zone)
            source = offer.source if offer.source in sources or len(sources) < 255 else "several sources"
            catalog.place.append(places.setdefault(place, len(places)))
            catalog.market.append(MARKETS.index(offer.market))
            catalog.price.append(offer.usd_per_hour)
            catalog.time.append(math.nan if offer.price_time is None else offer.price_time)
            catalog.source.append(sources.setdefault(source, len(sources)))
            told = offer.told_per_hour or _DOLLARS
            currency = (told.currency, told.day)
            catalog.currency.append(currencies.setdefault(currency, len(currencies)))
            catalog.told.append(told.value)
        catalog.starts.append(len(catalog.price))
    catalog.places, catalog.sources = list(places), list(sources)
    catalog.currencies = list(currencies)
    catalog.index()
    return catalog


def fault(offer: Offer) -> str:
    """Why a row cannot be an offer; "" when it can."""
    if not (offer.usd_per_hour > 0 and math.isfinite(offer.usd_per_hour)):
        return "the price is zero, negative or not finite"
    if offer.usd_per_hour > 1000:
        return "the price is above $1,000 an hour"
    if not offer.region or not offer.instance_type:
        return "no region or no instance type"
    if offer.vcpus < 0 or offer.memory_gib < 0 or offer.gpu_count < 0 or offer.gpu_memory_gib < 0:
        return "a size is negative"
    return ""


def _drop_covered(found: dict[tuple[str, str], dict[tuple[str, str, Market], Offer]]) -> None:
    """Drop rows for a whole region where the same market has prices by zone."""
    for rows in found.values():
        zoned = {(region, market) for region, zone, market in rows if zone}
        for region, market in zoned:
            rows.pop((region, "", market), None)


def as_kind(offer: Offer) -> InstanceType:
    """The hardware of an offer."""
    names = ("provider", "instance_type", "gpu", "gpu_count", "gpu_memory_gib", "vcpus", "memory_gib", "arch")
    return InstanceType(**dict(zip(names, _hardware(offer), strict=True)))
