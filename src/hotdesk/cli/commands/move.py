"""hotdesk move"""

from __future__ import annotations

from typing import Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.services.anywhere import destination
from hotdesk.services.route import AUTO, ROUTES


@click.command()
@options.name_or_only
@options.provider("Where it is to be from now on: {names}; or any.  [default: where it is]")
@options.machine
@options.hardware
@click.option(
    "--keep-old",
    "keep_hours",
    type=options.Length("h", low=0),
    default="7d",
    metavar="TIME",
    show_default=True,
    help="Its last image stays for so long in a place that it leaves: 7d, or 0.",
)
@click.option(
    "--route",
    type=click.Choice(ROUTES),
    default=AUTO,
    show_default=True,
    help="From a machine with an ssh login: direct, or through here; auto: what is faster.",
)
@options.over_budget
@options.yes
@options.dry_run
@options.as_json
def command(
    name: str | None,
    *,
    provider: str | None,
    address: Any,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    over_budget: bool,
    keep_hours: float,
    route: str,
    **given: Any,
) -> None:
    """Move a desk to other hardware or another place, with everything on it.

    Write code on a cheap instance, then run `hotdesk move NAME --gpu L4` for the full data; or take a desk of
    this computer to a cloud (`--provider`) or to a machine in the lab (`--host`), and back. Prints what it
    will carry, how long that takes and what it costs, and asks before it ends anything that is running.
    """
    keep_seconds = 3600.0 * keep_hours
    with Live() as live, options.open_desks(live, over_budget) as desks:
        goals, store = desks.services.goals, desks.services.store
        desk = store.desk(name or goals.only())
        name, provider = desk.name, options.placed(desks, provider, address, given)
        want, provider = destination(goals, desk, given, provider, desks.services.on_note)
        if dry_run:
            options.show_plan(desks, goals.moved(name, want, provider, keep_seconds), desk, route)
            return
        # What cannot be is said before anything is asked.
        moved = goals.moved(name, want, provider, keep_seconds)
        route = options.show_carried(desks, desk, moved, route)
        options.agreed_to_end(desks, desk, yes)
        view = desks.move(name, want, provider=provider, keep_seconds=keep_seconds, route=route, anyway=True)
        if as_json:
            options.say_desk(desks, view)
            return
    place = render.at(view.instance_type, view.zone or view.region)
    render.echo(f"{render.style('●', 'green')} {render.style(name, 'bold')} is up: {place}.")
    options.say_remarks(view.remarks)
