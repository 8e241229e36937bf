"""hotdesk move"""

from __future__ import annotations

from typing import Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.errors import Usage
from hotdesk.services.wanting import wanted


@click.command()
@options.name_or_only
@options.hardware
@options.over_budget
@options.yes
@options.dry_run
@options.as_json
def command(
    name: str | None, *, yes: bool, dry_run: bool, as_json: bool, over_budget: bool, **given: Any
) -> None:
    """Move a desk to other hardware, with everything on it.

    Write code on a cheap instance, then run `hotdesk move NAME --gpu L4` for the full data. Asks first if
    something is running there.
    """
    with Live() as live, options.open_desks(live, over_budget) as desks:
        goals, store = desks.services.goals, desks.services.store
        desk = store.desk(name or goals.only())
        name, want = desk.name, wanted(desk.want, given)
        if want is None:
            raise Usage("Move to what?", "Name the hardware.", f"hotdesk move {name} --gpu L4")
        if dry_run:
            options.show_plan(desks, goals.moved(name, want), desk)
            return
        goals.moved(name, want)  # what cannot be is said before anything is asked
        options.agreed_to_end(desks, desk, yes)
        view = desks.move(name, want, anyway=True)
        if as_json:
            options.say_desk(desks, view)
            return
    place = render.at(view.instance_type, view.zone or view.region)
    render.echo(f"{render.style('●', 'green')} {render.style(name, 'bold')} is up: {place}.")
    options.say_remarks(view.remarks)
