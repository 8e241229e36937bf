"""Match instance types against a query: one rule for `offers`, `up`, `plan` and every provider.

A query is a list of conditions, each with the words in which it was given, so that an empty answer can name
the condition, or the two, that exclude everything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from hotdesk.core.errors import Usage
from hotdesk.core.model import Market, MarketChoice, Offer, Value, Want
from hotdesk.core.money import Amount, judge
from hotdesk.core.sizing.gpu import gpu_name, is_same_model, read_name

#: A card sold as 24 GB reports 22.4 GiB (error-correcting memory and its own needs): it counts as 24.
SOLD_AS = 0.92

NO_GPU = frozenset({"none", "no", "cpu"})
_ARCH = {"x86": "x86_64", "amd64": "x86_64", "arm": "arm64", "aarch64": "arm64"}


class InstanceType(Value, frozen=True):
    """What an instance type is, wherever it is sold."""

    provider: str
    instance_type: str
    gpu: str = ""  # NVIDIA's, or this computer's own
    gpu_count: float = 0  # less than one: a slice of a GPU
    gpu_memory_gib: float = 0.0  # of one GPU, or of the slice
    vcpus: float = 0
    memory_gib: float = 0.0
    arch: str = "x86_64"
    burstable: bool = False  # its vCPUs run at full speed only for a while
    scratch_gib: float = 0.0  # of instance-store disks, which are in no image
    accelerator: str = ""  # chips that are not NVIDIA GPUs: "Trainium", "Inferentia2"
    accelerator_count: float = 0

    def offer(
        self,
        *,
        region: str,
        zone: str = "",
        market: Market = Market.ON_DEMAND,
        usd_per_hour: float,
        told_per_hour: Amount | None = None,
        price_time: float | None,
        source: str,
        why: str = "",
    ) -> Offer:
        """An offer of this type at one place and price."""
        return Offer(
            provider=self.provider,
            region=region,
            zone=zone,
            instance_type=self.instance_type,
            market=market,
            usd_per_hour=usd_per_hour,
            told_per_hour=told_per_hour,
            gpu=self.gpu,
            gpu_count=self.gpu_count,
            gpu_memory_gib=self.gpu_memory_gib,
            vcpus=self.vcpus,
            memory_gib=self.memory_gib,
            arch=self.arch,
            scratch_gib=self.scratch_gib,
            price_time=price_time,
            source=source,
            why=why,
        )


class Place(NamedTuple):
    provider: str
    region: str
    zone: str = ""  # "": the region as a whole


class Query(Value, frozen=True):
    """What is asked for, in the words of the options of `hotdesk offers`. Empty means: any."""

    types: tuple[str, ...] = ()  # instance types; * and ? match
    gpu: tuple[str, ...] = ()  # "L4", "A100:8", "A100-80GB", "none"; any of them
    gpu_memory: str = ""  # of one GPU, in GiB: "24", "24..", "..16", "16..48"
    gpus: str = ""  # how many; 0.5 is half of one
    cpus: str = ""
    memory: str = ""  # GiB
    arch: str = ""
    regions: tuple[str, ...] = ()  # * and ? match
    zone: str = ""
    market: str = ""  # on-demand | spot
    max_usd: float | None = None  # $/h
    provider: str = ""


class Condition(NamedTuple):
    """One part of a query. None means: no restriction."""

    words: str  # as it was given: "--gpu L4"
    hardware: Callable[[InstanceType], bool] | None = None
    place: Callable[[Place], bool] | None = None
    market: Market | None = None
    max_usd: float = math.inf


def fits(wish: Query | Sequence[Condition], kind: InstanceType) -> bool:
    """Whether a type is the hardware asked for. Raises `Usage` for words that cannot be read."""
    wished = conditions(wish) if isinstance(wish, Query) else wish
    return all(condition.hardware is None or condition.hardware(kind) for condition in wished)


def sold_there(
    wish: Query | Sequence[Condition],
    place: Place,
    market: Market,
    usd_per_hour: float = 0.0,
    told: Amount | None = None,
) -> bool:
    """Whether a place, market and price (US dollars an hour) match the query.

    `told`: the price in another currency. Raises `NotAllowed` if a limit in dollars cannot be judged by it.
    """
    parts = conditions(wish) if isinstance(wish, Query) else wish
    if not all((part.place is None or part.place(place)) and part.market in {None, market} for part in parts):
        return False
    for part in parts:
        if part.max_usd < math.inf:
            judge(told, part.words)
    return all(usd_per_hour <= part.max_usd for part in parts)


def wish(want: Want, *, owned: bool = False) -> Query:
    """A desk's `Want` as a query. If it names no hardware, the machine must have no GPU.

    On a computer that is `owned` a GPU, or more GPUs than were asked for, do no harm.
    """
    some = want.instance_type or want.gpu or want.gpu_count or owned
    count = f"{want.gpu_count:g}" if want.gpu_count else ""
    return Query(
        types=(want.instance_type,) if want.instance_type else (),
        gpu=((want.gpu,) if want.gpu else () if some else ("none",)),
        gpus=f"{count}.." if count and owned else count,
        regions=want.regions,
        zone=want.zone,
        market="" if want.market == MarketChoice.CHEAPEST else want.market,
        max_usd=want.usd_per_hour_max,
    )


def conditions(query: Query) -> list[Condition]:
    """The parts of a query. Raises `Usage` for words that cannot be read."""
    found: list[Condition] = []
    if provider := query.provider:
        found.append(Condition(f"--provider {provider}", place=lambda place: place.provider == provider))
    if query.types:
        found.append(Condition(" ".join(query.types), hardware=lambda kind: is_named(query.types, kind)))
    if query.gpu:
        wishes = [read_gpu(name) for text in query.gpu for name in text.split(",") if name.strip()]
        sliced = bool(query.gpus or query.types)  # with a count or a type, a slice is asked for knowingly
        found.append(
            Condition(
                " ".join(f"--gpu {name}" for name in query.gpu),
                hardware=lambda kind: any(wish.fits(kind, sliced=sliced) for wish in wishes),
            )
        )
    for option, words, value in (
        ("--gpu-memory", query.gpu_memory, _gpu_memory),
        ("--gpus", query.gpus, lambda kind: (kind.gpu_count, kind.gpu_count)),
        ("--cpus", query.cpus, lambda kind: (kind.vcpus, kind.vcpus)),
        ("--memory", query.memory, lambda kind: (kind.memory_gib, kind.memory_gib)),
    ):
        if words:
            found.append(_ranged(option, words, value))
    if query.arch:
        arch = _ARCH.get(query.arch, query.arch)
        found.append(Condition(f"--arch {query.arch}", hardware=lambda kind: kind.arch == arch))
    if query.regions:
        found.append(
            Condition(
                " ".join(f"--region {name}" for name in query.regions),
                place=lambda place: is_like(query.regions, place.region),
            )
        )
    if zone := query.zone:
        # a price for a whole region holds for its zones as well
        found.append(
            Condition(
                f"--zone {zone}",
                place=lambda p: fnmatchcase(p.zone, zone) or (not p.zone and zone.startswith(p.region)),
            )
        )
    if query.market:
        found.append(Condition(f"--market {query.market}", market=Market(query.market)))
    if query.max_usd is not None:
        found.append(Condition(f"--max-usd {query.max_usd:g}", max_usd=query.max_usd))
    return found


def is_like(patterns: Collection[str], name: str) -> bool:
    """Whether the name of a region or type matches one of these patterns (* and ?)."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def is_named(types: Collection[str], kind: InstanceType) -> bool:
    return is_like(types, kind.instance_type)


# ---- GPUs ----------------------------------------------------------------------------------------------


class GpuWish(NamedTuple):
    """`--gpu A100-80GB:8`, parsed."""

    said: str  # the name, without the count
    number: int | float  # 0: any number of whole ones

    @property
    def is_none(self) -> bool:
        return self.said.lower() in NO_GPU

    def is_model(self, gpu: str) -> bool:
        """Whether a GPU's name means this model, whatever its memory."""
        return bool(gpu) and is_same_model(self.said, gpu)

    def fits(self, kind: InstanceType, *, sliced: bool = False) -> bool:
        """Whether a type has this GPU. A slice fits only a count of that size, unless `sliced` allows any."""
        if self.is_none:
            return not kind.gpu and not kind.accelerator
        if not self.is_model(kind.gpu):
            return False
        if self.number and kind.gpu_count != self.number:
            return False
        if not self.number and not sliced and kind.gpu_count < 1:
            return False
        least = read_name(self.said).memory_gib
        has = kind.gpu_memory_gib or read_name(kind.gpu).memory_gib
        return not least or least * SOLD_AS <= has <= least * 1.01


def read_gpu(text: str) -> GpuWish:
    """Parse `L4`, `A100:8`, `L4:0.5`. Raises `Usage` for an invalid count."""
    name, _, count = text.strip().partition(":")
    if count and not (re.fullmatch(r"\d+(\.\d+)?", count) and float(count) > 0):
        raise Usage(f"{text!r} is not a GPU.", "It is written as a name, or NAME:COUNT.", f"--gpu {name}:2")
    number = float(count or 0)
    return GpuWish(gpu_name(name), int(number) if number.is_integer() else number)


def _gpu_memory(kind: InstanceType) -> tuple[float, float]:
    """The range that matches: what is sold as 24 GB counts as 24, but not as 25."""
    return kind.gpu_memory_gib, kind.gpu_memory_gib / SOLD_AS


# ---- ranges --------------------------------------------------------------------------------------------


def _ranged(option: str, words: str, value: Callable[[InstanceType], tuple[float, float]]) -> Condition:
    """`value`: the lowest and highest number that a type counts as."""
    low, high = span_of(words, option)

    def within(kind: InstanceType) -> bool:
        least, most = value(kind)
        return least <= high and low <= most

    return Condition(f"{option} {words}", hardware=within)


def span_of(words: str, option: str) -> tuple[float, float]:
    """Parse `24..`, `..8`, `1..4` or `4` to (lowest, highest). Raises `Usage` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)?(\.\.)?(\d+(?:\.\d+)?)?", words.strip())
    if not match or not (match[1] or match[3]) or (match[1] and match[3] and not match[2]):
        raise Usage(f"{option} {words!r} cannot be read.", "It is a number or a range.", f"{option} 4..16")
    low = float(match[1]) if match[1] else 0.0
    high = float(match[3]) if match[3] else math.inf if match[2] else low
    if low > high:
        raise Usage(
            f"{option} {words} fits nothing.", f"{low:g} is above {high:g}.", f"{option} {high:g}..{low:g}"
        )
    return low, high


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three similar known names, the most similar first; a common prefix counts as similar."""
    from difflib import get_close_matches

    lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)
    near += [other for other in lower if name and other.startswith(name.lower()) and other not in near]
    return [lower[other] for other in near[:3]]
