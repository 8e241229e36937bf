"""hotdesk simulate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.number import Number
from hotdesk.core.errors import Usage

if TYPE_CHECKING:
    from hotdesk.charts import Figure
    from hotdesk.simulate.many_zones import Moment
    from hotdesk.simulate.study import Study

POLICIES = ("semi-markov", "uniform-progress", "greedy", "on-demand", "optimum")
_USD = Number(min=0)


@click.command()
@click.option(
    "--traces", type=click.Path(path_type=Path), metavar="PATH", help="Recorded traces: a file, or a folder."
)
@click.option(
    "--policy",
    default="semi-markov",
    show_default=True,
    type=click.Choice(POLICIES),
    help="Policy to simulate.",
)
@click.option(
    "--work",
    default="48h",
    show_default=True,
    type=options.Length("h"),
    help="Run time of the job without interruptions.",
)
@click.option(
    "--deadline",
    default="56h",
    show_default=True,
    type=options.Length("h"),
    help="Latest end, from the start.",
)
@click.option(
    "--budget",
    type=_USD,
    metavar="USD",
    help="Expected cost, instead of --deadline: finds the earliest deadline it pays for.",
)
@click.option(
    "--changeover",
    default="12m",
    show_default=True,
    type=options.Length("h", low=0),
    help="Time from requesting a machine to the job's first new step.",
)
@click.option(
    "--changeover-spread",
    default=0.0,
    show_default=True,
    type=Number(min=0, max=3),
    metavar="SHARE",
    help="How much starts differ: one standard deviation, as a share of --changeover.",
)
@click.option(
    "--on-demand-refused",
    default=0.0,
    show_default=True,
    type=Number(min=0, max=0.9),
    metavar="SHARE",
    help="Share of the time in which on-demand is sold out, an hour at a time on average.",
)
@click.option(
    "--on-demand",
    "on_demand",
    default=3.06,
    show_default=True,
    type=_USD,
    metavar="USD",
    help="On-demand price per hour.",
)
@click.option(
    "--spot", default=0.9731, show_default=True, type=_USD, metavar="USD", help="Spot price per hour."
)
@click.option(
    "--zones",
    default="apart",
    show_default=True,
    type=click.Choice(("apart", "together")),
    help="Run in each trace by itself, or in all traces of a kind as zones of one run.",
)
@click.option(
    "--windows",
    "asked",
    default="100",
    show_default=True,
    metavar="FILE|N",
    help="Start times of the runs: N spread evenly, or a file of ticks.",
)
@click.option(
    "--first-hour-free",
    is_flag=True,
    help="Do not charge spot that the cloud interrupts within an hour.",
)
@click.option(
    "--window",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Number of the run to draw, from 0.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Price history of the zones (describe-spot-price-history), from the traces' first tick on.",
)
@click.option(
    "--nodes",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Instances that the job needs at once: a zone with fewer has no spot.",
)
@click.option(
    "--checkpoint-gib",
    default=0.0,
    show_default=True,
    type=_USD,
    metavar="GIB",
    help="Size of what moves with the job to another region.",
)
@click.option(
    "--egress",
    default=0.02,
    show_default=True,
    type=_USD,
    metavar="USD",
    help="Price of moving a GiB between two regions.",
)
@click.option(
    "--view",
    default="told",
    show_default=True,
    type=click.Choice(("told", "blind")),
    help="What a run knows: where spot is in every zone, or only what it met itself.",
)
@click.option("--explain", is_flag=True, help="Print the choices of one run (--window), with reasons.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw one run into FILE: .png, .svg or .html.",
)
@options.as_json
def command(
    *,
    traces: Path | None,
    policy: str,
    work: float,
    deadline: float,
    budget: float | None,
    changeover: float,
    changeover_spread: float,
    on_demand_refused: float,
    on_demand: float,
    spot: float,
    zones: str,
    asked: str,
    first_hour_free: bool,
    window: int,
    history: Path | None,
    nodes: int,
    checkpoint_gib: float,
    egress: float,
    view: str,
    explain: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Simulate a spot policy over recorded traces, against pure on-demand and the offline optimum.

    \b
    hotdesk simulate --traces FOLDER --work 48 --deadline 56
    hotdesk simulate --traces FOLDER --zones together --window 7 --plot run.html

    semi-markov models how long spot lasts and how long it stays away; uniform-progress follows the straight
    line to the deadline; greedy always takes spot; on-demand never does; optimum knows the future. Traces
    are JSON files as in github.com/skypilot-org/spot-traces. Launches nothing and costs nothing.
    """
    if traces is None:
        raise Usage(
            "It is not said over which traces to simulate.",
            "A trace tells when spot was there: a JSON file, as in github.com/skypilot-org/spot-traces.",
            "git clone https://github.com/skypilot-org/spot-traces && hotdesk simulate --traces "
            "spot-traces/availability/1-node/aws-02-15-2023",
        )
    from hotdesk.core.spot.policy import Terms
    from hotdesk.services.simulating import draw, simulate
    from hotdesk.services.simulating import explain as chosen

    if plot:
        from hotdesk.charts import check_suffix

        check_suffix(plot)
    terms = Terms(
        work_seconds=round(work * 3600, 3),
        deadline_seconds=round(deadline * 3600, 3),
        changeover_seconds=round(changeover * 3600, 3),
        usd_on_demand=on_demand,
        usd_spot=spot,
        first_hour_free=first_hour_free,
    )
    found = simulate(
        traces,
        terms,
        policy=policy,
        together=zones == "together",
        windows=asked,
        budget_usd=budget,
        history=history,
        nodes=nodes,
        checkpoint_gib=checkpoint_gib,
        egress_usd_per_gib=egress,
        blind=view == "blind",
        changeover_spread=changeover_spread,
        on_demand_refused=on_demand_refused,
    )
    for note in found.notes:
        render.note(note)
    if found.expected_usd is not None:
        hours = found.terms.deadline_seconds / 3600
        render.note(
            f"${budget:g} should pay for a deadline of {hours:.2f} h: ${found.expected_usd:.2f} are expected."
        )
    if explain and not as_json:
        _explain(chosen(found, window))
        return
    figure = None
    if policy != "optimum" and (plot or not as_json):
        figure = draw(found, window, solid=False)
    if plot and figure:
        from hotdesk.charts import save

        save(draw(found, window, solid=True), plot)
    if as_json:
        render.json(found.study)
        return
    _print(found.study, figure)
    if plot and figure:
        render.echo(f"Drawn into {plot}.")


def _explain(moments: list[Moment]) -> None:
    heads = ["HOUR", "DONE", "SPENT", "PLACE", "WHY"]
    rows = []
    for moment in moments:
        vain = moment.refused
        said = (
            f"; no spot in {', '.join(vain) if len(vain) < 3 else f'{len(vain)} zones asked'}" if vain else ""
        )
        place = moment.place or "none"
        rows.append(
            [f"{moment.hour:.1f}", f"{moment.done_hours:.1f}", f"{moment.usd:.2f}", place, moment.why + said]
        )
    render.echo(render.table(heads, rows, right=heads[:3]))


def _print(found: Study, figure: Figure | None) -> None:
    import sys

    if figure:
        from hotdesk.charts import text

        width = min(render.columns(), 110) if render.columns() < 10_000 else 80
        render.echo(text(figure, width=width, height=16, colour=render.colourful(sys.stdout)))
        render.echo()
    heads = ["TRACE", "RUNS", "UP", "COST", "OPTIMUM", "x OPT", "UNIFORM", "CUTS", "DEAR H", "LATE"]
    rows = [
        [
            row.trace,
            str(row.runs),
            f"{100 * row.availability:.0f}%",
            f"{row.mean_cost_ratio:.4f}",
            f"{row.optimum_cost_ratio:.4f}",
            f"{row.cost_over_optimum:.3f}",
            f"{row.uniform_progress_cost_ratio:.4f}",
            f"{row.interruptions:.1f}",
            f"{100 * row.on_demand_share:.0f}%",
            render.style(str(row.late), *(["red", "bold"] if row.late else [])),
        ]
        for row in found.per_trace
    ]
    right = heads[1:]
    heads, rows, spared = render.fitted(heads, rows, render.columns(), ("CUTS", "DEAR H", "RUNS"))
    render.echo(render.table(heads, rows, right=right))
    render.no_room(spared)
    render.echo()
    for line in _summary(found):
        render.paragraph(line)
    legend = (
        "COST, OPTIMUM (knowing the future) and UNIFORM (Uniform Progress) are shares of what the work alone"
        " costs on-demand."
    )
    render.paragraph(legend, "dim")


def _summary(found: Study) -> list[str]:
    def percent(interval: tuple[float, float]) -> str:
        low, high = sorted(interval)
        return f"(95 %: {100 * low:.1f} to {100 * high:.1f})"

    low, high = found.mean_cost_ratio_ci
    over_low, over_high = found.cost_over_optimum_ci
    saved = f"{100 * (1 - found.mean_cost_ratio):.1f} % saved {percent((1 - low, 1 - high))}"
    spent = f"{render.usd(found.mean_usd)} a run instead of {render.usd(found.on_demand_usd)} on-demand"
    against = f"{100 * found.versus_uniform_progress:+.1f} % against Uniform Progress"
    over = f"{found.cost_over_optimum:.3f} times the optimum (95 %: {over_low:.3f} to {over_high:.3f})"
    tail = (
        f"A quarter of the runs cost more than {found.p75:.3f}, one in a hundred more than {found.p99:.3f}."
    )
    speed = f" A decision takes {found.decision_us:.0f} us." if found.decision_us else ""
    return [
        f"{found.policy}, {found.view}: {spent}: {saved}, {found.late} of {found.runs} late.",
        f"{over}; {against} {percent(found.versus_uniform_progress_ci)}.",
        tail + speed,
    ]
