"""hotdesk notify"""

from __future__ import annotations

import click
from msgspec import to_builtins

from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Unreachable


@click.command()
@click.argument("text", default="This is what hotdesk tells you when something happens.")
@options.dry_run
@options.as_json
def command(text: str, *, dry_run: bool, as_json: bool) -> None:
    """Send TEXT as a test notification, by every way that [notify] in hotdesk.toml names.

    Without [notify]: a desktop notification and the terminal's bell, as --notify does.
    """
    with options.open_desks() as desks:
        sent = desks.notify(text, dry_run=dry_run)
    if as_json:
        render.json([to_builtins(one) for one in sent])
    else:
        for one in sent:
            said = f"no: {render.safe(one.why)}" if one.why else "would be used" if dry_run else "told"
            render.echo(f"{one.channel:<8} {said}")
    if sent and all(one.why for one in sent):
        raise Unreachable("Nothing could be told.", sent[-1].why, "hotdesk notify --dry-run   # which ways")
