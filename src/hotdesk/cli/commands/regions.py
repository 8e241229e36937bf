"""hotdesk regions"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.providers import registry

if TYPE_CHECKING:
    from hotdesk.core.money import Money
    from hotdesk.market.catalog import Catalog
    from hotdesk.state.store import Store


@click.command()
@click.option("--gpu", metavar="GPU", help="Show each region's cheapest offer of this GPU: L4, A100:8.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="Region or glob: us-west-2, eu-* (repeatable).",
)
@click.option(
    "--provider",
    default=registry.with_regions()[0],
    show_default=True,
    type=click.Choice([*registry.with_regions(), "all"]),
    help="Provider whose regions to measure.",
)
@click.option(
    "--samples",
    default=7,
    show_default=True,
    type=click.IntRange(1, 20),
    metavar="N",
    help="Number of TCP connects per region.",
)
@click.option(
    "--timeout",
    "limit",
    default="1.8s",
    show_default=True,
    type=options.Length("s", low=0.1, high=60),
    help="Total time to measure for, 0.1s to 60s.",
)
@options.as_json
def command(
    *, gpu: str | None, regions: tuple[str, ...], provider: str, samples: int, limit: float, as_json: bool
) -> None:
    """Measure the latency of each region (median of several TCP connects); show a GPU's price there."""
    from hotdesk.cli.commands.offers import config, open_store
    from hotdesk.services.choosing import Choosing
    from hotdesk.system import SystemClock

    providers = registry.with_regions() if provider == "all" else (provider,)
    with open_store() as store:
        cheap = _cheapest(store, gpu, config().money) if gpu else {}
        choosing = Choosing(store=store, clock=SystemClock(), config=config)
        rows = choosing.regions(regions, providers=providers, samples=samples, limit_seconds=limit)
    if as_json:
        render.json(
            [
                {
                    "provider": row.provider,
                    "region": row.region,
                    "latency_ms": row.latency_ms,
                    "samples": row.samples,
                    "sent": row.sent,
                    "why": row.why,
                    **({"cheapest": cheap.get((row.provider, row.region))} if gpu else {}),
                }
                for row in rows
            ]
        )
        return
    silent = sum(row.latency_ms is None for row in rows)
    if silent == len(rows):
        render.note(f"None of {len(rows)} regions answered ({render.safe(rows[0].why)}).")
        render.note("Is this computer on the network? Prices do not need it: hotdesk offers")
        if not gpu:
            return
    heads = ["REGION", "CITY", "MS", "ANSWERS", *([f"CHEAPEST {gpu.upper()}", "AGE"] if gpu else []), ""]
    now = SystemClock().now()
    longest = max((row.latency_ms for row in rows if row.latency_ms is not None), default=1.0)
    cells = []
    for row in rows:
        offer = cheap.get((row.provider, row.region))
        price, age = "-", ""
        if offer:
            about = "~" if offer["estimated"] else ""
            price = f"{about}${offer['usd_per_hour']:.3f}/h {offer['market']} {offer['instance_type']}"
            age = render.duration(now - offer["price_time"], 1) if offer["price_time"] else ""
        bar = "█" * max(1, round(24 * row.latency_ms / longest)) if row.latency_ms is not None else row.why
        cells.append(
            [
                row.region if provider != "all" else f"{row.provider} {row.region}",
                registry.regions(row.provider).cities.get(row.region, ""),
                "-" if row.latency_ms is None else f"{row.latency_ms:.1f}",
                f"{len(row.samples)}/{row.sent}",
                *([price, age] if gpu else []),
                render.style(render.safe(bar), "cyan" if row.latency_ms is not None else "dim"),
            ]
        )
    heads, cells, _ = render.fitted(heads, cells, render.columns() - 10, ("CITY", "ANSWERS"))
    render.echo(render.table(heads, cells, right=("MS", "ANSWERS")))
    if 0 < silent < len(rows):
        render.echo(
            render.style(f"{silent} of {len(rows)} regions did not answer within {limit:g} s.", "dim")
        )


def _cheapest(store: Store, gpu: str, money: Money) -> dict[tuple[str, str], dict[str, Any]]:
    """The cheapest offer of a GPU by (provider, region), from what is known here."""
    from hotdesk.core.matching import Query
    from hotdesk.core.pricelist import is_estimate
    from hotdesk.market import refresh
    from hotdesk.market.query import search
    from hotdesk.market.shipped import shipped

    catalog: Catalog = refresh.known(store, money).catalog
    found = search(catalog, Query(gpu=(gpu,)), retired=shipped().gone())
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in found.rows:  # by rising price
        offer = catalog.offer(row)
        best.setdefault(
            (offer.provider, offer.region),
            {
                "instance_type": offer.instance_type,
                "market": offer.market,
                "usd_per_hour": offer.usd_per_hour,
                "price_time": offer.price_time,
                "estimated": is_estimate(offer.source),
            },
        )
    return best
