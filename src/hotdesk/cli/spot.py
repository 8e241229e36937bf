"""hotdesk spot"""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotdesk.cli import options, render
from hotdesk.core.errors import Usage
from hotdesk.core.prices import Cheapest, ZonePrices, advise, region_of

if TYPE_CHECKING:
    from hotdesk.charts import Figure
    from hotdesk.market.history import History

DAY = 86400.0
_DRAWN = 6  # zones in one picture: more cannot be told apart


@click.command()
@click.argument("instance_types", metavar="TYPE...", nargs=-1, required=True)
@click.option(
    "--history", type=click.Path(path_type=Path), help="A price history: a file or a folder of them."
)
@click.option("--since", help="From then on: 2020-01-31, or 2020-01-31T12:00Z. UTC unless it says otherwise.")
@click.option("--until", help="Up to then.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True, max=90), help="The last days instead of --since."
)
@click.option(
    "--under", multiple=True, type=click.FloatRange(min=0, min_open=True), help="Share of time below $/h."
)
@click.option(
    "--on-demand", type=click.FloatRange(min=0, min_open=True), help="The on-demand $/h, where unknown."
)
@click.option(
    "--hours", default=24.0, type=click.FloatRange(min=0, min_open=True), help="Length of your job. [24]"
)
@click.option(
    "--region", "places", multiple=True, help="Only these regions or zones, like eu-* or us-west-2a."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw into a file: .png, .svg or .html.")
@options.as_json
def command(
    *,
    instance_types: tuple[str, ...],
    history: Path | None,
    since: str | None,
    until: str | None,
    days: float | None,
    under: tuple[float, ...],
    on_demand: float | None,
    hours: float,
    places: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """What spot has cost, zone by zone: figures weighted by time, advice, a plot.

    The history comes from your account, or from a file that `aws ec2 describe-spot-price-history` wrote.
    """
    from hotdesk.market.history import cheapest, read, summarise
    from hotdesk.market.table import shipped

    if plot:
        from hotdesk.charts import check_suffix

        check_suffix(plot)
    table = shipped()
    for name in instance_types:
        if gone := table.retired.get(name):
            render.note(f"{name} is retired; nearest today: {', '.join(gone.nearest)}.")
    if history:
        found = read(history).of(instance_types)
        first, last = found.span
        source = str(history)
    else:
        found, first, last, source = _live(instance_types, places)
    end = _moment(until, "--until") if until else last
    start = _moment(since, "--since") if since else end - days * DAY if days else max(first, end - 90 * DAY)
    if start >= end:
        raise Usage(
            f"The window is empty: it would begin at {_stamp(start)} and end at {_stamp(end)}.",
            f"Prices are known from {_stamp(first)} to {_stamp(last)}.",
            f"hotdesk spot {' '.join(instance_types)} --since {_stamp(first)} --until {_stamp(last)}",
        )
    if places:
        found = _within(found, places)
    prices = table.on_demand_prices(instance_types)
    if on_demand:
        regions = {region_of(pool.zone) for pool in found.pools}
        prices |= {(name, region): on_demand for name in instance_types for region in regions}
    zones = summarise(found, start, end, under=under, on_demand=prices, hours=hours)
    if not zones:
        raise Usage(
            f"No price is known between {_stamp(start)} and {_stamp(end)}.",
            f"This history has prices from {_stamp(first)} to {_stamp(last)}.",
            f"hotdesk spot {' '.join(instance_types)} --since {_stamp(first)} --until {_stamp(last)}",
        )
    best = cheapest(found, zones, start, end)
    sentence = advise(zones, best, hours=hours, days=(end - start) / DAY)
    figure = _figure(found, zones, start, end, under)
    if plot:
        from hotdesk.charts import save

        save(figure, plot)
    for note in found.notes:
        render.note(note + ".")
    if as_json:
        render.json(
            {
                "instance_types": list(instance_types),
                "since": _stamp(start),
                "until": _stamp(end),
                "source": source,
                "hours": hours,
                "zones": zones,
                "cheapest": best,
                "advice": sentence,
                "dropped": dict(found.dropped),
            }
        )
        return
    _print(zones, best, under, figure)
    render.echo()
    render.echo(sentence)
    window = f"{_stamp(start)} to {_stamp(end)}"
    render.echo(render.style(f"Weighted by time, {window}, from {source}. Prices in $/h.", "dim"))
    if found.dropped:
        left = "; ".join(f"{n} rows: {reason}" for reason, n in found.dropped.items())
        render.echo(render.style(f"Left out: {left}.", "dim"))
    if plot:
        render.echo(f"Drawn into {plot}.")


def _live(instance_types: tuple[str, ...], places: tuple[str, ...]) -> tuple[History, float, float, str]:
    from hotdesk.market.sources import price_history
    from hotdesk.world import SystemClock

    now = SystemClock().now()
    found = price_history(instance_types, places, now)
    return found, found.span[0], now, "your account (DescribeSpotPriceHistory)"


def _within(history: History, places: tuple[str, ...]) -> History:
    kept = tuple(
        pool
        for pool in history.pools
        if any(fnmatch(pool.zone, place) or fnmatch(region_of(pool.zone), place) for place in places)
    )
    if kept:
        return history._replace(pools=kept)
    from difflib import get_close_matches

    known = sorted({region_of(pool.zone) for pool in history.pools} | {pool.zone for pool in history.pools})
    near = get_close_matches(places[0], known, n=3, cutoff=0.4) or known[:3]
    raise Usage(
        f"No price is known in {', '.join(places)}.",
        f"Nearest that are known: {', '.join(near)}.",
        f"--region {near[0]}",
    )


def _print(zones: list[ZonePrices], best: list[Cheapest], under: tuple[float, ...], figure: Figure) -> None:
    import sys

    import msgspec

    from hotdesk.charts import text

    several = len({zone.instance_type for zone in zones}) > 1
    limits = [share.usd_per_hour for share in zones[0].shares_under] if zones[0].shares_under else []
    limit = f"<${under[0]:g}" if under else "<OD"
    heads = ["ZONE", "MEAN", "P05", "P50", "P95", "MAX", "NOW", limit, "CHANGES/D", "JOB P95", ""]
    rows = []
    for zone in zones:
        remark = "pinned at on-demand: no spot market" if zone.pinned else ""
        if not remark and any(
            one.zone == zone.zone and one.instance_type == zone.instance_type for one in best
        ):
            remark = "cheapest" if len(zones) > 1 else ""
        share = "-" if zone.share_under is None or not limits else f"{100 * zone.share_under:.1f}%"
        rows.append(
            [
                f"{zone.instance_type}  {zone.zone}" if several else zone.zone,
                *(
                    f"{v:.4f}"
                    for v in (zone.mean_usd_per_hour, zone.p05, zone.p50, zone.p95, zone.max, zone.now)
                ),
                share,
                f"{zone.changes_per_day:.2f}",
                "-" if zone.job_usd_p95 is None else f"{zone.job_usd_p95:.2f}",
                render.style(remark, "yellow" if zone.pinned else "green"),
            ]
        )
    width = min(render.columns(), 110) if render.columns() < 10_000 else 80
    highest = max(zone.max for zone in zones)
    near = tuple(
        mark for mark in figure.marks if mark[1] <= 1.5 * highest
    )  # a far one would flatten the rest
    far = tuple(f"{label}, above this picture" for label, _ in figure.marks if (label, _) not in near)
    shown = msgspec.structs.replace(figure, marks=near, notes=(*far, *figure.notes))
    render.echo(text(shown, width=width, height=16, colour=render.colourful(sys.stdout)))
    render.echo()
    render.echo(render.table(heads, rows, right=heads[1:-1]))


def _figure(
    history: History, zones: list[ZonePrices], since: float, until: float, under: tuple[float, ...]
) -> Figure:
    from hotdesk.charts import Figure, Series
    from hotdesk.market.history import held

    pools = {(pool.instance_type, pool.zone): pool for pool in history.pools}
    several = len({zone.instance_type for zone in zones}) > 1
    series = []
    for zone in sorted(zones, key=lambda zone: zone.mean_usd_per_hour)[:_DRAWN]:
        edges, prices = held(pools[zone.instance_type, zone.zone], since, until)
        label = f"{zone.instance_type} {zone.zone}" if several else zone.zone
        y = (*prices.tolist(), float(prices[-1]))
        series.append(Series(label=label, x=tuple(edges.tolist()), y=y, kind="step"))
    levels = {zone.on_demand_usd_per_hour for zone in zones if zone.on_demand_usd_per_hour}
    marks = [(f"under ${level:g}", level) for level in under]
    if len(levels) == 1:
        (level,) = levels
        marks.append((f"on-demand ${level:g}", level))
    left = len(zones) - len(series)
    note = (f"The {_DRAWN} cheapest zones; {left} more are in the table.",) if left else ()
    return Figure(
        title=f"Spot price of {', '.join(sorted({zone.instance_type for zone in zones}))}",
        x_label="time",
        y_label="$/h",
        series=tuple(series),
        x_is_time=True,
        marks=tuple(marks),
        notes=note,
    )


def _moment(text: str, option: str) -> float:
    """Seconds since the epoch of an ISO time; UTC when it names no offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(
            f"{text!r} is not a time.",
            "An ISO date or time is wanted, UTC unless it says otherwise.",
            _like(option),
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _like(option: str) -> str:
    return f"{option} 2020-01-31T12:00Z"


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
