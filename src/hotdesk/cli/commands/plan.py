"""hotdesk plan: what finishing a job costs and how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import job_options, options, render
from hotdesk.core.sizing.speed import Family
from hotdesk.providers import registry
from hotdesk.services.planning import PlanRequest

_SHOWN_LOST = 12


@click.command(name="plan")
@click.option("--work", "work_hours", type=options.Length("h"), help="Run time on one machine: 40h.")
@click.option("--took", type=options.Length("h"), help="Run time measured on the GPU of --on: 48m, 3.5h.")
@click.option(
    "--on",
    "reference",
    metavar="GPU",
    default="",
    help="GPU or instance type that --work or --took is about.",
)
@click.option(
    "--items",
    type=float,
    metavar="N",
    help="Number of items to process, at the rates of --from or --workload.",
)
@click.option(
    "--epochs", type=float, default=1.0, show_default=True, metavar="N", help="Number of passes over --items."
)
@job_options.measured
@click.option(
    "--family",
    type=click.Choice([f.value for f in Family]),
    default="other",
    show_default=True,
    help="Family of the network.",
)
@job_options.precision
@job_options.memory
@click.option("--machines", default="", metavar="N,N,…", help="Numbers of machines: 1,10,100 or 1..1000.")
@click.option(
    "--divisible/--synchronous",
    default=True,
    show_default=True,
    help="Split the job into independent parts, or train it in lockstep.",
)
@click.option("--tasks", type=int, default=0, metavar="N", help="Number of equal parts of a divisible job.")
@click.option(
    "--efficiency",
    type=float,
    default=0.0,
    metavar="SHARE",
    help="Measured scaling efficiency of 2 machines in lockstep, 0 to 1.",
)
@click.option(
    "--startup",
    "startup_minutes",
    type=options.Length("m"),
    help="Time from launch to first step, without loading data: 5m.",
)
@click.option(
    "--data-gib", type=float, default=0.0, metavar="GIB", help="Size of the data that each machine loads."
)
@click.option(
    "--data-files", type=int, default=0, metavar="N", help="Number of data files; small files load slower."
)
@click.option("--data-region", default="", metavar="REGION", help="Region that holds the data.")
@click.option(
    "--data-mib-per-second",
    type=float,
    default=100.0,
    show_default=True,
    metavar="MIB/S",
    help="Download speed of the data.",
)
@click.option("--out-gib", type=float, default=0.0, metavar="GIB", help="Size of the results to download.")
@click.option(
    "--storage-usd",
    type=float,
    default=0.0,
    metavar="USD",
    help="Cost of images, volumes and snapshots kept meanwhile.",
)
@click.option(
    "--deadline", "deadline_hours", type=options.Length("h"), help="Latest end from now, with 90 % odds: 18h."
)
@click.option("--budget", "budget_usd", type=float, metavar="USD", help="Maximum cost, with 90 % odds.")
@click.option(
    "--usd-per-hour",
    type=float,
    metavar="USD",
    help="Price of a machine per hour, when no offers are compared.  [default: 1]",
)
@click.option(
    "--offer",
    "words",
    multiple=True,
    metavar="TYPE:GPU[xN]:USD[:spot]",
    help="Offer to compare (repeatable).",
)
@click.option(
    "--offers",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="JSON file of offers to compare, from `hotdesk offers --json`.",
)
@click.option(
    "--gpu", multiple=True, metavar="GPU", help="Compare known offers of this GPU only (repeatable)."
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="Compare known offers in this region or glob, such as us-* (repeatable).",
)
@options.provider("Compare known offers of this cloud only: {names}.")
@click.option(
    "--market",
    type=click.Choice(["", "on-demand", "spot"]),
    default="",
    metavar="MARKET",
    help="Market: on-demand or spot.  [default: both]",
)
@click.option("--max-usd", type=float, metavar="USD", help="Maximum price per hour.")
@job_options.workload
@click.option(
    "--desk-rate",
    type=float,
    metavar="RATE",
    help="Items/s on your present desk: shows from how many items moving pays.",
)
@click.option(
    "--desk-usd", type=float, default=0.0, metavar="USD", help="Price of your present desk per hour."
)
@click.option(
    "--billing",
    type=click.Choice(["second", "minute", "hour"]),
    default="second",
    show_default=True,
    help="Billing unit; a started unit is charged in full.",
)
@click.option(
    "--billing-minimum",
    "minimum_seconds",
    type=options.Length("s"),
    help="Minimum billed time.  [default: 60s, or one billing unit if longer]",
)
@click.option(
    "--quota", type=int, default=0, metavar="N", help="Number of machines that the account's quota allows."
)
@click.option("--spot", "as_spot", is_flag=True, help="Assume a spot machine, when no offers are compared.")
@click.option(
    "--interruptions-per-hour",
    type=float,
    default=0.4,
    show_default=True,
    metavar="N",
    help="Interruption rate of a spot machine.",
)
@click.option(
    "--wait",
    "wait_minutes",
    type=options.Length("m"),
    default="36m",
    show_default=True,
    help="Time to get a new spot machine.",
)
@click.option(
    "--checkpoint-time",
    "checkpoint_seconds",
    type=options.Length("s"),
    default="30s",
    show_default=True,
    help="Time to write a checkpoint.",
)
@click.option(
    "--no-checkpoints", is_flag=True, help="Assume no checkpoints: an interruption restarts the job."
)
@click.option(
    "--notice",
    "notice_seconds",
    type=options.Length("s"),
    default="0s",
    show_default=True,
    help="Warning before an interruption in which the job saves a checkpoint.",
)
@click.option(
    "--traces",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Simulate spot over these recorded traces as well: a file, or a folder.",
)
@click.option(
    "--plot",
    "picture",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Draw in the terminal, or into FILE: .svg, .png or .html.",
)
@options.as_json
def command(**given: Any) -> None:
    """Plan a job: its total cost and time, from launch to saved results, on 1 machine or on 1000.

    \b
    hotdesk plan --work 1000h --startup 5m --machines 1,10,100,1000
    hotdesk plan --items 25000 --epochs 20 --from V100=833 --from A100=1396 --family cnn \\
        --offer p3.2xlarge:V100:3.06 --offer g6.xlarge:L4:0.805 --budget 20

    The first example needs no account and no measurement. It shows where "1000 machines for an hour cost the
    same as 1 machine for 1000 hours" holds and where it breaks. The second compares offers and gives three
    answers: the cheapest, the fastest within the budget, and the knee, beyond which more speed costs more
    than it is worth.
    """
    from hotdesk.cli.ui.plan_shown import figure, show

    picture, as_json = given.pop("picture"), given.pop("as_json")
    with Hotdesk() as desks:
        got = desks.plan(asked(given))
    shown = show(got, shown_lost=_SHOWN_LOST)
    if as_json:
        render.json(shown.document)
    else:
        render.echo(shown.text)
    _draw(picture, figure, got.answer, as_json=as_json)
    for line in shown.notes:
        render.note(line)


def asked(given: dict[str, Any]) -> PlanRequest:
    """The request that this command's options make."""
    took = given.pop("took")
    if provider := given.pop("provider"):
        registry.known(provider, "hotdesk plan")
    work = given["work_hours"] if took is None else took
    return PlanRequest(**{**given, "work_hours": work, "provider": provider or ""})


def _draw(picture: str | None, figure: Any, answer: Any, *, as_json: bool) -> None:
    if picture is None:
        return
    from hotdesk import charts

    drawing = figure(answer)
    if picture != "-":
        charts.save(drawing, Path(picture))
        render.note(f"drawn in {picture}")
    elif not as_json:
        import sys

        width = min(render.columns(), 100)
        render.echo()
        render.echo(charts.text(drawing, width=width, colour=render.colourful(sys.stdout)))
