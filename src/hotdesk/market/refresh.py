"""The current catalogue: cached, refreshed when old, with the shipped table as the fallback.

`known` answers at once from this computer's cache. `refreshed` asks the sources concurrently within a time
limit; one that fails costs only its rows and one line, and is not asked again for a while.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.core.money import Money
from hotdesk.core.ports import Cache
from hotdesk.core.pricelist import ESTIMATED, Gathering, Lacks, Told, is_estimate, is_shipped
from hotdesk.market.catalog import FORM, MARKETS, Catalog, build
from hotdesk.market.lists import price_lists
from hotdesk.market.shipped import shipped

if TYPE_CHECKING:
    from hotdesk.market.history import History

KEY = f"offers-{FORM}"  # another form of the catalogue is another key
_LACKS = "offers-lacks-2"
_RESERVED = "offers-reserved"
DAY_SECONDS = 86400.0  # how long a list price is valid
FRESH_SECONDS = 3600.0  # spot prices move over hours
QUIET_SECONDS = 1800.0  # how long a source that failed is not asked again
LIMIT_SECONDS = 60.0
LIST_SECONDS = 15.0  # of that, for price lists, which answer slowly; the next refresh gets the rest


class Known(NamedTuple):
    catalog: Catalog
    time: float | None  # when it was gathered; None: it is only the shipped table
    notes: tuple[str, ...] = ()
    lacks: Lacks = Lacks()  # what was not received when it was gathered
    reserved: tuple[Offer, ...] = ()  # places that an account pays for already, as they were then

    def is_old(self, now: float) -> bool:
        return self.time is None or not 0 <= now - self.time < FRESH_SECONDS


def known(cache: Cache, money: Money = Money()) -> Known:
    """What this computer has cached, without network requests. A damaged cache is noted and ignored.

    `money`: by which prices that are told in another currency are turned into dollars.
    """
    kept = cache.cached(KEY)
    if kept:
        try:
            catalog = Catalog.unpack(kept[1]).at_rate(money)
            return Known(catalog, kept[0], lacks=_lacks(cache), reserved=_reserved(cache))
        except ValueError as error:
            note = f"the cached prices were damaged ({error}) and were passed over"
            return Known(_shipped(money), None, (note,))
    return Known(_shipped(money), None)


def _shipped(money: Money) -> Catalog:
    """What ships with hotdesk, of all clouds."""
    made = shipped().catalog()
    for one in price_lists():
        one.add_to(made, money)
    made.index()
    return made


def _lacks(cache: Cache) -> Lacks:
    if found := cache.cached(_LACKS):
        with contextlib.suppress(msgspec.DecodeError):
            return wire.json(found[1], Lacks)
    return Lacks()


def _reserved(cache: Cache) -> tuple[Offer, ...]:
    if found := cache.cached(_RESERVED):
        with contextlib.suppress(msgspec.DecodeError):  # of another version
            return wire.json(found[1], tuple[Offer, ...])
    return ()


def on_demand_prices(catalog: Catalog, names: Collection[str]) -> dict[tuple[str, str], float]:
    """On-demand $/h by (instance type, region) of these types."""
    found = {}
    for number, machine in enumerate(catalog.machines):
        if machine.instance_type in names:
            for row in range(catalog.starts[number], catalog.starts[number + 1]):
                if MARKETS[catalog.market[row]] is Market.ON_DEMAND:
                    region = catalog.places[catalog.place[row]].region
                    found[machine.instance_type, region] = catalog.price[row]
    return found


def due(cache: Cache, now: float, quiet_seconds: float = QUIET_SECONDS) -> bool:
    """Whether to ask again: not within `quiet_seconds` of the last attempt."""
    tried = cache.cached("offers-tried")
    return not tried or not 0 <= now - tried[0] < quiet_seconds


def is_lacking(known: Known, names: Collection[str], now: float) -> bool:
    """Whether on-demand prices are missing that the account could get: of the named types, or of regions."""
    if not known.lacks.listed:
        return False
    told = known.lacks.named
    return not names or not all(0 <= now - told.get(name, -DAY_SECONDS) < DAY_SECONDS for name in names)


def notes_on_lacks(known: Known, names: Collection[str], now: float) -> tuple[str, ...]:
    """A line for each kind of price that is missing."""
    silent, listed = known.lacks.silent, known.lacks.listed
    found = [f"{region}: {why}" for region, why in list(silent.items())[:3]]
    if len(silent) > 3:
        found.append(f"and {len(silent) - 3} more regions gave nothing")
    if is_lacking(known, names, now):
        where = ", ".join(listed[:3]) + (" …" if len(listed) > 3 else "")
        day = datetime.fromtimestamp(shipped().time, UTC).strftime("%-d %B %Y")
        found.append(
            f"on-demand prices of {len(listed)} regions ({where}) are older, or from hotdesk's own table of"
            f" {day}: the price list answers slowly, and the next `hotdesk offers` goes on asking"
        )
    return tuple(found)


def refreshed(
    cache: Cache,
    now: float,
    *,
    progress: Callable[[str], None] = lambda text: None,
    settings: Callable[[str], Any] = lambda cloud: None,
    money: Money = Money(),
    regions: Sequence[str] = (),
    names: Callable[[Collection[InstanceType]], Collection[str]] = lambda machines: (),
    limit_seconds: float = LIMIT_SECONDS,
    list_seconds: float = LIST_SECONDS,
) -> Known:
    """Ask every cloud for its prices, cache them, and return them with a line for each source that failed.

    `regions`: which to ask about; all enabled ones if empty. `names` picks, from all types, those whose
    on-demand prices are needed; none: all. Where a price list did not answer in time, the shipped table is
    used, `lacks` says so, and the next refresh asks again.
    """
    from hotdesk.core import clouds
    from hotdesk.providers import registry  # on first use: the cache answers without any cloud

    before = known(cache, money).catalog
    cache.keep("offers-tried", b"", now)
    asked = Gathering(
        cache=cache,
        now=now,
        money=money,
        regions=regions,
        names=names,
        known_types=[kind.instance_type for kind in before.machines],
        known_regions=before.regions,
        limit_seconds=limit_seconds,
        list_seconds=list_seconds,
        progress=progress,
    )
    lists = {
        cloud.name: registry.price_list(cloud, asked._replace(settings=settings(cloud.name)))
        for cloud in clouds.KNOWN.values()
        if cloud.prices
    }
    jobs = {who: job for source in lists.values() for who, job in source.jobs().items()}
    faults = _side_by_side(jobs, progress, limit_seconds)
    notes = [f"{name} gave nothing: {fault}" for name, fault in faults.items()]
    told = {name: source.told() for name, source in lists.items()}
    notes += [note for one in told.values() for note in one.notes]
    if not any(one.spot or one.savings_time for one in told.values()):
        return known(cache, money)._replace(notes=tuple(notes))
    live = [offer for one in told.values() for offer in one.offers]
    live += _still_true(before, told, now)
    table = shipped()
    listed = [*table.offers(), *(offer for one in price_lists() for offer in one.offers(money))]
    machines = [*table.machines(), *(kind for one in price_lists() for kind in one.machines())]
    kinds = {(kind.provider, kind.instance_type): kind for kind in machines}
    kinds |= {(kind.provider, kind.instance_type): kind for one in told.values() for kind in one.types}
    bands = {f"{table.provider}/{region}/{name}": band for (region, name), band in table.bands().items()}
    for name, one in told.items():
        bands |= {f"{name}/{region}/{kind}": band for (region, kind), band in one.bands.items()}
    estimates = [offer for name, one in told.items() for offer in _estimates([*live, *listed], name, one)]
    catalog = build([live, estimates, listed], machines=kinds.values(), bands=bands)
    dropped = Counter(catalog.dropped)
    # Of a cloud that told nothing, nothing is missing that could be asked for again.
    untold = {kind.instance_type: now for kind in machines if not told.get(kind.provider, Told()).types}
    lacks = Lacks(named=untold)
    for one in told.values():
        dropped.update(one.dropped)
        lacks = Lacks(
            listed=lacks.listed + one.lacks.listed,
            silent=lacks.silent | one.lacks.silent,
            named=lacks.named | one.lacks.named,
        )
    catalog.dropped = dict(dropped)
    cache.keep(KEY, catalog.pack(), now)
    cache.keep(_LACKS, msgspec.json.encode(lacks), now)
    reserved = tuple(offer for one in told.values() for offer in one.reserved)
    if reserved or cache.cached(_RESERVED):
        cache.keep(_RESERVED, msgspec.json.encode(reserved), now)
    return Known(catalog, now, tuple(notes), lacks, reserved)


def _still_true(before: Catalog, told: Mapping[str, Told], now: float) -> Iterator[Offer]:
    """Earlier prices of a cloud where it has no new ones; list prices for a day."""
    for row in range(len(before)):
        source = before.sources[before.source[row]]
        if is_shipped(source) or is_estimate(source):
            continue
        offer = before.offer(row)
        one = told.get(offer.provider, Told())
        if offer.market is Market.SPOT:
            if offer.region not in one.spot:
                yield offer
        elif offer.region not in one.listed and 0 <= now - (offer.price_time or 0.0) < DAY_SECONDS:
            yield offer


def price_history(
    names: Mapping[str, Sequence[str]],
    places: Sequence[str],
    now: float,
    settings: Callable[[str], Any],
    money: Money = Money(),
) -> History:
    """What spot cost in the last 90 days; `names`: of which types each cloud is asked.

    Raises what keeps them silent, where none has a price.
    """
    from hotdesk.core import clouds
    from hotdesk.market.history_files import gather_raw
    from hotdesk.providers import registry

    rows: list[Any] = []
    notes: tuple[str, ...] = ()
    errors: list[HotdeskError] = []
    for provider, types in names.items():
        cloud = clouds.cloud(provider)
        try:
            more, said = registry.spot_history(cloud, settings(provider), types, places, now)
        except HotdeskError as error:
            errors.append(error)
            continue
        rows, notes = rows + more, notes + said
    if errors and not rows:
        raise errors[0]
    notes += tuple(error.what.rstrip(".") for error in errors)
    return gather_raw(rows, notes, money)


def _side_by_side(
    jobs: dict[str, Callable[[], None]], progress: Callable[[str], None], limit_seconds: float
) -> dict[str, str]:
    """Run jobs in threads and return their errors by name. A job that exceeds the limit is abandoned."""
    from hotdesk.parallel import side_by_side

    def run(name: str, job: Callable[[], None]) -> None:
        job()
        progress(f"{name}: done")

    answers = side_by_side([partial(run, *job) for job in jobs.items()], seconds=limit_seconds)
    return {
        name: " ".join(part for part in (error.what, error.why) if part)
        if isinstance(error, HotdeskError)
        else str(error)
        if isinstance(error, TimeoutError)
        else f"{type(error).__name__}: {error}"
        for name, error in zip(jobs, answers, strict=True)
        if error is not None
    }


def _estimates(rows: Iterable[Offer], provider: str, told: Told) -> Iterator[Offer]:
    """Spot prices implied by published average savings, where the price itself is unknown."""
    seen: set[tuple[str, str]] = set()
    for offer in rows:
        key = (offer.region, offer.instance_type)
        saving = told.savings.get(key)
        if (
            offer.provider != provider
            or offer.market is not Market.ON_DEMAND
            or key in seen
            or not saving
            or saving <= 0
        ):
            continue
        seen.add(key)
        yield msgspec.structs.replace(
            offer,
            zone="",
            market=Market.SPOT,
            usd_per_hour=round(offer.usd_per_hour * (1 - saving / 100), 4),
            told_per_hour=offer.told_per_hour and offer.told_per_hour.times(1 - saving / 100),
            price_time=told.savings_time,
            source=f"{ESTIMATED}: the spot advisor's average saving of a month",
        )
