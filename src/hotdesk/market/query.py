"""Search the catalogue: `--gpu A100:8 --gpu-memory 24.. --region eu-* --max-usd 1.5`.

`core/matching.py` decides what fits. This module searches the columns, sorts, and explains an empty answer:
by two filters that contradict each other, or the names nearest to an unknown one.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from hotdesk.core.errors import HotdeskError, Unknown, Usage
from hotdesk.core.matching import (
    Condition,
    GpuWish,
    InstanceType,
    Place,
    Query,
    conditions,
    fits,
    is_like,
    nearest,
    read_gpu,
    sold_there,
)
from hotdesk.core.model import Offer
from hotdesk.core.money import is_comparable
from hotdesk.core.sizing.gpu import a_gpu
from hotdesk.market.catalog import MARKETS, Catalog, as_kind
from hotdesk.market.lists import list_of
from hotdesk.market.refused import Refused, reasons
from hotdesk.market.shipped import Retired, shipped

SORTS = ("price", "latency", "speed", "value")


class Found(NamedTuple):
    """Rows of the catalogue that fit, in order, and what was left out."""

    rows: list[int]
    left_out: Mapping[
        str, int
    ]  # how many fit, but were refused lately or have no price in dollars, by reason
    unpriced: tuple[InstanceType, ...] = ()  # that were named, by type or GPU, and have no price at all


def search(
    catalog: Catalog,
    query: Query,
    *,
    sort: str = "price",
    latency: Mapping[str, float] = {},
    speed: Callable[[InstanceType], float] = lambda machine: 0.0,
    refused: Refused | None = None,
    retired: Mapping[str, Retired] = {},
    in_dollars: bool = False,
) -> Found:
    """The rows that fit, best first; `in_dollars`: of those whose price in US dollars is known.

    `latency` is by "provider/region" in milliseconds, `speed` any measure of a machine, `refused` tells
    which offers to leave out. Raises `Unknown` for a GPU, type or region that nobody knows (with the
    nearest), and `Usage` for words that cannot be read or filters that contradict each other.
    """
    _check(catalog, query, retired)
    filters = conditions(query)
    rows = _matching(catalog, filters)
    if not rows:
        _explain(catalog, filters)
    left_out: dict[str, int] = {}
    in_dollars = in_dollars or query.max_usd is not None
    if in_dollars and (unjudged := [row for row in rows if _is_unjudged(catalog, row)]):
        for currency, count in Counter(catalog.currencies[catalog.currency[r]][0] for r in unjudged).items():
            left_out[f"priced in {currency}: set its rate under [money] in hotdesk.toml"] = count
        rows = [row for row in rows if not _is_unjudged(catalog, row)]
    if refused:
        offers = catalog.offers(rows)
        no = refused(offers)
        rows = [row for row, offer in zip(rows, offers, strict=True) if offer.key not in no]
        left_out |= reasons(no[offer.key] for offer in offers if offer.key in no)
    unpriced = []
    if query.types or query.gpu:
        unpriced = [
            kind
            for number, kind in enumerate(catalog.machines)
            if catalog.starts[number] == catalog.starts[number + 1] and fits(filters, kind)
        ]
    return Found(_sorted(catalog, rows, sort, latency, speed), left_out, tuple(unpriced))


def fitting_reserved(
    catalog: Catalog, query: Query, offers: Sequence[Offer], now: float
) -> tuple[Offer, ...]:
    """Those of these reserved places that fit, and have not ended."""
    if not offers:  # as in most accounts: nothing is looked up for each question
        return ()
    filters = conditions(query)
    kinds = {(kind.provider, kind.instance_type): kind for kind in catalog.machines}

    def fits_here(offer: Offer) -> bool:
        kind = kinds.get((offer.provider, offer.instance_type)) or as_kind(offer)
        there = Place(offer.provider, offer.region, offer.zone)
        return fits(filters, kind) and sold_there(
            filters, there, offer.market, offer.usd_per_hour, offer.told_per_hour
        )

    return tuple(o for o in offers if not o.is_over(now) and fits_here(o))


def with_reserved(reserved: Sequence[Offer], catalog: Catalog, query: Query, **more: Any) -> Found:
    """`search`; without rows, no error where something that fits is reserved: it may be sold only so."""
    try:
        return search(catalog, query, **more)
    except (Unknown, Usage):
        if not reserved:
            raise
        return Found([], {})


def _is_unjudged(catalog: Catalog, row: int) -> bool:
    """Whether a price is told in a currency without a rate, so that no limit in dollars applies to it."""
    return not is_comparable(catalog.told_per_hour(row))


def _matching(catalog: Catalog, filters: Sequence[Condition]) -> list[int]:
    """Rows in the order of the catalogue."""
    hardware = [f.hardware for f in filters if f.hardware]
    where = [f.place for f in filters if f.place]
    markets = {MARKETS.index(f.market) for f in filters if f.market}
    if len(markets) > 1:
        return []
    cap = min((f.max_usd for f in filters), default=math.inf)
    allowed = bytes(all(check(place) for check in where) for place in catalog.places)
    everywhere = all(allowed)
    starts, places, prices, sold = catalog.starts, catalog.place, catalog.price, catalog.market
    rows: list[int] = []
    for number, machine in enumerate(catalog.machines):
        if starts[number] == starts[number + 1] or not all(check(machine) for check in hardware):
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
    speed: Callable[[InstanceType], float],
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


# ---- unknown names ------------------------------------------------------------------------------------


def _check(catalog: Catalog, query: Query, retired: Mapping[str, Retired]) -> None:
    """Raises `Unknown`, with the nearest names, for a type, a GPU or a region that no row can match."""
    types = {kind.instance_type for kind in catalog.machines}
    for name in query.types:
        if name not in types and not any(c in name for c in "*?["):
            raise _no_type(name, types, retired)
    models = sorted({kind.gpu for kind in catalog.machines if kind.gpu})
    for text in (name for words in query.gpu for name in words.split(",") if name.strip()):
        wish = read_gpu(text)
        if not wish.is_none and not any(wish.is_model(model) for model in models):
            raise _no_gpu(wish, models, catalog.machines, retired)
    known = catalog.regions
    for name in query.regions:
        if not any(is_like([name], region) for region in known):
            near = nearest(name, known)
            raise Unknown(
                f"There is no offer in a region {name!r}.",
                f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(known[:12])}.",
                f"hotdesk offers --region {near[0]}" if near else "hotdesk offers --refresh",
            )


def _no_type(name: str, types: Collection[str], retired: Mapping[str, Retired]) -> Unknown:
    if gone := retired.get(name):
        return Unknown(
            gone.words,
            f"It was {shape(gone.machine)}.",
            f"hotdesk offers {' '.join(gone.nearest)}",
        )
    if chips := next((what for word, what in _OTHER_CHIPS.items() if re.match(rf"{word}\d", name)), ""):
        return Unknown(
            f"hotdesk does not cover {name}.",
            f"It computes on {chips}; the images and the driver here are for NVIDIA's GPUs.",
            "hotdesk offers --gpu-memory 24..",
        )
    near = nearest(name, sorted(types))
    return Unknown(
        f"There is no instance type {name!r}.",
        f"Nearest: {', '.join(near)}. A newer type is known after --refresh."
        if near
        else "No instance type is known at all.",
        f"hotdesk offers {near[0]}" if near else "hotdesk offers --refresh",
    )


def _no_gpu(
    wish: GpuWish, models: Sequence[str], types: Sequence[InstanceType], retired: Mapping[str, Retired]
) -> Unknown:
    if gone := [old for old in retired.values() if wish.is_model(old.machine.gpu)]:
        today = sorted({name for old in gone for name in old.nearest})[:3]
        return Unknown(
            f"No cloud rents out {a_gpu(wish.said)} any more.",
            f"It was in {', '.join(sorted(old.machine.instance_type for old in gone)[:3])}.",
            f"hotdesk offers {' '.join(today)}",
        )
    if wish.said in {kind.instance_type for kind in types}:
        return Unknown(
            f"{wish.said} is an instance type, not a GPU.",
            "`hotdesk offers` takes types as arguments, `hotdesk up` as --type.",
            f"hotdesk offers {wish.said}",
        )
    if chips := [kind for kind in types if wish.is_model(kind.accelerator)]:
        return Unknown(
            f"{chips[0].accelerator} is not an NVIDIA GPU.",
            f"It is in {', '.join(kind.instance_type for kind in chips[:4])}: the images and the driver that"
            " hotdesk starts are for NVIDIA's GPUs, and these need one of yours.",
            f"hotdesk offers {chips[0].instance_type}",
        )
    near = nearest(wish.said, models) or list(models[:3])
    return Unknown(
        f"There is no GPU {wish.said!r}.",
        f"Nearest: {', '.join(near)}; known: {', '.join(models)}." if models else "No GPU is known at all.",
        f"hotdesk offers --gpu {shlex_quoted(near[0])}" if near else "hotdesk offers --refresh",
    )


#: What is no GPU, by how the names of its instance types begin (EC2, "Accelerated computing").
_OTHER_CHIPS = {"trn": "Trainium", "inf": "Inferentia", "dl": "Gaudi or Qualcomm chips",
                "vt": "video transcoders", "f": "FPGAs"}  # fmt: skip


def named_types(query: Query, machines: Collection[InstanceType]) -> frozenset[str]:
    """The types that a query names, directly or by GPU; empty if it names neither."""
    if query.types:
        return frozenset(m.instance_type for m in machines if m.instance_type in query.types)
    if not query.gpu:
        return frozenset()
    with contextlib.suppress(HotdeskError):
        asked = conditions(Query(gpu=query.gpu))
        return frozenset(m.instance_type for m in machines if m.gpu and fits(asked, m))
    return frozenset()


# ---- empty answers -----------------------------------------------------------------------------------


def _explain(catalog: Catalog, filters: Sequence[Condition]) -> None:
    """Raise `Usage` that names the one filter, the two, or all that together exclude everything."""
    if not filters or not len(catalog):
        raise Unknown("No offer is known yet.", "Neither the cache nor the shipped table has one.", _REFRESH)
    for alone in filters:
        if not _matching(catalog, [alone]):
            if alone.hardware and (priceless := [m for m in catalog.machines if alone.hardware(m)]):
                raise _without_price(catalog, alone.words, priceless)
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


def why_unpriced(kind: InstanceType) -> str:
    """Why a type has no price here, as the end of a sentence."""
    told = "" if list_of(kind.provider) else shipped(kind.provider).unpriced().get(kind.instance_type)
    return told or "hotdesk's own table has no price of it; an account tells it"


def _without_price(catalog: Catalog, words: str, kinds: Sequence[InstanceType]) -> Unknown:
    """The error for known hardware that no source here has a price for."""
    from hotdesk.core.clouds import cloud
    from hotdesk.providers.registry import within_reach

    shown = "; ".join(f"{kind.instance_type} ({shape(kind)}): {why_unpriced(kind)}" for kind in kinds[:2])
    more = f"; and {len(kinds) - 2} more types" if len(kinds) > 2 else ""
    again = f"hotdesk offers {words} --refresh"
    there = _instead(catalog, kinds[0])
    log_in = "" if kinds[0].provider in within_reach() else cloud(kinds[0].provider).log_in
    asked = f"{log_in}   # then: {again}" if log_in else again
    return Unknown(
        f"No price of {words} is known here.",
        f"{shown}{more}.",
        f"{there}   # or: {asked}" if there else asked,
    )


def _instead(catalog: Catalog, kind: InstanceType) -> str:
    """A query with results: the same chips, else a GPU with as much memory; "" if there is none."""
    priced = [k for n, k in enumerate(catalog.machines) if catalog.starts[n] < catalog.starts[n + 1]]
    if any(kind.gpu and other.gpu == kind.gpu and other.gpu_count >= 1 for other in priced):
        return f"hotdesk offers --gpu {shlex_quoted(kind.gpu)}"
    if kind.accelerator:
        stem = kind.accelerator.rstrip("0123456789")
        near = [other.instance_type for other in priced if other.accelerator.startswith(stem)]
        return f"hotdesk offers {near[0]}" if near else ""
    least = int(kind.gpu_memory_gib)
    if kind.gpu and any(other.gpu_memory_gib >= least for other in priced):
        return f"hotdesk offers --gpu-memory {least}.."
    return ""


_REFRESH = "hotdesk offers --refresh"


def _closest(catalog: Catalog, filters: Sequence[Condition]) -> str:
    """The filter without which the answer is not empty, and as short as possible."""
    counts = [
        (len(_matching(catalog, [other for other in filters if other is not one])), one.words)
        for one in filters
    ]
    return min([count for count in counts if count[0]], default=(0, filters[-1].words))[1]


def _without(filters: Sequence[Condition], left: tuple[Condition, ...]) -> str:
    return " ".join(["hotdesk offers", *(f.words for f in filters if f not in left)])


def shape(machine: InstanceType) -> str:
    gpus = f"{machine.gpu_count:g} x {machine.gpu} of {machine.gpu_memory_gib:g} GiB, " if machine.gpu else ""
    if machine.accelerator:
        gpus += f"{machine.accelerator_count:g} x {machine.accelerator}, "
    return f"{gpus}{machine.vcpus:g} vCPUs, {machine.memory_gib:g} GiB"


def shlex_quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)
