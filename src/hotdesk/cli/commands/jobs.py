"""hotdesk jobs"""

from __future__ import annotations

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.jobs import advice
from hotdesk.services import forms

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
        render.json([forms.job(view) for view in views])
        return
    if not views:
        render.echo("There is no job yet. Begin one, in a project's folder:")
        render.echo("  " + render.style("hotdesk run blue -- python train.py", "cyan"))
        return
    heads = ["JOB", "DESK", "STATE", "EXIT", "RAN", "COST", "TRIES", "ASKED", "COMMAND"]
    rows = []
    for view in views:
        job, told = view.job, forms.job(view)
        state = view.state
        rows.append(
            [
                str(job.number),
                job.desk,
                render.style(state, _COLOURS.get(state, "dim")),
                "" if told["exit_status"] is None else str(told["exit_status"]),
                render.duration(told["seconds"]) if told["attempts"] else "",
                render.usd(told["usd"]) if told["usd"] else "",
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
        if view.lacks:
            lacks = f"job {job.number} cannot be begun from here: {', '.join(view.lacks)} has no value here"
            render.note(lacks)
        if known and job.result is None and (said := advice(job, known)):
            render.echo(render.style(f"job {job.number}: {said}", "dim"))
        last = forms.job(view)["last_line"]
        if last and view.state in {"running", "failed"}:
            render.echo(
                render.style(render.cut(f"job {job.number}: {render.safe(last)}", render.columns()), "dim")
            )
        for line in job.fetched if name else ():
            render.echo(render.style(f"job {job.number}: {render.safe(line)}", "dim"))
