"""hotdesk schema"""

from __future__ import annotations

import click

from hotdesk.cli.ui import render
from hotdesk.core.errors import Unknown


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of what a command prints with --json: hotdesk schema desk

    Without NAME: list the shapes, and the commands that print each.
    """
    import difflib

    from hotdesk.services.schemas import SHAPES, schema

    if name is None:
        rows = [[shape, ", ".join(commands)] for shape, (_, commands) in SHAPES.items()]
        render.echo(render.table(["NAME", "PRINTED BY"], rows, broken=True))
        return
    if name not in SHAPES:
        near = difflib.get_close_matches(name, SHAPES, n=1)
        fix = f"hotdesk schema {near[0]}" if near else "hotdesk schema"
        raise Unknown(f"There is no shape {name!r}.", f"There are: {', '.join(SHAPES)}.", fix)
    render.json(schema(name))
