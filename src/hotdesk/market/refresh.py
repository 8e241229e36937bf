"""The catalogue as it is known now: cached, refreshed when old, the shipped table beneath everything.

`known` answers at once from what this computer has. `refreshed` asks the sources side by side within a firm
limit; one that fails costs its rows and one line, and is left in peace for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hotdesk.core.errors import HotdeskError
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.core.ports import Cache
from hotdesk.market import pricelist
from hotdesk.market.catalog import FORM, MARKETS, Catalog, build
from hotdesk.market.pricelist import Lacks
from hotdesk.market.shipped import ESTIMATED, shipped
from hotdesk.parallel import side_by_side

if TYPE_CHECKING:
    from hotdesk.providers.aws.spot_advisor import Advice

KEY = f"offers-{FORM}"  # another form of the catalogue is another key
FRESH_SECONDS = 3600.0  # spot prices move over hours
QUIET_SECONDS = 1800.0  # how long a source that failed is not asked again
LIMIT_SECONDS = 60.0
LIST_SECONDS = 15.0  # of them for a price list, which answers slowly: what it did not tell comes next time


class Known(NamedTuple):
    catalog: Catalog
    time: float | None  # when it was gathered; None: it is only the shipped table
    notes: tuple[str, ...] = ()
    lacks: Lacks = Lacks()  # what was not got when it was gathered

    def is_old(self, now: float) -> bool:
        return self.time is None or not 0 <= now - self.time < FRESH_SECONDS


class _File(msgspec.Struct):
    etag: str
    body: bytes
    time: float  # when it was last known to be the newest


def known(cache: Cache) -> Known:
    """What this computer knows, without asking anybody. A damaged cache is said and passed over."""
    kept = cache.cached(KEY)
    if kept:
        try:
            return Known(Catalog.unpack(kept[1]), kept[0], lacks=pricelist.read_lacks(cache))
        except ValueError as error:
            note = f"the cached prices were damaged ({error}) and were passed over"
            return Known(shipped().catalog(), None, (note,))
    return Known(shipped().catalog(), None)


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
    """Whether asking again is polite: not so soon after every source failed."""
    tried = cache.cached("offers-tried")
    return not tried or not 0 <= now - tried[0] < quiet_seconds


def is_lacking(cache: Cache, known: Known, names: Collection[str], now: float) -> bool:
    """Whether on-demand prices are missing that the account could tell: of the types named, or of regions."""
    if not known.lacks.listed:
        return False
    if not 0 < len(names) <= pricelist.NAMED_MAX:
        return True
    return any(pricelist.kept(cache, pricelist.type_key(name), now) is None for name in names)


def notes_on_lacks(cache: Cache, known: Known, names: Collection[str], now: float) -> tuple[str, ...]:
    """A line for each kind of price that is missing, now or since it was gathered."""
    day = datetime.fromtimestamp(shipped().time, UTC).strftime("%-d %B %Y")
    return known.lacks.notes(f"hotdesk's own table of {day}", listed=is_lacking(cache, known, names, now))


def refreshed(
    cache: Cache,
    now: float,
    *,
    progress: Callable[[str], None] = lambda text: None,
    advisor_url: str = "",
    regions: Sequence[str] = (),
    names: Callable[[Collection[InstanceType]], Collection[str]] = lambda machines: (),
    limit_seconds: float = LIMIT_SECONDS,
    list_seconds: float = LIST_SECONDS,
) -> Known:
    """Ask every source that there is, keep what they say, and return it with a line for each that failed.

    The account is asked about `regions`, or about all that are enabled when there are none; for on-demand
    prices of the types that `names` picks out of all there are, where it picks any. Its price list answers
    slowly: what it did not tell in time is the shipped table's, said in `lacks`, and asked for next time.
    """
    from hotdesk.market.sources import LISTED, LIVE, SPOT, aws_listed
    from hotdesk.providers.aws.session import has_credentials
    from hotdesk.providers.aws.spot_advisor import ADVISOR_URL

    advisor_url = advisor_url or ADVISOR_URL
    notes: list[str] = []
    heard = _Heard()
    files: list[tuple[Advice, _File]] = []
    cache.keep("offers-tried", b"", now)
    body = _cached_file(cache, advisor_url)

    def advisor() -> None:
        files.append(_advice(body, advisor_url, now))

    before = known(cache).catalog
    keys = [pricelist.region_key(region) for region in before.regions]
    keys += [pricelist.type_key(machine.instance_type) for machine in before.machines]
    listed = {key for key in keys if pricelist.kept(cache, key, now)}
    jobs: dict[str, Callable[[], None]] = {"the public spot advisor": advisor}
    if has_credentials():
        jobs["your AWS account"] = lambda: _account(
            heard, listed, names, now=now, progress=progress, regions=regions, list_seconds=list_seconds
        )
    faults = _side_by_side(jobs, progress, limit_seconds)
    notes += [f"{name} gave nothing: {fault}" for name, fault in faults.items()]
    advice, file = files[0] if files else (None, None)
    if file and file.time == now:
        cache.keep(f"file:{advisor_url}", msgspec.msgpack.encode(file), now)
    elif file:
        notes.append("the public spot advisor cannot be reached; what it said before is used")
    table = shipped()
    for key, usd in list(heard.listed.items()):
        cache.keep(key, msgspec.json.encode(usd), now)
    answers, by_name = dict(heard.spot), {machine.instance_type: machine for machine in heard.machines}
    live = [offer for rows in answers.values() for offer in rows]
    whole: set[str] = set()  # regions of which the price list has told everything within a day
    of_types = {name: pricelist.kept(cache, pricelist.type_key(name), now) for name in by_name}
    for region, zones in dict(heard.zones).items():
        prices = {
            n: (told.usd[region], told.time) for n, told in of_types.items() if told and region in told.usd
        }
        if told := pricelist.kept(cache, pricelist.region_key(region), now):
            prices = {name: (usd, told.time) for name, usd in told.usd.items()} | prices
            whole.add(region)
        live += aws_listed(region, prices, zones, by_name)
    late = {r: f"no answer within {limit_seconds:g} s" for r in heard.regions if r not in answers}
    lacks = Lacks(listed=[r for r in heard.regions if r not in whole], silent=late | dict(heard.silent))
    for row in range(len(before)):
        # what the account said earlier of what is silent now
        source = before.sources[before.source[row]]
        if source not in LIVE:
            continue
        offer = before.offer(row)
        if (source == SPOT and offer.region not in answers) or (
            source == LISTED and offer.region not in whole and _is_young(offer, now)
        ):
            live.append(offer)
    bands = dict(table.bands())
    estimates: list[Offer] = []
    if advice and file:
        bands |= advice.bands
        estimates = list(_estimates([*live, *table.offers()], advice, file.time))
    machines = {machine.instance_type: machine for machine in table.machines()}
    machines |= by_name
    catalog = build(
        [live, estimates, table.offers()],
        machines=machines.values(),
        bands={f"aws/{region}/{name}": band for (region, name), band in bands.items()},
    )
    if advice:
        catalog.dropped |= {
            reason: catalog.dropped.get(reason, 0) + n for reason, n in advice.dropped.items()
        }
    if not answers and not advice:
        return known(cache)._replace(notes=tuple(notes))
    cache.keep(KEY, catalog.pack(), now)
    pricelist.keep_lacks(cache, lacks, now)
    return Known(catalog, now, tuple(notes), lacks)


def _is_young(offer: Offer, now: float) -> bool:
    return offer.price_time is not None and 0 <= now - offer.price_time < pricelist.KEPT_SECONDS


class _Heard:
    """What an account has told so far: filled by several threads, read when time is up."""

    def __init__(self) -> None:
        self.regions: list[str] = []
        self.machines: list[InstanceType] = []
        self.spot: dict[str, list[Offer]] = {}
        self.zones: dict[str, dict[str, list[str]]] = {}
        self.listed: dict[str, dict[str, float]] = {}
        self.silent: dict[str, str] = {}  # regions, and why


def _side_by_side(
    jobs: dict[str, Callable[[], None]], progress: Callable[[str], None], limit_seconds: float
) -> dict[str, str]:
    """Run jobs in threads; what went wrong with each. One that is not done in time is left behind."""

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


def _cached_file(cache: Cache, url: str) -> _File | None:
    kept = cache.cached(f"file:{url}")
    if not kept:
        return None
    try:
        return msgspec.msgpack.decode(kept[1], type=_File)
    except msgspec.DecodeError:
        return None


def _advice(kept: _File | None, url: str, now: float) -> tuple[Advice, _File]:
    """What the advisor says now; what it said before when it cannot be reached and something was kept."""
    from hotdesk.providers.aws.spot_advisor import fetch, read_advice

    try:
        new = fetch(url, etag=kept.etag if kept else "")
    except HotdeskError:
        if kept is None:
            raise
        return read_advice(kept.body), kept
    if new is None:
        if kept is None:
            raise ValueError("it says that nothing changed, but nothing is kept here")
        return read_advice(kept.body), _File(kept.etag, kept.body, now)
    return read_advice(new.body), _File(new.etag, new.body, now)


def _account(
    heard: _Heard,
    listed: Collection[str],
    names: Callable[[Collection[InstanceType]], Collection[str]],
    *,
    now: float,
    progress: Callable[[str], None],
    regions: Sequence[str],
    list_seconds: float,
) -> None:
    """Spot prices of all regions first: a price list that answers slowly, or not at all, costs none."""
    from hotdesk.market.sources import Aws, aws_spot
    from hotdesk.market.sources import side_by_side as ask_each

    account = Aws()
    enabled = account.regions()
    wanted = [region for region in enabled if region in regions] or enabled
    heard.machines = account.machines()
    by_name = {machine.instance_type: machine for machine in heard.machines}
    heard.regions = sorted(wanted, key=lambda region: region != account.home)

    def ask(region: str) -> None:
        try:
            heard.zones[region] = account.zones(region)
            heard.spot[region] = aws_spot(account, region, by_name, now)
            progress(f"{region}: {len(heard.spot[region])} spot prices")
        except HotdeskError as error:
            heard.silent[region] = error.what.rstrip(".")

    def told(key: str, usd: dict[str, float]) -> None:
        heard.listed[key] = usd
        progress(f"{key.partition('/')[2]}: {len(usd)} on-demand prices")

    ask_each(ask, wanted)
    until = perf_counter() + list_seconds
    chosen = names(heard.machines)
    pricelist.ask(account, listed, heard.regions, chosen, told=told, until=until)


def _estimates(rows: Iterable[Offer], advice: Advice, time: float) -> Iterable[Offer]:
    """Spot prices as the advisor's savings imply them, for regions where nobody tells the price itself."""
    seen: set[tuple[str, str]] = set()
    for offer in rows:
        key = (offer.region, offer.instance_type)
        saving = advice.savings.get(key)
        if offer.market is not Market.ON_DEMAND or key in seen or not saving or saving <= 0:
            continue
        seen.add(key)
        yield msgspec.structs.replace(
            offer,
            zone="",
            market=Market.SPOT,
            usd_per_hour=round(offer.usd_per_hour * (1 - saving / 100), 4),
            price_time=time,
            source=f"{ESTIMATED}: the spot advisor's average saving of a month",
        )
