"""hotdesk forward"""

from __future__ import annotations

import click

from hotdesk.cli.ui import browser, options, render
from hotdesk.core.errors import Usage
from hotdesk.services import forms
from hotdesk.services.forwarding import Forward


@click.command()
@options.name
@click.argument("ports", nargs=-1, metavar="[PORT|HERE:THERE]...")
@click.option("--open", "in_browser", is_flag=True, help="Open the first address in your browser.")
@click.option("--stop", is_flag=True, help="Close these ports; without PORT: all of them.")
@options.dry_run
@options.as_json
@click.option("--keep", is_flag=True, hidden=True)
def command(
    name: str,
    ports: tuple[str, ...],
    *,
    in_browser: bool,
    stop: bool,
    dry_run: bool,
    as_json: bool,
    keep: bool,
) -> None:
    """Reach a port of the desk at this computer's loopback: TensorBoard, MLflow, a web app.

    The ssh connection stays open in the background and is made again when it is lost, until --stop. 8000:80
    is port 80 of the desk at port 8000 here. Without PORT: list what is open.
    """
    if stop and (in_browser or dry_run):
        raise Usage(
            "--stop closes ports: nothing is opened or planned.", "", f"hotdesk forward {name} --stop"
        )
    from hotdesk.loop import watcher

    with options.open_desks() as desks:
        if keep:
            desks.services.forwarding.keep(name)
            return
        if stop:
            found = desks.forward(name, *ports, stop=True)
        elif dry_run:
            found = desks.services.forwarding.planned(desks.services.store.desk(name), ports)
        else:
            found = desks.forward(name, *ports)
            if found and desks.services.store.desk(name).lease_hours:
                watcher.ask_for(desks.services.store, forever=False)  # renews it while a port is open
    if as_json:
        render.json([forms.forward(forward) for forward in found])
    elif stop:
        for forward in found:
            render.echo(f"Port {forward.there} of {name} is not forwarded any more.")
    elif not found:
        render.echo(f"No port of {name} is forwarded. For example: hotdesk forward {name} 6006")
    for forward in () if as_json or stop else found:
        render.echo(render.hanging(f"{render.style(forward.url, 'cyan')}  ", _words(forward, dry_run)))
    if in_browser and found and not dry_run and not browser.show(found[0].url):
        render.note("There is no browser here that could be opened.")


def _words(forward: Forward, dry_run: bool) -> str:
    """What an address leads to, and whether it does."""
    from hotdesk.connect.forwards import answers

    words = f"port {forward.there} of {forward.desk}"
    if dry_run:
        return f"would be {words}"
    if forward.direct:
        words += ", on this computer itself"
    if forward.why:
        return f"{words}: {render.safe(forward.why)}"
    return words if answers(forward.here) else f"{words}; nothing answers there yet"
