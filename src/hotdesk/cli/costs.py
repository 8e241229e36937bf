"""hotdesk costs"""

from __future__ import annotations

import click
import msgspec

from hotdesk import costs
from hotdesk.api import Hotdesk
from hotdesk.cli import options, render
from hotdesk.core.model import SHIPPED


@click.command()
@options.name_or_only
@click.option("--by", type=click.Choice(["day", "month"]), default="month", show_default=True)
@options.as_json
def command(name: str | None, by: str, as_json: bool) -> None:
    """The bill, from the journal, in US dollars; of desks that are gone too.

    A figure with "<" is at most: the machine ended by itself at a time that is not known. Transfer out of
    the cloud is not counted, nor are taxes.
    """
    with Hotdesk() as desks:
        bill = [c for c in desks.bill() if name in (None, c.desk)]
        now, budget = desks.clock.now(), desks.config.defaults.usd_per_month
    lines = costs.lines(bill, now, by=by)
    spent = costs.this_month(bill, now)
    monthly = sum(c.usd_per_hour for c in bill if c.going_on and c.kind in {"image", "disk"})
    monthly *= costs.HOURS_PER_MONTH
    if as_json:
        render.json(
            {
                "currency": "USD",
                "lines": [{**msgspec.to_builtins(line), "usd": line.usd} for line in lines],
                "usd": sum(line.usd for line in lines),
                "this_month_usd": spent,
                "budget_usd": budget or None,
                "stored_usd_per_month": monthly,
                "not_counted": ["transfer", "tax"],
            }
        )
        return
    if not lines:
        render.echo("Nothing has been paid for.")
        return
    kinds = ("compute", "disk", "image", "address")
    heads = [by.upper(), "DESK", *(k.upper() for k in kinds), "TOTAL $", "LEFT ON $"]
    rows = [
        [
            line.period,
            line.desk,
            *(f"{getattr(line, kind):.2f}" for kind in kinds),
            ("<" if line.at_most else "") + f"{line.usd:.2f}",
            f"{line.left_on + line.disk + line.image + line.address:.2f}",
        ]
        for line in lines
    ]
    render.echo(render.table(heads, rows, right=heads[2:]))
    share = f", {spent / budget:.0%} of {render.usd(budget)}" if budget else ""
    render.echo(render.style(f"this month {render.usd(spent)}{share}", "dim"))
    shipped = [c.offer.price_time for c in bill if c.offer and c.offer.source == SHIPPED]
    if old := [at for at in shipped if at]:
        render.echo(render.style(f"compute: {render.as_of(min(old))}", "dim"))
    if monthly:
        render.echo(render.style(f"images and disks: {render.usd(monthly)} a month", "dim"))
