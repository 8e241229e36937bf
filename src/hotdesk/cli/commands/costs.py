"""hotdesk costs"""

from __future__ import annotations

from collections.abc import Sequence

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.billing import statement
from hotdesk.core.clouds import cloud
from hotdesk.services import forms


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
    "--compare", is_flag=True, help="Compare this month with the cloud's own bill, which may cost money."
)
@options.yes
@options.as_json
def command(name: str | None, by: str, *, compare: bool, yes: bool, as_json: bool) -> None:
    """Show the bill in US dollars, from the journal, deleted desks included.

    A figure marked "<" is an upper bound: the exact end of something is unknown. Spot is billed at each
    hour's price. Traffic to the internet, which is not measured, and taxes are not included.
    """
    with options.open_desks() as desks:
        theirs = cloud(desks.services.billing.biller()) if compare else None
        if theirs and theirs.bill and theirs.bill.charge:
            options.agreed(f"{theirs.bill.charge} Ask?", yes, f"hotdesk costs {name or ''} --compare --yes")
        bill = desks.costs(name, by=by, compare=theirs.name if theirs else "")
    if as_json:
        render.json(forms.bill(bill, theirs.name if theirs else ""))
        return
    if not bill.lines and not bill.besides:
        render.echo("Nothing has been paid for.")
    if bill.lines:
        _table(bill.lines, by)
        spent, budget = bill.this_month_usd, bill.budget_usd
        share = f", {spent / budget:.0%} of {render.usd(budget)}" if budget else ""
        _dim(f"this month {render.usd(spent)}{share}")
    if bill.compute_price_time:
        _dim(f"compute: {render.as_of(bill.compute_price_time)}")
    if bill.stored_here:
        sizes = (f"{name or 'images'} {render.size(n / 2**30)}" for name, n in bill.stored_here.items())
        _dim(f"disk space of this computer: {', '.join(sizes)}")
    stored = [render.money(bill.stored_usd_per_month)] if bill.stored_usd_per_month else []
    if stored := [*stored, *map(str, bill.stored_besides)]:
        _dim(f"images and disks: {' and '.join(stored)} a month")
    if bill.storage_price_time:
        _dim(f"images and disks: {render.as_of(bill.storage_price_time)}")
    if guessed := ", ".join(bill.at_launch_prices):
        _dim(f"the spot prices of {guessed} are not known: billed at those of the launch")
    if theirs:
        render.echo("")
        heads = ["THIS MONTH", "HERE $", f"{theirs.name.upper()} $", "DIFFERENCE $"]
        rows = [
            [c.desk or "(no desk)", f"{c.here:.2f}", f"{c.theirs:.2f}", f"{c.theirs - c.here:+.2f}"]
            for c in bill.compared
        ]
        render.echo(render.table(heads, rows, right=heads[1:]))
        for said in theirs.bill.about if theirs.bill else ():
            _dim(said)
    for amount in bill.besides:
        render.paragraph(
            f"Besides: {amount} (hotdesk.toml has no rate to dollars: [money] "
            f"{amount.currency.lower()}_per_usd and day)"
        )
    if bill.lines:
        _dim(f"US dollars; not counted: {', '.join(bill.not_counted)}")


def _dim(text: str) -> None:
    render.paragraph(text, "dim")


def _table(lines: Sequence[statement.Line], by: str) -> None:
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
