"""hotdesk bench: how fast a machine trains, measured."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from typing import Any

import click
import msgspec

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.bench_sent import LOADER, packed
from hotdesk.core.errors import HotdeskError, Missing, NotAllowed, Usage

_WORKLOADS = ("all", "copy", "matmul", "input", "vgg16-head", "resnet50", "gpt2")


@click.command(name="bench")
@click.argument("words", nargs=-1, metavar="[NAME | list | compare [WORKLOAD]]")
@click.option(
    "--workload",
    default="all",
    show_default=True,
    metavar="NAMES",
    help=f"Workloads, comma-separated: {', '.join(_WORKLOADS)}.",
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
    _check(given)
    where = words[0] if words else "here"
    document = _at_desk(where, given) if words else _here(given)
    runs = document.get("results", [])
    for run in runs:
        benchmarks.keep(run, where)
    problems = document.get("problems", [])
    if as_json:
        render.json({"results": runs, "problems": problems})
    elif runs:
        _list(runs, False)
    for problem in problems if runs else []:
        render.error(problem["what"], problem["why"], problem["fix"])
    if not runs:
        first = problems[0] if problems else {"what": "Nothing was measured.", "why": "", "fix": ""}
        kind = Missing if "not installed" in first["what"] or "torch" in first["what"] else NotAllowed
        fix = first["fix"] or "hotdesk bench --workload matmul"
        if words and fix.startswith("python -m pip"):
            fix = f"hotdesk ssh {where} -- {fix}"
        raise kind(
            first["what"].replace(" here", f" at {where}") if words else first["what"], first["why"], fix
        )


def _check(given: dict[str, Any]) -> None:
    if not given["items_per_step"] > 0:
        raise Usage(
            f"--items-per-step {given['items_per_step']:g} is impossible.",
            "It must be more than zero.",
            "hotdesk bench --items-per-step 64 ...",
        )
    for name in ("batch", "usd_max", "usd_per_hour", "steps"):
        if given[name] < 0:
            option = "--budget" if name == "usd_max" else f"--{name.replace('_', '-')}"
            raise Usage(
                f"{option} {given[name]:g} is impossible.", "It must not be negative.", "hotdesk bench --help"
            )
    for name in given["workload"].split(","):
        if name not in _WORKLOADS:
            import difflib

            near = difflib.get_close_matches(name, _WORKLOADS, n=1)
            raise Usage(
                f"There is no workload {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
                "There are " + ", ".join(_WORKLOADS) + ".",
                f"hotdesk bench --workload {near[0] if near else 'all'}",
            )


def _argv(given: dict[str, Any], about: dict[str, Any]) -> list[str]:
    """The words behind the program's name."""
    words = ["--json", "--about", msgspec.json.encode(about).decode()]
    for name in (
        "workload",
        "precision",
        "device",
        "batch",
        "seconds_max",
        "usd_max",
        "usd_per_hour",
        "soak",
    ):
        words += [f"--{name.replace('_', '-')}", str(given[name])]
    if given["cmd"]:
        for name in ("cmd", "step_regex", "items_per_step", "steps"):
            words += [f"--{name.replace('_', '-')}", str(given[name])]
    return words


def _here(given: dict[str, Any]) -> dict[str, Any]:
    """Run on this computer, in a Python that has torch where one is found."""
    python = given["python"] or sys.executable
    if not given["cmd"] and not given["python"] and importlib.util.find_spec("torch") is None:
        python = shutil.which("python3") or python
    return _ran([python, "-c", LOADER, *_argv(given, {"provider": "local"})])


def _at_desk(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run at a desk, which gets the program through the connection; nothing is left behind there."""
    from hotdesk.api import Hotdesk
    from hotdesk.connect import ssh

    with Hotdesk() as desks:
        view = desks.show(name)
        access = desks.services.access(name)
    about = {
        "provider": view.provider,
        "instance_type": view.instance_type,
        "region": view.region,
        "zone": view.zone,
        "market": str(view.market),
    }
    given = {**given, "usd_per_hour": given["usd_per_hour"] or view.usd_per_hour}
    words = [given["python"] or "python3", "-c", LOADER, *_argv(given, about)]
    return _ran(ssh.command(access, words))


def _ran(argv: list[str]) -> dict[str, Any]:
    """The program's JSON document; what it says on the way goes to standard error as it comes."""
    try:
        done = subprocess.run(argv, input=packed(), stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise Missing(
            f"{argv[0]} cannot be started.",
            error.strerror or str(error),
            "hotdesk bench --python /path/to/python",
        ) from error
    try:
        document: dict[str, Any] = msgspec.json.decode(done.stdout)
    except msgspec.DecodeError as error:
        raise _Broken(
            f"The measurement ended with {done.returncode} and no result.",
            "Its last words are above.",
            "hotdesk bench --workload matmul --time-limit 30s",
        ) from error
    return document


class _Broken(HotdeskError):
    exit_code = 8


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
