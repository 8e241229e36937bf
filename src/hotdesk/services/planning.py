"""Planning: what finishing a job costs and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import field
from msgspec.structs import asdict, replace

from hotdesk.core.errors import NotAllowed, Unknown, Usage
from hotdesk.core.model import Market, Offer, Value
from hotdesk.core.money import Money, judge
from hotdesk.core.sizing.frontier import Answer, Choice, Terms
from hotdesk.core.sizing.gpu import Precision
from hotdesk.core.sizing.makespan import Billing, Startup
from hotdesk.core.sizing.speed import Family
from hotdesk.core.spot.interruptions import Spot
from hotdesk.market.job_model import Around, Job
from hotdesk.services.predicting import words

if TYPE_CHECKING:
    from hotdesk.core.spot import uptimes
    from hotdesk.simulate.traces import Trace
    from hotdesk.state.store import Store

LIVES = 400  # of a simulated spot machine
MOST_LOSSES = 500  # in a life: with more, chance evens out and the formula is enough


class PlanRequest(Value, frozen=True):
    """A job, and what it may run on. Money in US dollars, sizes in GiB; None: not said.

    Its size is `work_hours` (on the GPU or instance type `reference`), or `items` with `measured` rates.
    """

    work_hours: float | None = None
    reference: str = ""
    items: float | None = None
    epochs: float = 1.0
    measured: tuple[str, ...] = ()  # "V100=833": a GPU, and items a second there
    family: str = "other"  # cnn | transformer | other
    precision: str = "fp16"  # fp16 | bf16 | tf32 | fp32
    memory_gib: float = 0.0  # needed on the GPU
    machines: str = ""  # "1,10,100", or "1..1000"; "": 1..64, without offers 1..1000
    divisible: bool = True  # independent pieces; else one job in step
    tasks: int = 0  # so many equal pieces; 0: any
    efficiency: float = 0.0  # in step: share of linear speed with 2 machines; 0: not measured
    startup_minutes: float | None = None  # from the order to the first step, without the data
    data_gib: float = 0.0  # to bring to each machine
    data_files: int = 0
    data_region: str = ""
    data_mib_per_second: float = 100.0
    out_gib: float = 0.0  # to bring away
    storage_usd: float = 0.0  # kept meanwhile
    deadline_hours: float | None = None  # from now, kept in 9 of 10 cases
    budget_usd: float | None = None  # likewise
    usd_per_hour: float | None = None  # of a machine, without offers; 1 where it is not said
    offers: tuple[Offer, ...] | None = None  # those to compare; None: as the fields below say
    words: tuple[str, ...] = ()  # "p3.2xlarge:V100:3.06[:spot]"
    file: Path | None = None  # offers as `hotdesk offers --json` prints them
    gpu: tuple[str, ...] = ()  # of the catalogue's offers, those with these
    regions: tuple[str, ...] = ()
    market: str = ""  # on-demand | spot | ""
    max_usd: float | None = None  # an hour
    provider: str = ""
    zone: str = ""
    workload: str = ""  # the job is like this measured one
    billing: str = "second"  # second | minute | hour: a started unit is charged in full
    minimum_seconds: float | None = None
    quota: int = 0  # machines that the account allows; 0: not known
    as_spot: bool = False  # without offers: the machine is a spot machine
    interruptions_per_hour: float = 0.4
    wait_minutes: float = 36.0  # for a new spot machine
    checkpoint_seconds: float = 30.0
    no_checkpoints: bool = False
    notice_seconds: float = 0.0  # in which the job saves itself
    desk_rate: float | None = None  # items a second at the desk at hand
    desk_usd: float = 0.0  # what that costs an hour
    traces: Path | None = None  # recorded spot, to live through as well


class PlanAnswer(Value, frozen=True):
    """The answer to a plan, and what it rests on."""

    answer: Answer
    job: Job
    around: Around
    bare: bool  # no offer was named or known: "a machine"
    simulated: dict[str, Any]  # by answer ("cheapest", ...): see `simulated`
    desk: tuple[float, float] | None = None  # the desk at hand: items a second, US dollars an hour
    left_out: Mapping[str, int] = field(
        default_factory=dict
    )  # offers refused lately, or without a price in dollars, by reason


def plan_job(
    request: PlanRequest,
    store: Callable[[], Store],
    now: float,
    *,
    money: Money = Money(),
    simulate: bool = True,
) -> PlanAnswer:
    """What finishing a job costs and how long it takes: the cheapest, the fastest and the knee.

    `store` is asked for what this computer knows of prices and refusals. `simulate`: answers on spot are
    lived through many times. Raises `Usage` for what cannot be or is
    missing, `Unknown` for GPUs and types that there are not, `NotAllowed` where prices in US dollars are
    not known.
    """
    from hotdesk.core.sizing.frontier import choose
    from hotdesk.market.job_model import place, speeds, terms

    _check(request)
    chosen, left_out = _offers(request, store, now, money)
    counts = machine_counts(request.machines or ("1..64" if chosen else "1..1000"))
    for offer in chosen:
        judge(offer.told_per_hour, "A plan in US dollars")
    job, compared = _job(request, chosen)
    around = _around(request)
    answer = choose(
        compared,
        counts,
        speeds(job),
        _within_reserved(terms(around), now),
        deadline_hours=request.deadline_hours if request.deadline_hours is not None else math.inf,
        budget_usd=request.budget_usd if request.budget_usd is not None else math.inf,
        place=place(around),
    )
    desk = (request.desk_rate, request.desk_usd) if request.desk_rate and request.items else None
    traces = _traces(request.traces) if simulate else []
    lives = _simulations(answer, job, around, traces, bare=not chosen) if simulate else {}
    return PlanAnswer(
        answer=answer,
        job=job,
        around=around,
        bare=not chosen,
        simulated=lives,
        desk=desk,
        left_out=left_out,
    )


def _within_reserved(of: Callable[[Offer], Terms], now: float) -> Callable[[Offer], Terms]:
    """What an offer adds to the work; of one that is reserved, for as many machines and as long as it is."""

    def limited(offer: Offer) -> Terms:
        if not offer.reservation:
            return of(offer)
        ends = offer.ends_at or offer.reserved_until
        hours = (ends - now) / 3600 if ends else math.inf
        return replace(of(offer), room=max(1, offer.free), most_hours=hours)

    return limited


def _traces(folder: Path | None) -> list[Trace]:
    if folder is None:
        return []
    from hotdesk.simulate.traces import check_numpy, read_traces

    check_numpy()
    return read_traces(folder)


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


def _check(request: PlanRequest) -> None:
    """Raises `Usage` for a deadline in the past and for sizes that mean nothing."""
    deadline = request.deadline_hours
    if deadline is not None and not deadline > 0:
        raise Usage(
            f"The deadline lies {-deadline:g} hours in the past." if deadline < 0 else "The deadline is now.",
            "Work that is still to be done takes time.",
            "hotdesk plan --deadline 12 ...",
        )
    least_above_zero = ("work_hours", "items", "epochs", "data_mib_per_second", "desk_rate")
    for name, value in asdict(request).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or name == "deadline_hours":
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and name in least_above_zero):
            raise Usage(
                f"--{name.replace('_', '-')} {value:g} is impossible.",
                "Sizes, prices and times are finite and not negative; work is more than zero.",
                "hotdesk plan --work 10 --startup 5 --machines 1,10,100",
            )


def _offers(request: PlanRequest, store: Callable[[], Store], now: float, money: Money) -> Candidates:
    """The offers named, or the catalogue's when the job's speed is known somewhere; [] for a bare machine."""
    from hotdesk.market.job_model import parse, read_offers

    if request.offers is not None:
        return Candidates(list(request.offers))
    offers = parse(request.words)
    if request.file:
        offers += read_offers(request.file)
        if not offers:
            raise Usage(f"There is no offer in {request.file}.", "", "hotdesk offers --json > offers.json")
    speed_known = request.measured or request.reference or request.workload
    if offers or not speed_known or request.usd_per_hour is not None:
        return Candidates(offers)
    return catalogue(request, store(), now, money)


class Candidates(NamedTuple):
    """The offers that a plan compares."""

    offers: list[Offer]
    left_out: Mapping[
        str, int
    ] = {}  # how many fit, but were refused lately or have no price in dollars, by reason


def catalogue(request: PlanRequest, store: Store, now: float, money: Money) -> Candidates:
    """The offers that this computer knows and a request allows, less those that were refused lately, and
    those whose price in US dollars is not known. Raises `NotAllowed` where that leaves none.
    """
    from hotdesk.core.matching import Query
    from hotdesk.market.query import fitting_reserved, with_reserved
    from hotdesk.market.refresh import known
    from hotdesk.market.refused import lately, left_out
    from hotdesk.market.shipped import shipped

    here = known(store, money)
    catalog = here.catalog
    query = Query(
        gpu=request.gpu,
        regions=request.regions,
        market=request.market,
        max_usd=request.max_usd,
        provider=request.provider,
        zone=request.zone,
    )
    reserved = fitting_reserved(catalog, query, here.reserved, now)
    found = with_reserved(
        reserved, catalog, query, refused=lately(store, now), retired=shipped().gone(), in_dollars=True
    )
    if not found.rows and not reserved:
        raise NotAllowed(
            "No offer that fits can be planned with.",
            f"Left out: {left_out(found.left_out)}.",
            "hotdesk offers --all   # shows them",
        )
    return Candidates([*reserved, *catalog.offers(found.rows)], found.left_out)


def _job(request: PlanRequest, offers: list[Offer]) -> tuple[Job, list[Offer]]:
    """The job; and, without offers, one that stands for "a machine"."""
    rates = dict(words(request.measured))
    if request.workload:
        from hotdesk.market.benchmarks import rates as measured

        rates = {**measured(request.workload, request.precision), **rates}
    work_hours, items = request.work_hours, request.items
    if (work_hours is None) == (items is None):
        raise Usage(
            "The job's size is missing." if items is None else "The job's size is given twice.",
            "It is --work, or --items with measured rates.",
            "hotdesk plan --work 10 --startup 5 --machines 1,10,100",
        )
    if items is not None:
        items *= request.epochs
        if not rates:
            raise Usage(
                "The job's speed is missing.",
                f"{items:g} items take as long as the machine needs for them.",
                f"hotdesk plan --items {request.items:g} --from V100=833 ...   # or measure: hotdesk bench",
            )
    if not offers:
        machine = Offer(
            provider="any",
            region="",
            zone="",
            instance_type="any.machine",
            usd_per_hour=1.0 if request.usd_per_hour is None else request.usd_per_hour,
            market=Market.SPOT if request.as_spot else Market.ON_DEMAND,
        )
        offers = [machine]
        rates = {machine.instance_type: 1.0 if items is None else next(iter(rates.values()))}
        items = (work_hours or 0.0) * 3600 if items is None else items
    elif items is None:
        assert work_hours is not None
        if not request.reference:
            raise Usage(
                "It is not said where the work takes so many hours.",
                "Offers can be compared only from a speed on one GPU or instance type.",
                f"hotdesk plan --work {work_hours:g} --on V100 ...",
            )
        items = work_hours * 3600
        rates = {_todays(request.reference): 1.0, **rates}
    job = Job(
        items=items,
        rates=rates,
        family=Family(request.family),
        precision=Precision(request.precision),
        memory_gib=request.memory_gib,
        tasks=request.tasks,
        synchronous=not request.divisible,
        efficiency_at_2=request.efficiency,
    )
    return job, offers


def _todays(reference: str) -> str:
    """The GPU of a retired type, whose rates are known by that; else what was named. Raises `Unknown`."""
    from hotdesk.market.shipped import shipped

    gone = shipped().gone().get(reference)
    if gone is None:
        return reference
    if not gone.machine.gpu or gone.machine.gpu_count != 1:
        raise Unknown(
            gone.words, "Its speed cannot be told from that of one GPU.", "hotdesk plan … --on V100"
        )
    return gone.machine.gpu


def _around(request: PlanRequest) -> Around:
    quantum = {"second": 1.0, "minute": 60.0, "hour": 3600.0}[request.billing]
    least = request.minimum_seconds
    minutes = request.startup_minutes
    startup = Startup() if minutes is None else Startup(boot=minutes * 60, image=0.0)
    return Around(
        startup=startup,
        data_gib=request.data_gib,
        data_files=request.data_files,
        data_region=request.data_region,
        mib_per_second=request.data_mib_per_second,
        out_gib=request.out_gib,
        storage_usd=request.storage_usd,
        billing=Billing(
            quantum_seconds=quantum, minimum_seconds=max(quantum, 60.0) if least is None else least
        ),
        spot=Spot(
            interruptions_per_hour=request.interruptions_per_hour,
            wait_hours=request.wait_minutes / 60,
            restart_hours=startup.hours,
            checkpoint_seconds=None if request.no_checkpoints else request.checkpoint_seconds,
            notice_seconds=request.notice_seconds,
        ),
        quota=request.quota,
    )


# ---- simulation ----------------------------------------------------------------------------------------


def _simulations(
    answer: Answer, job: Job, around: Around, traces: Sequence[Trace], *, bare: bool
) -> dict[str, Any]:
    """Simulations of the answers that are on spot, by answer."""
    plans = answer.plans if bare else answer.front
    if not around.spot or all(c.offer.market is not Market.SPOT for c in plans):
        return {}
    rate, found = around.spot.interruptions_per_hour, dict[str, Any]()
    for name in ("cheapest", "fastest", "knee"):
        choice: Choice | None = getattr(answer, name)
        if choice is None or choice.offer.market is not Market.SPOT:
            continue
        machines = choice.finish.machines if job.synchronous else 1
        if 0 < rate * choice.finish.hours * machines <= MOST_LOSSES:
            found[name] = simulated(choice, around.spot, job, traces)
    return found


def simulated(choice: Choice, spot: Spot, job: Job, traces: Sequence[Trace]) -> dict[str, Any]:
    """Simulate the plan's machine many times: mean, 5 %, 95 % and median of its hours, and of those paid.

    Beside the losses at random that the formula takes: spot that comes and goes as recorded in 2022, and over
    the traces given. Machines in step are lost together there, as they mostly are.
    """
    from hotdesk.core.spot import uptimes
    from hotdesk.core.spot.interruptions import lived
    from hotdesk.system import dice

    done = choice.finish
    draw = dice(1)
    losses = spot.interruptions_per_hour * (done.machines if job.synchronous else 1)
    restarting = replace(spot, restart_hours=max(spot.restart_hours, choice.startup_hours))
    kinds: dict[str, Callable[[], uptimes.Spells]] = {
        "at_random": lambda: uptimes.at_random(losses, spot.wait_hours, draw.expovariate),
        "as_in_2022": lambda: uptimes.as_recorded(draw.random),
    }
    places = [(t, n) for t in traces for n, there in enumerate(t.up.tolist()) if there]
    if places:
        rows = {t.name: (t.up.tolist(), t.tick_seconds / 3600) for t in traces}

        def over_traces() -> uptimes.Spells:
            trace, begin = draw.choice(places)
            return uptimes.of_trace(*rows[trace.name], begin)

        kinds["over_traces"] = over_traces
    told: dict[str, Any] = {"formula": {"hours": done.hours_mean, "billed_hours_each": done.billed_hours}}
    for kind, begin in kinds.items():
        lives = [
            lived(choice.work_hours, choice.startup_hours, losses, restarting, begin()) for _ in range(LIVES)
        ]
        told[kind] = {}
        for n, name in enumerate(("hours", "billed_hours_each")):
            ranked = sorted(life[n] for life in lives)
            told[kind][name] = [sum(ranked) / LIVES, ranked[LIVES // 20], ranked[LIVES - 1 - LIVES // 20]]
            told[kind][f"median_{name}"] = ranked[LIVES // 2]
    return told
