"""hotdesk self-check"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.doctor import installation


@click.command()
@click.option("--quick", is_flag=True, help="Compare files and packages only; open no desk.")
@options.as_json
@click.pass_context
def command(ctx: click.Context, quick: bool, as_json: bool) -> None:
    """Prove this installation: its files, its packages, and a desk's whole day.

    Opens a local desk in a temporary folder, works there, parks it, brings it back and deletes it, with the
    commands that you would type. Your own desks and settings are not touched. Exits with 0 if nothing needs
    fixing, 5 otherwise.
    """
    found = []
    for finding in installation.proof(day=not quick):
        found.append(finding)
        if not as_json:
            render.finding(finding)
    if as_json:
        render.json(found)
    ctx.exit(5 if any(f.level == "bad" for f in found) else 0)
