"""hotdesk disk"""

from __future__ import annotations

import click
from msgspec import to_builtins

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live


@click.command()
@options.name
@click.option(
    "--size",
    "gib",
    required=True,
    type=click.IntRange(1, 65536),
    metavar="GIB",
    help="The size it is to have; never smaller than it is.",
)
@options.over_budget
@options.dry_run
@options.as_json
def command(name: str, *, gib: int, over_budget: bool, dry_run: bool, as_json: bool) -> None:
    """Make the desk's disk bigger, while it runs; its file system grows with it.

    A parked desk gets it with its next machine. The bigger disk is charged from then on.
    """
    with Live() as live, options.open_desks(live, over_budget) as desks:
        grown = desks.disk(name, gib, dry_run=dry_run)
    if as_json:
        render.json(to_builtins(grown))
        return
    would = "would" if dry_run else ""
    if not grown.before_gib:
        render.echo(f"The next machine of {name} {would or 'will'} have a disk of {gib} GiB.")
        return
    price = render.money(grown.usd_per_month, grown.told_per_month, " a month from then on")
    price = f": {price}" if grown.usd_per_month else ""
    size = f"from {grown.before_gib:.0f} to {gib} GiB{price}"
    render.echo(f"The disk of {name} {'would grow' if dry_run else 'has grown'} {size}.")
    if grown.free_gib:
        render.echo(f"  {grown.free_gib:.0f} GiB are free there.")
    elif not grown.runs:
        render.echo("  Its file system grows at the next start.")
