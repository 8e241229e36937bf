"""Speed and terms of every offer for a job, from its measurements: the input of `frontier.choose`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Damaged, HotdeskError, Unknown, Usage
from hotdesk.core.model import Market, Offer, Value
from hotdesk.core.sizing.frontier import Speed, Terms
from hotdesk.core.sizing.gpu import Gpu, Precision, a_gpu
from hotdesk.core.sizing.makespan import PER_SECOND, Billing, Startup, Work, data_hours
from hotdesk.core.sizing.speed import Evidence, Family, predictor
from hotdesk.core.spot.interruptions import Spot
from hotdesk.market import gpus

#: GPUs of one machine in step reach 1/(1 + share·log2 n): Lambda's 8-GPU rows, NVLink and PCIe together.
_IN_MACHINE = {Family.CNN: 0.025, Family.TRANSFORMER: 0.11, Family.OTHER: 0.07}


class Job(Value, frozen=True):
    """The work to be done. Rates are items per second, by GPU or by instance type (CPU machines)."""

    items: float
    rates: Mapping[str, float] = {}
    family: Family = Family.OTHER
    precision: Precision = Precision.FP16
    memory_gib: float = 0.0  # needed on the GPU
    tasks: int = 0
    synchronous: bool = False
    efficiency_at_2: float = 0.0
    fallback: bool = True  # compare a GPU without the precision at its fp32 rate


class Around(Value, frozen=True):
    """Everything besides the work: start-up, data, billing, interruptions, upload of results."""

    startup: Startup = Startup()
    data_gib: float = 0.0
    data_files: int = 0
    data_region: str = ""  # where it lies; "" is the internet
    mib_per_second: float = 100.0
    mib_per_second_in_region: float = 500.0
    files_per_second: float = 2000.0
    out_gib: float = 0.0
    usd_per_gib_out: float = 0.09
    storage_usd: float = 0.0
    billing: Billing = PER_SECOND
    spot: Spot = Spot()
    quota: int = 0


def speeds(job: Job) -> Callable[[Offer], Speed]:
    """Duration of the job on one machine of an offer, or why it is unknown."""
    measured, by_type = split(job.rates)
    predict = (
        predictor(measured, job.family, job.precision, memory_gib=job.memory_gib, fallback=job.fallback)
        if measured
        else None
    )

    def of(offer: Offer) -> Speed:
        if rate := by_type.get(offer.instance_type.lower()):
            return _speed(
                job, 1.0, (rate * 0.95, rate, rate * 1.05), Evidence.MEASURED, "measured on this type"
            )
        if not offer.gpu or not offer.gpu_count:
            return Speed(
                why_not="no speed was measured on this CPU: --from TYPE=RATE, or hotdesk bench there"
            )
        if predict is None:
            return Speed(why_not=f"no speed was measured on any GPU: hotdesk bench on {a_gpu(offer.gpu)}")
        if offer.gpu_count < 1:
            part = f"{offer.gpu_count:g} of {a_gpu(offer.gpu)}"
            return Speed(why_not=f"{part}: parts of GPUs are not predicted, measure it")
        try:
            got = predict(_find(offer.gpu, offer.gpu_memory_gib))
        except HotdeskError as error:
            return Speed(why_not=error.what)
        return _speed(job, offer.gpu_count, (got.low, got.rate, got.high), got.evidence, got.why)

    return of


def _speed(job: Job, count: float, rates: tuple[float, float, float], evidence: Evidence, why: str) -> Speed:
    """One machine with `count` GPUs of that rate (low, middle, high)."""
    share = _IN_MACHINE[job.family] if job.synchronous and count > 1 else 0.0
    doublings = math.log2(count) if share else 0.0
    hours = [
        job.items * (1 + share * weight * doublings) / (count * r) / 3600
        for r, weight in zip(rates, (2.0, 1.0, 0.0), strict=True)
    ]
    return Speed(
        work=Work(
            hours=hours[1],
            low=hours[2],
            high=hours[0],
            tasks=job.tasks,
            synchronous=job.synchronous,
            efficiency_at_2=job.efficiency_at_2,
        ),
        evidence=evidence,
        why=why,
    )


def terms(around: Around) -> Callable[[Offer], Terms]:
    """What an offer adds to the work, by whether the data is in its region."""

    @cache
    def of(near: bool, spot: bool) -> Terms:
        speed = around.mib_per_second_in_region if near else around.mib_per_second
        data = data_hours(around.data_gib, around.data_files, speed, around.files_per_second)
        startup = around.startup.hours + data
        interrupted = around.spot
        if spot:
            restart = max(interrupted.restart_hours, startup)
            interrupted = Spot(
                interruptions_per_hour=interrupted.interruptions_per_hour,
                wait_hours=interrupted.wait_hours,
                restart_hours=restart,
                checkpoint_seconds=interrupted.checkpoint_seconds,
                notice_seconds=interrupted.notice_seconds,
            )
        return Terms(
            startup_hours=startup,
            billing=around.billing,
            spot=interrupted if spot else None,
            extra_usd=(0.0 if near else around.out_gib * around.usd_per_gib_out) + around.storage_usd,
            quota=around.quota,
        )

    return lambda offer: of(place(around)(offer), offer.market is Market.SPOT)


def place(around: Around) -> Callable[[Offer], bool]:
    """Whether the data is in the offer's region: the only difference between regions here."""
    return lambda offer: bool(around.data_region) and offer.region == around.data_region


def split(rates: Mapping[str, float]) -> tuple[list[tuple[Gpu, float]], dict[str, float]]:
    """Rates by known GPU, and by instance type (in lower case)."""
    measured: list[tuple[Gpu, float]] = []
    by_type: dict[str, float] = {}
    for name, rate in rates.items():
        try:
            measured.append((gpus.find(name), rate))
        except Unknown:
            if "." not in name and "-" not in name:
                raise
            by_type[name.lower()] = rate
    return measured, by_type


@cache
def _find(name: str, memory_gib: float) -> Gpu:
    return gpus.find(name, memory_gib)


def read_offers(path: Path) -> list[Offer]:
    """Offers from a JSON file: a list, or a document that contains one; the rest is ignored.

    Raises `Damaged` if it cannot be read.
    """
    try:
        document = wire.json(path.read_bytes())
        rows = document["offers"] if isinstance(document, dict) else document
        kept = [{k: v for k, v in row.items() if k in _READ and v is not None} for row in rows]
        return msgspec.convert(kept, list[Offer])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(
            f"The offers in {path} cannot be read.",
            error.strerror or "" if isinstance(error, OSError) else str(error),
            "hotdesk offers --json > offers.json",
        ) from error


_READ = frozenset(Offer.__struct_fields__) - {"price_time", "source", "why"}


def parse(words: Sequence[str]) -> list[Offer]:
    """Offers from words like "g6.xlarge:L4:0.805" or "p4d.24xlarge:A100x8:11.57:spot"; "-" for no GPU.

    Raises `Usage` for any other shape.
    """
    out = []
    for word in words:
        kind, gpu, price, *rest = [part.strip() for part in word.split(":")] + [""] * (
            3 - word.count(":") - 1
        )
        model, _, count = gpu.rpartition("x") if gpu[-1:].isdigit() and "x" in gpu else (gpu, "", "1")
        if not count.isdigit() or gpu in ("", "-"):
            model, count = gpu, "1"
        try:
            usd = float(price)
        except ValueError:
            usd = math.nan
        if not kind or not (math.isfinite(usd) and usd >= 0) or rest not in ([], ["spot"], ["on-demand"]):
            raise Usage(
                f"{word!r} is not an offer.",
                "It is written TYPE:GPU:USD_PER_HOUR, with :spot behind it for that market and - for no GPU.",
                "hotdesk plan --offer g6.xlarge:L4:0.805 --offer p3.2xlarge:V100:0.92:spot ...",
            )
        bare = model in ("", "-", "none")
        out.append(
            Offer(
                provider="yours",
                region="",
                zone="",
                instance_type=kind,
                market=Market(rest[0]) if rest else Market.ON_DEMAND,
                usd_per_hour=usd,
                gpu="" if bare else model,
                gpu_count=0 if bare else int(count),
            )
        )
    return out
