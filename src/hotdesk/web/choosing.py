"""What the page reads for choosing: offers as columns, a tenth of the same as rows; and spot's past."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins

from hotdesk.api import Hotdesk
from hotdesk.core.errors import Usage

Words = Mapping[str, str]
POINTS = 300  # of a price line: as many as a screen shows


def offers(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """Every known offer, by rising price; hardware, places and sources stand once, and rows name them."""
    from hotdesk.core.matching import Query
    from hotdesk.core.pricelist import is_estimate
    from hotdesk.market.gpus import relative_speed
    from hotdesk.services.choosing import BANDS

    money = desks.services.config.money
    found = desks.services.choosing.offers(Query(), offline=bool(said.get("offline")))
    catalog, rows = found.catalog, found.rows
    machine = [0] * len(catalog)
    for number in range(len(catalog.machines)):
        for row in range(catalog.starts[number], catalog.starts[number + 1]):
            machine[row] = number
    bands = [
        catalog.band(catalog.machines[machine[row]], catalog.places[catalog.place[row]].region)
        if catalog.market[row]
        else None
        for row in rows
    ]
    return {
        "machines": [
            {
                "instance_type": kind.instance_type,
                "gpu": kind.gpu or kind.accelerator,
                "gpu_count": kind.gpu_count or kind.accelerator_count,
                "gpu_memory_gib": kind.gpu_memory_gib,
                "vcpus": kind.vcpus,
                "memory_gib": kind.memory_gib,
                "arch": kind.arch,
                "burstable": kind.burstable,
                "speed": relative_speed(kind),
            }
            for kind in catalog.machines
        ],
        "places": [
            {
                "provider": place.provider,
                "region": place.region,
                "zone": place.zone,
                "latency_ms": found.latency.get(f"{place.provider}/{place.region}"),
            }
            for place in catalog.places
        ],
        "estimates": [is_estimate(source) for source in catalog.sources],
        "currencies": [
            {
                "name": name,
                "rated": name == "USD" or bool(day),
                "per_usd": one.value if (one := money.per_usd(name)) else 1.0,
            }
            for name, day in (("USD", ""), *catalog.currencies[1:])
        ],
        "bands": BANDS,
        "machine": [machine[row] for row in rows],
        "place": [catalog.place[row] for row in rows],
        "spot": [catalog.market[row] for row in rows],
        "usd": [catalog.price[row] for row in rows],
        "currency": [catalog.currency[row] for row in rows],
        "told": {n: str(told) for n, row in enumerate(rows) if (told := catalog.told_per_hour(row))},
        "time": [None if math.isnan(catalog.time[row]) else catalog.time[row] for row in rows],
        "source": [catalog.source[row] for row in rows],
        "band": bands,
        "reserved": to_builtins(found.reserved),
        "notes": list(found.known.notes),
        "left_out": dict(found.left_out),
        "gathered_at": found.known.time,
    }


def spot(desks: Hotdesk, said: Words) -> dict[str, Any]:
    """What spot has cost of these types, zone by zone, and the lines of its prices."""
    from hotdesk.services.choosing import SpotQuery

    types = tuple(name for name in said.get("types", "").replace(",", " ").split() if name)
    if not types:
        raise Usage("Spot prices of what?", "Name an instance type.", "hotdesk spot g6.xlarge")
    try:
        under = (float(said["under"]),) if said.get("under") else ()
        days = float(said.get("days") or 14)
    except ValueError as error:
        raise Usage(str(error), "It must be a number.", "hotdesk spot g6.xlarge --under 0.40") from None
    prices, history = desks.services.choosing.spot(SpotQuery(instance_types=types, days=days, under=under))
    lines = []
    for pool in history.pools if history else ():
        step = (prices.until - prices.since) / POINTS
        times, told = [float(t) for t in pool.times], [float(p) for p in pool.prices]
        shown, at = [], 0
        for n in range(POINTS + 1):
            moment = prices.since + n * step
            while at + 1 < len(times) and times[at + 1] <= moment:
                at += 1
            shown.append(told[at] if times and times[at] <= moment else None)
        lines.append({"instance_type": pool.instance_type, "zone": pool.zone, "prices": shown})
    return {**to_builtins(prices), "lines": lines}


def regions(desks: Hotdesk, said: Words) -> Any:
    """How far each region is, measured now."""
    return to_builtins(desks.regions())
