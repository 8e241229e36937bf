"""Asking the catalogue the way people think: `--gpu A100:8 --gpu-memory 24.. --region eu-* --max-usd 1.5`.

A query is a row of filters, each with the words it was given in: that is how an empty answer can name the
two filters that contradict each other, and how a name that nobody knows gets its nearest neighbours.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations
from typing import NamedTuple

from hotdesk.core.errors import HotdeskError, Unknown, Usage
from hotdesk.core.model import Market, Value
from hotdesk.core.sizing.gpu import a_gpu
from hotdesk.market.catalog import MARKETS, Catalog, Place
from hotdesk.market.shipped import Machine, Retired

#: A card sold as 24 GB reports 22.4 GiB (error-correcting memory and its own needs): it counts as 24.
SOLD_AS = 0.92

SORTS = ("price", "latency", "speed", "value")


class Query(Value, frozen=True):
    """What somebody looks for. Empty means: no matter."""

    types: tuple[str, ...] = ()  # instance types; * and ? match
    gpu: tuple[str, ...] = ()  # "L4", "A100:8", "A100-80GB", "none"
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


class Found(NamedTuple):
    """Rows of the catalogue that fit, in order, and what was left out."""

    rows: list[int]
    unavailable: int  # that fit, but were refused lately or are over a quota


class _Filter(NamedTuple):
    words: str  # as it was asked: "--gpu L4"
    machine: Callable[[Machine], bool] | None = None
    place: Callable[[Place], bool] | None = None
    market: Market | None = None
    max_usd: float = math.inf


def search(
    catalog: Catalog,
    query: Query,
    *,
    sort: str = "price",
    latency: Mapping[str, float] = {},
    speed: Callable[[Machine], float] = lambda machine: 0.0,
    unavailable: frozenset[str] = frozenset(),
    retired: Mapping[str, Retired] = {},
) -> Found:
    """The rows that fit, best first.

    `latency` is by "provider/region" in milliseconds, `speed` any measure of a machine, `unavailable` holds
    keys as `Offer.key` gives them. Raises `Unknown` for a GPU, type or region that nobody knows (with the
    nearest), and `Usage` for words that cannot be read or filters that contradict each other.
    """
    filters = _filters(catalog, query, retired)
    rows = _matching(catalog, filters)
    if not rows:
        _explain(catalog, filters)
    left = 0
    if unavailable:
        kept = [row for row in rows if _key(catalog, row) not in unavailable]
        left, rows = len(rows) - len(kept), kept
    return Found(_sorted(catalog, rows, sort, latency, speed), left)


def _key(catalog: Catalog, row: int) -> str:
    place, machine = catalog.places[catalog.place[row]], catalog.machine_of(row)
    market = MARKETS[catalog.market[row]]
    return f"{place.provider}/{place.zone or place.region}/{machine.instance_type}/{market}"


def _matching(catalog: Catalog, filters: Sequence[_Filter]) -> list[int]:
    """Rows in the order of the catalogue."""
    hardware = [f.machine for f in filters if f.machine]
    where = [f.place for f in filters if f.place]
    markets = {MARKETS.index(f.market) for f in filters if f.market}
    if len(markets) > 1:
        return []
    cap = min((f.max_usd for f in filters), default=math.inf)
    allowed = bytes(all(fits(place) for fits in where) for place in catalog.places)
    everywhere = all(allowed)
    starts, places, prices, sold = catalog.starts, catalog.place, catalog.price, catalog.market
    rows: list[int] = []
    for number, machine in enumerate(catalog.machines):
        if starts[number] == starts[number + 1] or not all(fits(machine) for fits in hardware):
            continue
        span = range(starts[number], starts[number + 1])
        if everywhere and cap == math.inf and not markets:
            rows += span
            continue
        kept = [row for row in span if allowed[places[row]]] if not everywhere else span
        if markets:
            kept = [row for row in kept if sold[row] in markets]
        rows += [row for row in kept if prices[row] <= cap] if cap < math.inf else kept
    return rows


def _sorted(
    catalog: Catalog,
    rows: list[int],
    sort: str,
    latency: Mapping[str, float],
    speed: Callable[[Machine], float],
) -> list[int]:
    price = catalog.price.__getitem__
    if len(rows) * 16 < len(catalog):
        rows.sort(key=price)
    else:
        wanted = bytearray(len(catalog))
        for row in rows:
            wanted[row] = 1
        rows = [row for row in catalog.order if wanted[row]]
    if sort == "price":
        return rows
    if sort == "latency":
        far = [latency.get(f"{place.provider}/{place.region}", math.inf) for place in catalog.places]
        places = catalog.place
        rows.sort(key=lambda row: far[places[row]])
        return rows
    if sort not in SORTS:
        raise Usage(f"There is no order {sort!r}.", f"There are: {', '.join(SORTS)}.", "--sort price")
    fast: list[float] = []
    for number, machine in enumerate(catalog.machines):
        fast += [speed(machine)] * (catalog.starts[number + 1] - catalog.starts[number])
    if sort == "speed":
        rows.sort(key=lambda row: -fast[row])
    else:  # value: dollars for the same work; what has no speed comes last
        rows.sort(key=lambda row: price(row) / fast[row] if fast[row] else math.inf)
    return rows


# ---- filters from words ------------------------------------------------------------------------------


def _filters(catalog: Catalog, query: Query, retired: Mapping[str, Retired]) -> list[_Filter]:
    found: list[_Filter] = []
    if query.provider:
        wanted = query.provider
        found.append(_Filter(f"--provider {wanted}", place=lambda place: place.provider == wanted))
    if query.types:
        found.append(_types(catalog, query.types, retired))
    if query.gpu:
        found.append(_gpus(catalog, query.gpu, retired))
    for option, words, value in (
        ("--gpu-memory", query.gpu_memory, lambda machine: machine.gpu_memory_gib / SOLD_AS),
        ("--gpus", query.gpus, lambda machine: machine.gpu_count),
        ("--cpus", query.cpus, lambda machine: machine.vcpus),
        ("--memory", query.memory, lambda machine: machine.memory_gib),
    ):
        if words:
            found.append(_ranged(option, words, value))
    if query.arch:
        arch = {"x86": "x86_64", "amd64": "x86_64", "arm": "arm64", "aarch64": "arm64"}.get(
            query.arch, query.arch
        )
        found.append(_Filter(f"--arch {query.arch}", machine=lambda machine: machine.arch == arch))
    if query.regions:
        found.append(_regions(catalog, query.regions))
    if zone := query.zone:
        # a price for a whole region is one for its zones as well
        found.append(
            _Filter(
                f"--zone {zone}",
                place=lambda p: fnmatchcase(p.zone, zone) or (not p.zone and zone.startswith(p.region)),
            )
        )
    if query.market:
        found.append(_Filter(f"--market {query.market}", market=Market(query.market)))
    if query.max_usd is not None:
        found.append(_Filter(f"--max-usd {query.max_usd:g}", max_usd=query.max_usd))
    return found


#: What is no GPU, by how the names of its instance types begin (EC2, "Accelerated computing").
_OTHER_CHIPS = {"trn": "AWS Trainium", "inf": "AWS Inferentia", "dl": "Gaudi or Qualcomm chips",
                "vt": "video transcoders", "f": "FPGAs"}  # fmt: skip


def _types(catalog: Catalog, wanted: Sequence[str], retired: Mapping[str, Retired]) -> _Filter:
    known = {machine.instance_type for machine in catalog.machines}
    for name in wanted:
        if any(c in name for c in "*?[") or name in known:
            continue
        if gone := retired.get(name):
            raise Unknown(
                f"{name} is retired; nearest today: {', '.join(gone.nearest)}.",
                f"It was {_shape(gone.machine)}; no region offers it any more.",
                f"hotdesk offers {' '.join(gone.nearest)}",
            )
        if chips := next((what for word, what in _OTHER_CHIPS.items() if re.match(rf"{word}\d", name)), ""):
            raise Unknown(
                f"hotdesk does not cover {name}.",
                f"It computes on {chips}; the images and the driver here are for NVIDIA's GPUs.",
                "hotdesk offers --gpu-memory 24..",
            )
        near = nearest(name, sorted(known))
        raise Unknown(
            f"There is no instance type {name!r}.",
            f"Nearest: {', '.join(near)}. A type that AWS has added since is known after --refresh."
            if near
            else "No instance type is known at all.",
            f"hotdesk offers {near[0]}" if near else "hotdesk offers --refresh",
        )
    exact = frozenset(wanted)
    shapes = [name for name in wanted if name not in known]
    return _Filter(
        " ".join(wanted),
        machine=lambda m: m.instance_type in exact or any(fnmatchcase(m.instance_type, s) for s in shapes),
    )


def named_types(query: Query, machines: Collection[Machine]) -> frozenset[str]:
    """The types that a question names, by name or by their GPU; none where it names no GPU and no type."""
    if query.types:
        return frozenset(m.instance_type for m in machines if m.instance_type in query.types)
    models = sorted({machine.gpu for machine in machines if machine.gpu})
    found: set[str] = set()
    for text in (t for words in query.gpu for t in words.split(",") if t.strip()):
        with contextlib.suppress(HotdeskError):
            check = _gpu(text, models, {})
            found |= {machine.instance_type for machine in machines if machine.gpu and check(machine)}
    return frozenset(found)


def _gpus(catalog: Catalog, wanted: Sequence[str], retired: Mapping[str, Retired]) -> _Filter:
    models = sorted({machine.gpu for machine in catalog.machines if machine.gpu})
    checks = [_gpu(name, models, retired) for text in wanted for name in text.split(",") if name.strip()]
    return _Filter(
        " ".join(f"--gpu {name}" for name in wanted), machine=lambda m: any(check(m) for check in checks)
    )


def _gpu(text: str, models: Sequence[str], retired: Mapping[str, Retired]) -> Callable[[Machine], bool]:
    name, _, count = text.strip().partition(":")
    if count and not (re.fullmatch(r"\d+(\.\d+)?", count) and float(count) > 0):
        raise Usage(f"{text!r} is no GPU.", "After the colon stands how many.", f"--gpu {name}:8")
    if name.lower() in {"none", "no", "cpu"}:
        return lambda machine: not machine.gpu
    sized = re.fullmatch(r"(.*?)[-_ ]?(\d+)\s?gi?b", name, re.IGNORECASE)
    base, least = (sized[1], float(sized[2])) if sized else (name, 0.0)
    plain = _plain(base)
    model = next((m for m in models if _plain(m) == plain), None)
    if model is None:
        gone = [r for r in retired.values() if _plain(r.machine.gpu) == plain]
        near = nearest(base, models) or list(models[:3])
        if gone:
            today = sorted({name for r in gone for name in r.nearest})[:3]
            raise Unknown(
                f"No cloud rents out {a_gpu(base)} any more.",
                f"It was in {', '.join(sorted(r.machine.instance_type for r in gone)[:3])}.",
                f"hotdesk offers {' '.join(today)}",
            )
        raise Unknown(
            f"There is no GPU {base!r}.",
            f"Nearest: {', '.join(near)}; known: {', '.join(models)}."
            if models
            else "No GPU is known at all.",
            f"hotdesk offers --gpu {shlex_quoted(near[0])}" if near else "hotdesk offers --refresh",
        )
    number = float(count) if count else 0.0

    def fits(machine: Machine) -> bool:
        return (
            machine.gpu == model
            and (not number or machine.gpu_count == number)
            and (not least or least * SOLD_AS <= machine.gpu_memory_gib <= least * 1.01)
        )

    return fits


def _plain(name: str) -> str:
    """A GPU's name as everybody would spell it: "NVIDIA Tesla-V100" is "v100"."""
    return re.sub(r"nvidia|tesla|geforce|[\s_-]", "", name.lower())


def _regions(catalog: Catalog, wanted: Sequence[str]) -> _Filter:
    known = catalog.regions
    for name in wanted:
        if not any(fnmatchcase(region, name) for region in known):
            near = nearest(name, known)
            raise Unknown(
                f"There is no offer in a region {name!r}.",
                f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(known[:12])}.",
                f"hotdesk offers --region {near[0]}" if near else "hotdesk offers --refresh",
            )
    return _Filter(
        " ".join(f"--region {name}" for name in wanted),
        place=lambda place: any(fnmatchcase(place.region, name) for name in wanted),
    )


def _ranged(option: str, words: str, value: Callable[[Machine], float]) -> _Filter:
    low, high = span_of(words, option)
    if option == "--gpu-memory":  # what is sold as 24 GB counts as 24, and not as 25 either
        return _Filter(f"{option} {words}", machine=lambda m: low <= value(m) and m.gpu_memory_gib <= high)
    return _Filter(f"{option} {words}", machine=lambda machine: low <= value(machine) <= high)


def span_of(words: str, option: str) -> tuple[float, float]:
    """`24..`, `..8`, `1..4` and `4` as the lowest and highest that fit. Raises `Usage` for anything else."""
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


# ---- empty answers -----------------------------------------------------------------------------------


def _explain(catalog: Catalog, filters: Sequence[_Filter]) -> None:
    """Raise `Usage` that names the one filter, or the two, or all that leave nothing."""
    if not filters or not len(catalog):
        raise Unknown("No offer is known yet.", "Neither the cache nor the shipped table has one.", _REFRESH)
    for alone in filters:
        if not _matching(catalog, [alone]):
            if alone.machine and (priceless := [m for m in catalog.machines if alone.machine(m)]):
                raise _without_price(alone.words, priceless)
            raise Usage(
                f"Nothing fits {alone.words}.",
                "No known offer does, whatever the other filters say.",
                _without(filters, (alone,)),
            )
    for pair in combinations(filters, 2):
        if not _matching(catalog, pair):
            raise Usage(
                f"{pair[0].words} and {pair[1].words} contradict each other.",
                "Each alone fits some offers, but none fits both.",
                _without(filters, (pair[1],)),
            )
    raise Usage(
        "Nothing fits all of these filters.",
        f"{_closest(catalog, filters)} fits some offers once it is left out.",
        "hotdesk offers " + " ".join(f.words for f in filters if f.words != _closest(catalog, filters)),
    )


def _without_price(words: str, machines: Sequence[Machine]) -> Unknown:
    """Of hardware that is known, and that no source here tells a price of."""
    from hotdesk.providers.aws.session import has_credentials

    shown = ", ".join(f"{m.instance_type} ({_shape(m)})" for m in machines[:2])
    more = f", and {len(machines) - 2} more types" if len(machines) > 2 else ""
    again = f"hotdesk offers {words} --refresh"
    return Unknown(
        f"No price of {words} is known here.",
        f"It is {shown}{more}. hotdesk's own table has no price of it; an AWS account tells it.",
        again if has_credentials() else f"aws configure   # then: {again}",
    )


_REFRESH = "hotdesk offers --refresh"


def _closest(catalog: Catalog, filters: Sequence[_Filter]) -> str:
    """The filter that excludes least: without it there is an answer, and as short a one as possible."""
    counts = [
        (len(_matching(catalog, [other for other in filters if other is not one])), one.words)
        for one in filters
    ]
    return min([count for count in counts if count[0]], default=(0, filters[-1].words))[1]


def _without(filters: Sequence[_Filter], left: tuple[_Filter, ...]) -> str:
    return " ".join(["hotdesk offers", *(f.words for f in filters if f not in left)])


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Up to three known names, the likeliest first; what begins alike counts as near."""
    lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)
    near += [other for other in lower if name and other.startswith(name.lower()) and other not in near]
    return [lower[other] for other in near[:3]]


def _shape(machine: Machine) -> str:
    gpus = f"{machine.gpu_count:g} x {machine.gpu} of {machine.gpu_memory_gib:g} GiB, " if machine.gpu else ""
    return f"{gpus}{machine.vcpus:g} vCPUs, {machine.memory_gib:g} GiB"


def shlex_quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)
