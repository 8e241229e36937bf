"""hotdesk top"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotdesk.cli.commands import ls
from hotdesk.cli.ui import options, render, screen
from hotdesk.core.errors import Unreachable, Usage
from hotdesk.services import forms
from hotdesk.services.tops import RunningJob, Top

if TYPE_CHECKING:
    from hotdesk.charts import Figure
    from hotdesk.core.load import Load

_SECONDS = 2.0  # between two looks
_BAR, _LABEL = 24, 8
_BUSY = 0.9  # a share that is shown as much


@click.command()
@options.name_or_only
@click.option("--once", is_flag=True, help="Print once; the default where the output is no terminal.")
@click.option("--job", type=click.IntRange(1), metavar="N", help="Show the curves of this job instead.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the curves into FILE: .png, .svg or .html.",
)
@options.as_json
def command(name: str | None, *, once: bool, job: int | None, plot: Path | None, as_json: bool) -> None:
    """Show what desks are doing, live: load, GPUs, running jobs and cost. q ends it.

    Without NAME: all desks. A job's curves are kept after it has ended, and after its desk is gone.
    """
    if plot and job is None:
        raise Usage("--plot draws the curves of a job.", "Which?", "hotdesk top NAME --job N --plot load.svg")
    if plot:
        from hotdesk.charts import check_suffix

        check_suffix(plot)
    with options.open_desks() as desks:
        found = desks.top(name, job=job)
        live = not (once or as_json or job) and screen.possible()
        if live and found:
            with contextlib.suppress(KeyboardInterrupt), screen.whole() as shown:
                shown.draw(list(_lines(found)))
                while shown.wait(_SECONDS):
                    lost = ""
                    try:
                        found = desks.top(name)
                    except Unreachable as error:  # the network may come back
                        lost = f"{error.what} {error.why}"
                    shown.draw(
                        [*_lines(found), *([render.style(render.safe(lost), "yellow")] if lost else [])]
                    )
    if as_json:
        render.json([forms.top(top) for top in found])
    elif job:
        _show_curves(found[0], plot)
    elif not found:
        render.echo("There is no desk yet. Open one:  hotdesk up")
    else:
        for line in _lines(found):
            render.echo(render.cut(line, render.columns()))


# ---- what is now --------------------------------------------------------------------------------------


def _lines(found: Sequence[Top]) -> Iterator[str]:
    for n, top in enumerate(found):
        if n:
            yield ""
        yield from _desk(top)


def _desk(top: Top) -> Iterator[str]:
    view = top.view
    what = [ls.word(view), view.instance_type + (f" ({view.gpu})" if view.gpu else ""), ls.place(view)]
    cost = [render.per_hour(view.usd_per_hour)] if view.phase == "ready" or view.usd_per_hour else []
    cost += [f"{render.usd(view.cost_usd)} so far"] if view.cost_usd else []
    said = " · ".join(part for part in [*what, *cost] if part.strip())
    yield f"{render.style(view.name, 'bold')}  {said}"
    if top.why:
        yield "  " + render.style(render.safe(top.why), "yellow")
    if top.load:
        yield from _load(top.load)
    for job in top.jobs:
        yield from _job(job)


def _load(load: Load) -> Iterator[str]:
    cores = f"of {load.cpus} cores" if load.cpus > 1 else "of one core"
    yield _bar("CPU", load.cpu, cores)
    yield _bar("memory", *_full(load.memory, load.memory_of))
    yield _bar("disk", *_full(load.disk, load.disk_of))
    for n, gpu in enumerate(load.gpus):
        label = f"GPU {n}" if len(load.gpus) > 1 else "GPU"
        _, memory = _full(gpu.memory, gpu.memory_of)
        yield _bar(label, gpu.use, f"{memory}  {gpu.name}".strip())


def _full(used: int | None, of: int | None) -> tuple[float | None, str]:
    if used is None or not of:
        return None, ""
    return used / of, f"{used / 2**30:.1f} of {of / 2**30:.1f} GiB"


def _bar(label: str, share: float | None, words: str) -> str:
    if share is None:
        return f"  {render.style(label.ljust(_LABEL), 'dim')} {'not known'.ljust(_BAR + 5)}  {words}".rstrip()
    done = round(_BAR * share)
    colour = "yellow" if share >= _BUSY else "green"
    drawn = render.style("█" * done, colour) + render.style("░" * (_BAR - done), "dim")
    return f"  {render.style(label.ljust(_LABEL), 'dim')} {drawn} {share:4.0%}  {render.safe(words)}".rstrip()


def _job(job: RunningJob) -> Iterator[str]:
    said = [render.duration(job.seconds)]
    if job.progress is not None:
        said.append(f"{job.progress:.0%}")
    if job.work_seconds > job.seconds:
        said.append(f"about {render.duration(job.work_seconds - job.seconds, 2)} left")
    label = f"job {job.number}".ljust(_LABEL)
    yield f"  {render.style(label, 'dim')} {' · '.join(said)} · {render.safe(job.command)}"
    if job.last_line:
        yield f"  {' ' * _LABEL} {render.style(render.safe(job.last_line), 'dim')}"


# ---- over a job's life ---------------------------------------------------------------------------------


def _show_curves(top: Top, plot: Path | None) -> None:
    from hotdesk import charts

    job = top.jobs[0]
    if not top.curves:
        render.echo(f"Nothing was measured of job {job.number}: it ran for less than ten seconds.")
        return
    figure = _figure(top)
    if plot:
        charts.save(figure, plot)
        render.echo(f"The curves of job {job.number} are in {plot}.")
        return
    width = min(render.columns(), 100)
    render.echo(charts.text(figure, width=width, colour=render.colourful(sys.stdout)))
    rows = [[c.name, f"{sum(c.shares) / len(c.shares):.0%}", f"{max(c.shares):.0%}"] for c in top.curves]
    render.echo(render.table(["", "MEAN", "MOST"], rows, right=("MEAN", "MOST")))


def _figure(top: Top) -> Figure:
    from hotdesk.charts import Figure, Series

    job = top.jobs[0]
    series = tuple(
        Series(label=c.name, x=c.times, y=tuple(100 * share for share in c.shares)) for c in top.curves
    )
    return Figure(
        title=f"{top.view.name}, job {job.number}: {render.cut(job.command, 60)}",
        x_label="",
        y_label="% in use",
        series=series,
        x_is_time=True,
    )
