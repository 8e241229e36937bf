"""hotdesk watch"""

from __future__ import annotations

import click

from hotdesk.cli import options, render
from hotdesk.cli.live import Live


@click.command()
@click.argument("names", nargs=-1, type=options.DeskName())
@click.option("--once", is_flag=True, help="Until all is as wanted, then end.")
def command(names: tuple[str, ...], once: bool) -> None:
    """Go on with whatever is left to do, and keep it so until Ctrl-C. Without NAMES, for all desks."""
    with Live() as live, options.open_desks(live) as desks:
        if once:
            for name in names or [d.name for d in desks.store.desks()]:
                view = desks.settle(name)
                render.echo(f"{name} is {view.phase}.")
            return
        for name in names:
            desks.store.desk(name)
        render.note("Watching. Ctrl-C ends the watching, and changes nothing else.")
        desks.watch(names or None)
