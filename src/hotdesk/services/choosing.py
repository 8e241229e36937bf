"""Offers, regions and spot: what is available where and at what price, latencies, and spot's past prices."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch, fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import field

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Missing, Unknown, Unreachable, Usage
from hotdesk.core.model import Offer, Value
from hotdesk.core.ports import Clock
from hotdesk.core.spot.prices import Cheapest, ZonePrices, advise, region_of
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.config import Config
    from hotdesk.core.matching import InstanceType, Query
    from hotdesk.market.catalog import Catalog
    from hotdesk.market.history import History
    from hotdesk.market.latency import Latency
    from hotdesk.market.refresh import Known
    from hotdesk.market.refused import Refused

AGAIN_SECONDS = 60.0  # after which prices that were not told in time are asked for again
DAY = 86400.0
BANDS = ("<5%", "5-10%", "10-15%", "15-20%", ">20%")  # of instances that are interrupted in a month


class Offers(NamedTuple):
    """Offers that fit a query, as rows of the catalogue, in the requested order."""

    known: Known
    query: Query
    rows: list[int]
    latency: Mapping[str, float]  # milliseconds, by "provider/region"
    refused: Refused | None  # what was refused lately
    left_out: Mapping[str, int]  # how many of those fit, by reason
    unpriced: tuple[InstanceType, ...]  # that were named, by type or GPU, and have no price at all
    now: float
    reserved: tuple[Offer, ...] = ()  # places that fit and that an account pays for already: they come first

    @property
    def catalog(self) -> Catalog:
        return self.known.catalog

    def offers(self) -> list[Offer]:
        """The same as values."""
        return [*self.reserved, *self.catalog.offers(self.rows)]


class PublishedSpot(Value, frozen=True):
    """A cloud's published spot figures for a region: averages of a month."""

    instance_type: str
    region: str
    on_demand_usd_per_hour: float | None
    saving_percent: int
    estimated_usd_per_hour: float | None
    interruption_band: str  # the share of instances that are interrupted in a month


class SpotPrices(Value, frozen=True):
    """Past spot prices, weighted by time. In US dollars an hour, and seconds since the epoch."""

    instance_types: tuple[str, ...]
    source: str
    hours: float = 24.0  # the length of a job, for the figures about jobs
    since: float = 0.0
    until: float = 0.0
    zones: tuple[ZonePrices, ...] = ()
    cheapest: tuple[Cheapest, ...] = ()
    advice: str = ""
    dropped: Mapping[str, int] = field(
        default_factory=dict
    )  # rows of the history that were left out, by reason
    notes: tuple[str, ...] = ()
    published: tuple[PublishedSpot, ...] = ()  # instead of zones, where no history can be had
    silent: str = ""  # why the account was not asked, or did not answer
    kept_at: float | None = None  # when the prices were kept, where it did not
    published_at: float | None = None  # when the averages were published


class SpotQuery(Value, frozen=True):
    """Which spot prices, of when. Times in seconds since the epoch."""

    instance_types: tuple[
        str, ...
    ]  # or GPUs, each of which means the smallest type of each cloud that has it
    history: Path | None = None  # a file or folder of prices; None: the account's
    since: float | None = None
    until: float | None = None
    days: float | None = None  # the last days instead of `since`
    under: tuple[float, ...] = ()  # the share of time below these prices
    on_demand: float | None = None  # that price, where it is not known
    hours: float = 24.0
    places: tuple[str, ...] = ()  # regions or zones, also as "eu-*"
    provider: str = ""  # whose prices; "": of each cloud that sells one of the types


@dataclass(kw_only=True, eq=False)
class Choosing:
    """What is known of prices here. `on_note` hears of what was replaced, `on_progress` of slow questions."""

    store: Store
    clock: Clock
    config: Callable[[], Config]
    on_note: Callable[[str], None] = lambda text: None
    on_progress: Callable[[str], None] = lambda text: None

    # ---- offers --------------------------------------------------------------------------------------

    def offers(
        self,
        query: Query,
        *,
        sort: str = "price",
        everything: bool = False,
        refresh: bool = False,
        offline: bool = False,
    ) -> Offers:
        """What fits. `everything`: also what was refused lately; `refresh`: every source is asked now.

        Raises `Unknown` for a type, GPU or region that there is not, naming the nearest.
        """
        from msgspec.structs import replace

        from hotdesk.market.latency import latencies
        from hotdesk.market.refused import lately

        now = self.clock.now()
        query = replace(query, types=self._todays(query.types))
        known = self._known(query, now, refresh=refresh, offline=offline)
        refused = None if everything else lately(self.store, now)
        return self.searched(known, query, latencies(self.store), refused, sort, now)

    @staticmethod
    def searched(  # noqa: PLR0917 -- they are all of one look
        known: Known,
        query: Query,
        latency: Mapping[str, float],
        refused: Refused | None,
        sort: str,
        now: float,
    ) -> Offers:
        """The same catalogue in another order."""
        from hotdesk.market.gpus import relative_speed
        from hotdesk.market.query import fitting_reserved, with_reserved
        from hotdesk.market.shipped import shipped

        reserved = fitting_reserved(known.catalog, query, known.reserved, now)
        found = with_reserved(
            reserved,
            known.catalog,
            query,
            sort=sort,
            latency=latency,
            speed=relative_speed,
            refused=refused,
            retired=shipped().gone(),
        )
        return Offers(
            known, query, found.rows, latency, refused, found.left_out, found.unpriced, now, reserved
        )

    def _todays(self, names: Sequence[str]) -> tuple[str, ...]:
        """The types asked for; a retired one is replaced by its successors, with a note."""
        from hotdesk.market.shipped import shipped

        found: list[str] = []
        for name in names:
            if gone := shipped().gone().get(name):
                self.on_note(gone.words)
                found += gone.nearest
            else:
                found.append(name)
        return tuple(dict.fromkeys(found))

    def _known(self, query: Query, now: float, *, refresh: bool, offline: bool) -> Known:
        """The catalogue; refreshed if it is old or lacks requested prices, unless that was tried just now."""
        from hotdesk.market import refresh as stock
        from hotdesk.market.query import named_types

        store, known = self.store, stock.known(self.store, self.config().money)
        names = named_types(query, known.catalog.machines)
        old = known.is_old(now) and stock.due(store, now)
        lacks = stock.is_lacking(known, names, now) and stock.due(store, now, AGAIN_SECONDS)
        if not (offline or "HOTDESK_OFFLINE" in os.environ) and (refresh or old or lacks):
            known = self._refreshed(query, known, now, refresh=refresh)
            names = named_types(query, known.catalog.machines)
        return known._replace(notes=(*known.notes, *stock.notes_on_lacks(known, names, now)))

    def _refreshed(self, query: Query, known: Known, now: float, *, refresh: bool) -> Known:
        from hotdesk.market import refresh as stock
        from hotdesk.market.query import named_types

        config = self.config()
        config.need("defaults")
        try:
            fresh = stock.refreshed(
                self.store,
                now,
                progress=self.on_progress,
                limit_seconds=180.0 if refresh else stock.LIMIT_SECONDS,
                list_seconds=100.0 if refresh else stock.LIST_SECONDS,
                names=partial(named_types, query),
                regions=config.defaults.regions,
                settings=config.cloud,
                money=config.money,
            )
        except HotdeskError as error:
            return known._replace(notes=(*known.notes, error.what.rstrip(".")))
        finally:
            self.on_progress("")
        return fresh._replace(notes=(*known.notes, *fresh.notes))

    # ---- regions -------------------------------------------------------------------------------------

    def regions(
        self,
        only: Sequence[str] = (),
        *,
        providers: Sequence[str] = (),
        samples: int = 7,
        limit_seconds: float = 1.8,
    ) -> list[Latency]:
        """How far each region is: the median of several TCP connects, in milliseconds. It is remembered.

        `only`: these regions, also as "eu-*". Raises `Unknown` for one that there is not. `providers`: whose;
        the first cloud's where none is named.
        """
        from hotdesk.core.matching import nearest
        from hotdesk.market.latency import endpoints, keep, measure

        hosts = endpoints(providers)
        for name in only:
            if not any(fnmatchcase(region, name) for _, region in hosts):
                near = nearest(name, sorted({region for _, region in hosts}))
                raise Unknown(
                    f"There is no region {name!r}.",
                    f"Nearest: {', '.join(near)}." if near else f"{len(hosts)} regions are known.",
                    f"hotdesk regions --region {near[0]}" if near else "hotdesk regions",
                )
        if only:
            hosts = {key: at for key, at in hosts.items() if any(fnmatchcase(key[1], n) for n in only)}
        rows = measure(hosts, samples=samples, limit_seconds=limit_seconds)
        keep(self.store, rows, self.clock.now())
        return rows

    # ---- spot ----------------------------------------------------------------------------------------

    def spot(self, query: SpotQuery) -> tuple[SpotPrices, History | None]:
        """What spot has cost, and the history that it was taken from; None where only averages are known.

        Raises `Usage` for an empty window or an unknown place, `Unknown` for what is neither a type nor a
        GPU, and what kept the account silent where nothing at all is known.
        """
        from msgspec.structs import replace

        from hotdesk.market.history import cheapest, summarise
        from hotdesk.market.history_files import need_numpy, read
        from hotdesk.market.shipped import shipped

        names = self._types(query)
        query = replace(query, instance_types=names)
        table = shipped()
        for name in names:
            if gone := table.gone().get(name):
                self.on_note(gone.words)
        prices = table.on_demand_prices(names)
        silent, kept_at = "", None
        if query.history:
            need_numpy()
            found = read(query.history).of(names)
            first, last, source = *found.span, str(query.history)
        else:
            known = self._account(query, prices)
            if isinstance(known, str):
                return self._published(query, known, prices), None
            found, last, source, silent, kept_at = known
            first = found.span[0]
        end = last if query.until is None else query.until
        start = query.since if query.since is not None else max(first, end - 90 * DAY)
        if query.since is None and query.days:
            start = end - query.days * DAY
        again = f"hotdesk spot {' '.join(names)} --since {stamp(first)} --until {stamp(last)}"
        if start >= end:
            raise Usage(
                f"The window is empty: it would begin at {stamp(start)} and end at {stamp(end)}.",
                f"Prices are known from {stamp(first)} to {stamp(last)}.",
                again,
            )
        if query.places:
            found = _within(found, query.places)
        if query.on_demand:
            regions = {region_of(pool.zone) for pool in found.pools}
            prices |= {(name, region): query.on_demand for name in names for region in regions}
        zones = summarise(found, start, end, under=query.under, on_demand=prices, hours=query.hours)
        if not zones:
            raise Usage(
                f"No price is known between {stamp(start)} and {stamp(end)}.",
                f"This history has prices from {stamp(first)} to {stamp(last)}.",
                again,
            )
        best = cheapest(found, zones, start, end)
        return SpotPrices(
            instance_types=names,
            source=source,
            hours=query.hours,
            since=start,
            until=end,
            zones=tuple(zones),
            cheapest=tuple(best),
            advice=advise(zones, best, hours=query.hours, days=(end - start) / DAY),
            dropped=dict(found.dropped),
            notes=tuple(found.notes),
            silent=silent,
            kept_at=kept_at,
        ), found

    def _types(self, query: SpotQuery) -> tuple[str, ...]:
        """The types that are asked about, with a note of those that a GPU stands for."""
        from hotdesk.market import refresh

        found: list[str] = []
        for said in query.instance_types:
            if "." in said:  # as in the types of every cloud, and in no GPU's name
                found.append(said)
                continue
            machines = refresh.known(self.store, self.config().money).catalog.machines
            smallest = _smallest(said, machines, query.provider)
            if smallest:
                told = " and ".join(f"{name} ({cloud(of).label})" for of, name in smallest.items())
                self.on_note(f"{said} stands for {told}; for others: hotdesk offers --gpu {said}")
            elif query.history:
                smallest = {"": said}
            else:
                raise _no_such_type(said, machines)
            found += smallest.values()
        return tuple(dict.fromkeys(found))

    def _account(
        self, query: SpotQuery, prices: dict[tuple[str, str], float]
    ) -> tuple[History, float, str, str, float | None] | str:
        """The account's history, else what was kept of it; its last moment, its source, and why it is old.

        Why there is neither, where the published averages have to do. The on-demand prices that the account
        once told are added to `prices`.
        """
        from hotdesk.market import refresh
        from hotdesk.market.history_files import keep, kept, need_numpy
        from hotdesk.market.shipped import shipped

        names = query.instance_types
        now = float(int(self.clock.now()))  # whole seconds: the window is told, and can be asked for again
        money = self.config().money
        catalog = refresh.known(self.store, money).catalog
        prices |= refresh.on_demand_prices(catalog, names)
        whom = _whom(catalog, names, query.provider)
        try:
            if "HOTDESK_OFFLINE" in os.environ:
                raise Unreachable("HOTDESK_OFFLINE is set, so nobody is asked.", "", "unset HOTDESK_OFFLINE")
            need_numpy()
            found = refresh.price_history(whom, query.places, now, self.config().cloud, money)
        except (Unreachable, Missing) as error:
            if old := kept(self.store, names):
                time, history = old
                return history, time, "what your account said before", error.what, time
            if any(name in types for types in shipped().bands_by_region().values() for name in names):
                return error.what
            raise
        keep(self.store, found, now)
        return found, now, "your account (DescribeSpotPriceHistory)", "", None

    @staticmethod
    def _published(query: SpotQuery, silent: str, listed: Mapping[tuple[str, str], float]) -> SpotPrices:
        """A type's figures in the cloud's public file: average savings and interruption frequency.

        `listed`: on-demand prices by type and region.
        """
        from hotdesk.market.shipped import shipped

        table = shipped()
        rows = []
        for region, types in table.advice.saving_percent_and_band.items():
            if query.places and not any(fnmatch(region, place) for place in query.places):
                continue
            for name in (n for n in query.instance_types if n in types):
                saving, band = types[name]
                usual = listed.get((name, region))
                rows.append(
                    PublishedSpot(
                        instance_type=name,
                        region=region,
                        on_demand_usd_per_hour=usual,
                        saving_percent=saving,
                        estimated_usd_per_hour=round(usual * (1 - saving / 100), 4) if usual else None,
                        interruption_band=BANDS[band],
                    )
                )
        rows.sort(key=lambda r: (r.estimated_usd_per_hour is None, r.estimated_usd_per_hour or 0.0))
        calm = [row.region for row in rows if row.interruption_band == BANDS[0]]
        return SpotPrices(
            instance_types=query.instance_types,
            source=f"{table.sources[table.advice.source]}, in the table that ships with hotdesk",
            published=tuple(rows),
            advice="Averages of one month, not a history: fit for a first look. Less than 5 % of machines "
            f"are interrupted in a month in {', '.join(calm) or 'no region'}.",
            silent=silent,
            published_at=table.advised_at,
        )


def _smallest(gpu: str, machines: Sequence[InstanceType], provider: str) -> dict[str, str]:
    """By cloud, the smallest type with this GPU; of clouds that tell past prices, and answer here."""
    from hotdesk.core.clouds import KNOWN
    from hotdesk.core.matching import read_gpu
    from hotdesk.providers import registry

    wish = read_gpu(gpu)
    having = sorted(
        (m for m in machines if m.gpu and wish.fits(m)),
        key=lambda m: (m.gpu_count, m.vcpus, m.memory_gib, m.instance_type),
    )
    found = {m.provider: m.instance_type for m in reversed(having)}
    told = [name for name, one in KNOWN.items() if one.spot_history and provider in {"", name}]
    near = [name for name in told if name in registry.within_reach()] or told
    return {name: found[name] for name in near if name in found}


def _no_such_type(said: str, machines: Sequence[InstanceType]) -> Unknown:
    from hotdesk.core.matching import nearest

    family = [m for m in machines if m.instance_type.startswith(f"{said}.")]
    near = [m.instance_type for m in sorted(family, key=lambda m: (m.gpu_count, m.vcpus))][:3]
    near = near or nearest(said, sorted({m.gpu for m in machines if m.gpu}))
    return Unknown(
        f"{said!r} is neither an instance type nor a GPU of a cloud that tells its spot prices.",
        f"Nearest: {', '.join(near)}." if near else "All that are known: hotdesk offers",
        f"hotdesk spot {near[0]}" if near else "hotdesk offers --market spot",
    )


def _whom(catalog: Catalog, names: Sequence[str], provider: str) -> dict[str, list[str]]:
    """The types that each cloud is asked about: those that it sells, and those of which nothing is known.

    `provider`: that one alone, about all of them. Raises `Missing` for a type of clouds alone whose past
    prices hotdesk cannot ask for, `Usage` for an unknown cloud.
    """
    from hotdesk.core import clouds
    from hotdesk.providers import registry

    told = {name for name, one in clouds.KNOWN.items() if one.spot_history}
    if provider:
        registry.known(provider, f"hotdesk spot {' '.join(names)}")
    sellers = {n: {m.provider for m in catalog.machines if m.instance_type == n} for n in names}
    for name in names:
        of = {provider} if provider else sellers[name]
        if of and not of & told:
            raise Missing(
                f"hotdesk cannot ask {' or '.join(cloud(s).label for s in sorted(of))} what spot has cost.",
                f"It sells {name}, and hotdesk knows its spot prices of now alone, not those of the past.",
                f"hotdesk offers {name}   # today's prices",
            )
    if provider:
        return {provider: list(names)}
    known = [one for one in told if any(one in sellers[name] for name in names)]
    of_unknown = (registry.within_reach() & told) or told
    asked = known if all(sellers.values()) else {*known, *of_unknown}
    whom = {
        one: [n for n in names if one in sellers[n] or (not sellers[n] and one in of_unknown)]
        for one in clouds.KNOWN
        if one in asked
    }
    return {one: types for one, types in whom.items() if types}


def _within(history: History, places: Sequence[str]) -> History:
    kept = tuple(
        pool
        for pool in history.pools
        if any(fnmatch(pool.zone, place) or fnmatch(region_of(pool.zone), place) for place in places)
    )
    if kept:
        return history._replace(pools=kept)
    from difflib import get_close_matches

    known = sorted({region_of(pool.zone) for pool in history.pools} | {pool.zone for pool in history.pools})
    near = get_close_matches(places[0], known, n=3, cutoff=0.4) or known[:3]
    raise Usage(
        f"No price is known in {', '.join(places)}.",
        f"Nearest that are known: {', '.join(near)}.",
        f"--region {near[0]}",
    )


def stamp(moment: float) -> str:
    """A time as people and programs read it, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
