"""The small dated table that ships with hotdesk: what answers when there is neither account nor network.

It names its date and the source of every price; whoever shows one of its rows shows those too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec

from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer, Value
from hotdesk.core.spot.prices import Storing


class Retired(Value, frozen=True):
    """A type that can no longer be had, what it was, and what does its work today."""

    machine: InstanceType
    nearest: tuple[str, ...]
    usd_per_hour: dict[str, float]  # on-demand by region, while it was sold


class _Type(Value, frozen=True):
    type: str
    vcpus: float
    gib: float
    gpu: str = ""
    gpus: float = 0
    gpu_gib: float = 0.0
    arch: str = "x86_64"
    burstable: bool = False


class _Prices(Value, frozen=True):
    source: str
    regions: tuple[str, ...]
    usd_per_hour: dict[str, float]


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
    as_of: str
    sources: dict[str, str]
    types: tuple[_Type, ...]
    on_demand: tuple[_Prices, ...]
    advice: _Advice
    retired: dict[str, _Gone]
    storage: _Storage

    @property
    def time(self) -> float:
        return _day(self.as_of)

    def machines(self) -> list[InstanceType]:
        return [self._machine(row.type, row) for row in self.types]

    def gone(self) -> dict[str, Retired]:
        """Retired types by name."""
        return {
            name: Retired(machine=self._machine(name, row), nearest=row.nearest, usd_per_hour=row.usd)
            for name, row in self.retired.items()
        }

    def offers(self) -> Iterator[Offer]:
        """On-demand rows with their list price; spot rows at what the public advisor file implied."""
        advised = self.advice.saving_percent_and_band
        for group in self.on_demand:
            for region in group.regions:
                for name, price in group.usd_per_hour.items():
                    offer = self._offer(name, region, price, self.time, group.source)
                    yield offer
                    saving, _ = advised.get(region, {}).get(name, (0, 0))
                    if 0 < saving < 100:
                        yield msgspec.structs.replace(
                            offer,
                            market=Market.SPOT,
                            usd_per_hour=round(price * (1 - saving / 100), 4),
                            price_time=_day(self.advice.time),
                            source=f"shipped table: {self.sources[self.advice.source]}",
                        )

    def bands(self) -> dict[tuple[str, str], int]:
        """Interruption bands (0 is under 5 % a month, 4 over 20 %) by (region, instance type)."""
        rows = self.advice.saving_percent_and_band.items()
        return {(region, name): band for region, types in rows for name, (_, band) in types.items()}

    def bands_by_region(self) -> dict[str, frozenset[str]]:
        """The types that the public advisor file speaks of, by region."""
        return {region: frozenset(types) for region, types in self.advice.saving_percent_and_band.items()}

    def on_demand_prices(self, names: Sequence[str]) -> dict[tuple[str, str], float]:
        """On-demand $/h by (instance type, region), of types sold today and of retired ones."""
        found = {
            (name, region): group.usd_per_hour[name]
            for group in self.on_demand
            for region in group.regions
            for name in names
            if name in group.usd_per_hour
        }
        for name in names:
            if gone := self.retired.get(name):
                found |= {(name, region): price for region, price in gone.usd.items()}
        return found

    def storing(self, region: str) -> Storing:
        """What disks and images cost there; where it does not say, as much as in its dearest region."""

        def there(usd: dict[str, float]) -> float:
            return usd.get(region) or max(usd.values())

        return Storing(
            disk_usd_per_gib_month=there(self.storage.disk_usd_per_gib_month),
            image_usd_per_gib_month=there(self.storage.image_usd_per_gib_month),
            copy_usd_per_gib=there(self.storage.copy_usd_per_gib),
            price_time=_day(self.storage.time),
        )

    def _machine(self, name: str, row: _Type | _Gone) -> InstanceType:
        return InstanceType(
            provider=self.provider,
            instance_type=name,
            gpu=row.gpu,
            gpu_count=row.gpus,
            gpu_memory_gib=row.gpu_gib,
            vcpus=row.vcpus,
            memory_gib=row.gib,
            arch=row.arch if isinstance(row, _Type) else "x86_64",
            burstable=row.burstable if isinstance(row, _Type) else False,
        )

    def _offer(self, name: str, region: str, price: float, time: float, source: str) -> Offer:
        return self._by_name[name].offer(
            region=region,
            usd_per_hour=price,
            price_time=time,
            source=f"shipped table of {self.as_of}: {self.sources[source]}",
        )

    @property
    def _by_name(self) -> dict[str, InstanceType]:
        return _machines(self.provider)


def list_price(region: str, instance_type: str) -> tuple[float, float] | None:
    """The shipped on-demand price of a type on EC2, and the day when it was so."""
    usd = shipped().on_demand_prices([instance_type]).get((instance_type, region))
    return (usd, shipped().time) if usd else None


@cache
def shipped(provider: str = "aws") -> Table:
    """The table of a cloud, read once."""
    body = (Path(__file__).parent / "data" / f"{provider}.json").read_bytes()
    return msgspec.json.decode(body, type=Table)


@cache
def _machines(provider: str) -> dict[str, InstanceType]:
    return {machine.instance_type: machine for machine in shipped(provider).machines()}


def _day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
