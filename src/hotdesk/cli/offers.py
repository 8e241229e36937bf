"""hotdesk offers"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hotdesk.cli import render
from hotdesk.core.errors import HotdeskError

if TYPE_CHECKING:
    from hotdesk.market.catalog import Catalog
    from hotdesk.market.query import Query
    from hotdesk.market.stock import Known
    from hotdesk.store import Store

SHOWN = 25
BANDS = ("<5%", "5-10%", "10-15%", "15-20%", ">20%")
BILLING = "per second, 60 s minimum"
#: What --json and --csv give of an offer, in this order.
FIELDS = (
    *("provider", "region", "zone", "instance_type", "gpu", "gpu_count", "gpu_memory_gib", "vcpus"),
    *("memory_gib", "market", "usd_per_hour", "latency_ms", "price_time", "source"),
    *("arch", "burstable", "interruption_band", "currency", "billing"),
)


@click.command()
@click.argument("instance_types", metavar="[TYPE...]", nargs=-1)
@click.option("--gpu", multiple=True, help="L4, A100:8 (eight of them), A100-80GB, none. May be repeated.")
@click.option(
    "--gpu-memory", default="", metavar="GIB", help="Of one GPU: 24.. (at least), ..16, 16..48, 24."
)
@click.option("--gpus", default="", metavar="N", help="How many GPUs: 1, 1..4, 0.5 (half of one).")
@click.option("--cpus", default="", metavar="N", help="How many vCPUs: 8.. and so on.")
@click.option("--memory", default="", metavar="GIB", help="Memory: 32.. and so on.")
@click.option(
    "--arch",
    default="",
    type=click.Choice(["", "x86_64", "arm64", "x86", "arm"]),
    metavar="ARCH",
    help="x86_64 or arm64.",
)
@click.option("--region", "regions", multiple=True, help="us-west-2, or eu-* for several. May be repeated.")
@click.option("--zone", default="", help="One zone, as us-west-2b.")
@click.option(
    "--market",
    default="",
    type=click.Choice(["", "on-demand", "spot"]),
    metavar="MARKET",
    help="on-demand or spot.",
)
@click.option("--max-usd", type=click.FloatRange(min=0), metavar="USD", help="Dollars an hour at most.")
@click.option(
    "--sort", default="price", type=click.Choice(["price", "latency", "speed", "value"]), show_default=True
)
@click.option("--limit", default=SHOWN, type=click.IntRange(0), help=f"Lines of the table; 0: all. [{SHOWN}]")
@click.option(
    "--all", "everything", is_flag=True, help="Also what was refused lately (sold out, over quota)."
)
@click.option("--wide", is_flag=True, help="One line for each zone and market, with its source.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all offers that fit.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: all offers that fit.")
@click.option("-i", "--interactive", is_flag=True, help="Filter and sort in place; Enter opens a desk there.")
@click.option("--refresh", is_flag=True, help="Ask every source now, however fresh the cache is.")
@click.option("--offline", is_flag=True, help="Ask nobody: what is cached and what ships with hotdesk.")
def command(
    *,
    instance_types: tuple[str, ...],
    sort: str,
    limit: int,
    everything: bool,
    wide: bool,
    as_json: bool,
    as_csv: bool,
    interactive: bool,
    refresh: bool,
    offline: bool,
    **filters: Any,
) -> None:
    """Every machine that fits: what it costs, where, and how far away it is."""
    from hotdesk.market.query import Query, search
    from hotdesk.market.speed import relative
    from hotdesk.market.table import shipped
    from hotdesk.store import Store
    from hotdesk.world import SystemClock, state_folder

    now = SystemClock().now()
    with Store(state_folder()) as store:
        known = _known(store, now, refresh=refresh, offline=offline)
        latency = latencies(store)
        refused = frozenset() if everything else _refused(store, now)
    for note in known.notes:
        render.note(note + ".")
    gone = shipped().gone()
    query = Query(types=_todays(instance_types), **filters)
    if sort == "latency" and not latency:
        render.note("No latency is known yet, so the order is by price. Measure it: hotdesk regions")
    found = search(
        known.catalog, query, sort=sort, latency=latency, speed=relative, unavailable=refused, retired=gone
    )
    if interactive:
        from hotdesk.cli.picker import pick

        pick(known.catalog, query, found.rows, sort=sort, latency=latency, now=now)
        return
    if as_json or as_csv:
        rows = [record(known.catalog, row, latency) for row in found.rows]
        if as_json:
            render.json(rows)
        else:
            _csv(rows)
        return
    if wide:
        _wide(known.catalog, found.rows[: limit or None], latency, now)
        left = max(len(found.rows) - limit, 0) if limit else 0
    else:
        left = _grouped(known.catalog, found.rows, limit, latency, now)
    _footer(
        known, found.rows, left=left, unavailable=found.unavailable, query=query, latency=latency, now=now
    )


def _todays(names: tuple[str, ...]) -> tuple[str, ...]:
    """The types asked for; a retired one is replaced by what does its work today, and that is said."""
    from hotdesk.market.table import shipped

    found: list[str] = []
    for name in names:
        if gone := shipped().retired.get(name):
            render.note(f"{name} is retired; nearest today: {', '.join(gone.nearest)}.")
            found += gone.nearest
        else:
            found.append(name)
    return tuple(dict.fromkeys(found))


def _known(store: Store, now: float, *, refresh: bool, offline: bool) -> Known:
    """The catalogue; asked anew where it is old and asking is polite."""
    from hotdesk.market import stock

    known = stock.known(store)
    if (
        offline
        or "HOTDESK_OFFLINE" in os.environ
        or not (refresh or (known.is_old(now) and stock.due(store, now)))
    ):
        return known
    loud = sys.stderr.isatty()

    def progress(text: str) -> None:
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    try:
        fresh = stock.refreshed(
            store,
            now,
            progress=progress if loud else lambda text: None,
            limit_seconds=120.0 if refresh else 20.0,
            advisor_url=os.environ.get("HOTDESK_ADVISOR_URL", ""),  # somebody's mirror of the public file
        )
    except HotdeskError as error:
        return known._replace(notes=(*known.notes, error.what.rstrip(".")))
    finally:
        if loud:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return fresh._replace(notes=(*known.notes, *fresh.notes))


def latencies(store: Store) -> dict[str, float]:
    """Milliseconds by "provider/region" as last measured; empty when never."""
    import msgspec

    kept = store.cached("latency")
    try:
        return msgspec.json.decode(kept[1], type=dict[str, float]) if kept else {}
    except msgspec.DecodeError:
        return {}


def _refused(store: Store, now: float) -> frozenset[str]:
    """Offers that were refused lately: sold out, over a quota, or not sold there."""
    rows = store.rows(limit=500)
    if not rows:
        return frozenset()
    from hotdesk.core.past import Past

    return frozenset(Past(rows).refusals(now))


def record(catalog: Catalog, row: int, latency: Mapping[str, float]) -> dict[str, Any]:
    """One offer as --json and --csv give it."""
    machine = catalog.machine_of(row)
    offer = catalog.offer(row)
    band = catalog.band(machine, offer.region) if offer.market == "spot" else None
    values: dict[str, Any] = {name: getattr(offer, name) for name in FIELDS[:11]}
    time = offer.price_time
    return values | {
        "latency_ms": latency.get(f"{offer.provider}/{offer.region}"),
        "price_time": None
        if time is None
        else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "source": offer.source,
        "arch": offer.arch,
        "burstable": machine.burstable,
        "interruption_band": None if band is None else BANDS[band],
        "currency": "USD",
        "billing": BILLING,
    }


def _csv(rows: list[dict[str, Any]]) -> None:
    import csv

    writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


HEADS = [
    "TYPE",
    "GPU",
    "GPU GIB",
    "VCPU",
    "GIB",
    "ON-DEMAND",
    "SPOT",
    "SAVING",
    "WHERE",
    "MS",
    "TAKEN",
    "AGE",
]
_RIGHT = ("GPU GIB", "VCPU", "GIB", "ON-DEMAND", "SPOT", "SAVING", "MS", "AGE", "$/H")


def _grouped(catalog: Catalog, rows: list[int], limit: int, latency: Mapping[str, float], now: float) -> int:
    """One line for a type in a region: on-demand beside the cheapest zone on spot. How many are left out."""
    lines = groups(catalog, rows)
    shown = lines[:limit] if limit else lines
    render.echo(render.table(HEADS, [line(catalog, pair, latency, now) for pair in shown], right=_RIGHT))
    return len(lines) - len(shown)


def groups(catalog: Catalog, rows: list[int]) -> list[tuple[int | None, int | None]]:
    """Rows paired by type and region: (cheapest on-demand row, cheapest spot row), in the order given."""
    from bisect import bisect_right

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
    listed, spot = pair
    row = spot if spot is not None else listed
    assert row is not None
    machine, place = catalog.machine_of(row), catalog.places[catalog.place[row]]
    usual = catalog.price[listed] if listed is not None else None
    price = catalog.price[spot] if spot is not None else None
    band = catalog.band(machine, place.region)
    ms = latency.get(f"{place.provider}/{place.region}")
    time = catalog.time[row]
    return [
        machine.instance_type,
        _gpu(machine.gpu, machine.gpu_count),
        f"{machine.gpu_memory_gib:.3g}" if machine.gpu else "",
        f"{machine.vcpus:g}" + ("*" if machine.burstable else ""),
        f"{machine.memory_gib:g}",
        "-" if usual is None else f"${usual:.3f}",
        "-"
        if price is None
        else render.style(f"{'~' if estimated(catalog, spot) else ''}${price:.3f}", "green"),
        f"{100 * (1 - price / usual):.0f}%" if usual and price else "",
        (place.zone if spot is not None else "") or place.region,
        "-" if ms is None else f"{ms:.0f}",
        BANDS[band] if band is not None and spot is not None else "",
        "" if math.isnan(time) else render.ago(now - time),
    ]


def estimated(catalog: Catalog, row: int | None) -> bool:
    """Whether a spot price is only what a published average saving implies."""
    return row is not None and catalog.market[row] == 1 and "advisor" in catalog.sources[catalog.source[row]]


def _wide(catalog: Catalog, rows: list[int], latency: Mapping[str, float], now: float) -> None:
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
                _gpu(offer.gpu, offer.gpu_count),
                f"{offer.gpu_memory_gib:.3g}" if offer.gpu else "",
                f"{offer.vcpus:g}" + ("*" if machine.burstable else ""),
                f"{offer.memory_gib:g}",
                offer.arch,
                offer.market,
                f"{offer.usd_per_hour:.4f}",
                offer.region,
                offer.zone or "any",
                "-" if ms is None else f"{ms:.0f}",
                "" if band is None else BANDS[band],
                "" if offer.price_time is None else render.ago(now - offer.price_time),
                render.safe(offer.source),
            ]
        )
    render.echo(render.table([*heads, "AGE", "SOURCE"], cells, right=_RIGHT))


def _gpu(name: str, count: float) -> str:
    if not name:
        return ""
    if count == 1:
        return name
    if 0 < count < 1:
        return f"1/{1 / count:.0f} {name}"
    return f"{count:g} x {name}"


def _footer(
    known: Known,
    rows: list[int],
    *,
    left: int,
    unavailable: int,
    query: Query,
    latency: Mapping[str, float],
    now: float,
) -> None:
    """What was left out and why, what the signs mean, and where the prices come from."""
    catalog = known.catalog
    if left:
        render.echo(render.style(f"{left} more lines; --limit 0 shows all.", "dim"))
    if unavailable:
        render.echo(f"{unavailable} offers are sold out or over your quota; --all shows them.")
    lines = [f"Prices in USD an hour, billed {BILLING}."]
    if any(catalog.machine_of(row).burstable for row in rows):
        lines.append("* burstable: full speed only for a while, then a fraction of it.")
    if any(catalog.market[row] for row in rows):
        lines.append("TAKEN: the share of spot machines taken away in a month, as the cloud publishes it.")
    if any(estimated(catalog, row) for row in rows):
        lines.append("~ estimated from a published average saving; with an account you see the price itself.")
    priceless = sum(
        catalog.starts[n] == catalog.starts[n + 1]
        for n, machine in enumerate(catalog.machines)
        if machine.gpu
    )
    if priceless:
        lines.append(f"{priceless} GPU types have no known price and are not shown.")
    if catalog.dropped:
        lines.append(
            "Broken rows left out: " + "; ".join(f"{n}: {why}" for why, n in catalog.dropped.items()) + "."
        )
    sources = sorted({catalog.sources[catalog.source[row]] for row in rows})
    when = "" if known.time is None else f", gathered {render.ago(now - known.time)} ago"
    lines.append(f"From: {render.safe('; '.join(sources))}{when}.")
    if not latency:
        lines.append("MS is the time to the region and back: hotdesk regions measures it.")
    for text in lines:
        render.echo(render.style(text, "dim"))
