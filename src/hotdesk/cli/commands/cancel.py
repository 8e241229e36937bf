"""hotdesk cancel"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.model import Goal
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
        row = desks.services.store.find(name)
        idle = all(job.result is not None for job in desks.services.store.jobs(name))
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
    elif chosen and idle:
        render.paragraph(left(name, chosen[-1].then, row.goal if row else Goal.GONE))


def left(name: str, then: Goal | None, goal: Goal) -> str:
    """What has become of the desk with its last job."""
    if goal is Goal.RUNNING:
        return f"{name} stays up; to leave it: hotdesk park {name}"
    return f"{name} is {goal}, as --then of the job says." if then is goal else f"{name} is {goal}."
