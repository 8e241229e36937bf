"""Offers as lines of a table, and as the records of --json and --csv."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hotdesk.cli.ui import render
from hotdesk.core.money import is_comparable
from hotdesk.core.pricelist import is_estimate
from hotdesk.services.choosing import BANDS

if TYPE_CHECKING:
    from hotdesk.core.matching import InstanceType
    from hotdesk.core.model import Offer
    from hotdesk.market.catalog import Catalog

BILLING = "per second, 60 s minimum"
#: What --json and --csv give of an offer, in this order.
FIELDS = (
    *("provider", "region", "zone", "instance_type", "gpu", "gpu_count", "gpu_memory_gib", "vcpus"),
    *("memory_gib", "market", "usd_per_hour", "latency_ms", "price_time", "source"),
    *("arch", "burstable", "interruption_band", "currency", "billing"),
    *("accelerator", "accelerator_count", "estimated", "price_per_hour"),
    *("reservation", "free", "reserved_until", "why"),
)


HEADS = [
    "TYPE",
    "GPU",
    "GPU GIB",
    "VCPU",
    "GIB",
    "ON-DEMAND $/H",
    "SPOT $/H",
    "SAVING",
    "WHERE",
    "MS",
    "TAKEN",
    "AGE",
]
RIGHT = ("GPU GIB", "VCPU", "GIB", "ON-DEMAND $/H", "SPOT $/H", "SAVING", "MS", "AGE", "$/H")


def record(catalog: Catalog, row: int, latency: Mapping[str, float]) -> dict[str, Any]:
    """One offer as --json and --csv give it."""
    machine = catalog.machine_of(row)
    offer = catalog.offer(row)
    band = catalog.band(machine, offer.region) if offer.market == "spot" else None
    return reserved_record(offer, latency) | {
        "burstable": machine.burstable,
        "interruption_band": None if band is None else BANDS[band],
        "accelerator": machine.accelerator,
        "accelerator_count": machine.accelerator_count,
        "estimated": estimated(catalog, row),
    }


def reserved_record(offer: Offer, latency: Mapping[str, float]) -> dict[str, Any]:
    """A place that is paid already, in the same form: what is known of it without the catalogue."""
    values: dict[str, Any] = {name: getattr(offer, name) for name in FIELDS[:11]}
    time, told = offer.price_time, offer.told_per_hour
    return values | {
        "market": offer.sold_as,
        "latency_ms": latency.get(f"{offer.provider}/{offer.region}"),
        "price_time": None if time is None else _stamp(time),
        "source": offer.source,
        "arch": offer.arch,
        "burstable": False,
        "interruption_band": None,
        "usd_per_hour": offer.usd_per_hour if is_comparable(told) else None,
        "currency": told.currency if told else "USD",
        "price_per_hour": told.value if told else offer.usd_per_hour,
        "billing": BILLING,
        "accelerator": "",
        "accelerator_count": 0.0,
        "estimated": False,
        "reservation": offer.reservation,
        "free": offer.free if offer.reservation else None,
        "reserved_until": _stamp(offer.reserved_until) if offer.reserved_until else None,
        "why": offer.why,
    }


def _stamp(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reserved(offers: Sequence[Offer]) -> None:
    """A table of the places that are paid already, in front of all others."""
    heads = ["TYPE", "GPU", "MARKET", "$/H", "FREE", "WHERE", "UNTIL", "WHY"]
    cells = [
        [
            offer.instance_type,
            _counted(offer.gpu, offer.gpu_count),
            render.style(offer.sold_as, "green"),
            f"{offer.usd_per_hour:g}",
            f"{offer.free}",
            offer.zone,
            render.moment(offer.reserved_until) if offer.reserved_until else "-",
            render.safe(f"{offer.source} {offer.reservation} is paid already"),
        ]
        for offer in offers
    ]
    heads, cells, _ = render.fitted(heads, cells, render.columns(), ("WHY", "GPU", "MARKET"))
    render.echo(render.table(heads, cells, right=("$/H", "FREE")))


#: What a narrow terminal does without, the first first. The age of a price is always said.
SPARED = ("GPU GIB", "SAVING", "TAKEN", "GIB", "VCPU")


def groups(catalog: Catalog, rows: list[int]) -> list[tuple[int | None, int | None]]:
    """Rows paired by type and region: (cheapest on-demand row, cheapest spot row), in the order given."""
    pairs: dict[tuple[int, str], list[int | None]] = {}
    for row in rows:
        key = (bisect_right(catalog.starts, row) - 1, catalog.places[catalog.place[row]].region)
        pair = pairs.setdefault(key, [None, None])
        market = catalog.market[row]
        best = pair[market]
        if best is None or catalog.price[row] < catalog.price[best]:
            pair[market] = row
    return [(pair[0], pair[1]) for pair in pairs.values()]


def line(
    catalog: Catalog, pair: tuple[int | None, int | None], latency: Mapping[str, float], now: float
) -> list[str]:
    """The cells of one line of the table."""
    row = pair[1] if pair[1] is not None else pair[0]
    assert row is not None
    machine, place = catalog.machine_of(row), catalog.places[catalog.place[row]]
    # What was not asked for is known all the same, and stands beside it to compare.
    listed, spot = (_beside(catalog, row, market) if one is None else one for market, one in enumerate(pair))
    usual = catalog.price[listed] if listed is not None else None
    price = catalog.price[spot] if spot is not None else None
    band = catalog.band(machine, place.region)
    ms = latency.get(f"{place.provider}/{place.region}")
    times = [catalog.time[shown] for shown in (listed, spot) if shown is not None]
    styles = ["dim" if asked is None else told for asked, told in zip(pair, ("", "green"), strict=True)]
    return [
        machine.instance_type,
        chips(machine),
        f"{machine.gpu_memory_gib:.3g}" if machine.gpu else "",
        f"{machine.vcpus:g}" + ("*" if machine.burstable else ""),
        f"{machine.memory_gib:g}",
        *(
            "-" if one is None else render.style(_price(catalog, one, 3), *filter(None, [style]))
            for one, style in zip((listed, spot), styles, strict=True)
        ),
        f"{100 * (1 - price / usual):.0f}%" if usual and price else "",
        (place.zone if pair[1] is not None else "") or place.region,
        "-" if ms is None else f"{ms:.0f}",
        BANDS[band] if band is not None and pair[1] is not None else "",
        "" if any(map(math.isnan, times)) else render.duration(now - min(times), 1),
    ]


def _beside(catalog: Catalog, row: int, market: int) -> int | None:
    """The cheapest row of the same type and region on that market, whatever was asked for."""
    kind = bisect_right(catalog.starts, row) - 1
    region = catalog.places[catalog.place[row]].region
    there = (
        other
        for other in range(catalog.starts[kind], catalog.starts[kind + 1])
        if catalog.market[other] == market and catalog.places[catalog.place[other]].region == region
    )
    return min(there, key=lambda other: catalog.price[other], default=None)


def estimated(catalog: Catalog, row: int | None) -> bool:
    """Whether a price is an estimate, derived from other prices or a published average saving."""
    return row is not None and is_estimate(catalog.sources[catalog.source[row]])


def _price(catalog: Catalog, row: int, digits: int) -> str:
    """A price an hour as its cloud told it; "~": an estimate."""
    told = catalog.told_per_hour(row)
    return ("~" if estimated(catalog, row) else "") + (
        str(told) if told else f"{catalog.price[row]:.{digits}f}"
    )


def wide(catalog: Catalog, rows: list[int], latency: Mapping[str, float], now: float) -> Sequence[str]:
    """One line for a zone and market; returns the columns that had no room."""
    heads = [
        "TYPE",
        "GPU",
        "GPU GIB",
        "VCPU",
        "GIB",
        "ARCH",
        "MARKET",
        "$/H",
        "REGION",
        "ZONE",
        "MS",
        "TAKEN",
    ]
    cells = []
    for row in rows:
        offer, machine = catalog.offer(row), catalog.machine_of(row)
        ms = latency.get(f"{offer.provider}/{offer.region}")
        band = catalog.band(machine, offer.region) if offer.market == "spot" else None
        cells.append(
            [
                offer.instance_type,
                chips(machine),
                f"{offer.gpu_memory_gib:.3g}" if offer.gpu else "",
                f"{offer.vcpus:g}" + ("*" if machine.burstable else ""),
                f"{offer.memory_gib:g}",
                offer.arch,
                offer.market,
                _price(catalog, row, 4),
                offer.region,
                offer.zone or "any",
                "-" if ms is None else f"{ms:.0f}",
                "" if band is None else BANDS[band],
                "" if offer.price_time is None else render.duration(now - offer.price_time, 1),
                render.safe(offer.source),
            ]
        )
    spare = ("SOURCE", "GPU GIB", "TAKEN", "GIB", "VCPU", "ARCH", "MS")
    heads, cells, spared = render.fitted([*heads, "AGE", "SOURCE"], cells, render.columns(), spare)
    render.echo(render.table(heads, cells, right=RIGHT))
    render.no_room(spared)
    return spared


def chips(kind: InstanceType) -> str:
    """The GPUs of a type as the table shows them, or its other accelerators: "4 x L4", "1/8 L4"."""
    return _counted(kind.gpu, kind.gpu_count) or _counted(kind.accelerator, kind.accelerator_count)


def _counted(name: str, count: float) -> str:
    if not name:
        return ""
    if count == 1:
        return name
    if 0 < count < 1:
        return f"1/{1 / count:.0f} {name}"
    return f"{count:g} x {name}"
