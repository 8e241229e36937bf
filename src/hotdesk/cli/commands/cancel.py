"""hotdesk cancel"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live


@click.command()
@options.name
@click.argument("number", type=int, required=False, metavar="[JOB]")
@click.option("--all", "every", is_flag=True, help="Cancel every unfinished job of the desk.")
def command(name: str, number: int | None, every: bool) -> None:
    """Cancel a job: SIGTERM, then SIGKILL after its --grace. A queued job never starts.

    The desk still does what --then says.
    """
    with Live() as live, options.open_desks(live) as desks:
        ended = {job.number for job in desks.services.store.jobs(name) if job.result is not None}
        chosen = desks.services.jobs.cancel(name, number, every=every, on_note=render.note)
    if not chosen:
        render.echo(f"{name} has no job that could be cancelled.")
    for job in chosen:
        if job.number in ended:
            render.echo(f"Job {job.number} has ended already.")
        elif job.result is not None:
            render.echo(f"Job {job.number} is cancelled.")
