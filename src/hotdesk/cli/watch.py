"""hotdesk watch"""

from __future__ import annotations

import click

from hotdesk.cli import options, render
from hotdesk.cli.live import Live


@click.command()
@click.argument("names", nargs=-1, type=options.DeskName())
@click.option("--once", is_flag=True, help="Until all is as wanted, then end.")
@click.option("--detach", is_flag=True, help="In the background, for all desks; it comes back when it dies.")
@click.option("--stop", is_flag=True, help="End the one in the background.")
@click.option("--systemd", is_flag=True, help="Print a systemd user unit that does the same.")
@click.option("--alone", is_flag=True, hidden=True)
@click.option("--left", is_flag=True, hidden=True)
def command(
    names: tuple[str, ...], *, once: bool, detach: bool, stop: bool, systemd: bool, alone: bool, left: bool
) -> None:
    """Go on with whatever is left to do, jobs too, until Ctrl-C. Without NAMES, for all desks."""
    if systemd:
        from hotdesk.jobs import watcher

        render.echo(watcher.unit().rstrip())
        return
    with Live() as live, options.open_desks(live) as desks:
        if left:
            desks.finish_left()
            return
        if detach or stop or alone:
            from hotdesk.jobs import watcher

            if alone:
                desks.watch_alone()
            elif stop:
                there = watcher.dismiss(desks.store)
                render.echo("The watcher has ended." if there else "There was no watcher.")
            else:
                pid = watcher.ask_for(desks.store, forever=True).partition(" ")[0]
                render.echo(f"Process {pid} watches all desks. It ends with: hotdesk watch --stop")
            return
        if once:
            for name in names or [d.name for d in desks.store.desks()]:
                view = desks.settle(name)
                render.echo(f"{name} is {view.phase}.")
            return
        for name in names:
            desks.store.desk(name)
        render.note("Watching. Ctrl-C ends the watching, and changes nothing else.")
        desks.watch(names or None)
