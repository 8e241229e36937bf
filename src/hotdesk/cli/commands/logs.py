"""hotdesk logs"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live

if TYPE_CHECKING:
    from hotdesk.services.shapes import Log


@click.command()
@options.name
@click.argument("number", type=int, required=False, metavar="[JOB]")
@click.option(
    "-f", "--follow", is_flag=True, help="Follow the output until the job ends, past interruptions."
)
@options.as_json
@click.pass_context
def command(ctx: click.Context, name: str, number: int | None, *, follow: bool, as_json: bool) -> None:
    """Print a job's output: of job number JOB, or of the desk's newest job.

    With -f, exits with the job's own status; Ctrl-C stops following and leaves the job running.
    """
    from hotdesk.cli.commands.run import report, rests

    parts: list[bytes] = []

    def say(words: bytes) -> None:
        if as_json:
            parts.append(words)
            return
        render.lift()
        sys.stdout.buffer.write(words)
        sys.stdout.buffer.flush()

    def answer(lacking: str = "") -> None:
        text = b"".join(parts).decode("utf-8", "replace")
        log: Log = {"job": job.number, "desk": name, "text": text, "lacking": lacking}
        render.json(log)

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
            if as_json:
                answer()
            ctx.exit(status)
        lacking = desks.services.jobs.log(job, say)
        if as_json:
            answer(lacking)
        elif lacking:
            render.note(lacking)
