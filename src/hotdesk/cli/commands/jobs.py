"""hotdesk jobs"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.jobs import advice
from hotdesk.services.jobs import JobView

_COLOURS = {"running": "green", "done": "blue", "failed": "red", "waiting": "yellow", "interrupted": "yellow"}


@click.command()
@options.name_or_only
@options.as_json
@click.option(
    "-n",
    "--lines",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Number of jobs to show.",
)
def command(name: str | None, as_json: bool, lines: int) -> None:
    """List jobs: running, queued and ended, with result, time and cost. Without NAME: of all desks."""
    with options.open_desks() as desks:
        views = desks.services.jobs.views(name, lines)
        now = desks.services.clock.now()
    if as_json:
        render.json([row(view) for view in views])
        return
    if not views:
        render.echo("There is no job yet. Begin one, in a project's folder:")
        render.echo("  " + render.style("hotdesk run blue -- python train.py", "cyan"))
        return
    heads = ["JOB", "DESK", "STATE", "EXIT", "RAN", "COST", "TRIES", "ASKED", "COMMAND"]
    rows = []
    for view in views:
        job, told = view.job, row(view)
        state = view.state
        rows.append(
            [
                str(job.number),
                job.desk,
                render.style(state, _COLOURS.get(state, "dim")),
                "" if told["exit_status"] is None else str(told["exit_status"]),
                render.duration(float(str(told["seconds"]))) if told["attempts"] else "",
                render.usd(float(str(told["usd"]))) if told["usd"] else "",
                str(told["attempts"] or ""),
                render.duration(now - job.created_at, 1),
                render.safe(" ".join(job.words.split())),
            ]
        )
    render.echo(render.table(heads, rows, right=("JOB", "EXIT", "RAN", "COST", "TRIES", "ASKED")))
    for line in sorted({f"{view.job.desk}: {view.unasked}" for view in views if view.unasked}):
        render.note(line)
    for view in views:
        job, known = view.job, view.seen
        if known and job.result is None and (said := advice(job, known)):
            render.echo(render.style(f"job {job.number}: {said}", "dim"))
        for line in job.fetched if name else ():
            render.echo(render.style(f"job {job.number}: {render.safe(line)}", "dim"))


def row(view: JobView) -> dict[str, object]:
    """A job as `--json` gives it. Times are seconds since the epoch, by this computer's clock."""
    job, seen = view.job, view.seen
    result = job.result
    median = seen.median_checkpoint_seconds if seen else None
    return {
        "job": job.number,
        "id": job.id,
        "desk": job.desk,
        "command": job.words,
        "state": view.state,
        "exit_status": result.exit_status if result else None,
        "why": result.why if result else "",
        "seconds": result.seconds if result else seen.seconds if seen else 0.0,
        "usd": result.usd if result else 0.0,
        "attempts": result.attempts if result else seen.attempt if seen else 0,
        "checkpoints": result.checkpoints if result else seen.checkpoints if seen else 0,
        "checkpoint_seconds": result.checkpoint_seconds if result else median,
        "last_line": seen.last_line if seen else "",
        "fetched": job.fetched,
        "asked_at": job.created_at,
        "ended_at": result.at if result else None,
        "then": str(job.then or "stay"),
        "deadline_at": job.deadline_at,
        "settled": job.settled,
    }
