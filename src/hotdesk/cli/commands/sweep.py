"""hotdesk sweep"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from hotdesk.cli.ui import options, render, sweep_asked, sweep_shown
from hotdesk.cli.ui.number import Number
from hotdesk.core.errors import NeedsDecision, Usage
from hotdesk.core.model import MarketChoice
from hotdesk.core.sweep.model import State
from hotdesk.services import sweep_checks, sweep_shapes

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.core.sweep.model import Sweep, Task
    from hotdesk.services.sweep_request import SweepRequest
    from hotdesk.services.sweep_view import SweepView

SHOWN = 12  # running tasks beside the bar

sweep_or_newest = click.argument("number", type=int, required=False, metavar="[SWEEP]")


@click.group()
def command() -> None:
    """Run one command with many parameters, on many machines; Ray places the tasks.

    Each task has a folder, a log, an exit status and attempts of its own. The machines start from the desk's
    image and end with the sweep.
    """


@command.command(cls=sweep_asked.Start)
@click.argument("desk", type=options.DeskName())
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[FILE.toml]")
@click.option(
    "--param",
    "given",
    multiple=True,
    metavar="NAME=VALUES",
    help="A parameter: lr=1e-4,3e-4, seed=0..4, x=0..1..0.1, lr=log:1e-5..1e-1 (uniform:, int:). Repeatable.",
)
@click.option("--samples", type=click.IntRange(1), metavar="N", help="How often random parameters are drawn.")
@click.option("--seed", type=int, metavar="N", help="Seed of random parameters.  [default: 0]")
@click.option(
    "--lines", type=click.Path(path_type=Path), metavar="FILE", help="One task for each line: {line}."
)
@click.option("--tag", "tags", multiple=True, metavar="NAME", help="A parameter that no {NAME} needs to use.")
@click.option(
    "--machines",
    type=sweep_asked.Machines(),
    metavar="N|auto",
    help="Number of machines; auto: by --each, --deadline and --budget.  [default: 1]",
)
@click.option("--each", type=options.Length("s", positive=True), help="How long a task takes, for estimates.")
@click.option(
    "--market",
    type=click.Choice([str(m) for m in MarketChoice]),
    help="Of a cloud's machines but the first, which is on demand.  [default: cheapest]",
)
@click.option("--cpus", type=Number(0.01), metavar="N", help="Processors of each task.  [default: 1]")
@click.option("--per-gpu", type=Number(0.01), metavar="N", help="Tasks that share one GPU.")
@click.option("--memory", type=Number(0.001), metavar="GIB", help="End a task that uses more memory.")
@click.option(
    "--retries", type=click.IntRange(0), metavar="N", help="Attempts after a failure.  [default: 1]"
)
@click.option("--time-limit", type=options.Length("s", positive=True), help="Longest run of one attempt.")
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a variable for the tasks (repeatable).",
)
@options.secrets
@click.option(
    "--pull", multiple=True, metavar="PATH", help="Fetch this from each task's folder (repeatable)."
)
@click.option("--checkpoint", metavar="FOLDER", help="What a task saves there follows it to another machine.")
@click.option(
    "--checkpoint-gib", type=Number(0.001), metavar="GIB", help="Copy no greater one.  [default: 2]"
)
@click.option("--budget", type=Number(0), metavar="USD", help="Stop when the machines have cost so much.")
@click.option("--deadline", type=options.Length("h"), help="Stop at the latest then, from now.")
@click.option("--keep-going", is_flag=True, help="Go on although the first tasks all fail.")
@click.option(
    "--linger",
    type=options.Length("m", positive=True),
    help="Keep a cloud's machines so long for the desk's next sweep.",
)
@click.option("--all", "everything", is_flag=True, help="Copy the whole folder, even what git ignores.")
@click.option("--no-push", is_flag=True, help="Copy nothing: what runs is on the desk.")
@click.option("--detach", is_flag=True, help="Return at once; a background process goes on.")
@click.option("--dry-run", is_flag=True, help="Show tasks, machines and price; do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Agree: park the desk, and many tasks.")
@options.as_json
@click.pass_context
def start(ctx: click.Context, /, desk: str, file: Path | None, as_json: bool, **given: Any) -> None:
    """Begin a sweep: hotdesk sweep start blue --param lr=1e-4,3e-4 -- python train.py --lr {lr}

    Runs the command once for each combination. {lr} stands for the parameter's value, {task} for the task's
    number; {{ is a brace. Each task runs in its own copy of the current folder. A FILE.toml may hold the
    parameters and the command: docs/sweep.md.
    """
    request = sweep_asked.request(ctx.meta["words"], desk, file, given)
    with options.open_desks() as desks:
        sweeps = desks.services.sweeps
        request.check()
        names = sweep_checks.check_folder(request)
        if given["dry_run"]:
            _dry_run(sweeps.planned(replace(request, anyway=True)), request, len(names), as_json)
            return
        with options.asking("Go on?"):
            sweeps.planned(request)
        request = replace(request, anyway=True)
        sweeps.parked(request)
        sweep = sweeps.start(request)
        render.note(f"Sweep {sweep.number}: {request.space.size:,} tasks on {_machines(sweep)}.")
        if given["detach"]:
            _goes_on(sweep.number)
            if as_json:
                render.json(sweep_shapes.row(sweeps.view(sweep.number)))
            return
        ctx.exit(_follow(desks, sweep.number, as_json))


@command.command()
@options.as_json
def ls(as_json: bool) -> None:
    """List sweeps: state, tasks, time and cost."""
    with options.open_desks() as desks:
        desks.services.sweeps.revive()
        views, now = desks.services.sweeps.views(), desks.services.clock.now()
    if as_json:
        render.json([sweep_shapes.row(view) for view in views])
        return
    if not views:
        render.echo("There is no sweep yet. Begin one, in a project's folder:")
        line = "hotdesk sweep start DESK --param seed=0..4 -- python train.py --seed {seed}"
        render.echo("  " + render.style(line, "cyan"))
        return
    heads = ["SWEEP", "DESK", "STATE", "TASKS", "DONE", "FAILED", "RUNNING", "COST", "ASKED", "COMMAND"]
    rows = [
        [
            str(view.sweep.number),
            view.sweep.desk,
            sweep_shown.coloured(view.state),
            f"{view.counts.total:,}",
            f"{view.counts.done:,}",
            f"{view.counts.failed:,}" if view.counts.failed else "",
            f"{view.counts.running:,}" if view.counts.running else "",
            sweep_shown.cost(view.sweep, view.usd) if view.usd else "",
            render.duration(now - view.sweep.created_at, 1),
            render.safe(view.sweep.title),
        ]
        for view in views
    ]
    right = ("SWEEP", "TASKS", "DONE", "FAILED", "RUNNING", "COST", "ASKED")
    render.echo(render.table(heads, rows, right=right))


@command.command()
@sweep_or_newest
@click.option("-f", "--follow", is_flag=True, help="Follow it until it is over.")
@click.option("--failed", is_flag=True, help="Only the tasks that failed.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    metavar="N",
    help="Number of tasks.",
)
@options.as_json
@click.pass_context
def show(
    ctx: click.Context, /, number: int | None, *, follow: bool, failed: bool, lines: int, as_json: bool
) -> None:
    """Show one sweep, or the newest: its machines and its tasks."""
    with options.open_desks() as desks:
        sweeps = desks.services.sweeps
        sweeps.revive()
        view = sweeps.view(number)
        if follow:
            ctx.exit(_follow(desks, view.sweep.number, as_json))
        states = (State.FAILED,) if failed else ()
        found = sweeps.tasks(view.sweep.number, states, lines)
        saved = sweeps.checkpoints(view.sweep.number)
        now = desks.services.clock.now()
    if as_json:
        each = [sweep_shapes.task(view.sweep, task, saved.get(task.number)) for task in found]
        render.json({**sweep_shapes.row(view), "each": each})
        return
    head = [*sweep_shown.head(view), *sweep_shown.checkpoints(view, saved, now)]
    for line in [*head, *sweep_shown.machines(view), *sweep_shown.tasks(found, now, saved)]:
        render.echo(render.cut(line, render.columns()))
    total = view.counts.failed if failed else view.counts.total
    if total > len(found):
        render.echo(render.style(f"{total - len(found):,} more: -n {total}", "dim"))


@command.command()
@click.argument("numbers", nargs=-1, required=True, type=int, metavar="[SWEEP] TASK")
@options.as_json
def logs(numbers: tuple[int, ...], as_json: bool) -> None:
    """Print what a task has said: of the newest sweep, or of the one named first."""
    if len(numbers) > 2:
        raise Usage("One task at a time.", "", f"hotdesk sweep logs {numbers[0]} {numbers[1]}")
    sweep, task = (None, numbers[0]) if len(numbers) == 1 else numbers
    with options.open_desks() as desks:
        text = desks.services.sweeps.kept.log(sweep, task)
    if as_json:
        render.json({"task": task, "text": text.decode("utf-8", "replace")})
        return
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    if not text:
        render.note(f"Task {task} has said nothing so far.")


@command.command()
@sweep_or_newest
@click.option("--task", "tasks", multiple=True, type=int, metavar="N", help="Only this one (repeatable).")
@click.option("--detach", is_flag=True, help="Return at once; a background process goes on.")
@options.as_json
@click.pass_context
def retry(
    ctx: click.Context, /, number: int | None, *, tasks: tuple[int, ...], detach: bool, as_json: bool
) -> None:
    """Run again what has failed or was cancelled; what is done stays done."""
    with options.open_desks() as desks:
        sweep, count = desks.services.sweeps.retry(number, tasks)
        if not count:
            render.note(f"Sweep {sweep.number} has nothing to run again.")
        else:
            render.note(f"Sweep {sweep.number}: {count:,} task{'s' * (count != 1)} again.")
        if count and not detach:
            ctx.exit(_follow(desks, sweep.number, as_json))
        if count:
            _goes_on(sweep.number)
        if as_json:
            render.json(sweep_shapes.row(desks.services.sweeps.view(sweep.number)))


@command.command()
@click.argument("desk", type=options.DeskName())
@click.option("--detach", is_flag=True, help="Return at once; a background process goes on.")
@options.yes
@options.as_json
@click.pass_context
def resume(ctx: click.Context, /, desk: str, *, detach: bool, yes: bool, as_json: bool) -> None:
    """Go on here with a desk's sweep that another computer, or a watcher at another desk, goes on with.

    What runs goes on meanwhile, and nothing that is done is done again. The other computer stops by itself
    once it sees that, also if that is days later. This one needs the desk's key.
    """
    with options.open_desks() as desks:
        sweeps = desks.services.sweeps
        try:
            sweep = sweeps.resume(desk, anyway=yes)
        except NeedsDecision as question:
            options.agreed(f"{question.what} {question.why} Go on here?", yes, question.fix)
            sweep = sweeps.resume(desk, anyway=True)
        counts = sweeps.view(sweep.number).counts
        render.note(f"Sweep {sweep.number} goes on here: {counts.done:,} of {counts.total:,} tasks are done.")
        if not detach:
            ctx.exit(_follow(desks, sweep.number, as_json))
        _goes_on(sweep.number)
        if as_json:
            render.json(sweep_shapes.row(sweeps.view(sweep.number)))


@command.command()
@sweep_or_newest
@click.option("--task", "tasks", multiple=True, type=int, metavar="N", help="Only this one (repeatable).")
@options.as_json
def cancel(number: int | None, tasks: tuple[int, ...], as_json: bool) -> None:
    """End a sweep, or some of its tasks; what is done is kept.

    Its machines are deleted with it. Of a single task, what it has said and its folder stay until then.
    """
    with options.open_desks() as desks:
        sweeps = desks.services.sweeps
        before = sweeps.view(number)
        if before.sweep.over_at and not tasks:
            render.note(f"Sweep {before.sweep.number} is over already.")
            if as_json:
                render.json(sweep_shapes.row(before))
            return
        sweeps.cancel(before.sweep.number, tasks)
        if not tasks:
            _follow(desks, before.sweep.number, as_json)
            return
        sweeps.wait_for(before.sweep.number, tasks)
        render.note(f"Cancelled: task {', '.join(map(str, tasks))}. The others go on.")
        if as_json:
            render.json(sweep_shapes.row(sweeps.view(before.sweep.number)))


@command.command()
@sweep_or_newest
@click.option("--y", default="", metavar="NAME", help="The metric to draw.  [default: the first]")
@click.option("--x", default="", metavar="NAME", help="The parameter to draw it over.")
@click.option("--line", default="", metavar="NAME", help="A line for each value of this parameter.")
@click.option("--parallel", is_flag=True, help="All parameters side by side: parallel coordinates.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw into FILE: .png, .svg or .html."
)
def plot(number: int | None, *, y: str, x: str, line: str, parallel: bool, plot: Path | None) -> None:
    """Draw a sweep's results: a metric over a parameter, or all of them side by side."""
    from hotdesk import charts
    from hotdesk.services import sweep_figures

    if plot:
        charts.check_suffix(plot)
    with options.open_desks() as desks:
        sweeps = desks.services.sweeps
        view = sweeps.view(number)
        tasks = sweeps.tasks(view.sweep.number)
    figure: charts.Figure | charts.Parallel
    if parallel:
        figure = sweep_figures.parallel(view.sweep, tasks, y=y)
    else:
        figure = sweep_figures.lines(view.sweep, tasks, x=x, y=y, line=line)
    if plot:
        charts.save(figure, plot)
        render.note(f"Drawn: {plot}")
        return
    width = min(render.columns(), 120)
    render.echo(charts.text(figure, width=width, height=22, colour=render.colourful(sys.stdout)))


@command.command()
@click.argument("numbers", nargs=-1, type=int, metavar="[SWEEP]...")
@click.option("--over", type=options.Length("h"), help="Also all that have been over for so long.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted; delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Delete without asking.")
@options.as_json
def rm(numbers: tuple[int, ...], *, over: float | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete sweeps that are over: their tasks, logs and results on this computer. Asks first.

    hotdesk sweep rm 3 4, or hotdesk sweep rm --over 30d
    """
    if not numbers and over is None:
        raise Usage("No sweep is named.", "What is deleted is gone.", "hotdesk sweep rm --over 30d")
    with options.open_desks() as desks:
        kept = desks.services.sweeps.kept
        chosen = [*numbers]
        if over is not None:
            chosen += kept.over_since(desks.services.clock.now() - 3600 * over)
        found = kept.remove(chosen, dry_run=True)
        total = render.size(sum(sweep.bytes for sweep in found) / 2**30)
        for sweep in [] if as_json else found:
            ago = render.duration(desks.services.clock.now() - sweep.over_at, 1)
            size, title = render.size(sweep.bytes / 2**30), render.safe(sweep.title)
            text = f"sweep {sweep.number}, over for {ago}: {sweep.tasks:,} tasks, {size}  {title}"
            render.paragraph(text, indent=2)
        if found and not dry_run:
            if not yes:
                raise NeedsDecision(
                    f"{len(found)} sweep{'s' * (len(found) != 1)} would be deleted, {total}.",
                    "Parameters, metrics, logs and results are nowhere else, unless you copied them.",
                    f"hotdesk sweep rm {' '.join(str(s.number) for s in found)} --yes",
                )
            kept.remove(chosen)
        if as_json:
            render.json([sweep_shapes.removed(sweep) for sweep in found])
        elif not found:
            render.note("Nothing to delete.")
        else:
            render.note("Nothing was deleted." if dry_run else f"Deleted: {total}.")


@command.command()
@sweep_or_newest
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="FILE.csv or .parquet.")
@click.option("--sort", metavar="NAME", help="By this column; -NAME: the greatest first.")
@click.option("--to", type=click.Path(path_type=Path), metavar="FOLDER", help="Copy what --pull fetched.")
@options.as_json
def results(
    number: int | None, output: Path | None, sort: str | None, to: Path | None, as_json: bool
) -> None:
    """Print one row for each task as CSV: parameters, metrics, attempts, cost, seconds.

    Metrics are the JSON lines that a task prints: {"loss": 0.31}.
    """
    from hotdesk.sweep import results as table

    with options.open_desks() as desks:
        sweeps = desks.services.sweeps
        view = sweeps.view(number)
        found = sweeps.tasks(view.sweep.number)
        rows = table.rows(found, view.sweep)
        if sort:
            rows = _sorted(rows, sort)
        if to is not None:
            count = sweeps.kept.copy_results(view.sweep, found, to)
            render.note(f"Results of {count:,} tasks are in {to}.")
    if as_json:
        render.json(rows)
    elif output is None:
        if to is None:
            click.echo(table.as_csv(rows), nl=False)
    else:
        table.write(rows, output)


@command.command(hidden=True)
@click.argument("number", type=int, default=0)
@click.option("--stop", is_flag=True)
def drive(number: int, *, stop: bool) -> None:
    """Be the process that goes on with a sweep; with --stop, end all of them, and no sweep."""
    from hotdesk.services import sweep_watch

    with options.open_desks() as desks:
        if stop:
            sweep_watch.stop_all(desks.services.sweeps)
        else:
            desks.services.sweeps.go_on(number)


# ---- parts -------------------------------------------------------------------------------------------


def _dry_run(sweep: Sweep, request: SweepRequest, files: int, as_json: bool) -> None:
    commands = sweep_shapes.first_lines(sweep, request.space)
    plan = sweep_shapes.plan(sweep, request, files, commands)
    if as_json:
        render.json(plan)
        return
    render.echo(f"{request.space.size:,} tasks, each in its own copy of {files:,} file{'s' * (files != 1)}:")
    for text in commands:
        render.echo(f"  {render.safe(text)}")
    if request.space.size > len(commands):
        render.echo(f"  … {request.space.size - len(commands):,} more")
    image = sweep.image or f"the image of {sweep.desk}, which is parked for it: that is asked first"
    if not sweep.pools:
        render.echo(f"On {_machines(sweep)}, from {image}; free.")
    for line in sweep_shown.planned(sweep, plan, image):
        render.echo(line)
    render.echo(render.style("Nothing was done.", "dim"))


def _machines(sweep: Sweep) -> str:
    return f"{sweep.machines} machine{'s' * (sweep.machines != 1)}"


def _follow(desks: Hotdesk, number: int, as_json: bool) -> int:
    """Follow a sweep to its end; the exit status: 0 where every task is done."""
    sweeps = desks.services.sweeps

    def look() -> tuple[SweepView, list[Task]]:
        view = sweeps.view(number)
        if not view.driven and not view.sweep.over_at:
            sweeps.drive(number)
        return view, sweeps.tasks(number, (State.RUNNING,), SHOWN)

    try:
        view = sweep_shown.follow(look, desks.services.clock.now)
    except KeyboardInterrupt:
        _goes_on(number)
        return 130
    if as_json:
        render.json(sweep_shapes.row(view))
    if away := view.sweep.away:
        render.note(f"Sweep {number} goes on at {away}.\n  hotdesk sweep resume {view.sweep.desk}   # here")
        return 6
    counts = view.counts
    if counts.failed or counts.cancelled:
        if counts.failed:
            render.note(f"  hotdesk sweep show {number} --failed")
        render.note(f"  hotdesk sweep retry {number}")
        return 5
    render.note(f"  hotdesk sweep results {number}")
    return 0


def _goes_on(number: int) -> None:
    render.note(
        f"\nSweep {number} goes on in the background.\n"
        f"  hotdesk sweep show {number} -f\n  hotdesk sweep cancel {number}"
    )


def _sorted(rows: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    name = sort.removeprefix("-")
    if rows and name not in rows[0]:
        raise Usage(f"There is no column {name}.", f"There are: {', '.join(rows[0])}.", "--sort seconds")
    numbers = [r for r in rows if isinstance(r[name], int | float)]
    others = [r for r in rows if not isinstance(r[name], int | float)]
    numbers.sort(key=lambda r: float(r[name]), reverse=sort.startswith("-"))
    others.sort(key=lambda r: str(r[name]), reverse=sort.startswith("-"))
    return numbers + others
