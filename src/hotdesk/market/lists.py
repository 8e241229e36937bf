"""Dated price lists that ship with hotdesk beside the large table: one file a cloud, in its own currency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

from hotdesk.core import wire
from hotdesk.core.matching import InstanceType, Place
from hotdesk.core.model import SHIPPED, Market, Offer, Value
from hotdesk.core.money import Money
from hotdesk.core.pricelist import SHIPPED_TABLE, Shipped
from hotdesk.market.catalog import MARKETS, Catalog

_DATA = Path(__file__).parent / "data"


class _Type(Value, frozen=True):
    vcpus: float
    gib: float
    per_hour: tuple[float | None, ...]  # by region; None: not sold there
    gpu: str = ""
    gpus: float = 0
    gpu_gib: float = 0.0


class PriceList(Value, frozen=True, dict=True):
    """The file itself: on-demand prices, as `scripts/shipped_list.py` makes it."""

    provider: str
    currency: str
    as_of: str
    source: str
    regions: tuple[str, ...]
    types: dict[str, _Type]

    @cached_property
    def time(self) -> float:
        """The day of its prices."""
        return datetime.fromisoformat(self.as_of).replace(tzinfo=UTC).timestamp()

    @property
    def said(self) -> str:
        """The source of its offers."""
        return f"{SHIPPED_TABLE} of {self.as_of}: {self.source}"

    def machines(self) -> list[InstanceType]:
        return [
            InstanceType(
                provider=self.provider,
                instance_type=name,
                gpu=kind.gpu,
                gpu_count=kind.gpus,
                gpu_memory_gib=kind.gpu_gib,
                vcpus=kind.vcpus,
                memory_gib=kind.gib,
            )
            for name, kind in self.types.items()
        ]

    def price(self, region: str, name: str, money: Money) -> Shipped | None:
        """A type's price in a region; None if it is not in the list."""
        kind = self.types.get(name)
        if kind is None or region not in self.regions:
            return None
        told = kind.per_hour[self.regions.index(region)]
        if told is None:
            return None
        usd, amount = money.dollars(told, self.currency)
        return Shipped(usd, self.time, SHIPPED, amount)

    def offers(self, money: Money) -> Iterator[Offer]:
        """A row for each type and region."""
        for machine, kind in zip(self.machines(), self.types.values(), strict=True):
            for region, told in zip(self.regions, kind.per_hour, strict=True):
                if told is not None:
                    usd, amount = money.dollars(told, self.currency)
                    yield machine.offer(
                        region=region, usd_per_hour=usd, told_per_hour=amount, price_time=self.time,
                        source=self.said,
                    )  # fmt: skip

    def add_to(self, made: Catalog, money: Money) -> None:
        """Its rows in a catalogue, which has to be indexed afterwards."""
        first, source, currency = len(made.places), len(made.sources), len(made.currencies)
        rate, amount = money.dollars(1.0, self.currency)
        made.places += [Place(self.provider, region, "") for region in self.regions]
        made.sources.append(self.said)
        made.currencies.append((self.currency, amount.day if amount else ""))
        on_demand = MARKETS.index(Market.ON_DEMAND)
        for machine, kind in zip(self.machines(), self.types.values(), strict=True):
            made.machines.append(machine)
            for number, told in enumerate(kind.per_hour):
                if told is not None:
                    made.place.append(first + number)
                    made.market.append(on_demand)
                    made.price.append(told * rate)
                    made.time.append(self.time)
                    made.source.append(source)
                    made.currency.append(currency)
                    made.told.append(told)
            made.starts.append(len(made.price))


@cache
def price_lists() -> tuple[PriceList, ...]:
    """Every list, read once."""
    return tuple(wire.json(file.read_bytes(), PriceList) for file in sorted(_DATA.glob("*-list.json")))


def list_of(provider: str) -> PriceList | None:
    return next((one for one in price_lists() if one.provider == provider), None)
