"""hotdesk spot"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.number import Number
from hotdesk.core.errors import Usage
from hotdesk.core.spot.prices import Cheapest, ZonePrices
from hotdesk.services.choosing import stamp
from hotdesk.system import SystemClock

if TYPE_CHECKING:
    from hotdesk.charts import Figure
    from hotdesk.market.history import History
    from hotdesk.services.choosing import SpotPrices

_DRAWN = 6  # zones in one picture: more cannot be told apart


@click.command()
@click.argument("instance_types", metavar="TYPE|GPU...", nargs=-1, required=True)
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Price history to read: a file, or a folder of files.  [default: your account]",
)
@click.option(
    "--since",
    metavar="DATE",
    help="Start of the window: 2020-01-31 or 2020-01-31T12:00Z, UTC by default.  [default: 90 days]",
)
@click.option("--until", metavar="DATE", help="End of the window, as --since.  [default: the newest price]")
@click.option(
    "--days",
    type=Number(min=0, min_open=True, max=90),
    metavar="N",
    help="Length of the window, instead of --since.",
)
@click.option(
    "--under",
    multiple=True,
    type=Number(min=0, min_open=True),
    metavar="USD",
    help="Show the share of time below this price per hour (repeatable).  [default: the on-demand price]",
)
@click.option(
    "--on-demand",
    type=Number(min=0, min_open=True),
    metavar="USD",
    help="On-demand price per hour, if hotdesk does not know it.",
)
@click.option(
    "--work",
    "hours",
    default="24h",
    show_default=True,
    type=options.Length("h", positive=True),
    help="Run time of your job.",
)
@click.option(
    "--region",
    "places",
    multiple=True,
    metavar="REGION",
    help="Region, zone or glob: eu-*, us-west-2a (repeatable).",
)
@options.provider("Cloud to ask: {names}.  [default: each that sells one of the types]")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw into FILE: .png, .svg or .html."
)
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
    provider: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show what spot has cost in each zone: time-weighted figures, advice and a plot.

    hotdesk spot T4 g6.xlarge

    A GPU means the smallest instance type that has it.

    Prices come from your account with each cloud that sells the type, or from files written by `aws ec2
    describe-spot-price-history`.
    """
    from hotdesk.cli.commands.offers import config, open_store
    from hotdesk.services.choosing import Choosing, SpotQuery

    if plot:
        from hotdesk.charts import check_suffix

        check_suffix(plot)
    query = SpotQuery(
        instance_types=instance_types,
        history=history,
        since=_moment(since, "--since") if since else None,
        until=_moment(until, "--until") if until else None,
        days=days,
        under=under,
        on_demand=on_demand,
        hours=hours,
        places=places,
        provider=provider or "",
    )
    clock = SystemClock()
    with open_store() as store:
        spot, found = Choosing(store=store, clock=clock, config=config, on_note=render.note).spot(query)
    names = " ".join(spot.instance_types)
    if found is None:
        render.note(f"{spot.silent} Published averages have to do; a history can be read from a file:")
        of_aws = " ".join(dict.fromkeys(row.instance_type for row in spot.published))
        render.note(f"  aws ec2 describe-spot-price-history --instance-types {of_aws} > p.json")
        if plot:
            render.note(f"{plot} was not drawn: averages have no curve.")
        _published(spot, clock.now(), as_json=as_json)
        return
    if spot.kept_at is not None:
        age = render.duration(clock.now() - spot.kept_at, 1)
        render.note(f"{spot.silent} These prices were kept {age} ago.")
    zones, best, start, end = list(spot.zones), list(spot.cheapest), spot.since, spot.until
    figure = _figure(found, zones, start, end, under)
    if plot:
        from hotdesk.charts import save

        save(figure, plot)
    for note in spot.notes:
        render.note(render.sentence(note))
    if unpriced := sorted({zone.region for zone in zones if zone.on_demand_usd_per_hour is None}):
        render.note(
            f"On-demand is unknown in {', '.join(unpriced)}, and so is whether spot is pinned to it there."
        )
        render.note(f"  hotdesk spot {names} --on-demand USD")
    if as_json:
        render.json(
            {
                "instance_types": list(spot.instance_types),
                "since": stamp(start),
                "until": stamp(end),
                "source": spot.source,
                "hours": hours,
                "zones": zones,
                "cheapest": best,
                "kept_at": spot.kept_at,
                "advice": spot.advice,
                "dropped": spot.dropped,
            }
        )
        return
    _print(zones, best, under, figure, hours)
    render.echo()
    render.paragraph(spot.advice)
    window = f"{stamp(start)} to {stamp(end)}"
    age = render.duration(clock.now() - end, 1)
    render.paragraph(
        f"Weighted by time, {window}, from {spot.source}. The newest price is {age} old. In $/h.", "dim"
    )
    if spot.dropped:
        left = "; ".join(f"{n} rows: {reason}" for reason, n in spot.dropped.items())
        render.paragraph(f"Left out: {left}.", "dim")
    if plot:
        render.echo(f"Drawn into {plot}.")


def _published(spot: SpotPrices, now: float, *, as_json: bool) -> None:
    """A type's figures in the cloud's public file: no history, but averages and interruption frequency."""
    if as_json:
        render.json(
            {
                "instance_types": list(spot.instance_types),
                "source": spot.source,
                "zones": [],
                "published": spot.published,
                "published_at": spot.published_at,
                "advice": spot.advice,
            }
        )
        return
    heads = ["TYPE", "REGION", "ON-DEMAND $/H", "SPOT $/H", "SAVING", "TAKEN IN A MONTH"]
    cells = [
        [
            row.instance_type,
            row.region,
            "-" if row.on_demand_usd_per_hour is None else f"${row.on_demand_usd_per_hour:.4f}",
            "-" if row.estimated_usd_per_hour is None else f"~${row.estimated_usd_per_hour:.4f}",
            f"{row.saving_percent}%",
            row.interruption_band,
        ]
        for row in spot.published
    ]
    render.echo(render.table(heads, cells, right=("ON-DEMAND $/H", "SPOT $/H", "SAVING")))
    render.paragraph(spot.advice)
    age = f": {render.duration(now - spot.published_at, 1)} old" if spot.published_at else ""
    render.paragraph(f"From: {spot.source}{age}.", "dim")


def _print(
    zones: list[ZonePrices], best: list[Cheapest], under: tuple[float, ...], figure: Figure, hours: float
) -> None:
    import sys

    from hotdesk.charts import text

    several = len({zone.instance_type for zone in zones}) > 1
    limits = [share.usd_per_hour for share in zones[0].shares_under] if zones[0].shares_under else []
    limit = f"<${under[0]:g}" if under else "<OD"
    heads = ["ZONE", "MEAN", "P05", "P50", "P95", "MAX", "NOW", limit, "CHANGES/D", f"{hours:g} H P95", ""]
    rows = []
    for zone in zones:
        remark = "pinned: no spot market" if zone.pinned else ""
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
    render.echo(text(figure, width=width, height=16, colour=render.colourful(sys.stdout)))
    render.echo()
    right = heads[1:-1]
    heads, rows, spared = render.fitted(heads, rows, render.columns(), ("P05", "NOW", "P50", "CHANGES/D"))
    render.echo(render.table(heads, rows, right=right))
    render.no_room(spared)


def _figure(
    history: History, zones: list[ZonePrices], since: float, until: float, under: tuple[float, ...]
) -> Figure:
    from hotdesk.charts import Figure, Series
    from hotdesk.market.history import held

    pools = {(pool.instance_type, pool.zone): pool for pool in history.pools}
    several = len({zone.instance_type for zone in zones}) > 1
    series = []
    for zone in _drawn(zones):
        edges, prices = held(pools[zone.instance_type, zone.zone], since, until)
        label = f"{zone.instance_type} {zone.zone}" if several else zone.zone
        y = (*prices.tolist(), float(prices[-1]))
        series.append(Series(label=label, x=tuple(edges.tolist()), y=y, kind="step"))
    levels = {zone.on_demand_usd_per_hour for zone in zones if zone.on_demand_usd_per_hour}
    marks = [(f"under ${level:g}", level) for level in under]
    if len(levels) == 1:
        (level,) = levels
        marks.append((f"on-demand ${level:g}", level))
    highest = max(zone.max for zone in _drawn(zones))
    near = tuple(mark for mark in marks if mark[1] <= 1.5 * highest)  # a far one would flatten the curves
    far = [f"{label}: above this picture." for label, level in marks if level > 1.5 * highest]
    pinned = (
        [f"{zone.instance_type} {zone.zone}" if several else zone.zone for zone in zones if zone.pinned]
        if len(series) < len(zones)
        else []
    )
    left = len(zones) - len(series) - len(pinned)
    notes = (
        [f"The {_DRAWN} cheapest zones{' of all types' * several}; {left} more are in the table."]
        if left > 0
        else []
    )
    if pinned:
        notes.append(f"Not drawn, as spot costs what on-demand does there: {', '.join(pinned)}.")
    return Figure(
        title=_title(zones),
        x_label="time",
        y_label="$/h",
        series=tuple(series),
        x_is_time=True,
        marks=near,
        notes=(*far, *notes),
    )


def _drawn(zones: list[ZonePrices]) -> list[ZonePrices]:
    """The zones worth a curve: the cheapest of each type that have a market, or whatever there is."""
    market = sorted([zone for zone in zones if not zone.pinned] or zones, key=_mean)
    rank = {
        id(zone): sum(z.instance_type == zone.instance_type for z in market[:n])
        for n, zone in enumerate(market)
    }
    return sorted(sorted(market, key=lambda zone: rank[id(zone)])[:_DRAWN], key=_mean)


def _mean(zone: ZonePrices) -> float:
    return zone.mean_usd_per_hour


def _title(zones: list[ZonePrices]) -> str:
    """A caption for the plot: where each type was cheapest, and at what price."""
    best: dict[str, ZonePrices] = {}
    for zone in _drawn(zones):
        best.setdefault(zone.instance_type, zone)
    if len(best) == 1:
        (zone,) = best.values()
        return (
            f"{zone.instance_type} on spot: ${_mean(zone):.3g}/h on average in {zone.zone}, the cheapest zone"
        )
    told = [f"{zone.instance_type} ${_mean(zone):.3g}/h ({zone.zone})" for zone in best.values()]
    return f"Spot, on average in the cheapest zone: {', '.join(told)}"


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
