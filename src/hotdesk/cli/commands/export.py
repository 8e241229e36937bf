"""hotdesk export"""

from __future__ import annotations

import click
import msgspec

from hotdesk.cli.ui import options, render


@click.command()
@options.name
@options.as_json
def command(name: str, as_json: bool) -> None:
    """Print a desk as a file to share: hotdesk export blue > blue.toml

    It has the desk's hardware and limits, the packages installed there (where it runs), and the jobs of this
    folder's hotdesk.toml; no secrets. `hotdesk up NAME --from blue.toml` makes a desk of it.
    """
    with options.open_desks() as desks:
        exported = desks.export(name)
    if as_json:
        render.json(msgspec.to_builtins(exported))
        return
    render.echo(exported.text.rstrip())
    for line in exported.left_out:
        render.note(f"Not in the file: {render.safe(line)}")
