"""hotdesk down"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hotdesk.cli.commands import ls
from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.model import Goal

if TYPE_CHECKING:
    from hotdesk.services.shapes import Gone


@click.command()
@options.name
@click.option(
    "--keep-logs", is_flag=True, help="Keep the logs of its jobs, as far as they are on this computer."
)
@options.yes
@options.dry_run
@options.as_json
def command(name: str, *, keep_logs: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete a desk: instance, disk, images, keys and the logs of its jobs. Asks first.

    The journal and the results of jobs stay, for the bill. To leave and come back later, use
    `hotdesk park`.
    """
    with Live() as live, options.open_desks(live) as desks:
        known = desks.services.store.find(name)
        if dry_run:
            desk = known or desks.services.store.desk(name)
            options.show_plan(desks, desks.services.goals.wanted(name, Goal.GONE), desk)
            return
        if known is not None and known.goal is not Goal.GONE:
            view = desks.show(name)
            have = {"none": "it has nothing yet", "parked": f"its image {view.image}"}
            what = have.get(view.phase, f"its {ls.word(view)} machine with everything on it")
            what += f"; beside it {' and '.join(view.kept)}" if view.kept else ""
            options.agreed_to_end(desks, known, yes, f"Delete {name} for good ({what})?")
        had = [thing.id for thing in desks.services.store.sighted(name)]
        beside = desks.down(name, anyway=True, keep_logs=keep_logs)
        logs = desks.services.jobs.kept_logs(name)
        kept, unread = desks.services.cleanup.retained(had)
    if as_json:
        gone: Gone = {
            "name": name,
            "gone": True,
            "beside": list(beside),
            "retained": kept,
            "unread": unread,
            "logs": [str(file) for file in logs],
        }
        render.json(gone)
        return
    more = kept or unread or beside or logs
    render.paragraph(
        f"{name} is gone." if more else f"{name} is gone, and nothing is left of it but its bill."
    )
    for file in logs:
        render.echo(f"  kept: {render.safe(str(file))}")
    render.retained(kept, unread)
    if beside:
        render.paragraph("What another computer began under its name stays, and is paid for:")
        for what in beside:
            render.echo(f"  {render.safe(what)}")
        render.echo(f"  {render.style('hotdesk gc', 'cyan')}  what it is, and how it can go")
