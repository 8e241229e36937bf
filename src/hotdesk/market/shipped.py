"""The dated table that ships with hotdesk, for use without an account or network.

It has the date and source of every price; both are shown wherever one of its rows is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from hotdesk.core import wire
from hotdesk.core.matching import InstanceType, Place
from hotdesk.core.model import SHIPPED, Offer, Value
from hotdesk.core.pricelist import ESTIMATED, SHIPPED_TABLE, Shipped, is_estimate
from hotdesk.core.spot.prices import Storing
from hotdesk.market.catalog import Catalog

_DATA = Path(__file__).parent / "data"


class Retired(Value, frozen=True):
    """A type that is no longer offered, with its specification and its nearest successors."""

    machine: InstanceType
    nearest: tuple[str, ...]
    usd_per_hour: dict[str, float]  # on-demand by region, while it was sold

    @property
    def words(self) -> str:
        """The one thing that is said of it, wherever it is named."""
        name, nearest = self.machine.instance_type, ", ".join(self.nearest)
        return f"{name} is retired: no region offers it any more; nearest today: {nearest}."


class _Type(Value, frozen=True):
    type: str
    vcpus: float
    gib: float
    gpu: str = ""
    gpus: float = 0
    gpu_gib: float = 0.0
    accelerator: str = ""
    accelerators: float = 0
    arch: str = "x86_64"
    burstable: bool = False
    no_price: str = ""  # why it has no on-demand price anywhere


class _Source(Value, frozen=True):
    words: str
    as_of: str


class _Listed(Value, frozen=True):
    """On-demand prices in columns, as `scripts/shipped_prices.py` makes them.

    By type: a letter of `sources` for each of the regions ("." where there is no price), and the prices.
    A small letter marks an estimate.
    """

    as_of: str
    sources: dict[str, _Source]
    regions: tuple[str, ...]
    usd_per_hour: dict[str, tuple[str, tuple[float, ...]]]

    def of(self, name: str) -> Iterator[tuple[str, str, float]]:
        """(region, letter, $/h) of a type."""
        letters, prices = self.usd_per_hour.get(name, ("", ()))
        told = iter(prices)
        for region, letter in zip(self.regions, letters, strict=False):
            if letter != ".":
                yield region, letter, next(told)


class _Gone(Value, frozen=True):
    gpu: str
    gpus: float
    gpu_gib: float
    vcpus: float
    gib: float
    nearest: tuple[str, ...]
    usd: dict[str, float]


class _Advice(Value, frozen=True):
    source: str
    time: str
    saving_percent_and_band: dict[str, dict[str, tuple[int, int]]]


class _Storage(Value, frozen=True):
    source: str
    time: str
    disk_usd_per_gib_month: dict[str, float]  # gp3, by region
    image_usd_per_gib_month: dict[str, float]  # snapshots
    copy_usd_per_gib: dict[str, float]  # to another region, by the one that it leaves


class Table(Value, frozen=True):
    """The file itself."""

    provider: str
    sources: dict[str, str]
    types: tuple[_Type, ...]
    advice: _Advice
    retired: dict[str, _Gone]
    storage: _Storage

    @property
    def listed(self) -> _Listed:
        """Its on-demand prices, read on first use."""
        return _listed(self.provider)

    @property
    def as_of(self) -> str:
        """The day on which its prices were collected. Each price has its own date, not later than this."""
        return self.listed.as_of

    @property
    def time(self) -> float:
        return _day(self.as_of)

    @property
    def advised_at(self) -> float:
        """When the averages of spot were published."""
        return _day(self.advice.time)

    def machines(self) -> list[InstanceType]:
        return [self._machine(row.type, row) for row in self.types]

    def gone(self) -> dict[str, Retired]:
        """Retired types by name."""
        return {
            name: Retired(machine=self._machine(name, row), nearest=row.nearest, usd_per_hour=row.usd)
            for name, row in self.retired.items()
        }

    def unpriced(self) -> dict[str, str]:
        """Types that have no on-demand price anywhere, and why."""
        return {row.type: row.no_price for row in self.types if row.no_price}

    def offers(self) -> list[Offer]:
        """On-demand rows with their list price; spot rows at what the public advisor file implied."""
        catalog = self.catalog()
        return catalog.offers(range(len(catalog)))

    def catalog(self) -> Catalog:
        """The same as a catalogue, built by columns: used when nothing is cached."""
        listed, letters = self.listed, list(self.listed.sources)
        advised = [self.advice.saving_percent_and_band.get(region, {}) for region in listed.regions]
        days = [_day(source.as_of) for source in listed.sources.values()]
        advice_day, advice_source = _day(self.advice.time), len(letters)
        made = Catalog()
        made.machines = sorted(self.machines(), key=lambda kind: kind.instance_type)
        made.places = [Place(self.provider, region, "") for region in listed.regions]
        made.sources = [f"{SHIPPED_TABLE} of {self.as_of}: {told.words}" for told in listed.sources.values()]
        made.sources.append(f"{SHIPPED_TABLE}, {ESTIMATED}: {self.sources[self.advice.source]}")
        made.bands = {
            f"{self.provider}/{region}/{name}": band for (region, name), band in self.bands().items()
        }
        numbers = bytes.maketrans("".join(letters).encode(), bytes(range(len(letters))))
        for kind in made.machines:
            name = kind.instance_type
            where, prices = listed.usd_per_hour.get(name, ("", ()))
            places = [n for n, letter in enumerate(where) if letter != "."]
            sources = where.encode().translate(numbers, b".")
            savings = [advised[n].get(name, (0, 0))[0] for n in places]
            spot = [n for n, saving in enumerate(savings) if 0 < saving < 100]
            made.price.extend(prices)
            made.price.extend(round(prices[n] * (1 - savings[n] / 100), 4) for n in spot)
            made.place.extend([*places, *(places[n] for n in spot)])
            made.market.frombytes(bytes(len(places)) + b"\1" * len(spot))
            made.source.frombytes(sources + bytes([advice_source]) * len(spot))
            made.time.extend([*(days[n] for n in sources), *(advice_day for _ in spot)])
            made.starts.append(len(made.price))
        made.currency.frombytes(bytes(len(made)))  # all in US dollars
        made.told.frombytes(bytes(len(made) * made.told.itemsize))
        made.index()
        return made

    def bands(self) -> dict[tuple[str, str], int]:
        """Interruption bands (0 is under 5 % a month, 4 over 20 %) by (region, instance type)."""
        rows = self.advice.saving_percent_and_band.items()
        return {(region, name): band for region, types in rows for name, (_, band) in types.items()}

    def bands_by_region(self) -> dict[str, frozenset[str]]:
        """The types in the public advisor file, by region."""
        return {region: frozenset(types) for region, types in self.advice.saving_percent_and_band.items()}

    def on_demand_prices(self, names: Sequence[str]) -> dict[tuple[str, str], float]:
        """On-demand $/h by (instance type, region), of types sold today and of retired ones."""
        found = {(name, region): usd for name in names for region, _, usd in self.listed.of(name)}
        for name in names:
            if gone := self.retired.get(name):
                found |= {(name, region): price for region, price in gone.usd.items()}
        return found

    def storing(self, region: str) -> Storing:
        """Storage prices of a region; if unknown, those of the most expensive region."""

        def there(usd: dict[str, float]) -> float:
            return usd.get(region) or max(usd.values())

        return Storing(
            disk_usd_per_gib_month=there(self.storage.disk_usd_per_gib_month),
            image_usd_per_gib_month=there(self.storage.image_usd_per_gib_month),
            copy_usd_per_gib=there(self.storage.copy_usd_per_gib),
            price_time=_day(self.storage.time),
        )

    def _machine(self, name: str, row: _Type | _Gone) -> InstanceType:
        more = {}
        if isinstance(row, _Type):
            more = {
                "arch": row.arch,
                "burstable": row.burstable,
                "accelerator": row.accelerator,
                "accelerator_count": row.accelerators,
            }
        return InstanceType(
            provider=self.provider,
            instance_type=name,
            gpu=row.gpu,
            gpu_count=row.gpus,
            gpu_memory_gib=row.gpu_gib,
            vcpus=row.vcpus,
            memory_gib=row.gib,
            **more,  # type: ignore[arg-type]
        )


def list_price(region: str, instance_type: str) -> Shipped | None:
    """The shipped on-demand price of a type on EC2."""
    listed = shipped().listed
    for there, letter, usd in listed.of(instance_type):
        if there == region:
            told = listed.sources[letter]
            source = f"{SHIPPED}, {ESTIMATED}" if is_estimate(told.words) else SHIPPED
            return Shipped(usd, _day(told.as_of), source)
    gone = shipped().retired.get(instance_type)
    return Shipped(gone.usd[region], shipped().time) if gone and region in gone.usd else None


@cache
def shipped(provider: str = "") -> Table:
    """The table of a cloud, read once; "": of the one that has a table."""
    provider = provider or next(_DATA.glob("*-prices.json")).name.removesuffix("-prices.json")
    return wire.json(_file(f"{provider}.json"), Table)


@cache
def _listed(provider: str) -> _Listed:
    return wire.json(_file(f"{provider}-prices.json"), _Listed)


def _file(name: str) -> bytes:
    return (_DATA / name).read_bytes()


def _day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
