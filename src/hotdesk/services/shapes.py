"""The shapes of what `--json` prints. schemas.py makes a JSON Schema of each."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from hotdesk.core.load import Curve, Load
from hotdesk.core.model import Offer, Retained
from hotdesk.core.spot.prices import Cheapest, ZonePrices
from hotdesk.market.benchmarks import Compared
from hotdesk.services.choosing import PublishedSpot
from hotdesk.services.job_cost import JobCost
from hotdesk.services.move_shapes import Carriage
from hotdesk.services.orphans import Orphan
from hotdesk.services.tops import RunningJob
from hotdesk.services.view import Public, View


class Failure(TypedDict):
    """What went wrong, in place of the answer: {"error": …}."""

    kind: str  # the error's class, such as NeedsDecision; Stopped for Ctrl-C or "no", Defect for a bug
    exit_code: int
    what: str  # what happened
    why: str
    fix: str  # a command to paste, which may need a person
    needs_person: bool  # money or work is at stake: ask a person before you run `fix`


class Failed(TypedDict):
    """What a command prints that could not do what it was asked for; its exit code is that of `error`."""

    error: Failure


class Entry(TypedDict):
    """A row of the journal: a step, written down before it was taken, and what came of it."""

    id: int
    at: float  # seconds since the epoch, by this computer's clock
    desk: str
    step: str  # launch, start, stop, bake, verify, delete, prove, begin (a job), …
    key: str  # of the step's effect: equal keys are one request
    why: str
    status: str  # begun, done, refused, or unknown
    thing: str  # the id of what it made
    message: str
    ended_at: float | None


class Port(TypedDict):
    """A port of a desk at this computer's loopback."""

    desk: str
    here: int  # the port at 127.0.0.1
    there: int  # the desk's own
    url: str
    open: bool
    why: str  # why it is not open
    direct: bool  # the desk is on this computer: nothing is forwarded


class Desk(View, frozen=True, omit_defaults=False):
    """A desk, its forwarded ports, and the last rows of its journal."""

    forwards: tuple[Port, ...] = ()
    journal: tuple[Entry, ...] = ()


class Gone(TypedDict):
    """A desk that was deleted, and what is left all the same."""

    name: str
    gone: bool
    beside: list[str]  # what another computer began under its name, which stays and is paid for
    retained: list[Retained]  # what its cloud keeps, and bills, until a time
    unread: list[str]  # regions that do not tell whether they keep something
    logs: list[str]  # the files of its jobs' logs that were kept


class Action(TypedDict):
    """A step that would be taken."""

    step: str  # as in the journal; ask: a person has to choose; wait
    why: str
    text: str  # the step in words
    offer: Offer | None  # what would be launched, and its price an hour


class Plan(TypedDict):
    """A dry run: what would be done to a desk. Nothing was done."""

    name: str
    goal: str
    steps: list[Action]  # []: nothing is left to do
    offers: list[Offer]  # the first ten that can be launched, best first
    works: list[str]  # what works there, and would end
    unsaved: list[str]  # what is not saved there
    open: list[str]  # what is open there, and would be closed
    needs_person: bool  # whether somebody has to agree (--yes) before that ends
    carries: Carriage | None  # of a move to another place; null: it goes nowhere


class RunPlan(TypedDict):
    """A dry run of a job: what would be done to its desk, and then."""

    plan: Plan
    command: str
    variables: list[str]  # names of its environment variables
    missing: list[str]  # of these, secrets that this environment lacks
    after: int | None  # the job that it would wait for
    pull: list[str]
    then: str  # park, stop, or stay
    cost: JobCost | None  # null: no offer fits


class Copied(TypedDict):
    """What was copied, or would be."""

    desk: str
    to: str
    files: list[str]
    bytes: int | None  # None: not counted
    beside: dict[str, str]  # files here that are newer and stayed, and what the desk's are called
    kept: list[str]  # links here that are folders at the desk, which stay
    dry_run: bool


class Busy(TypedDict):
    """A desk and what it is doing. Sizes in bytes, shares from 0 to 1; null is what is not known."""

    desk: View
    why: str  # why it could not be asked
    load: Load | None  # null: it does not run, or cannot be asked
    jobs: list[RunningJob]
    curves: list[Curve]  # of the job that was asked for


class SettingsFile(TypedDict):
    """A hotdesk.toml with all that can be set."""

    path: str
    text: str
    written: bool


class JobRow(TypedDict):
    """A job. Times are seconds since the epoch, by this computer's clock."""

    job: int
    id: str
    desk: str
    command: str
    state: str  # waiting, running, interrupted, ended, done, failed, cancelled, or lost
    exit_status: int | None
    why: str
    seconds: float  # that it ran, over all attempts
    usd: float
    attempts: int
    checkpoints: int
    checkpoint_seconds: float | None  # median time to write one
    last_line: str
    fetched: list[str]  # what was fetched of its results, in words
    asked_at: float
    ended_at: float | None
    then: str  # what becomes of the desk: parked, stopped, or stay
    deadline_at: float | None
    settled: bool  # nothing is left to do for it


class Log(TypedDict):
    """What a job has said so far."""

    job: int
    desk: str
    text: str
    lacking: str  # what of it is missing, and where that is


class Output(TypedDict):
    """A command that has ended at a desk."""

    desk: str
    status: int  # its own; 128 + n where signal n ended it, 255 where the connection was lost
    output: str
    errors: str


class Login(TypedDict):
    """How to log in: `hotdesk ssh --print --json`."""

    desk: str
    ssh: str


class Jupyter(TypedDict):
    """A desk's Jupyter, answering."""

    desk: str
    url: str
    password_file: str
    password: NotRequired[str]  # with --password only
    public: Public | None


class Editor(TypedDict):
    """A desk as a host of editors that work over ssh."""

    desk: str
    link: str
    included: bool  # whether ~/.ssh/config knows the desk


class Watcher(TypedDict):
    """A background watcher."""

    running: bool
    pid: int | None  # of its process here
    on: str  # the desk that it runs at; "": here
    watches: list[str]  # []: all


class Account(TypedDict):
    """A desk's or the month's cost beside that of its cloud's own bill."""

    desk: str
    here: float
    theirs: float


class BillLine(TypedDict):
    """What one desk cost in one day or month, in US dollars."""

    desk: str
    period: str  # 2026-11-23 or 2026-11
    compute: float
    disk: float
    image: float
    address: float
    transfer: float  # between regions
    left_on: float  # of compute, had the last machine never been stopped
    at_most: bool  # an upper bound: the exact end of something is unknown
    usd: float


class Bill(TypedDict):
    """The bill, in US dollars."""

    currency: str
    lines: list[BillLine]
    usd: float
    this_month_usd: float
    budget_usd: float | None  # of a month; null: no limit
    stored_usd_per_month: float  # of disks and images that are there now
    stored_besides: list[str]  # likewise, in other currencies, without a rate to dollars
    stored_here: dict[str, int]  # bytes on this computer's disk, by desk; of "": images, which share content
    besides: list[str]  # in other currencies, without a rate to dollars: in no figure here
    not_counted: list[str]
    at_launch_prices: list[str]  # desks whose spot is billed at the price of its launch
    compared: list[dict[str, Any]]  # with --compare: desk, here, theirs


class Left(Orphan, frozen=True, omit_defaults=False):
    """A resource that no desk on this computer owns."""

    deleted: bool = False


class Orphans(TypedDict):
    """What no desk needs."""

    things: list[Left]
    usd_per_month: float
    unread: list[str]  # where nobody could look
    retained: list[Retained]  # deleted, and billed until its time


class OfferRow(TypedDict):
    """An instance type in a zone and market, with its price."""

    provider: str
    region: str
    zone: str
    instance_type: str
    gpu: str
    gpu_count: float
    gpu_memory_gib: float
    vcpus: float
    memory_gib: float
    market: str
    usd_per_hour: float | None  # null: told in another currency, to which hotdesk.toml has no rate
    price_per_hour: float  # in `currency`
    latency_ms: float | None
    price_time: str | None  # ISO 8601, UTC
    source: str
    arch: str
    burstable: bool
    interruption_band: str | None  # the share of spot instances interrupted in a month
    currency: str
    billing: str
    accelerator: str
    accelerator_count: float
    estimated: bool  # derived from other prices, or a published average
    reservation: str  # of capacity that the account pays for already: `market` is "reserved"; "": none
    free: int | None  # machines that it has room for
    reserved_until: str | None  # ISO 8601, UTC; null: until it is given up
    why: str


class CheapestThere(TypedDict):
    """A region's cheapest offer of a GPU."""

    instance_type: str
    market: str
    usd_per_hour: float
    price_time: float | None
    estimated: bool


class Region(TypedDict):
    """How far a region is from here."""

    provider: str
    region: str
    latency_ms: float | None  # median; null: no answer within the limit
    samples: list[float]  # milliseconds
    sent: int
    why: str
    cheapest: NotRequired[CheapestThere | None]  # with --gpu


class Spot(TypedDict):
    """What spot has cost, zone by zone; published averages where no history can be had."""

    instance_types: list[str]
    source: str
    zones: list[ZonePrices]
    advice: str
    since: NotRequired[str]
    until: NotRequired[str]
    hours: NotRequired[float]  # length of a job, for the figures about jobs
    cheapest: NotRequired[list[Cheapest]]
    dropped: NotRequired[dict[str, int]]  # rows left out, by reason
    published: NotRequired[list[PublishedSpot]]
    kept_at: NotRequired[float | None]  # when the prices were kept, if the account did not answer
    published_at: NotRequired[float | None]  # when the averages were published


class Band(TypedDict):
    """Bounds that hold in 9 of 10 cases."""

    hours: list[float]
    usd: list[float]


class PlanOffer(TypedDict):
    """The machine that a plan rents."""

    provider: str
    region: str
    zone: str
    instance_type: str
    market: str
    gpu: str
    gpu_count: float
    usd_per_hour: float
    price_time: float | None
    source: str


class PlanMean(TypedDict):
    """What a plan takes on average: on spot more than its median, as few runs are lost often."""

    hours: float
    usd: float


class PlanRow(TypedDict):
    """One way to finish the job. `hours` and `usd` are medians."""

    machines: int
    hours: float
    usd: float
    mean: PlanMean  # expected; plans are ranked by its cost
    multiplier: float  # of `usd`: cost over that of the work alone
    band: Band
    breaks: list[str]  # what is slower or dearer than the plain formula, and why
    offer: NotRequired[PlanOffer]
    evidence: NotRequired[str]
    why: NotRequired[str]
    startup_hours: NotRequired[float]


class PlanLost(TypedDict):
    """A plan that was rejected, and why."""

    offer: PlanOffer
    why: str
    also: int  # dearer ones of the same
    best: PlanRow | None


class JobPlan(TypedDict):
    """A job's cost and time, on one machine or on many."""

    kind: str  # synchronous or divisible
    startup_hours: float
    plans: list[PlanRow]
    cheapest: PlanRow | None
    fastest: PlanRow | None
    knee: PlanRow | None  # beyond it more speed costs more than it is worth
    lost: list[PlanLost]
    considered: int
    left_out: dict[str, int]  # offers refused lately, or without a price in dollars, by reason
    measure_first: str
    usd_per_hour: NotRequired[float]
    market: NotRequired[str]
    simulated: NotRequired[dict[str, Any]]
    spot_worth_below_share_of_on_demand: NotRequired[float]
    machines_for_10_percent_dearer: NotRequired[int]
    machines_where_startup_equals_work: NotRequired[float | None]
    switch: NotRequired[dict[str, float | None]]


class Rate(TypedDict):
    """A measured rate, in items a second."""

    gpu: str
    rate: float


class PredictedRate(TypedDict):
    """How fast a job runs on a GPU, with the band of 9 of 10."""

    gpu: str
    rate: float
    low: float
    high: float
    evidence: str
    why: str
    family: str | None
    precision: str
    mfu: NotRequired[float]


#: Of one GPU its fields stand at the top, of several in `predictions`. (`from` is a word of Python.)
Predictions = TypedDict(
    "Predictions",
    {
        "from": list[Rate],
        "notes": list[str],
        "predictions": NotRequired[list[PredictedRate]],
        "gpu": NotRequired[str],
        "rate": NotRequired[float],
        "low": NotRequired[float],
        "high": NotRequired[float],
        "evidence": NotRequired[str],
        "why": NotRequired[str],
        "family": NotRequired[str | None],
        "precision": NotRequired[str],
        "mfu": NotRequired[float],
    },
)

Predictions.__doc__ = "How fast a job runs on GPUs where it never ran, and the measurements behind that."


class Problem(TypedDict):
    """What could not be measured."""

    what: str
    why: str
    fix: str


class Bench(TypedDict):
    """Measurements, what could not be measured, or a comparison (`bench compare`)."""

    results: NotRequired[list[dict[str, Any]]]
    problems: NotRequired[list[Problem]]
    runs: NotRequired[list[dict[str, Any]]]
    compared: NotRequired[list[Compared]]
