"""hotdesk cancel"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.services import forms


@click.command()
@options.name
@click.argument("number", type=int, required=False, metavar="[JOB]")
@click.option("--all", "every", is_flag=True, help="Cancel every unfinished job of the desk.")
@options.dry_run
@options.as_json
def command(name: str, number: int | None, *, every: bool, dry_run: bool, as_json: bool) -> None:
    """Cancel a job: SIGTERM, then SIGKILL after its --grace. A queued job never starts.

    The desk still does what --then says.
    """
    with Live() as live, options.open_desks(live) as desks:
        jobs = desks.services.jobs
        ended = {job.number for job in desks.services.store.jobs(name) if job.result is not None}
        if dry_run:
            chosen = jobs.to_cancel(name, number, every=every)
        else:
            chosen = jobs.cancel(name, number, every=every, on_note=render.note)
        if as_json:
            numbers = {job.number for job in chosen}
            views = jobs.views(name, 1_000_000) if chosen else []
            render.json([forms.job(view) for view in views if view.job.number in numbers])
            return
    if not chosen:
        render.echo(f"{name} has no job that could be cancelled.")
    for job in chosen:
        if job.number in ended:
            render.echo(f"Job {job.number} has ended already.")
        elif dry_run:
            render.echo(f"Job {job.number} would be cancelled: {render.safe(' '.join(job.words.split()))}")
        elif job.result is not None:
            render.echo(f"Job {job.number} is cancelled.")
    if dry_run:
        render.echo(render.style("Nothing was done.", "dim"))
