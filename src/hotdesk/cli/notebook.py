"""hotdesk notebook"""

from __future__ import annotations

import sys

import click

from hotdesk.api import Hotdesk
from hotdesk.cli import options, render


@click.command()
@options.name_or_only
@click.option("--url", "only_url", is_flag=True, help="Print the address and nothing else.")
@click.option("--password", "only_password", is_flag=True, help="Print the password and nothing else.")
def command(name: str | None, only_url: bool, only_password: bool) -> None:
    """The desk's Jupyter in your browser; through an ssh tunnel when the desk is elsewhere."""
    from hotdesk.jobs import watcher

    with Hotdesk() as desks:
        name = name or desks.only()
        if only_password:
            render.echo(desks.password(name))
            return
        url = desks.notebook(name)
        if desks.store.desk(name).lease_hours:  # somebody must renew it while the tunnel is open
            watcher.ask_for(desks.store, forever=False)
        render.echo(url)
        if only_url:
            return
        password = desks.password(name)
        file = desks.password_file(name)
    if sys.stdout.isatty():
        render.note(f"The password: {render.style(password, 'bold', stream=sys.stderr)}")
        click.launch(url)
    else:
        render.note(f"The password is in {file}")
