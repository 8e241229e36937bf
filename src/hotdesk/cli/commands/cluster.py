"""hotdesk cluster"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hotdesk.cli.ui import options, render, sweep_asked, sweep_shown
from hotdesk.cli.ui.number import Number
from hotdesk.core.model import MarketChoice
from hotdesk.core.sweep.model import LEFT, State, Sweep
from hotdesk.services import sweep_shapes

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.services.clusters import ClusterRun, ClusterView

PAUSE_SECONDS = 0.7

name_argument = click.argument("name", type=options.DeskName())


@click.group()
def command() -> None:
    """Several machines of one desk, for your own Ray program or one training job over all of them.

    They start from the desk's image, see each other, and cost money until `hotdesk cluster down`, or a limit.
    """


@command.command()
@name_argument
@click.option(
    "--machines", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="How many."
)
@click.option(
    "--market",
    type=click.Choice([str(m) for m in MarketChoice]),
    default=str(MarketChoice.CHEAPEST),
    show_default=True,
    help="Of a cloud's machines but the first, which is on demand.",
)
@click.option("--budget", type=Number(0), metavar="USD", help="End it when the machines have cost so much.")
@click.option("--deadline", type=options.Length("h"), help="End it at the latest then, from now.")
@click.option(
    "--idle", type=options.Length("m", positive=True), help="End it when nothing has run for so long."
)
@click.option("--detach", is_flag=True, help="Return at once; a background process goes on.")
@click.option("--dry-run", is_flag=True, help="Show machines and price; do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Agree: park the desk.")
@options.as_json
def up(
    name: str,
    *,
    machines: int,
    market: str,
    budget: float | None,
    deadline: float | None,
    idle: float | None,
    detach: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Start a cluster of machines that have a desk's image: hotdesk cluster up blue --machines 4"""
    with options.open_desks() as desks:
        clusters = desks.services.clusters

        limits: dict[str, Any] = {
            "market": MarketChoice(market),
            "budget_usd": budget,
            "deadline_seconds": None if deadline is None else 3600 * deadline,
            "idle_seconds": None if idle is None else 60 * idle,
        }
        if dry_run:
            sweep = clusters.planned(name, machines=machines, anyway=True, **limits)
            _dry_run(sweep, deadline, as_json)
            return
        if not yes:
            with options.asking("Go on?"):
                clusters.planned(name, machines=machines, **limits)
        clusters.up(name, machines=machines, anyway=True, **limits)
        if not detach:
            render.note(f"{_machines(machines)} of {name} start.")
            found = clusters.wait_up(name)
        else:
            found = clusters.show(name)
    _show(found, as_json)


@command.command()
@name_argument
@options.as_json
def down(name: str, as_json: bool) -> None:
    """End a cluster: what runs on it is ended, its machines are deleted. The desk stays."""
    with options.open_desks() as desks:
        view = desks.services.clusters.down(name)
        if as_json:
            render.json(sweep_shapes.cluster(desks.services.clusters.show(name)))
        else:
            cost = f"; it has cost {sweep_shown.cost(view.sweep, view.usd)}" if view.usd else ""
            render.note(f"The cluster of {name} is gone{cost}.")


@command.command()
@options.as_json
def ls(as_json: bool) -> None:
    """List clusters: machines, runs, cost."""
    with options.open_desks() as desks:
        found = desks.services.clusters.ls()
    if as_json:
        render.json([sweep_shapes.cluster(one) for one in found])
        return
    if not found:
        render.echo("There is no cluster. Start one:")
        render.echo("  " + render.style("hotdesk cluster up DESK --machines 4", "cyan"))
        return
    rows = [
        [
            one.name,
            sweep_shown.coloured(one.view.state),
            f"{one.view.up} of {one.view.sweep.machines} up",
            one.address,
            str(sum(run.task.state in LEFT for run in one.runs) or ""),
            sweep_shown.cost(one.view.sweep, one.view.usd) if one.view.usd else "",
        ]
        for one in found
    ]
    heads = ["CLUSTER", "STATE", "MACHINES", "RAY", "RUNNING", "COST"]
    render.echo(render.table(heads, rows, right=("RUNNING", "COST")))


@command.command()
@name_argument
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show a cluster: its machines, Ray's address, its runs."""
    with options.open_desks() as desks:
        desks.services.sweeps.revive()
        found = desks.services.clusters.show(name)
    _show(found, as_json)


@command.command(cls=sweep_asked.Words)
@name_argument
@click.option("--every", is_flag=True, help="On every machine at once, as torchrun is; else on the first.")
@click.option(
    "--checkpoint", default="", metavar="FOLDER", help="What rank 0 writes there, all have after a restart."
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Restarts after a failure.",
)
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable (repeatable).")
@options.secrets
@click.option("--all", "everything", is_flag=True, help="Copy the whole folder, even what git ignores.")
@click.option("--no-push", is_flag=True, help="Copy nothing: what runs is on the desk.")
@click.option("--detach", is_flag=True, help="Return at once; it runs on.")
@options.as_json
@click.pass_context
def run(
    ctx: click.Context,
    /,
    name: str,
    *,
    every: bool,
    checkpoint: str,
    retries: int,
    variables: tuple[str, ...],
    secrets: tuple[str, ...],
    everything: bool,
    no_push: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Run a program on a cluster: hotdesk cluster run blue -- torchrun train.py

    torchrun runs on every machine, with the number of machines, its rank and where they meet filled in;
    another command does with --every, and has MASTER_ADDR, MASTER_PORT, NNODES and NODE_RANK. When one of
    them fails or loses its machine, all begin again. Anything else runs on the first, with RAY_ADDRESS set.
    """
    words = ctx.meta["words"]
    with options.open_desks() as desks:
        clusters = desks.services.clusters
        begun = clusters.run(
            name,
            words,
            gang=True if every else None,
            folder=Path.cwd(),
            push=not no_push,
            everything=everything,
            checkpoint=checkpoint,
            retries=retries,
            env=dict(map(sweep_asked.variable, variables)),
            secrets=secrets,
        )
        if detach:
            render.note(f"Run {begun.number} begins.\n  hotdesk cluster logs {name} {begun.number} -f")
            if as_json:
                render.json(sweep_shapes.cluster_run(begun))
            return
        try:
            ended = _follow(desks, name, begun.number, 0, quiet=as_json)
        except KeyboardInterrupt:
            render.note(f"\nRun {begun.number} goes on.\n  hotdesk cluster logs {name} {begun.number} -f")
            ctx.exit(130)
        if as_json:
            render.json(sweep_shapes.cluster_run(ended))
        if ended.task.state is not State.DONE:
            failed = ended.task.state is State.FAILED
            why = f"has failed: {render.safe(ended.task.why)}" if failed else "was cancelled."
            render.note(f"Run {ended.number} {why}")
            ctx.exit(5)


@command.command()
@name_argument
@click.argument("number", type=int, required=False, metavar="[RUN]")
@click.option(
    "--rank", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Of which machine."
)
@click.option("-f", "--follow", is_flag=True, help="Follow it until the run has ended.")
@options.as_json
def logs(name: str, number: int | None, *, rank: int, follow: bool, as_json: bool) -> None:
    """Print what a run has said: the newest, or the one of that number."""
    with options.open_desks() as desks:
        clusters = desks.services.clusters
        if follow:
            runs = clusters.show(name).runs
            if not runs:
                clusters.log(name, number, rank)  # says why there is none
            _follow(desks, name, number or runs[-1].number, rank, quiet=False)
            return
        text = clusters.log(name, number, rank)
    if as_json:
        render.json({"task": number or 0, "text": text.decode("utf-8", "replace")})
        return
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


@command.command()
@name_argument
@click.argument("number", type=int, metavar="RUN")
@options.as_json
def cancel(name: str, number: int, as_json: bool) -> None:
    """End a run; the machines stay."""
    with options.open_desks() as desks:
        ended = desks.services.clusters.cancel(name, number)
    if as_json:
        render.json(sweep_shapes.cluster_run(ended))
    else:
        render.note(f"Run {number} is {ended.task.state}.")


@command.command()
@name_argument
@options.as_json
def dashboard(name: str, as_json: bool) -> None:
    """Open Ray's dashboard at this computer, through ssh. The desk needs ray[default]."""
    with options.open_desks() as desks:
        found = desks.services.clusters.dashboard(name)
    if as_json:
        render.json({"url": found.url, "token_file": found.token_file})
        return
    render.echo(found.url)
    render.note(f"It asks for a token, once: cat {found.token_file}")


# ---- parts -------------------------------------------------------------------------------------------


def _dry_run(sweep: Sweep, deadline: float | None, as_json: bool) -> None:
    plan = sweep_shapes.plan(sweep, None, 0, [])
    if as_json:
        render.json(plan)
        return
    image = sweep.image or f"the image of {sweep.desk}, which is parked for it: that is asked first"
    if not sweep.pools:
        render.echo(f"{_machines(sweep.machines)}, from {image}; free.")
    for line in sweep_shown.offered(sweep, plan, image):
        render.echo(line)
    ends = [f"hotdesk cluster down {sweep.desk}"]
    if sweep.idle_seconds is not None:
        ends.append(f"nothing has run for {render.duration(sweep.idle_seconds, 2)}")
    if sweep.budget_usd is not None:
        ends.append(f"it has cost {render.usd(sweep.budget_usd)}")
    if deadline is not None:
        ends.append(f"{render.duration(3600 * deadline, 2)} from now")
    render.echo(f"It ends with the first of these: {', or when '.join(ends)}.")
    render.echo(render.style("Nothing was done.", "dim"))


def _machines(count: int) -> str:
    return f"{count} machine{'s' * (count != 1)}"


def _follow(desks: Hotdesk, name: str, number: int, rank: int, *, quiet: bool) -> ClusterRun:
    """Print what a rank says until its run has ended; the run."""
    import time

    clusters = desks.services.clusters
    written = 0
    write: Callable[[bytes], object] = sys.stdout.buffer.write
    while True:
        found = clusters.run_of(name, number)
        text = clusters.log(name, number, rank)
        if not quiet and len(text) > written:
            write(text[written:])
            sys.stdout.buffer.flush()
        written = max(written, len(text))
        if found.task.state not in LEFT:
            return found
        time.sleep(PAUSE_SECONDS)


def _show(found: ClusterView, as_json: bool) -> None:
    if as_json:
        render.json(sweep_shapes.cluster(found))
        return
    view = found.view
    words = [f"{view.up} of {view.sweep.machines} machines up"]
    if view.usd or view.usd_per_hour:
        sweep = view.sweep
        words.append(
            f"{sweep_shown.hourly(sweep, view.usd_per_hour)}, {sweep_shown.cost(sweep, view.usd)} so far"
        )
    title = render.style(f"cluster of {found.name}", "bold")
    lines = [f"{title}: {sweep_shown.coloured(view.state)}  {' · '.join(words)}"]
    if view.sweep.stopped:
        lines.append(render.style(f"stopped: {render.safe(view.sweep.stopped)}", "yellow"))
    if found.has_ray:
        lines.append(f"Ray: RAY_ADDRESS={found.address}, set for what `hotdesk cluster run` runs")
    elif found.has_ray is False:
        lines.append(
            "Ray: not on this desk. For it: hotdesk up NAME, pip install 'ray[default]' there, park."
        )
    lines += sweep_shown.machines(view)
    if found.runs:
        heads = ["RUN", "STATE", "ON", "TRIES", "EXIT", "RAN", "COMMAND", ""]
        rows = [
            [
                str(run.number),
                sweep_shown.coloured(str(run.task.state)),
                "all" if run.gang else "first",
                str(run.task.attempt or ""),
                "" if run.task.exit_status is None else str(run.task.exit_status),
                render.duration(run.task.seconds) if run.task.seconds else "",
                render.safe(run.command),
                render.safe(run.task.why),
            ]
            for run in found.runs
        ]
        lines += render.table(heads, rows, right=("RUN", "TRIES", "EXIT", "RAN")).splitlines()
    for line in lines:
        render.echo(render.cut(line, render.columns()))
