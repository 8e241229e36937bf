"""hotdesk park"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, plans, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.model import Goal
from hotdesk.services.view import View


@click.command()
@options.name_or_only
@options.yes
@options.dry_run
@click.option("--there", is_flag=True, help="The image stays at its machine, of those with an ssh login.")
@click.option("--no-wait", is_flag=True, help="Return once the instance is off; a watcher saves the desk.")
@options.as_json
def command(name: str | None, *, yes: bool, dry_run: bool, there: bool, no_wait: bool, as_json: bool) -> None:
    """Save everything in a verified image and delete the instance, to stop paying for it.

    Stops the instance, takes an image of its whole disk and reads the image back; only then deletes the
    instance. If anything fails before that, nothing is deleted. Asks first if something is running there.

    --no-wait: you can go as soon as the instance is off and no longer billed. Its disk is kept, and billed,
    until all is saved and read back: a watcher on this computer goes on with that. If this computer is turned
    off meanwhile, the next hotdesk command on it goes on; until then nothing is lost, and the disk is billed.

    --there: the image is taken and read back at the machine itself, and not sent here.
    """
    with Live() as live, options.open_desks(live) as desks:
        desk = desks.services.store.desk(name or desks.services.goals.only())
        if there:
            desks.services.goals.check_store(desk.name)
        for line in plans.could_stay(desk.name, desks.services.carrying.may_be_data(desk)):
            render.note(line)
        if dry_run:
            options.show_plan(desks, desks.services.goals.wanted(desk.name, Goal.PARKED), desk)
            return
        options.agreed_to_end(desks, desk, yes)
        view = desks.park(desk.name, there=there, anyway=True, wait=not no_wait)
        if as_json:
            options.say_desk(desks, view)
            return
        if view.phase != "parked" and no_wait:
            _leave(view)
            return
        images = desks.services.clouds.survey(view.provider).of(view.name).images
    note = next((i.note for i in images if i.id == view.image and i.note), "")
    size = next((f", {render.size(i.size_gib)}" for i in images if i.id == view.image), "")
    month = render.money(view.usd_per_month, view.told_per_month, "/month")
    month = f", {month}" if view.usd_per_month else ""
    saved = f"in image {view.image}{size}{month}, read back and whole" if view.image else "nothing was on it"
    what = f"{render.style('◍', 'blue')} {render.style(view.name, 'bold')} is parked: {saved}."
    render.paragraph(what, indent=2)
    if note:
        render.note(f"  not in the image: {render.safe(note)}")
    render.echo(f"  {render.style(f'hotdesk resume {view.name}', 'cyan')}  come back to everything")


def _leave(view: View) -> None:
    """What becomes of a desk that is off and not yet saved."""
    render.echo(f"{render.style('○', 'yellow')} {render.style(view.name, 'bold')} is off: you can go.")
    month = render.money(view.usd_per_month, view.told_per_month, "/month")
    paid = f" and paid, {month}," if view.usd_per_month else ""
    render.paragraph(
        f"  Its disk is kept{paid} until a watcher on this computer has saved it and read it back."
    )
    render.paragraph(
        "  If this computer is turned off before, the next hotdesk command here goes on with that."
    )
    render.echo(f"  {render.style(f'hotdesk park {view.name}', 'cyan')}  waits until it is done")
