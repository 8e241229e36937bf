"""hotdesk plan: what finishing a job costs and how long it takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage
from hotdesk.core.model import Market, Offer
from hotdesk.core.sizing.gpu import Precision
from hotdesk.core.sizing.makespan import Billing, Startup
from hotdesk.core.sizing.speed import Family
from hotdesk.core.spot.interruptions import Spot

if TYPE_CHECKING:
    from hotdesk.core.sizing.frontier import Answer
    from hotdesk.market.job_model import Around, Job
    from hotdesk.simulate.traces import Trace

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
@click.option(
    "--from", "measured", multiple=True, metavar="GPU=RATE", help="Measured rate in items/s (repeatable)."
)
@click.option(
    "--family",
    type=click.Choice([f.value for f in Family]),
    default="other",
    show_default=True,
    help="Family of the network.",
)
@click.option(
    "--precision",
    type=click.Choice([p.value for p in Precision]),
    default="fp16",
    show_default=True,
    help="Numeric precision of training.",
)
@click.option("--memory-gib", type=float, default=0.0, metavar="GIB", help="GPU memory that the job needs.")
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
@click.option(
    "--market",
    type=click.Choice(["", "on-demand", "spot"]),
    default="",
    metavar="MARKET",
    help="Market: on-demand or spot.  [default: both]",
)
@click.option("--max-usd", type=float, metavar="USD", help="Maximum price per hour.")
@click.option(
    "--workload",
    default="",
    metavar="NAME",
    help="Measured workload that the job resembles; see `hotdesk bench list`.",
)
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

    got = planned(given)
    answer = got.answer
    shown = show(
        answer,
        got.job,
        got.around,
        bare=got.bare,
        shown_lost=_SHOWN_LOST,
        desk=(given["desk_rate"], given["desk_usd"]) if given["desk_rate"] and given["items"] else None,
        traces=_traces(given["traces"]),
    )
    if given["as_json"]:
        render.json(shown.document)
    else:
        render.echo(shown.text)
    _draw(given["picture"], figure, answer, as_json=given["as_json"])
    for line in shown.notes:
        render.note(line)


def _traces(folder: Path | None) -> list[Trace]:
    if folder is None:
        return []
    from hotdesk.cli.commands.simulate import check_numpy
    from hotdesk.simulate.traces import read_traces

    check_numpy()
    return read_traces(folder)


class Planned(NamedTuple):
    answer: Answer
    job: Job
    around: Around
    bare: bool  # no offer was named or known: "a machine"


def planned(given: dict[str, Any], offers: list[Offer] | None = None) -> Planned:
    """The answer to what this command's options ask; over `offers`, where a caller knows which can be had."""
    from hotdesk.core.sizing.frontier import choose
    from hotdesk.market.job_model import place, speeds, terms

    given = dict(given)
    if given["took"] is not None:
        given["work_hours"] = given["took"]
    _check(given)
    chosen = _offers(given) if offers is None else offers
    counts = machine_counts(given["machines"] or ("1..64" if chosen else "1..1000"))
    job, compared = _job(given, chosen)
    around = _around(given)
    answer = choose(
        compared,
        counts,
        speeds(job),
        terms(around),
        deadline_hours=given["deadline_hours"] if given["deadline_hours"] is not None else math.inf,
        budget_usd=given["budget_usd"] if given["budget_usd"] is not None else math.inf,
        place=place(around),
    )
    return Planned(answer, job, around, not chosen)


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


def machine_counts(text: str) -> list[int]:
    """Numbers of machines from "1,10,100" or "1..1000" (the round numbers between). Raises `Usage`."""
    counts: set[int] = set()
    for word in text.replace(" ", "").split(","):
        low, dots, high = word.partition("..")
        ends = (low, high) if dots else (low, low)
        if not all(end.isdigit() and 1 <= int(end) <= 1_000_000 for end in ends) or int(ends[0]) > int(
            ends[1]
        ):
            raise Usage(
                f"{text[:40]!r} are not numbers of machines.",
                "They are whole, from 1 to a million, with commas between, or a range.",
                "hotdesk plan --machines 1,10,100,1000   # or 1..1000",
            )
        first, last = int(ends[0]), int(ends[1])
        counts |= {first, last}
        counts |= {
            m * 10**e for e in range(7) for m in (1, 2, 3, 5, 7) if dots and first <= m * 10**e <= last
        }
    return sorted(counts)


def _check(given: dict[str, Any]) -> None:
    """Raises `Usage` for a deadline in the past and for sizes that mean nothing."""
    deadline = given["deadline_hours"]
    if deadline is not None and not deadline > 0:
        raise Usage(
            f"The deadline lies {-deadline:g} hours in the past." if deadline < 0 else "The deadline is now.",
            "Work that is still to be done takes time.",
            "hotdesk plan --deadline 12 ...",
        )
    least_above_zero = ("work_hours", "items", "epochs", "data_mib_per_second", "desk_rate")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or name == "deadline_hours":
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and name in least_above_zero):
            raise Usage(
                f"--{name.replace('_', '-')} {value:g} is impossible.",
                "Sizes, prices and times are finite and not negative; work is more than zero.",
                "hotdesk plan --work 10 --startup 5 --machines 1,10,100",
            )


def _offers(given: dict[str, Any]) -> list[Offer]:
    """The offers named, or the catalogue's when the job's speed is known somewhere; [] for a bare machine."""
    from hotdesk.market.job_model import parse, read_offers

    offers = parse(given["words"])
    if given["file"]:
        offers += read_offers(given["file"])
        if not offers:
            raise Usage(f"There is no offer in {given['file']}.", "", "hotdesk offers --json > offers.json")
    speed_known = given["measured"] or given["reference"] or given["workload"]
    if offers or not speed_known or given["usd_per_hour"] is not None:
        return offers
    return catalogue(given)


def catalogue(given: dict[str, Any], *, provider: str = "", zone: str = "") -> list[Offer]:
    """The offers that this computer knows and these options allow, less those that were refused lately."""
    from hotdesk.core.lifecycle.history import Past
    from hotdesk.core.matching import Query
    from hotdesk.market.query import search
    from hotdesk.market.refresh import known
    from hotdesk.market.shipped import shipped
    from hotdesk.state.store import Store
    from hotdesk.system import SystemClock, state_folder

    with Store(state_folder()) as store:
        catalog = known(store).catalog
        refused = frozenset(Past(store.rows(limit=500)).refusals(SystemClock().now()))
    query = Query(
        gpu=given["gpu"],
        regions=given["regions"],
        market=given["market"],
        max_usd=given["max_usd"],
        provider=provider,
        zone=zone,
    )
    found = search(catalog, query, unavailable=refused, retired=shipped().gone())
    return catalog.offers(found.rows)


def _job(given: dict[str, Any], offers: list[Offer]) -> tuple[Job, list[Offer]]:
    """The job; and, without offers, one that stands for "a machine"."""
    from hotdesk.cli.commands.predict import words
    from hotdesk.market.job_model import Job

    rates = dict(words(given["measured"]))
    if given["workload"]:
        from hotdesk.market.benchmarks import rates as measured

        rates = {**measured(given["workload"], given["precision"]), **rates}
    work_hours, items = given["work_hours"], given["items"]
    if (work_hours is None) == (items is None):
        raise Usage(
            "The job's size is missing." if items is None else "The job's size is given twice.",
            "It is --work, or --items with measured rates.",
            "hotdesk plan --work 10 --startup 5 --machines 1,10,100",
        )
    if items is not None:
        items *= given["epochs"]
        if not rates:
            raise Usage(
                "The job's speed is missing.",
                f"{items:g} items take as long as the machine needs for them.",
                f"hotdesk plan --items {given['items']:g} --from V100=833 ...   # or measure: hotdesk bench",
            )
    if not offers:
        machine = Offer(
            provider="any",
            region="",
            zone="",
            instance_type="any.machine",
            usd_per_hour=1.0 if given["usd_per_hour"] is None else given["usd_per_hour"],
            market=Market.SPOT if given["as_spot"] else Market.ON_DEMAND,
        )
        offers = [machine]
        rates = {machine.instance_type: 1.0 if items is None else next(iter(rates.values()))}
        items = work_hours * 3600 if items is None else items
    elif work_hours is not None:
        if not given["reference"]:
            raise Usage(
                "It is not said where the work takes so many hours.",
                "Offers can be compared only from a speed on one GPU or instance type.",
                f"hotdesk plan --work {work_hours:g} --on V100 ...",
            )
        items = work_hours * 3600
        rates = {given["reference"]: 1.0, **rates}
    job = Job(
        items=items,
        rates=rates,
        family=Family(given["family"]),
        precision=Precision(given["precision"]),
        memory_gib=given["memory_gib"],
        tasks=given["tasks"],
        synchronous=not given["divisible"],
        efficiency_at_2=given["efficiency"],
    )
    return job, offers


def _around(given: dict[str, Any]) -> Around:
    from hotdesk.market.job_model import Around

    quantum = {"second": 1.0, "minute": 60.0, "hour": 3600.0}[given["billing"]]
    least = given["minimum_seconds"]
    minutes = given["startup_minutes"]
    startup = Startup() if minutes is None else Startup(boot=minutes * 60, image=0.0)
    return Around(
        startup=startup,
        data_gib=given["data_gib"],
        data_files=given["data_files"],
        data_region=given["data_region"],
        mib_per_second=given["data_mib_per_second"],
        out_gib=given["out_gib"],
        storage_usd=given["storage_usd"],
        billing=Billing(
            quantum_seconds=quantum, minimum_seconds=max(quantum, 60.0) if least is None else least
        ),
        spot=Spot(
            interruptions_per_hour=given["interruptions_per_hour"],
            wait_hours=given["wait_minutes"] / 60,
            restart_hours=startup.hours,
            checkpoint_seconds=None if given["no_checkpoints"] else given["checkpoint_seconds"],
            notice_seconds=given["notice_seconds"],
        ),
        quota=given["quota"],
    )
