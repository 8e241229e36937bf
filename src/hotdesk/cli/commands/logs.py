"""hotdesk logs"""

from __future__ import annotations

import sys

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live


@click.command()
@options.name
@click.argument("number", type=int, required=False, metavar="[JOB]")
@click.option(
    "-f", "--follow", is_flag=True, help="Follow the output until the job ends, past interruptions."
)
@click.pass_context
def command(ctx: click.Context, name: str, number: int | None, follow: bool) -> None:
    """Print a job's output: of job number JOB, or of the desk's newest job.

    With -f, exits with the job's own status; Ctrl-C stops following and leaves the job running.
    """
    from hotdesk.cli.commands.run import report, rests

    def say(words: bytes) -> None:
        sys.stdout.buffer.write(words)
        sys.stdout.buffer.flush()

    with Live() as live, options.open_desks(live) as desks:
        job = desks.services.store.job(name, number)
        if follow and not job.settled:
            try:
                job = desks.services.runs().pursue(job, say, render.note)
            except KeyboardInterrupt:
                from hotdesk.cli.commands.run import goes_on

                goes_on(desks, job)
                ctx.exit(130)
            rest = rests(desks, job)
            status = report(job)
            render.note(rest)
            ctx.exit(status)
        if lacking := desks.services.jobs.log(job, say):
            render.note(lacking)
