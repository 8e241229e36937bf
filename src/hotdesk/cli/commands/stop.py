"""hotdesk stop"""

from __future__ import annotations

import click

from hotdesk.cli.commands.ls import charged_words
from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.model import Goal


@click.command()
@options.name_or_only
@options.yes
@options.dry_run
@options.as_json
def command(name: str | None, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Stop the instance; its disk stays, and a cloud keeps billing the disk.

    To pay only for an image, use `hotdesk park`. Asks first if something is running there.
    """
    with Live() as live, options.open_desks(live) as desks:
        desk = desks.services.store.desk(name or desks.services.goals.only())
        if dry_run:
            options.show_plan(desks, desks.services.goals.wanted(desk.name, Goal.STOPPED), desk)
            return
        options.agreed_to_end(desks, desk, yes)
        view = desks.stop(desk.name, anyway=True)
        if as_json:
            options.say_desk(desks, view)
            return
    stays = "Its disk stays where it is." if view.phase == "stopped" else ""
    render.paragraph(f"{render.style('○', 'yellow')} {view.name} is {view.state}. {stays}".rstrip(), indent=2)
    if view.charged_while_off:
        render.echo("  " + render.style(charged_words(view), "yellow"))
    render.echo(f"  {render.style(f'hotdesk start {view.name}', 'cyan')}  turn it on again")
