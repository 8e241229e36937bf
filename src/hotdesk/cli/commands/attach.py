"""hotdesk attach"""

from __future__ import annotations

import sys

import click

from hotdesk.cli.ui import options
from hotdesk.core.errors import NeedsDecision, Usage


@click.command()
@options.name
@click.argument("number", type=int, required=False, metavar="[JOB]")
@click.pass_context
def command(ctx: click.Context, name: str, number: int | None) -> None:
    """Attach to the job's terminal (needs tmux on the desk). Ctrl-B D detaches; Ctrl-C reaches the job."""
    from hotdesk.connect import ssh

    with options.open_desks() as desks:
        job = desks.services.store.job(name, number)
        seen = desks.services.runs().seen(name).get(job.id)
        access = desks.services.access(name)
    if seen is None or not seen.alive:
        raise NeedsDecision(
            f"Job {job.number} does not run just now.",
            "It has ended." if job.result else "It waits for its turn.",
            f"hotdesk logs {name} {job.number}",
        )
    if not sys.stdin.isatty():
        raise Usage("There is no terminal to attach.", "", f"hotdesk logs {name} {job.number} -f")
    session = f"=job-{job.id}"
    line = (
        f"tmux has-session -t {session} 2>/dev/null && exec tmux attach -t {session};"
        f" exec tail -n 50 -f .hotdesk/jobs/{job.id}/log"
    )
    ctx.exit(ssh.run(ssh.command(access, [line], tty=True)))
