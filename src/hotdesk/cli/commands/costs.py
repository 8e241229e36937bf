"""hotdesk costs"""

from __future__ import annotations

import click
import msgspec

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import options, render
from hotdesk.core.billing import statement
from hotdesk.core.billing.rates import HOURS_PER_MONTH, Charge, Prices
from hotdesk.core.model import SHIPPED

_ABOUT_THEIRS = (
    "AWS is up to a day behind, and knows a desk only where these are cost allocation tags:",
    "  aws ce update-cost-allocation-tags-status --cost-allocation-tags-status \\",
    "    TagKey=hotdesk,Status=Active TagKey=hotdesk:desk,Status=Active",
)


@click.command()
@options.name_or_only
@click.option(
    "--by",
    type=click.Choice(["day", "month"]),
    default="month",
    show_default=True,
    help="Period to group charges by.",
)
@click.option(
    "--compare", is_flag=True, help="Compare this month with AWS's own bill (AWS charges $0.01 a request)."
)
@options.yes
@options.as_json
def command(name: str | None, by: str, *, compare: bool, yes: bool, as_json: bool) -> None:
    """Show the bill in US dollars, from the journal, deleted desks included.

    A figure marked "<" is an upper bound: the exact end of something is unknown. Spot is billed at each
    hour's price. Traffic to the internet, which is not measured, and taxes are not included.
    """
    if compare:
        question = "AWS takes $0.01 for each page of its bill that is asked for. Ask?"
        options.agreed(question, yes, f"hotdesk costs {name or ''} --compare --yes")
    with Hotdesk() as desks:
        bill = [c for c in desks.services.billing.bill() if name in (None, c.desk)]
        prices = desks.services.billing.spot_prices(bill)
        now, budget = desks.services.clock.now(), desks.services.config.defaults.usd_per_month
        theirs = desks.services.billing.billed("aws", statement.month_began(now)) if compare else None
    lines = statement.lines(bill, now, by=by, prices=prices)
    spent = statement.this_month(bill, now, prices)
    monthly = sum(c.usd_per_hour for c in bill if c.going_on and c.kind in {"image", "disk"})
    monthly *= HOURS_PER_MONTH
    guessed = sorted({c.desk for c in bill if c.is_spot and c.offer and c.offer.key not in prices})
    compared = _compared(bill, now, prices, theirs, name) if theirs is not None else []
    if as_json:
        render.json(
            {
                "currency": "USD",
                "lines": [{**msgspec.to_builtins(line), "usd": line.usd} for line in lines],
                "usd": sum(line.usd for line in lines),
                "this_month_usd": spent,
                "budget_usd": budget or None,
                "stored_usd_per_month": monthly,
                "not_counted": statement.NOT_COUNTED,
                "at_launch_prices": guessed,
                "compared": [dict(zip(("desk", "here", "aws"), row, strict=True)) for row in compared],
            }
        )
        return
    if not lines:
        render.echo("Nothing has been paid for.")
    else:
        _table(lines, by)
        share = f", {spent / budget:.0%} of {render.usd(budget)}" if budget else ""
        render.echo(render.style(f"this month {render.usd(spent)}{share}", "dim"))
    shipped = [c.offer.price_time for c in bill if c.offer and c.offer.source == SHIPPED]
    if old := [at for at in shipped if at]:
        render.echo(render.style(f"compute: {render.as_of(min(old))}", "dim"))
    if monthly:
        render.echo(render.style(f"images and disks: {render.usd(monthly)} a month", "dim"))
    if old := [c.price_time for c in bill if c.price_time]:
        render.echo(render.style(f"images and disks: {render.as_of(min(old))}", "dim"))
    if guessed:
        said = f"the spot prices of {', '.join(guessed)} are not known: billed at those of the launch"
        render.echo(render.style(said, "dim"))
    if theirs is not None:
        render.echo("")
        heads = ["THIS MONTH", "HERE $", "AWS $", "DIFFERENCE $"]
        rows = [[desk or "(no desk)", f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}"] for desk, a, b in compared]
        render.echo(render.table(heads, rows, right=heads[1:]))
        for said in _ABOUT_THEIRS:
            render.echo(render.style(said, "dim"))
    if lines:
        render.echo(render.style(f"US dollars; not counted: {', '.join(statement.NOT_COUNTED)}", "dim"))


def _table(lines: list[statement.Line], by: str) -> None:
    heads = [by.upper(), "DESK", *(k.upper() for k in statement.KINDS), "TOTAL $", "LEFT ON $"]
    rows = [
        [
            line.period,
            line.desk,
            *(f"{getattr(line, kind):.2f}" for kind in statement.KINDS),
            ("<" if line.at_most else "") + f"{line.usd:.2f}",
            f"{line.left_on + line.usd - line.compute:.2f}",
        ]
        for line in lines
    ]
    render.echo(render.table(heads, rows, right=heads[2:]))


def _compared(
    bill: list[Charge], now: float, prices: Prices, theirs: dict[str, float], name: str | None
) -> list[tuple[str, float, float]]:
    """(desk, US dollars by us, by AWS) of this month, for all desks that either knows."""
    on_aws = [c for c in bill if c.provider in {"aws", ""}]
    desks = sorted({c.desk for c in on_aws} | set(theirs)) if name is None else [name]
    return [
        (
            desk,
            statement.this_month([c for c in on_aws if c.desk == desk], now, prices),
            theirs.get(desk, 0.0),
        )
        for desk in desks
    ]
