"""hotdesk offers"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.number import Number
from hotdesk.cli.ui.offer_table import (
    BILLING,
    FIELDS,
    HEADS,
    RIGHT,
    SPARED,
    estimated,
    groups,
    line,
    record,
    reserved,
    reserved_record,
)
from hotdesk.cli.ui.offer_table import wide as wide_table
from hotdesk.core.errors import HotdeskError
from hotdesk.system import SystemClock

if TYPE_CHECKING:
    from hotdesk.config import Config
    from hotdesk.core.matching import InstanceType
    from hotdesk.market.catalog import Catalog
    from hotdesk.market.refresh import Known
    from hotdesk.services.choosing import Offers
    from hotdesk.state.store import Store

SHOWN = 25


@click.command()
@click.argument("instance_types", metavar="[TYPE...]", nargs=-1)
@click.option(
    "--gpu",
    multiple=True,
    metavar="GPU",
    help="GPU model and count: L4, A100:8, A100-80GB, none (repeatable).",
)
@click.option(
    "--gpu-memory", default="", metavar="GIB", help="Memory of one GPU: 24.. (at least), ..16, 16..48, 24."
)
@click.option("--gpus", default="", metavar="N", help="Number of GPUs: 1, 1..4, 0.5 (half a GPU).")
@click.option("--cpus", default="", metavar="N", help="Number of vCPUs: 8.. (at least), 4..16.")
@click.option("--memory", default="", metavar="GIB", help="System memory: 32.. (at least), 16..64.")
@click.option(
    "--arch",
    default="",
    type=click.Choice(["", "x86_64", "arm64", "x86", "arm"]),
    metavar="ARCH",
    help="CPU architecture: x86_64 or arm64.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="Region or glob: us-west-2, eu-* (repeatable).",
)
@click.option("--zone", default="", metavar="ZONE", help="Availability zone, such as us-west-2b.")
@click.option(
    "--market",
    default="",
    type=click.Choice(["", "on-demand", "spot"]),
    metavar="MARKET",
    help="Market: on-demand or spot.  [default: both]",
)
@options.spot
@click.option("--max-usd", type=Number(min=0), metavar="USD", help="Maximum price per hour.")
@click.option(
    "--sort",
    default="price",
    type=click.Choice(["price", "latency", "speed", "value"]),
    show_default=True,
    help="Sort order; value is dollars for the same work.",
)
@click.option(
    "--limit",
    default=SHOWN,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Number of table rows; 0 shows all.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Include offers refused recently (sold out, over quota, denied).",
)
@click.option("--wide", is_flag=True, help="Print one row per zone and market, with the price's source.")
@click.option("--json", "as_json", is_flag=True, help="Print all matching offers as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all matching offers as CSV.")
@click.option("-i", "--interactive", is_flag=True, help="Browse the offers; Enter opens a desk on one.")
@click.option("--refresh", is_flag=True, help="Fetch prices now, even if the cache is fresh.")
@click.option("--offline", is_flag=True, help="Use only cached and shipped prices.")
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
    """List matching offers: price, location and latency."""
    from hotdesk.core.matching import Query
    from hotdesk.services.choosing import Choosing

    with open_store() as store:
        choosing = Choosing(
            store=store,
            clock=SystemClock(),
            config=config,
            on_note=render.note,
            on_progress=_progress,
        )
        query = Query(types=instance_types, **filters)
        found = choosing.offers(query, sort=sort, everything=everything, refresh=refresh, offline=offline)
    known, latency, now = found.known, found.latency, found.now
    for note in known.notes:
        render.note(render.sentence(note))
    if sort == "latency" and not latency:
        render.note("No latency is known yet, so the order is by price. Measure it: hotdesk regions")
    if interactive:
        _choose(found, sort)
        return
    if as_json or as_csv:
        if found.left_out:
            render.note(_left_out(found.left_out))
        rows = [reserved_record(offer, latency) for offer in found.reserved]
        rows += [record(known.catalog, row, latency) for row in found.rows]
        if as_json:
            render.json(rows)
        else:
            _csv(rows)
        return
    if found.reserved:
        reserved(found.reserved)
        render.echo("")
    if wide:
        spared = wide_table(known.catalog, found.rows[: limit or None], latency, now)
        left = max(len(found.rows) - limit, 0) if limit else 0
    else:
        left, spared = _grouped(known.catalog, found.rows, limit, latency, now)
    _footer(
        known,
        found.rows,
        left=left,
        spared=spared,
        refused=found.left_out,
        unpriced=found.unpriced,
        latency=latency,
        now=now,
    )


@contextmanager
def open_store() -> Iterator[Store]:
    """The state folder's store; one in memory, with a line, where that cannot be read or written."""
    from hotdesk.state.store import Store
    from hotdesk.system import state_folder

    try:
        store = Store(state_folder())
    except HotdeskError as error:
        render.note(f"{error.what} {error.why} Going on without what was cached.")
        store = Store(None)
    with store:
        yield store


def config() -> Config:
    """The settings in hotdesk.toml."""
    from hotdesk.config import load
    from hotdesk.system import config_files

    return load(config_files())


def _progress(text: str) -> None:
    """Show what is being requested on a status line; "" clears it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)


def _choose(found: Offers, sort: str) -> None:
    """Pick in the terminal, and open a desk there when that is really meant."""
    from hotdesk.cli.ui.picker import ask, pick
    from hotdesk.services.choosing import Choosing

    def rows(order: str) -> list[int]:
        return Choosing.searched(
            found.known, found.query, found.latency, found.refused, order, found.now
        ).rows

    words = pick(found.catalog, rows, sort=sort, latency=found.latency, now=found.now)
    if words and ask(words):
        from hotdesk.cli.main import run

        if code := run(words):
            raise click.exceptions.Exit(code)


def _csv(rows: list[dict[str, Any]]) -> None:
    import csv

    writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _grouped(
    catalog: Catalog, rows: list[int], limit: int, latency: Mapping[str, float], now: float
) -> tuple[int, Sequence[str]]:
    """One line for a type in a region: on-demand beside the cheapest zone on spot.

    How many lines, and which columns, are left out.
    """
    lines = groups(catalog, rows)
    shown = lines[:limit] if limit else lines
    cells = [line(catalog, pair, latency, now) for pair in shown]
    heads, cells, spared = render.fitted(HEADS, cells, render.columns(), SPARED)
    render.echo(render.table(heads, cells, right=RIGHT))
    render.no_room(spared)
    return len(lines) - len(shown), spared


def _left_out(reasons: Mapping[str, int]) -> str:
    from hotdesk.market.refused import left_out

    return f"Left out: {left_out(reasons)}. --all shows them."


def _footer(
    known: Known,
    rows: list[int],
    *,
    left: int,
    spared: Sequence[str],
    refused: Mapping[str, int],
    unpriced: Sequence[InstanceType],
    latency: Mapping[str, float],
    now: float,
) -> None:
    """Print what was left out and why, the meaning of the signs, and the sources of the prices."""
    from hotdesk.market.query import shape, why_unpriced

    catalog = known.catalog
    if left:
        render.echo(render.style(f"{left} more lines; --limit 0 shows all.", "dim"))
    if refused:
        render.paragraph(_left_out(refused))
    lines = [f"Prices in USD an hour, billed {BILLING}."]
    if any(catalog.machine_of(row).burstable for row in rows):
        lines.append("* burstable: full speed only for a while, then a fraction of it.")
    if any(0 < catalog.machine_of(row).gpu_count < 1 for row in rows):
        lines.append("A slice of a GPU needs NVIDIA's GRID driver: bring an image that has it, by --image.")
    if "TAKEN" not in spared and any(catalog.market[row] for row in rows):
        lines.append("TAKEN: the share of spot instances interrupted in a month, as the cloud publishes it.")
    if any(estimated(catalog, row) for row in rows):
        lines.append("~ estimated; with an account you see the price itself.")
    lines += [
        f"{kind.instance_type} ({shape(kind)}) has no price: {why_unpriced(kind)}." for kind in unpriced
    ]
    if any(catalog.machine_of(row).accelerator for row in rows):
        lines.append(
            "Accelerators that are no NVIDIA GPUs need another driver: bring an image with it, by --image."
        )
    if catalog.dropped:
        lines.append(
            "Broken rows left out: " + "; ".join(f"{n}: {why}" for why, n in catalog.dropped.items()) + "."
        )
    sources: dict[str, list[str]] = {}
    for source in sorted({catalog.sources[catalog.source[row]] for row in rows}):
        head, _, words = source.partition(": ")
        sources.setdefault(head, []).append(words)
    said = "; ".join(f"{head}: {', '.join(words)}" if words[0] else head for head, words in sources.items())
    when = "" if known.time is None else f", gathered {render.duration(now - known.time, 1)} ago"
    lines.append(f"From: {render.safe(said)}{when}.")
    if not latency:
        lines.append("MS is the time to the region and back: hotdesk regions measures it.")
    for text in lines:
        render.paragraph(text, "dim")
