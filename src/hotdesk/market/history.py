"""Price histories as columns, and the figures of core/prices from them: millions of prices in a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hotdesk.core.errors import Unknown
from hotdesk.core.spot.prices import PINNED_NEARNESS, Cheapest, Share, ZonePrices, is_pinned, region_of

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

HOUR, DAY = 3600.0, 86400.0
#: Starts tried for "a job of N hours from a random start": evenly spaced, in the middle of their intervals.
STARTS = 4000
_BINS = 4096


class Pool(NamedTuple):
    """The prices of an instance type in a zone: each holds from its time (epoch seconds) on; times rise."""

    instance_type: str
    zone: str
    times: Floats
    prices: Floats


class History(NamedTuple):
    pools: tuple[Pool, ...]
    dropped: Mapping[str, int]  # why rows were left out, and how many
    notes: tuple[str, ...] = ()

    @property
    def instance_types(self) -> list[str]:
        return sorted({pool.instance_type for pool in self.pools})

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last known price."""
        return min(p.times[0] for p in self.pools), max(p.times[-1] for p in self.pools)

    def of(self, instance_types: Sequence[str]) -> History:
        """Only these types. Raises `Unknown` with the nearest ones there are."""
        known = set(self.instance_types)
        for name in instance_types:
            if name not in known:
                from difflib import get_close_matches

                near = get_close_matches(name, sorted(known), n=3, cutoff=0.3) or sorted(known)[:3]
                raise Unknown(
                    f"There is no price of {name!r} in this history.",
                    f"It has prices of: {', '.join(sorted(known)[:12])}."
                    if known
                    else "It has no prices at all.",
                    f"hotdesk spot {near[0]}" if near else "hotdesk offers",
                )
        return self._replace(pools=tuple(p for p in self.pools if p.instance_type in set(instance_types)))


def summarise(
    history: History,
    since: float,
    until: float,
    *,
    under: Sequence[float] = (),
    on_demand: Mapping[tuple[str, str], float] = {},
    hours: float = 24.0,
) -> list[ZonePrices]:
    """The figures of every pool with a price in [since, until), cheapest first.

    `on_demand` is by (instance type, region) in $/h, `hours` is the length of the job. A price before
    `since` holds into the window; time before a pool's first price is not counted.
    """
    found = []
    for pool in history.pools:
        region = region_of(pool.zone)
        price = on_demand.get((pool.instance_type, region))
        if stats := _pool(pool, (since, until), under=under, on_demand=price, hours=hours):
            found.append(stats)
    return sorted(found, key=lambda zone: (zone.instance_type, zone.mean_usd_per_hour, zone.zone))


def _pool(
    pool: Pool, window: tuple[float, float], *, under: Sequence[float], on_demand: float | None, hours: float
) -> ZonePrices | None:
    import numpy as np

    edges, prices = held(pool, *window)
    if not len(prices):
        return None
    lengths = np.diff(edges)
    total = float(edges[-1] - edges[0])
    levels = [*under, *([on_demand, on_demand / 3] if on_demand else [])]
    shares = tuple(Share(usd_per_hour=v, share=_share(prices < v, lengths, total)) for v in levels)
    quantiles = weighted_quantiles(prices, lengths, (0.05, 0.5, 0.95, 0.99))
    changes = int(np.count_nonzero(prices[1:] != prices[:-1]))
    p50, p95 = _job(edges, prices, lengths, hours)
    at_on_demand = _share(prices >= on_demand * PINNED_NEARNESS, lengths, total) if on_demand else 0.0
    return ZonePrices(
        zone=pool.zone,
        region=region_of(pool.zone),
        instance_type=pool.instance_type,
        mean_usd_per_hour=float(np.dot(prices, lengths)) / total,
        min=float(prices.min()),
        p05=quantiles[0],
        p50=quantiles[1],
        p95=quantiles[2],
        p99=quantiles[3],
        max=float(prices.max()),
        now=float(prices[-1]),
        share_under=shares[0].share if shares else None,
        shares_under=shares,
        longest_above_hours=_longest(prices > levels[0], edges) / HOUR if levels else None,
        changes=changes,
        changes_per_day=changes / (total / DAY),
        pinned=is_pinned(at_on_demand),
        on_demand_usd_per_hour=on_demand,
        covered_hours=total / HOUR,
        job_usd_p50=p50,
        job_usd_p95=p95,
    )


def held(pool: Pool, since: float, until: float) -> tuple[Floats, Floats]:
    """The prices of a window and the moments between which they held: one edge more than prices."""
    import numpy as np

    first = max(int(np.searchsorted(pool.times, since, "right")) - 1, 0)
    end = int(np.searchsorted(pool.times, until, "left"))
    if end <= first:
        return np.empty(0), np.empty(0)
    edges = np.append(pool.times[first:end], until)
    edges[0] = max(edges[0], since)
    return edges, pool.prices[first:end]


def weighted_quantiles(values: Floats, weights: Floats, shares: Sequence[float]) -> list[float]:
    """For each share the smallest value that, with all lower ones, has at least that much of the weight.

    Exact, in linear time: weights are summed in bins, and only the bins that hold an answer are sorted.
    """
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if low == high:
        return [low] * len(shares)
    count = max(1, min(_BINS, len(values) // 8))
    bins = ((values - low) * (count / (high - low))).astype(np.int32)
    np.minimum(bins, count - 1, out=bins)
    reached = np.cumsum(np.bincount(bins, weights=weights))
    found = []
    for share in shares:
        goal = share * reached[-1] * (1 - 1e-12)
        place = int(np.searchsorted(reached, goal, "left"))
        inside = bins == place
        members, weight = values[inside], weights[inside]
        order = np.argsort(members)
        before = reached[place - 1] if place else 0.0
        within = np.searchsorted(before + np.cumsum(weight[order]), goal, "left")
        found.append(float(members[order[min(int(within), len(order) - 1)]]))
    return found


def _share(holds: Any, lengths: Floats, total: float) -> float:
    import numpy as np

    if holds.all():
        return 1.0
    return float(np.dot(holds, lengths)) / total


def _longest(holds: Any, edges: Floats) -> float:
    """The longest unbroken stretch in which `holds` is true, in the unit of the edges."""
    import numpy as np

    turns = np.diff(holds.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(turns > 0), np.flatnonzero(turns < 0)
    return float((edges[ends] - edges[starts]).max(initial=0.0))


def _job(edges: Floats, prices: Floats, lengths: Floats, hours: float) -> tuple[float | None, float | None]:
    """What `hours` cost from a start drawn evenly from the window: median and 95th percentile, in $."""
    import numpy as np

    room = float(edges[-1] - edges[0]) - hours * HOUR
    if room < 0 or hours <= 0:
        return None, None
    spent = np.concatenate(([0.0], np.cumsum(prices * lengths))) / HOUR
    starts = edges[0] + room * (np.arange(STARTS) + 0.5) / STARTS
    cost = np.interp(starts + hours * HOUR, edges, spent) - np.interp(starts, edges, spent)
    p50, p95 = np.quantile(cost, (0.5, 0.95))
    return float(p50), float(p95)


def cheapest(history: History, zones: Sequence[ZonePrices], since: float, until: float) -> list[Cheapest]:
    """For each instance type with several zones: how the cheapest of them changed over the window."""
    import numpy as np

    found = []
    pools = {(pool.instance_type, pool.zone): pool for pool in history.pools}
    for instance_type in sorted({zone.instance_type for zone in zones}):
        group = [zone for zone in zones if zone.instance_type == instance_type]
        if len(group) == 1:
            continue
        steps = [held(pools[instance_type, zone.zone], since, until) for zone in group]  # by rising mean
        edges, rank = _merged([moments[:-1] for moments, _ in steps])
        lengths = np.diff(edges, append=until)
        best = np.full(len(edges), np.inf)
        owner = np.zeros(len(edges), np.int32)
        first = 0
        for number, (_, prices) in enumerate(steps):
            begins = rank[first : first + len(prices)]  # where in the merged row each of its prices begins
            first += len(prices)
            price = np.full(len(edges), np.inf)
            price[begins[0] :] = np.repeat(prices, np.diff(begins, append=len(edges)))
            owner[price < best] = number
            np.minimum(best, price, out=best)
        lasting = lengths > 0  # at a moment when several zones changed only the last state counts
        best, owner, lengths = best[lasting], owner[lasting], lengths[lasting]
        home = next((n for n, zone in enumerate(group) if not zone.pinned), 0)
        found.append(
            Cheapest(
                instance_type=instance_type,
                zone=group[home].zone,
                switches=int(np.count_nonzero(owner[1:] != owner[:-1])),
                share_of_time=_share(owner == home, lengths, float(lengths.sum())),
                mean_usd_per_hour=float(np.dot(best, lengths) / lengths.sum()),
            )
        )
    return found


def _merged(times: Sequence[Floats]) -> tuple[Floats, Any]:
    """The moments of several sorted rows in one, and the place there of each moment of each row."""
    import numpy as np

    whole = np.concatenate(times)
    order = np.argsort(whole, kind="stable")  # merges sorted runs, so it hardly costs more than reading
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return whole[order], rank
