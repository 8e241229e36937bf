"""hotdesk bench: how fast a machine trains, measured."""

from __future__ import annotations

from typing import Any

import click

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage
from hotdesk.services.measuring import WORKLOADS, BenchRequest


@click.command(name="bench")
@click.argument("words", nargs=-1, metavar="[NAME | list | compare [WORKLOAD]]")
@click.option(
    "--workload",
    default="all",
    show_default=True,
    metavar="NAMES",
    help=f"Workloads, comma-separated: {', '.join(WORKLOADS)}.",
)
@click.option(
    "--cmd", default="", metavar="COMMAND", help="Measure your own job, timed by the lines it prints."
)
@click.option(
    "--step-regex",
    default=r"step\D*(\d+)",
    show_default=True,
    metavar="REGEX",
    help="Pattern of the line that --cmd prints after each step.",
)
@click.option(
    "--items-per-step",
    type=float,
    default=1.0,
    show_default=True,
    metavar="N",
    help="Items (images, tokens) in one step of --cmd.",
)
@click.option(
    "--steps", type=int, default=20, show_default=True, metavar="N", help="Minimum number of steps of --cmd."
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    metavar="NAMES",
    help="Numeric precisions, comma-separated: fp32, tf32, bf16, fp16.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto",
    show_default=True,
    help="Device to measure.",
)
@click.option(
    "--batch", type=int, default=0, metavar="N", help="Batch size.  [default: the fastest that fits]"
)
@click.option(
    "--time-limit",
    "seconds_max",
    type=options.Length("s", positive=True),
    default="5m",
    show_default=True,
    help="Maximum time for all measurements.",
)
@click.option(
    "--budget",
    "usd_max",
    type=float,
    default=0.0,
    metavar="USD",
    help="Maximum cost; the price must be known.  [default: none]",
)
@click.option(
    "--usd-per-hour",
    type=float,
    default=0.0,
    metavar="USD",
    help="Price of the machine per hour, if hotdesk does not know it.",
)
@click.option(
    "--soak",
    type=options.Length("s", low=0),
    default="0s",
    show_default=True,
    help="Minimum time per network, to detect thermal throttling.",
)
@click.option("--python", default="", metavar="PATH", help="Python interpreter that has torch.")
@options.as_json
def command(words: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Measure how fast a machine trains: this computer, or the desk NAME.

    \b
    hotdesk bench                        this computer, all workloads
    hotdesk bench blue --workload gpt2   the desk "blue"
    hotdesk bench --cmd "python train.py" --step-regex "step (\\d+)" --items-per-step 64
    hotdesk bench list | compare         what was measured

    Each rate has a confidence band. A run that slowed down, or shared the machine with busy programs, is
    kept and marked, but predictions do not use it. --time-limit and --budget cap a measurement.
    """
    from hotdesk.market import benchmarks

    if words[:1] == ("list",):
        _list(benchmarks.load(), as_json)
        return
    if words[:1] == ("compare",):
        _compare(words[1:], as_json)
        return
    if len(words) > 1:
        raise Usage("Only one desk is measured at a time.", " ".join(words)[:80], f"hotdesk bench {words[0]}")
    with Hotdesk() as desks:
        got = desks.bench(words[0] if words else None, BenchRequest(**given))
    if as_json:
        render.json({"results": got.results, "problems": got.problems})
    else:
        _list(list(got.results), False)
    for problem in got.problems:
        render.error(problem["what"], problem["why"], problem["fix"])


def _list(runs: list[dict[str, Any]], as_json: bool) -> None:
    from hotdesk.market.benchmarks import machine_of

    if as_json:
        render.json({"runs": runs})
        return
    if not runs:
        render.echo("Nothing was measured yet.")
        render.echo("  " + render.style("hotdesk bench", "cyan"))
        return
    rows = []
    for run in runs:
        result, workload, conditions = run["result"], run["workload"], run["conditions"]
        batch = f"batch {workload['batch']}" if workload.get("batch") else ""
        rows.append(
            [
                " ".join(filter(None, (workload["name"], workload.get("precision", ""), batch))),
                machine_of(run),
                f"{_short(result['items_per_s'])} {result['unit']}/s",
                f"{_short(result['ci95_low'])} to {_short(result['ci95_high'])}",
                f"{result['mfu']:.0%}" if result.get("mfu") else "",
                "ok" if conditions.get("valid") else render.style(_why_not(run), "yellow"),
            ]
        )
    heads = ["workload", "machine", "rate", "95 %", "of peak", ""]
    render.echo(render.table(heads, rows, right=("rate", "of peak")))


def _why_not(run: dict[str, Any]) -> str:
    """Why a run is not used; beside other programs, what its processor time alone would come to."""
    reasons = "; ".join(run["conditions"].get("reasons", []))
    alone = run["result"].get("items_per_s_if_alone")
    if not run["conditions"].get("contended") or not alone:
        return f"not used: {reasons}"
    return f"not used: alone about {_short(alone)} {run['result']['unit']}/s; {reasons}"


def _compare(words: tuple[str, ...], as_json: bool) -> None:
    from hotdesk.market import benchmarks

    found = benchmarks.compare(benchmarks.load(), words[0] if words else "")
    if as_json:
        render.json({"compared": found})
        return
    if not found:
        render.echo("There is no usable measurement" + (f" of {words[0]}." if words else "."))
        render.echo("  " + render.style("hotdesk bench", "cyan"))
        return
    fastest: dict[tuple[str, str], float] = {}
    for one in found:
        fastest.setdefault((one.workload, one.precision), one.rate)
    rows = [
        [
            f"{one.workload} {one.precision}".rstrip(),
            one.machine,
            f"{_short(one.rate)} {one.unit}/s",
            f"{_short(one.low)} to {_short(one.high)}",
            f"{one.rate / fastest[one.workload, one.precision]:.2f}",
            f"{one.runs} runs" + (f", {one.left_out} not used" if one.left_out else ""),
        ]
        for one in found
    ]
    render.echo(
        render.table(["workload", "machine", "rate", "band", "of best", ""], rows, right=("rate", "of best"))
    )


def _short(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
