"""hotdesk cancel"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.errors import Usage


@click.command()
@options.name
@click.argument("number", type=int, required=False, metavar="[JOB]")
@click.option("--all", "every", is_flag=True, help="Cancel every unfinished job of the desk.")
def command(name: str, number: int | None, every: bool) -> None:
    """Cancel a job: SIGTERM, then SIGKILL after its --grace. A queued job never starts.

    The desk still does what --then says.
    """
    with Live() as live, options.open_desks(live) as desks:
        left = [j for j in desks.services.store.jobs(name, unsettled=True) if j.result is None]
        chosen = left if every else [desks.services.store.job(name, number)] if number else left
        if len(chosen) > 1 and not every:
            listed = ", ".join(str(j.number) for j in chosen)
            raise Usage("Which job?", f"There are several: {listed}.", f"hotdesk cancel {name} --all")
        if not chosen:
            desks.services.store.desk(name)
            render.echo(f"{name} has no job that could be cancelled.")
            return
        for job in chosen:
            if job.result is not None:
                render.echo(f"Job {job.number} has ended already.")
                continue
            desks.services.store.put_job(job.number, cancelled=True)
        for job in chosen:
            ended = desks.services.runs().pursue(job, lambda words: None, render.note)
            if job.result is None and ended.result is not None:
                render.echo(f"Job {job.number} is cancelled.")
