"""hotdesk images"""

from __future__ import annotations

from typing import Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.errors import NeedsDecision, Usage


@click.command()
@options.name_or_only
@click.option("--verify", is_flag=True, help="Read those on this computer again, every byte.")
@click.option(
    "--copy-to",
    metavar="[HOST:]FOLDER",
    help="Copy those on this computer to another disk, or by ssh; only what is not there yet.",
)
@click.option(
    "--copy-from",
    metavar="[HOST:]FOLDER",
    help="Mend damaged ones from such a copy, and bring those that are missing here.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --copy-to: delete older copies there, but for the N newest of each desk. Asks first.",
)
@click.option(
    "--keep-for",
    type=options.Length("h", low=0),
    metavar="TIME",
    help="With --copy-to: the same, but for those of the last TIME, and the newest in any case.",
)
@options.yes
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    name: str | None,
    *,
    verify: bool,
    copy_to: str | None,
    copy_from: str | None,
    keep: int | None,
    keep_for: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the images of your desks: where each is, its age, size and price, and until when it stays.

    SHARED is how much of an image on this computer other images here hold too.

    An image in a place that a desk has left stays for a time (`hotdesk move --keep-old`); then the next
    command on the desk deletes it, and so does `hotdesk gc --yes`. Exits with 5 if a place could not be read,
    or an image is damaged.
    """
    prunes = keep is not None or keep_for is not None
    if prunes and copy_to is None:
        why = "Only copies elsewhere are deleted so; what a desk comes back from here stays."
        raise Usage("Keep how many where?", why, "hotdesk images --copy-to FOLDER --keep 3")
    asked: dict[str, Any] = {"verify": verify, "copy_to": copy_to, "copy_from": copy_from}
    if prunes:
        asked |= {"keep": keep or 1, "keep_seconds": 3600.0 * (keep_for or 0.0)}
    with Live() as live, options.open_desks(live) as desks:
        try:
            found = desks.images(name, **asked, anyway=yes)
        except NeedsDecision as question:
            options.agreed(f"{question.what} {question.why} Delete them?", yes, question.fix)
            found = desks.images(name, **asked, anyway=True)
    damaged = [one for one in found["images"] if one["damage"]]
    if as_json:
        render.json(found)
    elif found["images"]:
        heads = ["DESK", "IMAGE", "WHERE", "AGE", "SIZE", "SHARED", "$/MONTH", "UNTIL", "WHAT FOR"]
        rows = [
            [
                render.safe(one["desk"]),
                render.safe(one["id"]),
                one["provider"] if one["provider"] == one["region"] else f"{one['provider']}/{one['region']}",
                render.duration(one["age_seconds"], 1) if one["age_seconds"] is not None else "",
                render.size(one["bytes"] / 2**30),
                "" if one["shared_bytes"] is None else render.size(one["shared_bytes"] / 2**30),
                str(one["told_per_month"] or f"{one['usd_per_month']:.2f}"),
                render.moment(one["until"]) if one["until"] else "",
                render.safe(one["why"]) + (", whole" if one["damage"] == "" else ""),
            ]
            for one in found["images"]
        ]
        render.echo(render.table(heads, rows, right=("AGE", "SIZE", "SHARED", "$/MONTH"), broken=True))
    elif not found["copied"]:
        render.echo("There is no image of any desk." if name is None else f"{name} has no image.")
    for copy in found["copied"]:
        render.note(
            f"{copy['id']} is in both places, read back: {render.size(copy['bytes'] / 2**30)} copied."
        )
    if found["pruned"]:
        render.note(f"Deleted at {copy_to}: {', '.join(found['pruned'])}.")
    for desk in sorted({one["desk"] for one in found["copied"]} - {one["desk"] for one in found["images"]}):
        render.note(f"{desk} is no desk here yet: hotdesk up {desk}   # continues from its image")
    for one in damaged:
        render.note(f"{one['id']} is damaged: {one['damage']}")
    if damaged:
        render.note(
            "A copy mends it: hotdesk images --copy-from FOLDER; else park the desk again while it runs."
        )
    for where in found["unread"]:
        render.note(f"{where} could not be read in full: what is there is not known.")
    if found["unread"] or damaged:
        ctx.exit(5)
