"""hotdesk init"""

from __future__ import annotations

from pathlib import Path

import click

from hotdesk.cli.ui import options, render


@click.command()
@options.as_json
@click.option("--dry-run", is_flag=True, help="Print the file; write nothing.")
def command(as_json: bool, dry_run: bool) -> None:
    """Write a commented hotdesk.toml for this folder: what can be set, with today's values.

    A hotdesk.toml that is here stays as it is.
    """
    from hotdesk.services import settings

    with options.open_desks() as desks:
        text = settings.template(desks.services.goals)
        path = Path.cwd() / settings.FILE if dry_run else desks.init()
    if as_json:
        render.json({"path": str(path), "text": text, "written": not dry_run})
    elif dry_run:
        render.echo(text.rstrip())
    else:
        render.echo(f"{path} lists what can be set; every line is today's value.")
        render.note("  ${EDITOR:-vi} hotdesk.toml   # then: hotdesk config")
