"""hotdesk start"""

from __future__ import annotations

import click

from hotdesk.cli.commands.resume import command as resume
from hotdesk.cli.ui import options


@click.command()
@options.name_or_only
@options.over_budget
@options.rescue
@options.dry_run
@click.pass_context
def command(ctx: click.Context, name: str | None, dry_run: bool, over_budget: bool, rescue: bool) -> None:
    """Start a stopped instance and log in."""
    ctx.invoke(resume, name=name, dry_run=dry_run, over_budget=over_budget, rescue=rescue)
