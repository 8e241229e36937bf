"""hotdesk start"""

from __future__ import annotations

from typing import Any

import click

from hotdesk.cli.commands.resume import command as resume
from hotdesk.cli.ui import options


@click.command()
@options.name_or_only
@options.over_budget
@options.rescue
@options.dry_run
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, name: str | None, **given: Any) -> None:
    """Start a stopped instance and log in."""
    ctx.invoke(resume, name=name, **given)
