"""hotdesk images"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render


@click.command()
@options.name_or_only
@options.as_json
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List the images of your desks: where each is, its size, its price, and until when it stays.

    An image in a place that a desk has left stays for a time (`hotdesk move --keep-old`); then the next
    command on the desk deletes it, and so does `hotdesk gc --yes`. Exits with 5 if a place could not be read.
    """
    with options.open_desks() as desks:
        found = desks.images(name)
    if as_json:
        render.json(found)
    elif found["images"]:
        heads = ["DESK", "IMAGE", "WHERE", "SIZE", "$/MONTH", "UNTIL", "WHAT FOR"]
        rows = [
            [
                render.safe(one["desk"]),
                render.safe(one["id"]),
                one["provider"] if one["provider"] == one["region"] else f"{one['provider']}/{one['region']}",
                render.size(one["bytes"] / 2**30),
                str(one["told_per_month"] or f"{one['usd_per_month']:.2f}"),
                render.moment(one["until"]) if one["until"] else "",
                render.safe(one["why"]),
            ]
            for one in found["images"]
        ]
        render.echo(render.table(heads, rows, right=("SIZE", "$/MONTH"), broken=True))
    else:
        render.echo("There is no image of any desk." if name is None else f"{name} has no image.")
    for where in found["unread"]:
        render.note(f"{where} could not be read in full: what is there is not known.")
    if found["unread"]:
        ctx.exit(5)
