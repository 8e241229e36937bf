"""hotdesk plan: what finishing a job costs and how long it takes."""

from __future__ import annotations

import math
import re
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
@click.option(
    "--work",
    "work_hours",
    type=options.Length("h"),
    metavar="TIME",
    help="Machine time: 40h; with --on, on that GPU.",
)
@click.option("--took", metavar="TIME", help='The same as a time: "48 min", "3.5 h"; with --on GPU.')
@click.option("--on", "reference", metavar="GPU", default="", help="Where --work was seen or guessed.")
@click.option("--items", type=float, help="Items in all (or in an epoch), with rates given by --from.")
@click.option("--epochs", type=float, default=1.0, show_default=True, help="How often all items are seen.")
@click.option(
    "--from", "measured", multiple=True, metavar="GPU=RATE", help="A measured rate, items/s; repeat it."
)
@click.option(
    "--family",
    type=click.Choice([f.value for f in Family]),
    default="other",
    show_default=True,
    help="Kind of network.",
)
@click.option(
    "--precision",
    type=click.Choice([p.value for p in Precision]),
    default="fp16",
    show_default=True,
    help="How it multiplies.",
)
@click.option("--memory-gib", type=float, default=0.0, help="Needed on the GPU.")
@click.option("--machines", default="", metavar="N,N,…", help="Numbers of machines: 1,10,100 or 1..1000.")
@click.option("--divisible/--synchronous", default=True, help="Independent pieces, or one job in step.")
@click.option("--tasks", type=int, default=0, help="Divisible into so many equal pieces.")
@click.option(
    "--efficiency", type=float, default=0.0, help="In step: share of linear speed, measured with 2."
)
@click.option(
    "--startup",
    "startup_minutes",
    type=options.Length("m"),
    metavar="TIME",
    help="Order to first step, without the data.",
)
@click.option("--data-gib", type=float, default=0.0, help="Data to bring to each machine.")
@click.option("--data-files", type=int, default=0, help="In so many files: small ones take longer.")
@click.option("--data-region", default="", help="The region where the data lies.")
@click.option(
    "--data-mib-per-second", type=float, default=100.0, show_default=True, help="How fast it comes."
)
@click.option("--out-gib", type=float, default=0.0, help="Results to bring away (paid by the GiB).")
@click.option("--storage-usd", type=float, default=0.0, help="Images, volumes and snapshots kept meanwhile.")
@click.option(
    "--deadline",
    "deadline_hours",
    type=options.Length("h"),
    metavar="TIME",
    help="From now, kept in 9 of 10 cases: 18h.",
)
@click.option(
    "--budget",
    "budget_usd",
    type=float,
    metavar="USD",
    help="Maximum cost, kept in 9 of 10 cases.",
)
@click.option("--usd-per-hour", type=float, help="The price of a machine, without offers; 1 if not given.")
@click.option(
    "--offer", "words", multiple=True, metavar="TYPE:GPU[xN]:USD[:spot]", help="An offer; repeat it."
)
@click.option(
    "--offers", "file", type=click.Path(dir_okay=False, path_type=Path), help="Offers in a JSON file."
)
@click.option("--gpu", multiple=True, help="Of the catalogue's offers, those with this GPU; repeat it.")
@click.option("--region", "regions", multiple=True, help="... in this region (us-*); repeat it.")
@click.option(
    "--market",
    type=click.Choice(["", "on-demand", "spot"]),
    default="",
    metavar="MARKET",
    help="on-demand or spot.",
)
@click.option("--max-usd", type=float, help="Dollars an hour at most.")
@click.option("--workload", default="", help="The job is like this measured workload: hotdesk bench list.")
@click.option("--desk-rate", type=float, help="Items/s at the desk at hand: from how many items to move.")
@click.option("--desk-usd", type=float, default=0.0, help="What the desk at hand costs an hour.")
@click.option(
    "--billing",
    type=click.Choice(["second", "minute", "hour"]),
    default="second",
    show_default=True,
    help="What is begun is paid.",
)
@click.option("--minimum-seconds", type=float, help="Paid at least; 60 by the second, else one unit.")
@click.option("--quota", type=int, default=0, help="Machines that the account allows.")
@click.option("--spot", "as_spot", is_flag=True, help="Without offers: the machine is a spot machine.")
@click.option(
    "--interruptions-per-hour", type=float, default=0.4, show_default=True, help="Of a spot machine."
)
@click.option(
    "--wait",
    "wait_minutes",
    type=options.Length("m"),
    default=36.0,
    metavar="TIME",
    help="For a new spot machine. [36m]",
)
@click.option("--checkpoint-seconds", type=float, default=30.0, show_default=True, help="What saving takes.")
@click.option("--no-checkpoints", is_flag=True, help="The job saves nothing: a loss starts it again.")
@click.option("--notice-seconds", type=float, default=0.0, help="Warning in which the job saves itself.")
@click.option(
    "--traces", type=click.Path(path_type=Path), help="Also live through spot as recorded in these traces."
)
@click.option(
    "--plot",
    "picture",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Draw here, or into FILE: .svg .png .html.",
)
@options.as_json
def command(**given: Any) -> None:
    """What finishing a job costs and how long it takes, door to door, on 1 machine or on 1000.

    \b
    hotdesk plan --work 1000h --startup 5m --machines 1,10,100,1000
    hotdesk plan --items 25000 --epochs 20 --from V100=833 --from A100=1396 --family cnn \\
        --offer p3.2xlarge:V100:3.06 --offer g6.xlarge:L4:0.805 --budget 20

    The first needs nothing: no account, no measurement. It shows where "1000 machines for an hour cost what
    1 machine costs for 1000" holds and where it breaks. The second compares offers and answers three times:
    the cheapest, the fastest within the budget, and the knee, beyond which speed costs more than it brings.
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
        given["work_hours"] = _hours(given["took"])
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


def _hours(text: str) -> float:
    """Hours out of "48 min", "90s", "3.5 h", "2 d". Raises `Usage`."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*(s|sec|min|m|h|hours?|d|days?)\s*", text)
    try:
        return float(found[1]) * {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}[found[2][0]]  # type: ignore[index]
    except (TypeError, ValueError):
        raise Usage(
            f"{text[:40]!r} is not a time.", "It is a number and a unit: s, min, h or d.", '--took "48 min"'
        ) from None


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
    from hotdesk.market.query import Query, search
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
